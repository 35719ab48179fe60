// Whether 64 random bits, as a fraction of 2^64, are below a chance: see noise.below. The CUDA kernels
// include this file, too.

#pragma once

#include <cstdint>

#include "threefry.h"

// A chance as 64 bits.
struct Limit {
  uint32_t upper, lower;
};

// The limit of a chance below 1; of one that is not above 0, none.
ANYWHERE Limit limit_of(float chance) {
  const float scaled = chance * 0x1p32f;
  if (!(scaled > 0.0f)) return {0, 0};
  const uint32_t upper = static_cast<uint32_t>(scaled < 0x1p32f ? scaled : 0x1.fffffep31f);
  const float rest = scaled < 0x1p32f ? scaled - static_cast<float>(upper) : 0.0f;
  return {upper, static_cast<uint32_t>(rest * 0x1p32f)};
}

// 1 where the bits are below the limit, of the words as noise.words makes them; without a branch, so
// that loops over cells vectorise.
ANYWHERE uint32_t under(uint32_t high, uint32_t low, Limit limit) {
  const uint32_t less = high < limit.upper;
  const uint32_t level = high == limit.upper;
  const uint32_t rest = low < limit.lower;
  return less | (level & rest);
}
