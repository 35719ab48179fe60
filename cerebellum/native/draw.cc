// Poisson spikes of one step, packed: the draws of jax.random.uniform (threefry, partitionable),
// compared with a probability. See sim/drive.py.

#include <algorithm>
#include <cstdint>

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

ffi::Error Draw(ffi::Buffer<ffi::U32> key, ffi::Buffer<ffi::S32> step,
                ffi::Buffer<ffi::F32> chance, ffi::Result<ffi::Buffer<ffi::U32>> words,
                int64_t size, int64_t part) {
  const float* given = chance.typed_data();
  const bool one = chance.element_count() == 1;
  const uint32_t* run = key.typed_data();
  // jax.random.fold_in, of the part's number and then of the step.
  const Pair own = threefry({run[0], run[1]}, {0, static_cast<uint32_t>(part)});
  const Pair now = threefry(own, {0, static_cast<uint32_t>(*step.typed_data())});
  uint32_t* out = words->typed_data();
  for (int64_t first = 0; first < size; first += 32) {
    uint32_t fired[32];
    float limit[32];
    const int64_t here = std::min<int64_t>(32, size - first);
    for (int64_t k = 0; k < 32; ++k) limit[k] = k < here ? given[one ? 0 : first + k] : 0.0f;
    for (uint32_t k = 0; k < 32; ++k) {
      const Pair drawn = threefry(now, {0, static_cast<uint32_t>(first) + k});
      // 23 bits, exact. A draw below the chance is a spike.
      const float uniform = static_cast<float>(static_cast<int32_t>((drawn.a ^ drawn.b) >> 9));
      fired[k] = uniform * 0x1p-23f < limit[k];
    }
    uint32_t word = 0;
    for (int k = 0; k < 32; ++k) word |= fired[k] << k;
    out[first / 32] = word;
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_draw, Draw,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Attr<int64_t>("size")
                                  .Attr<int64_t>("part"));
