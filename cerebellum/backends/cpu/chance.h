// A chance as 64 bits, with which 64 random bits are compared: see noise.below.

#pragma once

#include <cstdint>

struct Limit {
  uint32_t upper, lower;
};

// The limit of a chance below 1; of one that is not above 0, none.
inline Limit limit_of(float chance) {
  const float scaled = chance * 0x1p32f;
  if (!(scaled > 0.0f)) return {0, 0};
  const uint32_t upper = static_cast<uint32_t>(scaled < 0x1p32f ? scaled : 0x1.fffffep31f);
  const float rest = scaled < 0x1p32f ? scaled - static_cast<float>(upper) : 0.0f;
  return {upper, static_cast<uint32_t>(rest * 0x1p32f)};
}
