// One step of conductance-based cells whose parameters are all alike, by Runge-Kutta, with their
// spikes packed: see model/neurons/conductance.py, and blocks.h for the operands. A product and a sum
// round once, as they may there.

#include "blocks.h"

#include <cmath>

namespace {

struct Synapse {  // over a step or half of one
  float keep, rise, mean, mean_rise;
};

struct Cells {  // as they lie in the operand `constants`
  float leak, per_pf, leak_voltage, e_exc, e_inh, v_th, v_reset, period, h, sixth;
  Synapse exc, inh, half_exc, half_inh;
};

using std::fma;

struct Slope {
  float drive, rate;  // mV/ms and 1/ms
};

inline Slope slope(const Cells& c, float exc, float inh, float current) {
  const float charge = fma(inh, c.e_inh, fma(exc, c.e_exc, current));
  return {fma(charge, c.per_pf, c.leak_voltage), fma(exc + inh, c.per_pf, c.leak)};
}

template <bool kAlpha>
inline float decayed(const Synapse& c, float g, float rise) {
  return kAlpha ? fma(c.rise, rise, g) * c.keep : g * c.keep;
}

struct State {  // of a block
  float *v, *exc, *inh, *exc_rise, *inh_rise;
};

// Whether the method would be unstable in a cell of the block. Conductances of exponential synapses
// are largest at the beginning of a step.
template <bool kAlpha>
inline bool unstable(const Cells& c, const State& s) {
  int32_t any = 0;
  for (int k = 0; k < kBlock; ++k) {
    any |= c.h * fma(s.exc[k] + s.inh[k], c.per_pf, c.leak) > 2.0f;
    if (kAlpha) {
      const float exc = decayed<kAlpha>(c.exc, s.exc[k], s.exc_rise[k]);
      const float inh = decayed<kAlpha>(c.inh, s.inh[k], s.inh_rise[k]);
      any |= c.h * fma(exc + inh, c.per_pf, c.leak) > 2.0f;
    }
  }
  return any;
}

// Voltages after a step. The membrane is slowed where the method would be unstable; elsewhere that
// factor is one, and not computed.
template <bool kAlpha, bool kSlow>
inline void integrate(const Cells& c, const float* __restrict current, const State& s,
                      float* __restrict reached) {
  const float half = c.h / 2, sixth = c.sixth;
  for (int k = 0; k < kBlock; ++k) {
    const float up = kAlpha ? s.exc_rise[k] : 0, down = kAlpha ? s.inh_rise[k] : 0;
    Slope first = slope(c, s.exc[k], s.inh[k], current[k]);
    Slope middle =
        slope(c, decayed<kAlpha>(c.half_exc, s.exc[k], up),
              decayed<kAlpha>(c.half_inh, s.inh[k], down), current[k]);
    Slope last = slope(c, decayed<kAlpha>(c.exc, s.exc[k], up),
                       decayed<kAlpha>(c.inh, s.inh[k], down), current[k]);
    if (kSlow) {
      const float slow = std::min(1.0f, 2.0f / (c.h * std::max(first.rate, last.rate)));
      first = {first.drive * slow, first.rate * slow};
      middle = {middle.drive * slow, middle.rate * slow};
      last = {last.drive * slow, last.rate * slow};
    }
    const float v = s.v[k];
    const float k1 = fma(-first.rate, v, first.drive);
    const float k2 = fma(-middle.rate, fma(half, k1, v), middle.drive);
    const float k3 = fma(-middle.rate, fma(half, k2, v), middle.drive);
    const float k4 = fma(-last.rate, fma(c.h, k3, v), last.drive);
    reached[k] = fma(sixth, fma(2.0f, k2 + k3, k1) + k4, v);
  }
}

// Whether a voltage of the block has reached the threshold.
inline bool any_reaches(const float* __restrict v, float threshold) {
  int32_t any = 0;
  for (int k = 0; k < kBlock; ++k) any |= v[k] >= threshold;
  return any;
}

// A block of cells. In most blocks nothing is left to do after the integration.
template <bool kAlpha>
inline uint64_t block(const Cells& c, const float* __restrict current, const State& s,
                      uint8_t* __restrict left) {
  float reached[kBlock];
  unstable<kAlpha>(c, s) ? integrate<kAlpha, true>(c, current, s, reached)
                         : integrate<kAlpha, false>(c, current, s, reached);
  for (int k = 0; k < kBlock; ++k) {
    const float up = kAlpha ? s.exc_rise[k] : 0, down = kAlpha ? s.inh_rise[k] : 0;
    s.exc[k] = decayed<kAlpha>(c.exc, s.exc[k], up);
    s.inh[k] = decayed<kAlpha>(c.inh, s.inh[k], down);
    if (kAlpha) s.exc_rise[k] = up * c.exc.keep, s.inh_rise[k] = down * c.inh.keep;
  }
  float* __restrict v = s.v;
  if (!any_reaches(reached, c.v_th) && !any_waits(left)) {
    std::copy_n(reached, kBlock, v);
    return 0;
  }
  const float threshold = c.v_th, reset = c.v_reset;
  int32_t wait[kBlock], spike[kBlock];
  for (int k = 0; k < kBlock; ++k) wait[k] = left[k];
  for (int k = 0; k < kBlock; ++k) {
    const int32_t silent = wait[k] != 0;
    spike[k] = (reached[k] >= threshold) & (silent ^ 1);
    v[k] = (silent | spike[k]) ? reset : reached[k];
  }
  count_down(spike, wait, static_cast<int32_t>(c.period), left);
  return packed(spike);
}

template <bool kAlpha>
void update(const Population& p, const Cells& c) {
  constexpr int kExc = 1, kInh = kAlpha ? 3 : 2;  // places in the state; what makes one rise follows
  each_block<kAlpha ? 5 : 3>(
      p, 4, [&](const float* current, float* const* state, uint8_t* left, int64_t) {
        const State cells{state[0], state[kExc], state[kInh], kAlpha ? state[kExc + 1] : nullptr,
                          kAlpha ? state[kInh + 1] : nullptr};
        return block<kAlpha>(c, current, cells, left);
      });
}

ffi::Error Conductance(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> current,
                       ffi::Buffer<ffi::U32> noise, ffi::RemainingArgs args,
                       ffi::RemainingRets rets) {
  const Population p(constants, current, noise, args, rets);
  const Cells c = *reinterpret_cast<const Cells*>(p.constants);
  p.arrays == 5 ? update<true>(p, c) : update<false>(p, c);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_conductance, Conductance, cells_binding());
