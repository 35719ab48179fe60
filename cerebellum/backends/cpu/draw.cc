// Poisson spikes of one step, packed: the draws of jax.random.uniform (threefry, partitionable),
// compared with a probability. See sim/drive.py.

#include <algorithm>
#include <cstdint>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

inline uint32_t turn(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

struct Pair {
  uint32_t a, b;
};

// Threefry-2x32, 20 rounds (Salmon et al. 2011).
inline Pair threefry(Pair key, Pair x) {
  const uint32_t ks[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  x.a += ks[0];
  x.b += ks[1];
  for (uint32_t i = 0; i < 5; ++i) {
    for (int j = 0; j < 4; ++j) {
      x.a += x.b;
      x.b = turn(x.b, kTurns[i % 2][j]) ^ x.a;
    }
    x.a += ks[(i + 1) % 3];
    x.b += ks[(i + 2) % 3] + i + 1;
  }
  return x;
}

// Spikes of the 32 cells from number `first` on, of which `here` exist, with their chances; a draw
// below the chance is one.
uint32_t draws(Pair now, uint32_t first, int64_t here, const float* chance, bool one) {
  uint32_t fired[32], word = 0;
  float limit[32];
  for (int64_t k = 0; k < 32; ++k) limit[k] = k < here ? chance[one ? 0 : k] : 0.0f;
  for (uint32_t k = 0; k < 32; ++k) {
    const Pair drawn = threefry(now, {0, first + k});
    // 23 bits, exact.
    const float uniform = static_cast<float>(static_cast<int32_t>((drawn.a ^ drawn.b) >> 9));
    fired[k] = uniform * 0x1p-23f < limit[k];
  }
  for (int k = 0; k < 32; ++k) word |= fired[k] << k;
  return word;
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
    for (int64_t at = cells.first; at < cells.last; at += 32)
      out[at / 32] = draws(now, from + static_cast<uint32_t>(at),
                           std::min<int64_t>(32, cells.last - at), one ? given : given + at, one);
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
