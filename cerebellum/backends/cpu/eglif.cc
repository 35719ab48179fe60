// One step of E-GLIF cells whose parameters are all alike, with the draws that decide which of them
// fire, and their spikes packed: see model/neurons/eglif.py. A product and a sum round once, as
// they may there.
//
// A draw is made only where it can matter: the smallest one is 2**-33, and a cell whose hazard is
// below that is silent whatever is drawn. Most cells are, most of the time.
//
// Operands: the constants, those of each receptor last; the current into each cell, pA [N] or [1];
// the noise: uint32 [3], the key of the step and the number of the first cell; then voltages,
// i_adap, i_dep, the conductance of each receptor, what makes each rise, and the refractory counters.

#include "blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "team.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kMost = 4;    // receptors

using std::fma;

struct Receptor {
  float of_g, of_rise;  // the mean conductance of a step
  float keep, rise;     // factors of a step
  float reversal;
};

struct Cells {  // as they lie in the operand `constants`, before the receptors
  float h, leak, e_l, per_pf, v_min, v_reset, v_th, per_tau_v, hazard, possible, k_adap, k_2;
  float half_dep, keep_dep, a_1, a_2, period;
};

constexpr int kArrays = 3 + 2 * kMost;  // v, i_adap, i_dep, conductances and rises

struct Noise {
  Pair key;
  uint32_t first;
};

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

// A block of cells from number `at` on, in place: bit k is the spike of its cell k. The counters are
// widened first: mixed widths do not vectorise.
template <int kReceptors>
inline uint64_t block(const Cells& c, const Receptor* receptors, const Noise& noise,
                      const float* __restrict current, float* const* state, int64_t at,
                      uint8_t* __restrict left) {
  float* __restrict v = state[0];
  float* __restrict w = state[1];
  float* __restrict dep = state[2];
  float conductance[kBlock] = {}, charge[kBlock];
  for (int k = 0; k < kBlock; ++k) charge[k] = current[k];
  for (int r = 0; r < kReceptors; ++r) {
    const Receptor own = receptors[r];
    float* __restrict g = state[3 + r];
    float* __restrict rise = state[3 + kReceptors + r];
    for (int k = 0; k < kBlock; ++k) {
      const float mean = fma(rise[k], own.of_rise, g[k] * own.of_g);
      conductance[k] += mean;
      charge[k] = fma(mean, own.reversal, charge[k]);
      g[k] = fma(own.rise, rise[k], g[k]) * own.keep;
      rise[k] *= own.keep;
    }
  }
  float reached[kBlock], exponent[kBlock];
  int32_t wait[kBlock], spike[kBlock], count = 0;
  for (int k = 0; k < kBlock; ++k) wait[k] = left[k];
  const float half = c.h / 2, sixth = c.h / 6, lowest = c.v_min;
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
    exponent[k] = (reached[k] - c.v_th) * c.per_tau_v;
  }
  const float possible = c.possible;
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
  const int32_t period = static_cast<int32_t>(c.period);
  for (int k = 0; k < kBlock; ++k) wait[k] = spike[k] ? period : wait[k] - (wait[k] != 0);
  for (int k = 0; k < kBlock; ++k) left[k] = static_cast<uint8_t>(wait[k]);
  uint64_t fired = 0;
  for (int k = 0; k < kBlock; ++k) fired |= static_cast<uint64_t>(spike[k]) << k;
  return fired;
}

struct Population {
  Cells cells;
  Receptor receptors[kMost];
  Noise noise;
  const float* current;
  bool shared;  // whether all cells have one current
  float* state[kArrays];
  uint8_t* wait;
  uint32_t* words;
};

// Cells of a range that starts a block.
template <int kReceptors>
void update(const Population& p, team::Range range) {
  constexpr int kUsed = 3 + 2 * kReceptors;
  float own[kBlock], *place[kUsed];
  std::fill_n(own, kBlock, *p.current);
  for (int64_t at = range.first; at < range.last; at += kBlock) {
    const int64_t here = std::min<int64_t>(kBlock, range.last - at);
    if (!p.shared) std::copy_n(p.current + at, here, own);
    if (here == kBlock) {
      for (int k = 0; k < kUsed; ++k) place[k] = p.state[k] + at;
      const uint64_t fired =
          block<kReceptors>(p.cells, p.receptors, p.noise, own, place, at, p.wait + at);
      pack(fired, here, p.words + at / 32);
      continue;
    }
    float rest[kUsed][kBlock] = {};
    uint8_t rest_wait[kBlock];
    std::fill_n(rest_wait, kBlock, uint8_t{1});  // places that are no cells are silent
    for (int k = 0; k < kUsed; ++k) {
      std::copy_n(p.state[k] + at, here, rest[k]);
      place[k] = rest[k];
    }
    std::copy_n(p.wait + at, here, rest_wait);
    const uint64_t fired =
        block<kReceptors>(p.cells, p.receptors, p.noise, own, place, at, rest_wait);
    pack(fired, here, p.words + at / 32);
    for (int k = 0; k < kUsed; ++k) std::copy_n(rest[k], here, p.state[k] + at);
    std::copy_n(rest_wait, here, p.wait + at);
  }
}

ffi::Error Eglif(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> current,
                 ffi::Buffer<ffi::U32> noise, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  Population p;
  const float* numbers = constants.typed_data();
  const size_t arrays = args.size() - 1, receptors = (arrays - 3) / 2;
  if (receptors < 1 || receptors > kMost) return ffi::Error::InvalidArgument("receptors: 1 to 4");
  std::memcpy(&p.cells, numbers, sizeof p.cells);
  std::memcpy(p.receptors, numbers + sizeof p.cells / 4, receptors * sizeof(Receptor));
  p.noise = {{noise.typed_data()[0], noise.typed_data()[1]}, noise.typed_data()[2]};
  p.current = current.typed_data();
  p.shared = current.element_count() == 1;
  int64_t size = 0;
  for (size_t k = 0; k <= arrays; ++k) {
    const auto before = *args.get<ffi::AnyBuffer>(k);
    auto after = *rets.get<ffi::AnyBuffer>(k);
    if (after->untyped_data() != before.untyped_data())
      std::memcpy(after->untyped_data(), before.untyped_data(), before.size_bytes());
    if (k < arrays) p.state[k] = static_cast<float*>(after->untyped_data());
    else p.wait = static_cast<uint8_t*>(after->untyped_data());
    size = static_cast<int64_t>(before.element_count());
  }
  p.words = (*rets.get<ffi::Buffer<ffi::U32>>(arrays + 1))->typed_data();
  constexpr void (*kUpdate[])(const Population&, team::Range) = {update<1>, update<2>, update<3>,
                                                                 update<4>};
  team::run(8 * size, [&](int index, int parts) {
    kUpdate[receptors - 1](p, team::part(size, index, parts, kBlock));
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_eglif, Eglif,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .RemainingArgs()
                                  .RemainingRets());
