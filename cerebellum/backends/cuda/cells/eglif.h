// Extended generalised leaky integrate-and-fire cells (model/neurons/eglif.py): one cell, one step.

#pragma once

#include <cmath>
#include <cstdint>

#include "../device.h"
#include "synapse.h"

namespace eglif {

struct Receptor {
  float e_rev;  // mV
  synapse::Constants synapse;
};

// What does not change from step to step, as it lies in an operand of floats; h is the step.
template <int kReceptors>
struct Constants {
  float leak, per_pf;  // 1 / tau_m and 1 / c_m
  float e_l, v_min, v_th, v_reset;
  float k_adap, k_2;
  float a_1, a_2;
  float hazard;     // lambda_0 h
  float per_mv;     // 1 / tau_v
  float half_dep;   // decay of i_dep in half a step
  float keep_dep;   // and in a step
  float period;     // steps of the refractory period
  float h, sixth;   // ms; and a sixth of it
  Receptor receptors[kReceptors];
};

template <int kReceptors>
struct Cell {
  using Constants = eglif::Constants<kReceptors>;
  static_assert(sizeof(Constants) == (17 + 5 * kReceptors) * sizeof(float));
  static constexpr int kFloats = 3 + 2 * kReceptors;
  static constexpr bool kDraws = true;

  float v, i_adap, i_dep;                      // mV, pA, pA
  synapse::Synapse<true> synapses[kReceptors];  // nS
  uint32_t refractory;                         // remaining steps of the refractory period

  DEVICE static Cell load(float* const* state, int64_t at, uint32_t refractory) {
    Cell cell;
    cell.v = state[0][at];
    cell.i_adap = state[1][at];
    cell.i_dep = state[2][at];
    for (int k = 0; k < kReceptors; ++k)
      cell.synapses[k] = {state[3 + 2 * k][at], state[4 + 2 * k][at]};
    cell.refractory = refractory;
    return cell;
  }

  DEVICE void store(float* const* state, int64_t at) const {
    state[0][at] = v;
    state[1][at] = i_adap;
    state[2][at] = i_dep;
    for (int k = 0; k < kReceptors; ++k) synapses[k].store(state + 3 + 2 * k, at);
  }

  struct Rates {
    float v, adap;  // mV/ms, pA/ms
  };

  // Classic Runge-Kutta of v and i_adap, with conductances averaged over the step.
  DEVICE void integrate(const Constants& c, float current) {
    float g = synapses[0].mean(c.receptors[0].synapse);
    float synaptic = 0.0f + g * c.receptors[0].e_rev;
    for (int k = 1; k < kReceptors; ++k) {
      const float mean = synapses[k].mean(c.receptors[k].synapse);
      g += mean;
      synaptic += mean * c.receptors[k].e_rev;
    }
    const float constant = current + synaptic;
    const auto slope = [&](float v, float adap, float dep) -> Rates {
      const float deviation = v - c.e_l;
      const float charge = constant + dep - adap - g * v;
      return {deviation * c.leak + charge * c.per_pf, c.k_adap * deviation - c.k_2 * adap};
    };
    const float from = fmaxf(v, c.v_min), adap = i_adap, half = c.h / 2;
    const Rates k1 = slope(from, adap, i_dep);
    const Rates k2 = slope(from + half * k1.v, adap + half * k1.adap, i_dep * c.half_dep);
    const Rates k3 = slope(from + half * k2.v, adap + half * k2.adap, i_dep * c.half_dep);
    const Rates k4 =
        slope(from + c.h * k3.v, adap + c.h * k3.adap, i_dep * c.half_dep * c.half_dep);
    v = from + c.sixth * (k1.v + 2 * (k2.v + k3.v) + k4.v);
    i_adap = adap + c.sixth * (k1.adap + 2 * (k2.adap + k3.adap) + k4.adap);
  }

  // Advances the cell by a step, without arrivals, and returns whether it fires. `current` is the
  // constant and the injected one, pA; `uniform` is a draw from (0, 1).
  DEVICE bool advance(const Constants& c, float current, float uniform) {
    integrate(c, current);
    const float hazard = c.hazard * expf((v - c.v_th) * c.per_mv);
    const bool silent = refractory != 0;
    const bool fires = !silent && hazard > -log1pf(-uniform);
    if (silent || fires) v = c.v_reset;
    if (fires) i_adap += c.a_2;
    i_dep = fires ? c.a_1 : i_dep * c.keep_dep;
    for (int k = 0; k < kReceptors; ++k) synapses[k] = synapses[k].later(c.receptors[k].synapse);
    refractory = fires ? static_cast<uint32_t>(c.period) : refractory - silent;
    return fires;
  }
};

}  // namespace eglif
