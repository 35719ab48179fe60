// Where the variables of cells are during a launch, and how a refractory period is kept.

#pragma once

#include "block.h"

namespace steps {

// A voltage, or what is left of a refractory period: then the voltage is that of the reset.
constexpr uint32_t kSilent = 0x7FFF;  // upper half of a number that is none

DEVICE float as_voltage(float v, uint32_t refractory) {
  if (refractory == 0) return v;
  const uint32_t bits = kSilent << 16 | refractory;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

DEVICE current::Cell as_cell(float v, float exc, float inh, float v_reset) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  const bool silent = bits >> 16 == kSilent;
  return {silent ? v_reset : v, exc, inh, silent ? bits & 0xFFFF : 0};
}

// Where the variables of a group lie, those of this lane first.
struct Place {
  float *v, *exc, *inh;
  bool whole;  // whether all four may be read and written at once
};

DEVICE Place place_of(const Block& b, const Population& p, int number, const Group& g) {
  const int slot = b.shared().first_slot[number] + g.local;
  if (slot < static_cast<int>(b.shared().slots)) {
    float* at = b.resident() + slot * 3 * kGroup + kEach * b.lane();
    return {at, at + kGroup, at + 2 * kGroup, true};
  }
  return {p.v + g.first, p.exc + g.first, p.inh + g.first, g.has(kEach - 1)};
}

DEVICE Four get(const float* at, const Place& place, const Group& g) {
  if (place.whole) return *reinterpret_cast<const Four*>(at);
  Four four{};
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    if (g.has(j)) four.values[j] = at[j];
  return four;
}

DEVICE void put(float* at, const Four& four, const Place& place, const Group& g) {
  if (place.whole) {
    *reinterpret_cast<Four*>(at) = four;
    return;
  }
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    if (g.has(j)) at[j] = four.values[j];
}

}  // namespace steps
