// The spikes of a step, packed.

#pragma once

#include "block.h"

namespace steps {

// Eight bits, each to the first of four.
DEVICE uint32_t spread(uint32_t bits) {
  bits = (bits | bits << 12) & 0x000F000F;
  bits = (bits | bits << 6) & 0x03030303;
  return (bits | bits << 3) & 0x11111111;
}

// Write the spikes of a group, of which each lane has four.
DEVICE void send(const Block& b, const Population& p, int number, const Group& g, unsigned fired) {
  uint32_t sent = 0;
  if (__any_sync(FULL, fired != 0)) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const uint32_t votes = __ballot_sync(FULL, fired >> j & 1);
      sent |= spread(votes >> 8 * (b.lane() % kEach) & 0xFF) << j;
    }
  }
  const int64_t word = g.first_word() + b.lane();
  if (b.lane() >= kGroup / 32 || word >= p.words) return;
  if (p.alive != nullptr) sent &= p.alive[word];
  front_row(p, b.now)[word] = sent;
  if (p.raster != nullptr) p.raster[b.step() * p.words + word] = sent;
  if (sent != 0) atomicAdd(b.shared().totals + number, __popc(sent));
}

}  // namespace steps
