// What a launch records beside the spikes of whole populations: variables of cells, and spikes of
// chosen ones. All of it is of the step before the present one, when arrivals have been added.

#pragma once

#include "../cells/current.h"
#include "block.h"

namespace steps {

// Record a variable of cell `j` of each lane. All lanes of a warp call it.
OUTLINE void trace(Block b, const Recorder& r, Group g, int j, current::Cell state) {
  const float value = r.variable == kV ? state.v : r.variable == kIExc ? state.exc : state.inh;
  const int cell = g.first + j;
  float* out = static_cast<float*>(r.out) + static_cast<int64_t>(b.step() - 1) * r.room;
  if (r.choice == kAll) {
    if (g.has(j)) out[cell] = value;
    return;
  }
  if (r.choice == kRange) {
    const int at = cell - r.index[0];
    if (g.has(j) && at >= 0 && at < r.room) out[at] = value;
    return;
  }
  const bool chosen = g.has(j) && r.chosen[cell / 32] >> cell % 32 & 1;
  for (uint32_t left = __ballot_sync(FULL, chosen); left != 0; left &= left - 1) {
    const int lane = __ffs(static_cast<int>(left)) - 1;
    const int wanted = __shfl_sync(FULL, cell, lane);
    const float recorded = __shfl_sync(FULL, value, lane);
    for (int k = b.lane(); k < r.room; k += 32)
      if (r.index[k] == wanted) out[k] = recorded;
  }
}

// Record the spikes of chosen cells.
DEVICE void record_spikes(const Block& b) {
  for (int i = 0; i < b.plan().header->recorders; ++i) {
    const Recorder& r = b.plan().recorders[i];
    if (r.variable != kSpikes) continue;
    const int64_t words = (r.room + 31) / 32;
    const uint32_t* fired = front_row(b.plan().populations[r.population], b.now - 1);
    uint32_t* out = static_cast<uint32_t*>(r.out) + (b.step() - 1) * words;
    for (int64_t w = blockIdx.x + static_cast<int64_t>(b.warp()) * b.blocks(); w < words;
         w += static_cast<int64_t>(b.warps()) * b.blocks()) {
      const int64_t at = w * 32 + b.lane();
      bool mine = false;
      if (at < r.room) {
        const int64_t cell = r.choice == kRange ? r.index[0] + at : r.index[at];
        mine = load_fresh(fired + cell / 32) >> cell % 32 & 1;
      }
      const uint32_t packed = __ballot_sync(FULL, mine);
      if (b.lane() == 0) out[w] = packed;
    }
  }
}

// Add the numbers of spikes of the present step to the totals.
DEVICE void record_totals(const Block& b) {
  for (int p = threadIdx.x; p < b.plan().header->populations; p += kThreads) {
    if (b.shared().totals[p] != 0)
      atomicAdd(b.plan().populations[p].totals + b.step(), b.shared().totals[p]);
    b.shared().totals[p] = 0;
  }
}

}  // namespace steps
