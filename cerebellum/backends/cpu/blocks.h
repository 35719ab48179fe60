// What kernels of cells have in common: they integrate blocks of 64 cells, which have two words of
// spikes, in place. To be included before everything else.

#pragma once

// Such cells are more arithmetic than memory: vectors of 512 bits where the processor has them, of
// which GCC uses half by default.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif

#include <algorithm>
#include <cstdint>

#include "alias.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

constexpr int kBlock = 64;
constexpr size_t kMostArrays = 16;  // of floats in a state

// The cells of a population whose parameters are all alike. Operands: the constants, as
// backends/models.py has them; what drives a cell [N] or [1]; the key of the draws and the number of
// the first cell, uint32 [3] (or one word, of models that draw none); the arrays of a state [N], and
// the counters of the refractory period. Results: the arrays and the counters, aliased, and the
// words.
struct Population {
  const float* constants;
  const float* current;
  const uint32_t* noise;
  bool driven_alike;
  float* state[kMostArrays];
  uint8_t* wait;
  uint32_t* words;
  size_t arrays;
  int64_t size;

  Population(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> current,
             ffi::Buffer<ffi::U32> noise, ffi::RemainingArgs args, ffi::RemainingRets rets)
      : constants(constants.typed_data()),
        current(current.typed_data()),
        noise(noise.typed_data()),
        driven_alike(current.element_count() == 1),
        arrays(args.size() - 1) {
    for (size_t k = 0; k <= arrays; ++k) {
      const auto before = *args.get<ffi::AnyBuffer>(k);
      void* after = carried(before, **rets.get<ffi::AnyBuffer>(k));
      if (k < arrays)
        state[k] = static_cast<float*>(after);
      else
        wait = static_cast<uint8_t*>(after);
      size = static_cast<int64_t>(before.element_count());
    }
    words = (*rets.get<ffi::Buffer<ffi::U32>>(arrays + 1))->typed_data();
  }
};

inline auto cells_binding() {
  return ffi::Ffi::Bind()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<ffi::Buffer<ffi::F32>>()
      .Arg<ffi::Buffer<ffi::U32>>()
      .RemainingArgs()
      .RemainingRets();
}

// Whether a cell of the block is refractory.
inline bool any_waits(const uint8_t* left) {
  uint64_t all[kBlock / 8], any = 0;
  std::memcpy(all, left, kBlock);
  for (const uint64_t some : all) any |= some;
  return any != 0;
}

// Count down the refractory periods of a block, and start those of the cells that fired. The counters
// were widened, because mixed widths do not vectorise.
inline void count_down(const int32_t* __restrict spike, int32_t* __restrict wait, int32_t period,
                       uint8_t* __restrict left) {
  for (int k = 0; k < kBlock; ++k) wait[k] = spike[k] ? period : wait[k] - (wait[k] != 0);
  for (int k = 0; k < kBlock; ++k) left[k] = static_cast<uint8_t>(wait[k]);
}

inline uint64_t packed(const int32_t* spike) {
  uint32_t low = 0, high = 0;
  for (int k = 0; k < 32; ++k) low |= static_cast<uint32_t>(spike[k]) << k;
  for (int k = 0; k < 32; ++k) high |= static_cast<uint32_t>(spike[32 + k]) << k;
  return uint64_t{high} << 32 | low;
}

// step(current, state, left, at) for all blocks of a range that starts a block: it takes the block
// of cells from number `at` on and returns its spikes, bit k for cell k.
template <int kArrays, typename Step>
void each_block(const Population& p, team::Range range, Step step) {
  float own[kBlock], *place[kArrays], rest[kArrays][kBlock];
  uint8_t rest_left[kBlock];
  std::fill_n(own, kBlock, *p.current);
  for (int64_t at = range.first; at < range.last; at += kBlock) {
    const int64_t here = std::min<int64_t>(kBlock, range.last - at);
    const bool whole = here == kBlock;
    if (!p.driven_alike) std::copy_n(p.current + at, here, own);
    for (int k = 0; k < kArrays; ++k) place[k] = whole ? p.state[k] + at : rest[k];
    if (!whole) {
      std::fill_n(rest_left, kBlock, uint8_t{1});  // places that are no cells are silent
      std::copy_n(p.wait + at, here, rest_left);
      for (int k = 0; k < kArrays; ++k) {
        std::fill_n(rest[k], kBlock, 0.0f);
        std::copy_n(p.state[k] + at, here, rest[k]);
      }
    }
    const uint64_t fired = step(own, place, whole ? p.wait + at : rest_left, at);
    p.words[at / 32] = static_cast<uint32_t>(fired);
    if (here > 32) p.words[at / 32 + 1] = static_cast<uint32_t>(fired >> 32);
    if (!whole) {
      std::copy_n(rest_left, here, p.wait + at);
      for (int k = 0; k < kArrays; ++k) std::copy_n(rest[k], here, p.state[k] + at);
    }
  }
}

// Do this for all cells, on as many threads as a cell's `work` pays for.
template <int kArrays, typename Step>
void each_block(const Population& p, int64_t work, Step step) {
  team::run(work * p.size, [&](int index, int parts) {
    each_block<kArrays>(p, team::part(p.size, index, parts, kBlock), step);
  });
}
