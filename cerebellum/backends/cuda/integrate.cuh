// One step of the cells of a population, in place, with their spikes packed.
//
// A warp takes up to four words of spikes of one member of the batch, and a thread a cell of each: so
// several reads of each array are on their way at once.

#pragma once

#include <cstdint>

#include "device.h"
#include "events.cuh"

constexpr int kMostArrays = 16;  // of floats in a state

// Words of a warp: fewer where a cell has more variables, so that they stay in registers.
template <typename Cell>
constexpr int kWords = Cell::kFloats <= 3 ? 4 : Cell::kFloats <= 5 ? 2 : 1;

struct IntegrateArgs {
  float* state[kMostArrays];  // [B, N] each
  void* refractory;           // [B, N]
  const float* constants;     // [1 or B, constants, 1 or N]
  const float* current;       // [1 or B, 1 or N]
  const float* uniform;       // [B, N]; models that draw noise
  uint32_t* words;            // [B, W]
  int64_t members, cells, words_of_member;
  int64_t constants_member, constants_cell;  // how far it is to the next member and cell; 0: shared
  int64_t current_member, current_cell;
};

// The constants of a cell: [constants, 1 or N].
template <typename Constants>
DEVICE Constants read_constants(const float* at, int64_t stride) {
  constexpr int kCount = sizeof(Constants) / sizeof(float);
  union {
    float values[kCount];
    Constants constants;
  } both;
#pragma unroll
  for (int k = 0; k < kCount; ++k) both.values[k] = at[k * stride];
  return both.constants;
}

template <typename Cell, typename Counter>
KERNEL void integrate(IntegrateArgs args) {
  using Constants = typename Cell::Constants;
  constexpr int kHere = kWords<Cell>;
  const int64_t groups = (args.words_of_member + kHere - 1) / kHere;
  const int64_t group = warp_of_thread();
  if (group >= args.members * groups) return;
  const int64_t member = group / groups, first_word = group % groups * kHere;
  const int lane = lane_of_thread();
  const float* constants = args.constants + member * args.constants_member;
  const float* current = args.current + member * args.current_member;
  Counter* refractory = static_cast<Counter*>(args.refractory);
  const bool alike = args.constants_cell == 0;
  Constants own;
  if (alike) own = read_constants<Constants>(constants, 1);

  Cell cells[kHere];
  float currents[kHere], uniforms[kHere];
#pragma unroll
  for (int k = 0; k < kHere; ++k) {
    const int64_t cell = (first_word + k) * kWarp + lane;
    if (cell >= args.cells) continue;
    const int64_t at = member * args.cells + cell;
    cells[k] = Cell::load(args.state, at, refractory[at]);
    currents[k] = current[cell * args.current_cell];
    uniforms[k] = Cell::kDraws ? args.uniform[at] : 0.0f;
  }
#pragma unroll
  for (int k = 0; k < kHere; ++k) {
    const int64_t word = first_word + k;
    const int64_t cell = word * kWarp + lane;
    bool fires = false;
    if (cell < args.cells) {
      if (!alike) own = read_constants<Constants>(constants + cell, args.cells);
      fires = cells[k].advance(own, currents[k], uniforms[k]);
      const int64_t at = member * args.cells + cell;
      cells[k].store(args.state, at);
      refractory[at] = static_cast<Counter>(cells[k].refractory);
    }
    const uint32_t packed = __ballot_sync(FULL, fires);
    if (lane == 0 && word < args.words_of_member)
      args.words[member * args.words_of_member + word] = packed;
  }
}
