// What has arrived at cells in the step before: it is added, and its sums are cleared.

#pragma once

#include "../fixed.cuh"
#include "block.h"

namespace steps {

DEVICE unsigned char* sums_of(const Projection& p, int step) {
  return p.sums + copy_of(step, p.copies) * p.copy_bytes;
}

// The sums to clear: those that were read, or of a teacher, which others may still read, those of
// the step before.
DEVICE unsigned char* stale_of(const Block& b, const Projection& p) {
  return sums_of(p, p.copies > 2 ? b.step() + 1 : b.step() - 1);
}

DEVICE float weight_of(const Projection& p) { return *static_cast<const float*>(p.weights); }

// Add the arrivals of any projection.
OUTLINE Four add_arrivals(Block b, const Projection& p, Group g, Four four) {
  const unsigned char* sums = sums_of(p, b.step() - 1);
  unsigned char* stale = stale_of(b, p);
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    if (!g.has(j)) continue;
    const int cell = g.first + j;
    float& value = four.values[j];
    if (p.taught != nullptr)
      p.taught[copy_of(b.step() + 1, p.copies) * b.plan().populations[p.target].size + cell] = 0;
    if (p.kind == kOneWeight) {
      const unsigned count = counter(reinterpret_cast<const unsigned*>(sums), p.bits, cell);
      value = add_times(value, weight_of(p), static_cast<int32_t>(count));
    } else if (p.kind == kLevels) {
      const auto sum = load_fresh(reinterpret_cast<const unsigned long long*>(sums) + cell);
      const float upper = static_cast<float>(sum >> 16), lower = static_cast<float>(sum & 0xFFFF);
      value += (upper * 65'536.0f + lower) * as_float(p.unit);
    } else {
      value += from_fixed(load_fresh(reinterpret_cast<const Fixed*>(sums) + cell));
    }
  }
  if (p.kind == kLevels) return four;  // each step overwrites them
  // The counters of a lane fill whole bytes.
  const int bytes = kEach * static_cast<int>(p.kind == kOneWeight ? p.bits : 64) / 8;
  unsigned short* own = reinterpret_cast<unsigned short*>(stale + g.first / kEach * bytes);
  for (int k = 0; k < bytes / 2; ++k) own[k] = 0;
  return four;
}

}  // namespace steps
