// Packed spikes, 32 cells to a word: how warps find the cells that fired.

#pragma once

#include <cstdint>

#include "device.h"

constexpr int kBlock = 256;  // threads of a block
constexpr int kWarps = kBlock / kWarp;
constexpr int kBatch = kWarp;   // most events that are visited together
constexpr int kQueue = 2 * kBatch;  // places of a warp for events, in shared memory
constexpr int kQueues = kWarps * kQueue * sizeof(int32_t);  // bytes of a block

DEVICE int lane_of_thread() { return static_cast<int>(threadIdx.x % kWarp); }

DEVICE int64_t warp_of_thread() {
  return int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
}

DEVICE int32_t* queue_of_warp() { return shared_memory<int32_t>() + threadIdx.x / kWarp * kQueue; }

// A range of cells, of one beam or of all.
struct Range {
  int64_t first, last;

  // The slice of a number, where the words are divided into slices of so many words.
  DEVICE Range slice(int64_t index, int64_t words) const {
    const int64_t from = (first / 32 + index * words) * 32, to = from + words * 32;
    return {from > first ? from : first, to < last ? to : last};
  }
};

// visit(cells, count) for all events of a range of cells, by one warp: `cells` are up to kBatch cells
// that fired, in shared memory, in ascending order of rounds. All lanes take part in every visit.
template <typename Visit>
DEVICE void for_events(const uint32_t* words, Range range, int32_t* queue, Visit visit) {
  const int lane = lane_of_thread();
  const int64_t from = range.first / 32, to = (range.last + 31) / 32;
  int waiting = 0;
  uint32_t next = from + lane < to ? words[from + lane] : 0;
  for (int64_t at = from; at < to; at += kWarp) {
    const int64_t index = at + lane;
    uint32_t word = next;
    next = index + kWarp < to ? words[index + kWarp] : 0;  // on its way while these are visited
    if (index == from) word &= FULL << (range.first % 32);
    if (index == range.last / 32) word &= (1u << (range.last % 32)) - 1;
    for (;;) {
      const uint32_t found = __ballot_sync(FULL, word != 0);
      if (found == 0) break;
      if (word != 0) {
        const int place = waiting + __popc(found & ((1u << lane) - 1));
        queue[place] = static_cast<int32_t>(32 * index + __ffs(word) - 1);
        word &= word - 1;
      }
      waiting += __popc(found);
      __syncwarp();
      if (waiting < kBatch) continue;
      visit(queue, kBatch);
      __syncwarp();
      waiting -= kBatch;
      if (lane < waiting) queue[lane] = queue[kBatch + lane];
      __syncwarp();
    }
  }
  if (waiting > 0) visit(queue, waiting);
}
