// One step of current-based cells whose parameters are all alike, spikes packed: see
// model/neurons/current.py.

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

struct Cells {  // as they lie in the operand `constants`
  float held, from_exc, from_inh, v_leak, v_th, v_reset, keep_exc, keep_inh, period;
};

constexpr int kBlock = 32;

// A block of cells, in place. The counters are widened first: mixed widths do not vectorise.
inline uint32_t block(const Cells c, const float* __restrict bias, float* __restrict v,
                      float* __restrict exc, float* __restrict inh, uint8_t* __restrict left) {
  int32_t wait[kBlock], spike[kBlock];
  for (int k = 0; k < kBlock; ++k) wait[k] = left[k];
  for (int k = 0; k < kBlock; ++k) {
    const float reached = c.held * (v[k] - c.v_leak) + c.from_exc * exc[k] - c.from_inh * inh[k] +
                          bias[k] + c.v_leak;
    const int32_t silent = wait[k] != 0;
    spike[k] = (reached >= c.v_th) & (silent ^ 1);
    v[k] = (silent | spike[k]) ? c.v_reset : reached;
    exc[k] *= c.keep_exc;
    inh[k] *= c.keep_inh;
  }
  const int32_t period = static_cast<int32_t>(c.period);
  for (int k = 0; k < kBlock; ++k) wait[k] = spike[k] ? period : wait[k] - (wait[k] != 0);
  for (int k = 0; k < kBlock; ++k) left[k] = static_cast<uint8_t>(wait[k]);
  uint32_t word = 0;
  for (int k = 0; k < kBlock; ++k) word |= static_cast<uint32_t>(spike[k]) << k;
  return word;
}

using Floats = ffi::Buffer<ffi::F32>;
using Bytes = ffi::Buffer<ffi::U8>;

template <typename T>
void take(const T& before, ffi::Result<T>& after) {
  if (after->untyped_data() != before.untyped_data())
    std::memcpy(after->untyped_data(), before.untyped_data(), before.size_bytes());
}

// Cells of a range that starts a block.
void update(const Cells c, Floats bias, float* const state[3], uint8_t* wait, team::Range range,
            uint32_t* words) {
  const bool one = bias.element_count() == 1;
  float own[kBlock];
  std::fill_n(own, kBlock, *bias.typed_data());
  for (int64_t at = range.first; at < range.last; at += kBlock) {
    const int64_t here = std::min<int64_t>(kBlock, range.last - at);
    if (!one) std::copy_n(bias.typed_data() + at, here, own);
    if (here == kBlock) {
      words[at / kBlock] =
          block(c, own, state[0] + at, state[1] + at, state[2] + at, wait + at);
      continue;
    }
    float rest[3][kBlock] = {};
    uint8_t rest_wait[kBlock];
    std::fill_n(rest_wait, kBlock, uint8_t{1});  // places that are no cells are silent
    for (int k = 0; k < 3; ++k) std::copy_n(state[k] + at, here, rest[k]);
    std::copy_n(wait + at, here, rest_wait);
    words[at / kBlock] = block(c, own, rest[0], rest[1], rest[2], rest_wait);
    for (int k = 0; k < 3; ++k) std::copy_n(rest[k], here, state[k] + at);
    std::copy_n(rest_wait, here, wait + at);
  }
}

ffi::Error Current(Floats constants, Floats bias, Floats v, Floats exc, Floats inh, Bytes left,
                   ffi::Result<Floats> v_out, ffi::Result<Floats> exc_out,
                   ffi::Result<Floats> inh_out, ffi::Result<Bytes> left_out,
                   ffi::Result<ffi::Buffer<ffi::U32>> words) {
  const Cells c = *reinterpret_cast<const Cells*>(constants.typed_data());
  take(v, v_out), take(exc, exc_out), take(inh, inh_out), take(left, left_out);
  float* state[] = {v_out->typed_data(), exc_out->typed_data(), inh_out->typed_data()};
  uint8_t* wait = left_out->typed_data();
  const int64_t size = v.element_count();
  team::run(size, [&](int index, int parts) {
    const team::Range own = team::part(size, index, parts, kBlock);
    update(c, bias, state, wait, own, words->typed_data());
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_current, Current,
                              ffi::Ffi::Bind()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Floats>()
                                  .Arg<Bytes>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Bytes>()
                                  .Ret<ffi::Buffer<ffi::U32>>());
