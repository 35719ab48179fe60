// Sums of floats in fixed point: 64-bit integers in units of 2^-32, which no order can change.
//
// A value of 2^-9 or more, or less than that and a multiple of 2^-32, is kept in full. Any other is
// rounded to the nearest multiple, so a sum of n values is off by at most n 2^-33. Sums must stay
// below 2^31 in magnitude, in the unit of the receptor (nS or mV).

#pragma once

#include <cmath>
#include <cstdint>

#include "device.h"

using Fixed = unsigned long long;  // as atomicAdd takes it; a negative sum wraps around

DEVICE Fixed to_fixed(float value) {
  return static_cast<Fixed>(static_cast<long long>(llrintf(value * 0x1p32f)));
}

DEVICE float from_fixed(Fixed sum) {
  return static_cast<float>(static_cast<long long>(sum)) * 0x1p-32f;
}
