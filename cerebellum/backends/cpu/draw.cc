// Poisson spikes of one step, packed: 64 random bits of each cell, compared with its chance. See
// primitives.draw.

#include <algorithm>
#include <cstdint>

#include "chance.h"
#include "team.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kBlock = 32;

struct Limits {
  uint32_t upper[kBlock], lower[kBlock], always[kBlock];

  void set(int64_t k, float chance) {
    const Limit limit = limit_of(chance);
    always[k] = chance >= 1.0f;
    upper[k] = limit.upper;
    lower[k] = limit.lower;
  }
};

// Spikes of the 32 cells from number `first` on, of which `here` exist, with their limits.
uint32_t draws(Pair now, uint32_t first, int64_t here, const Limits& limits) {
  uint32_t fired[kBlock], word = 0;
  for (uint32_t k = 0; k < kBlock; ++k) {
    const Pair drawn = threefry(now, {0, first + k});
    const Limit limit = {limits.upper[k], limits.lower[k]};
    fired[k] = under(drawn.a ^ drawn.b, drawn.b, limit) | limits.always[k];
  }
  for (int k = 0; k < kBlock; ++k) word |= fired[k] << k;
  return here < kBlock ? word & ((1u << here) - 1) : word;
}

ffi::Error Draw(ffi::Buffer<ffi::U32> key, ffi::Buffer<ffi::S32> step,
                ffi::Buffer<ffi::F32> chance, ffi::Buffer<ffi::U32> first,
                ffi::Result<ffi::Buffer<ffi::U32>> words,
                int64_t size, int64_t part) {
  const float* given = chance.typed_data();
  const bool one = chance.element_count() == 1;
  const uint32_t* run = key.typed_data();
  const Pair own = fold({run[0], run[1]}, static_cast<uint32_t>(part));
  const Pair now = fold(own, static_cast<uint32_t>(*step.typed_data()));
  const uint32_t from = *first.typed_data();
  uint32_t* out = words->typed_data();
  team::run(size, [&](int index, int parts) {
    const team::Range cells = team::part(size, index, parts, kBlock);
    Limits limits = {};
    for (int k = 0; one && k < kBlock; ++k) limits.set(k, given[0]);
    for (int64_t at = cells.first; at < cells.last; at += kBlock) {
      const int64_t here = std::min<int64_t>(kBlock, cells.last - at);
      for (int64_t k = 0; !one && k < here; ++k) limits.set(k, given[at + k]);
      out[at / kBlock] = draws(now, from + static_cast<uint32_t>(at), here, limits);
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
