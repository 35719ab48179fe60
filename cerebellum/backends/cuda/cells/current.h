// Current-based leaky integrate-and-fire cells (model/neurons/current.py): one cell, one step.

#pragma once

#include <cstdint>

#include "../device.h"

namespace current {

// What does not change from step to step, as it lies in an operand of floats.
struct Constants {
  float decay;               // of the voltage in a step
  float from_exc, from_inh;  // voltage after a step for a current of 1 mV
  float v_leak, v_th, v_reset;
  float keep_exc, keep_inh;  // decay of the currents in a step
  float period;              // steps of the refractory period
};
static_assert(sizeof(Constants) == 9 * sizeof(float));

struct Cell {
  using Constants = current::Constants;
  static constexpr int kFloats = 3;
  static constexpr bool kDraws = false;

  float v, exc, inh;    // mV
  uint32_t refractory;  // remaining steps of the refractory period

  DEVICE static Cell load(float* const* state, int64_t at, uint32_t refractory) {
    return {state[0][at], state[1][at], state[2][at], refractory};
  }

  DEVICE void store(float* const* state, int64_t at) const {
    state[0][at] = v;
    state[1][at] = exc;
    state[2][at] = inh;
  }

  // Advances the cell by a step: see `current::advance`.
  DEVICE bool advance(const Constants& c, float bias, float);
};

// The voltage after a step, mV. `bias` is what constant and injected current add to it:
// (1 - decay) (drive + current).
DEVICE float integrated(const Constants& c, float bias, float v, float exc, float inh) {
  return c.decay * (v - c.v_leak) + c.from_exc * exc - c.from_inh * inh + bias + c.v_leak;
}

// Advances a cell by a step, without arrivals, and returns whether it fires.
DEVICE bool advance(const Constants& c, float bias, Cell& cell) {
  const float reached = integrated(c, bias, cell.v, cell.exc, cell.inh);
  const bool silent = cell.refractory != 0;
  const bool fires = !silent && reached >= c.v_th;
  cell.v = silent || fires ? c.v_reset : reached;
  cell.exc *= c.keep_exc;
  cell.inh *= c.keep_inh;
  cell.refractory = fires ? static_cast<uint32_t>(c.period) : cell.refractory - silent;
  return fires;
}

DEVICE bool Cell::advance(const Constants& c, float bias, float) {
  return current::advance(c, bias, *this);
}

}  // namespace current
