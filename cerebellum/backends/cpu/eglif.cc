// One step of E-GLIF cells whose parameters are all alike, with the draws that decide which of them
// fire, and their spikes packed: see model/neurons/eglif.py, and blocks.h for the operands. A product
// and a sum round once, as they may there.
//
// A draw is made only where it can matter: the smallest one is 2**-33, and a cell whose hazard is
// below that is silent whatever is drawn. Most cells are, most of the time.

#include "blocks.h"

#include <cmath>

#include "threefry.h"

namespace {

using std::fma;

struct Receptor {
  float reversal;
  float keep, rise, mean, mean_rise;  // of the conductance, over a step
};

struct Cells {  // as they lie in the operand `constants`, before the receptors
  float leak, per_pf, e_l, v_min, v_th, v_reset, k_adap, k_2, a_1, a_2, hazard, per_mv;
  float half_dep, keep_dep, period, h, sixth;
};

struct Noise {
  Pair key;
  uint32_t first;
};

// A little below the exponent at which the hazard is that of the smallest draw, of which
// -log(1 - draw) is the same.
inline float possible(const Cells& c) { return std::log(0x1p-33f / c.hazard) - 0.01f; }

// The random bits of a cell: see noise.words.
inline uint32_t bits(const Noise& noise, uint32_t number) {
  const Pair words = threefry(noise.key, {0, noise.first + number});
  return words.a ^ words.b;
}

// Whether a cell fires that has this hazard in the step: see noise.uniform. The logarithm is above
// the draw, so that it is seldom needed.
inline bool fires(uint32_t random, float hazard) {
  const float drawn = std::min((static_cast<float>(random) + 0.5f) * 0x1p-32f, 1 - 0x1p-24f);
  return hazard > drawn && hazard > -std::log1p(-drawn);
}

// Of the cells of a block that may fire, leave those that do. Many draws are made at once, few one
// by one.
inline void decide(const Noise& noise, uint32_t at, int count, float rate,
                   const float* __restrict exponent, int32_t* __restrict spike) {
  constexpr int kFew = 8;
  uint32_t random[kBlock];
  if (count > kFew)
    for (uint32_t k = 0; k < kBlock; ++k) random[k] = bits(noise, at + k);
  for (uint32_t k = 0; k < kBlock; ++k) {
    if (!spike[k]) continue;
    const uint32_t own = count > kFew ? random[k] : bits(noise, at + k);
    spike[k] = fires(own, rate * std::exp(exponent[k]));
  }
}

struct Slope {
  float v, w;
};

inline Slope slope(const Cells& c, float v, float w, float charge, float g) {
  const float deviation = v - c.e_l;
  const float flow = fma(-g, v, charge - w);
  return {fma(flow, c.per_pf, deviation * c.leak), fma(c.k_adap, deviation, -c.k_2 * w)};
}

// A block of cells from number `at` on. A cell may fire above the exponent `possible` of its hazard.
template <int kReceptors>
inline uint64_t block(const Cells& c, const Receptor* receptors, float possible,
                      const Noise& noise, const float* __restrict current, float* const* state,
                      int64_t at, uint8_t* __restrict left) {
  float* __restrict v = state[0];
  float* __restrict w = state[1];
  float* __restrict dep = state[2];
  float conductance[kBlock] = {}, charge[kBlock];
  for (int k = 0; k < kBlock; ++k) charge[k] = current[k];
  for (int r = 0; r < kReceptors; ++r) {
    const Receptor own = receptors[r];
    float* __restrict g = state[3 + 2 * r];
    float* __restrict rise = state[4 + 2 * r];
    for (int k = 0; k < kBlock; ++k) {
      const float mean = fma(rise[k], own.mean_rise, g[k] * own.mean);
      conductance[k] += mean;
      charge[k] = fma(mean, own.reversal, charge[k]);
      g[k] = fma(own.rise, rise[k], g[k]) * own.keep;
      rise[k] *= own.keep;
    }
  }
  float reached[kBlock], exponent[kBlock];
  int32_t wait[kBlock], spike[kBlock], count = 0;
  for (int k = 0; k < kBlock; ++k) wait[k] = left[k];
  const float half = c.h / 2, sixth = c.sixth, lowest = c.v_min;
  for (int k = 0; k < kBlock; ++k) v[k] = v[k] < lowest ? lowest : v[k];
  for (int k = 0; k < kBlock; ++k) {
    const float v0 = v[k], w0 = w[k], g = conductance[k];
    const float middle = dep[k] * c.half_dep;
    const Slope one = slope(c, v0, w0, charge[k] + dep[k], g);
    const Slope two = slope(c, fma(half, one.v, v0), fma(half, one.w, w0), charge[k] + middle, g);
    const Slope three = slope(c, fma(half, two.v, v0), fma(half, two.w, w0), charge[k] + middle, g);
    const Slope four = slope(c, fma(c.h, three.v, v0), fma(c.h, three.w, w0),
                             charge[k] + middle * c.half_dep, g);
    reached[k] = fma(sixth, fma(2.0f, two.v + three.v, one.v) + four.v, v0);
    w[k] = fma(sixth, fma(2.0f, two.w + three.w, one.w) + four.w, w0);
    exponent[k] = (reached[k] - c.v_th) * c.per_mv;
  }
  for (int k = 0; k < kBlock; ++k) {
    const int32_t awake = wait[k] == 0;
    spike[k] = (exponent[k] > possible) & awake;
    count += spike[k];
  }
  if (count) decide(noise, static_cast<uint32_t>(at), count, c.hazard, exponent, spike);
  const float reset = c.v_reset, keep_dep = c.keep_dep, a_1 = c.a_1, a_2 = c.a_2;
  if (!count && !any_waits(left)) {  // as in most blocks
    std::copy_n(reached, kBlock, v);
    for (int k = 0; k < kBlock; ++k) dep[k] *= keep_dep;
    return 0;
  }
  for (int k = 0; k < kBlock; ++k) {
    v[k] = (spike[k] | (wait[k] != 0)) ? reset : reached[k];
    w[k] += spike[k] ? a_2 : 0.0f;
    dep[k] = spike[k] ? a_1 : dep[k] * keep_dep;
  }
  count_down(spike, wait, static_cast<int32_t>(c.period), left);
  return packed(spike);
}

template <int kReceptors>
void update(const Population& p) {
  Cells c;
  Receptor receptors[kReceptors];
  std::memcpy(&c, p.constants, sizeof c);
  std::memcpy(receptors, p.constants + sizeof c / sizeof(float), sizeof receptors);
  const Noise noise{{p.noise[0], p.noise[1]}, p.noise[2]};
  const float least = possible(c);
  each_block<3 + 2 * kReceptors>(
      p, 8, [&](const float* current, float* const* state, uint8_t* left, int64_t at) {
        return block<kReceptors>(c, receptors, least, noise, current, state, at, left);
      });
}

ffi::Error Eglif(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> current,
                 ffi::Buffer<ffi::U32> noise, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const Population p(constants, current, noise, args, rets);
  constexpr void (*kUpdate[])(const Population&) = {update<1>, update<2>, update<3>, update<4>};
  const size_t receptors = (p.arrays - 3) / 2;
  if (receptors < 1 || receptors > 4) return ffi::Error::InvalidArgument("receptors: 1 to 4");
  kUpdate[receptors - 1](p);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_eglif, Eglif, cells_binding());
