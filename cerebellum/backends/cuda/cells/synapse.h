// The conductance of one receptor, exact at any step (Rotter & Diesmann 1999): see decay and
// mean_conductance of model/neurons/conductance.py.

#pragma once

#include <cstdint>

#include "../device.h"

namespace synapse {

struct Constants {
  float keep;       // decay in the time h: exp(-h / tau)
  float rise;       // e / tau h; of alpha synapses
  float mean;       // of g over the time h: tau / h (1 - keep)
  float mean_rise;  // of the rise: e / h (tau - (tau + h) keep); of alpha synapses
};

template <bool kAlpha>
struct Synapse;

template <>
struct Synapse<false> {  // it jumps by the weight and decays
  float g;               // nS

  DEVICE Synapse later(const Constants& c) const { return {g * c.keep}; }
  DEVICE float mean(const Constants& c) const { return g * c.mean; }
  DEVICE void store(float* const* state, int64_t at) const { state[0][at] = g; }
};

template <>
struct Synapse<true> {  // it peaks at the weight after its time constant
  float g, rise;        // nS

  DEVICE Synapse later(const Constants& c) const {
    return {(g + c.rise * rise) * c.keep, rise * c.keep};
  }
  DEVICE float mean(const Constants& c) const { return g * c.mean + rise * c.mean_rise; }
  DEVICE void store(float* const* state, int64_t at) const {
    state[0][at] = g;
    state[1][at] = rise;
  }
};

}  // namespace synapse
