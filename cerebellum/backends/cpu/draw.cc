// Poisson spikes of one step, packed: 64 random bits of each cell, compared with its chance. See
// primitives.draw.

#include <algorithm>
#include <cstdint>

#include "team.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

// A chance as 64 bits, with which 64 random bits are compared: see noise.below.
struct Limit {
  uint32_t upper, lower;
  bool always;
};

inline Limit limit(float chance) {
  const float scaled = chance * 0x1p32f;
  if (!(scaled > 0.0f)) return {0, 0, false};
  if (scaled >= 0x1p32f) return {0, 0, true};
  const uint32_t upper = static_cast<uint32_t>(scaled);
  return {upper, static_cast<uint32_t>((scaled - static_cast<float>(upper)) * 0x1p32f), false};
}

// Spikes of the 32 cells from number `first` on, of which `here` exist, with their limits.
uint32_t draws(Pair now, uint32_t first, int64_t here, const Limit* limits) {
  uint32_t fired[32], word = 0;
  for (uint32_t k = 0; k < 32; ++k) {
    const Pair drawn = threefry(now, {0, first + k});
    const uint32_t high = drawn.a ^ drawn.b;
    const uint32_t under = static_cast<uint32_t>(high < limits[k].upper);
    const uint32_t level = static_cast<uint32_t>(high == limits[k].upper);
    const uint32_t rest = static_cast<uint32_t>(drawn.b < limits[k].lower);
    fired[k] = under | (level & rest) | static_cast<uint32_t>(limits[k].always);
  }
  for (int k = 0; k < 32; ++k) word |= fired[k] << k;
  return here < 32 ? word & ((1u << here) - 1) : word;
}

ffi::Error Draw(ffi::Buffer<ffi::U32> key, ffi::Buffer<ffi::S32> step,
                ffi::Buffer<ffi::F32> chance, ffi::Buffer<ffi::U32> first,
                ffi::Result<ffi::Buffer<ffi::U32>> words,
                int64_t size, int64_t part) {
  const float* given = chance.typed_data();
  const bool one = chance.element_count() == 1;
  const uint32_t* run = key.typed_data();
  // jax.random.fold_in, of the part's number and then of the step.
  const Pair own = threefry({run[0], run[1]}, {0, static_cast<uint32_t>(part)});
  const Pair now = threefry(own, {0, static_cast<uint32_t>(*step.typed_data())});
  const uint32_t from = *first.typed_data();
  uint32_t* out = words->typed_data();
  team::run(size, [&](int index, int parts) {
    const team::Range cells = team::part(size, index, parts, 32);
    Limit limits[32];
    for (int k = 0; k < 32; ++k) limits[k] = one ? limit(given[0]) : Limit{};
    for (int64_t at = cells.first; at < cells.last; at += 32) {
      const int64_t here = std::min<int64_t>(32, cells.last - at);
      if (!one)
        for (int64_t k = 0; k < here; ++k) limits[k] = limit(given[at + k]);
      out[at / 32] = draws(now, from + static_cast<uint32_t>(at), here, limits);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_draw, Draw,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Attr<int64_t>("size")
                                  .Attr<int64_t>("part"));
