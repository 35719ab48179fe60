// Poisson spikes of one step, packed: 64 random bits of each cell, compared with its chance. See
// primitives.draw. And rows taken out of rings of arrivals: see primitives.take.

#pragma once

#include <cstdint>

#include "device.h"
#include "events.cuh"
#include "threefry.cuh"

constexpr int kDrawn = 4;  // words of a warp, which share the derivation of the step's key

struct DrawArgs {
  const uint32_t* key;     // [1 or B, 2]
  const int32_t* step;     // [1 or B]
  const float* chance;     // [1 or B, 1 or N]
  const uint32_t* offset;  // [1 or B]
  uint32_t* words;         // [B, W]
  int64_t members, cells, words_of_member;
  int64_t key_member, step_member, chance_member, chance_cell, offset_member;  // strides; 0: shared
  uint32_t name;
};

KERNEL void draw(DrawArgs args) {
  const int64_t groups = (args.words_of_member + kDrawn - 1) / kDrawn;
  const int64_t group = warp_of_thread();
  if (group >= args.members * groups) return;
  const int64_t member = group / groups, first_word = group % groups * kDrawn;
  const int lane = lane_of_thread();
  const uint32_t* key = args.key + member * args.key_member;
  const uint32_t step = static_cast<uint32_t>(args.step[member * args.step_member]);
  const Pair now = fold(fold({key[0], key[1]}, args.name), step);
  const uint32_t offset = args.offset[member * args.offset_member];
  const float* chance = args.chance + member * args.chance_member;
  for (int k = 0; k < kDrawn; ++k) {
    const int64_t word = first_word + k;
    const int64_t cell = word * kWarp + lane;
    const bool fires =
        cell < args.cells && below(threefry(now, {0, offset + static_cast<uint32_t>(cell)}),
                                   chance[cell * args.chance_cell]);
    const uint32_t packed = __ballot_sync(FULL, fires);
    if (lane == 0 && word < args.words_of_member)
      args.words[member * args.words_of_member + word] = packed;
  }
}

struct TakeArgs {
  const int32_t* rows;  // [B]
  float* rings;         // [B, D, T]
  float* taken;         // [B, T]
  int64_t members, depth, targets;
};

KERNEL void take(TakeArgs args) {
  const int64_t at = int64_t{blockIdx.x} * kBlock + threadIdx.x;
  if (at >= args.members * args.targets) return;
  const int64_t member = at / args.targets, target = at % args.targets;
  float* entry = args.rings + (member * args.depth + args.rows[member]) * args.targets + target;
  args.taken[at] = *entry;
  *entry = 0.0f;
}
