// Sums that no order of threads can change.
//
// Spikes through synapses of one weight are counted, and the weight is then added as often, one time
// after the other: all addends are equal, so this is what any order of additions gives, the
// reference's too.
//
// Other weights are added up in fixed point: 64-bit integers in units of 2^-32. A value of 2^-9 or
// more, or less than that and a multiple of 2^-32, is kept in full. Any other is rounded to the
// nearest multiple, so a sum of n values is off by at most n 2^-33. A value of 2^30 or more, or one
// that is not finite, makes its target not a number; sums must stay below 2^31 in magnitude, in the
// unit of the receptor (nS or mV).

#pragma once

#include <cmath>
#include <cstdint>

#include "device.h"

using Fixed = unsigned long long;  // as atomicAdd takes it; a negative sum wraps around

DEVICE bool fits(float value) { return fabsf(value) < 0x1p30f; }

DEVICE Fixed to_fixed(float value) {
  return static_cast<Fixed>(static_cast<long long>(llrintf(value * 0x1p32f)));
}

DEVICE float from_fixed(Fixed sum) {
  return static_cast<float>(static_cast<long long>(sum)) * 0x1p-32f;
}

// A value after the same weight has been added so many times.
BOTH float add_times(float value, float weight, int32_t count) {
  for (int32_t k = 0; k < count; ++k) value += weight;
  return value;
}
