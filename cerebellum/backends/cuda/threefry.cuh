// Threefry, as on the CPU, with the keys and chances of model/noise.py.

#pragma once

#include "../cpu/threefry.h"
#include "device.h"

// The key that belongs to a number under a key: `noise.fold`.
DEVICE Pair fold(Pair key, uint32_t number) { return threefry(key, {0, number}); }

// Whether 64 random bits, as a fraction of 2^64, are below a chance: `noise.below`.
DEVICE bool below(Pair drawn, float chance) {
  const float scaled = chance * 0x1p32f;
  const uint32_t high = drawn.a ^ drawn.b;
  if (scaled >= 0x1p32f) return true;
  if (!(scaled > 0.0f)) return false;
  // The whole part and the rest are exact.
  const uint32_t upper = static_cast<uint32_t>(scaled);
  const uint32_t lower = static_cast<uint32_t>((scaled - static_cast<float>(upper)) * 0x1p32f);
  return high < upper || (high == upper && drawn.b < lower);
}
