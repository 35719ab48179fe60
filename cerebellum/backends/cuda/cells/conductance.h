// Conductance-based leaky integrate-and-fire cells (model/neurons/conductance.py): one cell, one step.

#pragma once

#include <cmath>
#include <cstdint>

#include "../device.h"
#include "synapse.h"

namespace conductance {

// What does not change from step to step, as it lies in an operand of floats; h is the step.
struct Constants {
  float leak, per_pf;    // 1 / tau_m and 1 / c_m
  float leak_e_l;        // 1 / tau_m times e_l
  float e_exc, e_inh;    // reversal potentials, mV
  float v_th, v_reset;
  float period;          // steps of the refractory period
  float h, sixth;        // ms; and a sixth of it
  synapse::Constants exc, inh;            // for a step
  synapse::Constants half_exc, half_inh;  // for half a step
};
static_assert(sizeof(Constants) == (10 + 4 * 4) * sizeof(float));

// The voltage's slope for fixed conductances: drive - rate v.
struct Slope {
  float drive, rate;

  DEVICE Slope(const Constants& c, float exc, float inh, float current)
      : drive(c.leak_e_l + (current + exc * c.e_exc + inh * c.e_inh) * c.per_pf),
        rate(c.leak + (exc + inh) * c.per_pf) {}
};

template <bool kAlpha, bool kRungeKutta>
struct Cell {
  using Constants = conductance::Constants;
  static constexpr int kFloats = kAlpha ? 5 : 3;
  static constexpr bool kDraws = false;

  float v;                           // mV
  synapse::Synapse<kAlpha> exc, inh;  // nS
  uint32_t refractory;               // remaining steps of the refractory period

  DEVICE static Cell load(float* const* state, int64_t at, uint32_t refractory) {
    if constexpr (kAlpha)
      return {state[0][at], {state[1][at], state[2][at]}, {state[3][at], state[4][at]}, refractory};
    else
      return {state[0][at], {state[1][at]}, {state[2][at]}, refractory};
  }

  DEVICE void store(float* const* state, int64_t at) const {
    state[0][at] = v;
    exc.store(state + 1, at);
    inh.store(state + (kAlpha ? 3 : 2), at);
  }

  // Exponential Euler with the conductances averaged over the step.
  DEVICE float averaged(const Constants& c, float current) const {
    const Slope slope(c, exc.mean(c.exc), inh.mean(c.inh), current);
    const float end = slope.drive / slope.rate;
    return end + (v - end) * expf(-c.h * slope.rate);
  }

  // Classic Runge-Kutta with the conductances evaluated inside the step; a membrane that is too fast
  // for it is slowed.
  DEVICE float runge_kutta(const Constants& c, float current) const {
    Slope first(c, exc.g, inh.g, current);
    Slope middle(c, exc.later(c.half_exc).g, inh.later(c.half_inh).g, current);
    Slope last(c, exc.later(c.exc).g, inh.later(c.inh).g, current);
    const float slow = fminf(1.0f, 2.0f / (c.h * fmaxf(first.rate, last.rate)));
    for (Slope* slope : {&first, &middle, &last}) slope->drive *= slow, slope->rate *= slow;
    const float k1 = first.drive - first.rate * v;
    const float k2 = middle.drive - middle.rate * (v + c.h / 2 * k1);
    const float k3 = middle.drive - middle.rate * (v + c.h / 2 * k2);
    const float k4 = last.drive - last.rate * (v + c.h * k3);
    return v + c.sixth * (k1 + 2 * (k2 + k3) + k4);
  }

  // Advances the cell by a step, without arrivals, and returns whether it fires. `current` is the
  // constant and the injected one, pA.
  DEVICE bool advance(const Constants& c, float current, float) {
    const float reached = kRungeKutta ? runge_kutta(c, current) : averaged(c, current);
    exc = exc.later(c.exc);
    inh = inh.later(c.inh);
    const bool silent = refractory != 0;
    const bool fires = !silent && reached >= c.v_th;
    v = silent || fires ? c.v_reset : reached;
    refractory = fires ? static_cast<uint32_t>(c.period) : refractory - silent;
    return fires;
  }
};

}  // namespace conductance
