// One step of conductance-based cells whose parameters are all alike, by Runge-Kutta, with their
// spikes packed: see model/neurons/conductance.py. A product and a sum round once, as they may there.
//
// Operands: the constants; the current into each cell, pA [N] or [1]; the voltages; of each receptor
// the conductances and, for alpha synapses, what makes them rise; the refractory counters.

#include "blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// A receptor: factors of half a step and of a whole one, and its reversal potential.
struct Receptor {
  float keep_half, keep, rise_half, rise, reversal;
};

struct Cells {  // as they lie in the operand `constants`
  float h, leak, per_pf, leak_voltage, v_th, v_reset, period;
  Receptor exc, inh;
};

using std::fma;

struct Slope {
  float drive, rate;  // mV/ms and 1/ms
};

inline Slope slope(const Cells& c, float exc, float inh, float current) {
  const float charge = fma(inh, c.inh.reversal, fma(exc, c.exc.reversal, current));
  return {fma(charge, c.per_pf, c.leak_voltage), fma(exc + inh, c.per_pf, c.leak)};
}

inline float decayed(float g, float rise, float factor, float keep, bool alpha) {
  return alpha ? fma(factor, rise, g) * keep : g * keep;
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
      const float exc = decayed(s.exc[k], s.exc_rise[k], c.exc.rise, c.exc.keep, kAlpha);
      const float inh = decayed(s.inh[k], s.inh_rise[k], c.inh.rise, c.inh.keep, kAlpha);
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
  const float half = c.h / 2, sixth = c.h / 6;
  for (int k = 0; k < kBlock; ++k) {
    const float up = kAlpha ? s.exc_rise[k] : 0, down = kAlpha ? s.inh_rise[k] : 0;
    Slope first = slope(c, s.exc[k], s.inh[k], current[k]);
    Slope middle =
        slope(c, decayed(s.exc[k], up, c.exc.rise_half, c.exc.keep_half, kAlpha),
              decayed(s.inh[k], down, c.inh.rise_half, c.inh.keep_half, kAlpha), current[k]);
    Slope last = slope(c, decayed(s.exc[k], up, c.exc.rise, c.exc.keep, kAlpha),
                       decayed(s.inh[k], down, c.inh.rise, c.inh.keep, kAlpha), current[k]);
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

// A block of cells, in place: bit k is the spike of its cell k. The counters are widened first:
// mixed widths do not vectorise. In most blocks nothing is left to do after the integration.
template <bool kAlpha>
inline uint64_t block(const Cells& c, const float* __restrict current, const State& s,
                      uint8_t* __restrict left) {
  float reached[kBlock];
  unstable<kAlpha>(c, s) ? integrate<kAlpha, true>(c, current, s, reached)
                         : integrate<kAlpha, false>(c, current, s, reached);
  for (int k = 0; k < kBlock; ++k) {
    const float up = kAlpha ? s.exc_rise[k] : 0, down = kAlpha ? s.inh_rise[k] : 0;
    s.exc[k] = decayed(s.exc[k], up, c.exc.rise, c.exc.keep, kAlpha);
    s.inh[k] = decayed(s.inh[k], down, c.inh.rise, c.inh.keep, kAlpha);
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
  const int32_t period = static_cast<int32_t>(c.period);
  for (int k = 0; k < kBlock; ++k) wait[k] = spike[k] ? period : wait[k] - (wait[k] != 0);
  for (int k = 0; k < kBlock; ++k) left[k] = static_cast<uint8_t>(wait[k]);
  uint64_t fired = 0;
  for (int k = 0; k < kBlock; ++k) fired |= static_cast<uint64_t>(spike[k]) << k;
  return fired;
}

// Cells of a range that starts a block.
template <bool kAlpha>
void update(const Cells& c, const float* current, bool shared, float* const* state, uint8_t* wait,
            team::Range range, uint32_t* words) {
  constexpr int kArrays = kAlpha ? 5 : 3;
  float own[kBlock];
  std::fill_n(own, kBlock, *current);
  for (int64_t at = range.first; at < range.last; at += kBlock) {
    const int64_t here = std::min<int64_t>(kBlock, range.last - at);
    if (!shared) std::copy_n(current + at, here, own);
    const auto of = [&](auto place) {
      return State{place(0), place(1), place(2), kAlpha ? place(kArrays - 2) : nullptr,
                   kAlpha ? place(kArrays - 1) : nullptr};
    };
    if (here == kBlock) {
      const State cells = of([&](int k) { return state[k] + at; });
      pack(block<kAlpha>(c, own, cells, wait + at), here, words + at / 32);
      continue;
    }
    float rest[kArrays][kBlock] = {};
    uint8_t rest_wait[kBlock];
    std::fill_n(rest_wait, kBlock, uint8_t{1});  // places that are no cells are silent
    for (int k = 0; k < kArrays; ++k) std::copy_n(state[k] + at, here, rest[k]);
    std::copy_n(wait + at, here, rest_wait);
    const State cells = of([&](int k) { return rest[k]; });
    pack(block<kAlpha>(c, own, cells, rest_wait), here, words + at / 32);
    for (int k = 0; k < kArrays; ++k) std::copy_n(rest[k], here, state[k] + at);
    std::copy_n(rest_wait, here, wait + at);
  }
}

// Arrays: v, exc and inh [and what makes each rise], then the counters, all aliased with results,
// the last of which has the words.
ffi::Error Conductance(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> current,
                       ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const Cells c = *reinterpret_cast<const Cells*>(constants.typed_data());
  const size_t arrays = args.size() - 1;
  float* state[5];
  uint8_t* wait = nullptr;
  int64_t size = 0;
  for (size_t k = 0; k <= arrays; ++k) {
    const auto before = *args.get<ffi::AnyBuffer>(k);
    auto after = *rets.get<ffi::AnyBuffer>(k);
    if (after->untyped_data() != before.untyped_data())
      std::memcpy(after->untyped_data(), before.untyped_data(), before.size_bytes());
    if (k < arrays) state[k] = static_cast<float*>(after->untyped_data());
    else wait = static_cast<uint8_t*>(after->untyped_data());
    size = static_cast<int64_t>(before.element_count());
  }
  auto words = *rets.get<ffi::Buffer<ffi::U32>>(arrays + 1);
  const bool shared = current.element_count() == 1;
  team::run(4 * size, [&](int index, int parts) {
    const team::Range own = team::part(size, index, parts, kBlock);
    const auto all = arrays == 5 ? update<true> : update<false>;
    all(c, current.typed_data(), shared, state, wait, own, words->typed_data());
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_conductance, Conductance,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .RemainingArgs()
                                  .RemainingRets());
