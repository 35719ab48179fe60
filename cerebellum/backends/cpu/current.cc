// One step of current-based cells whose parameters are all alike, spikes packed: see
// model/neurons/current.py, and blocks.h for the operands.

#include "blocks.h"

namespace {

struct Cells {  // as they lie in the operand `constants`
  float held, from_exc, from_inh, v_leak, v_th, v_reset, keep_exc, keep_inh, period;
};

inline uint64_t block(const Cells c, const float* __restrict bias, float* __restrict v,
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
  count_down(spike, wait, static_cast<int32_t>(c.period), left);
  return packed(spike);
}

ffi::Error Current(ffi::Buffer<ffi::F32> constants, ffi::Buffer<ffi::F32> bias,
                   ffi::Buffer<ffi::U32> noise, ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const Population p(constants, bias, noise, args, rets);
  const Cells c = *reinterpret_cast<const Cells*>(p.constants);
  each_block<3>(p, 1, [&](const float* own, float* const* state, uint8_t* left, int64_t) {
    return block(c, own, state[0], state[1], state[2], left);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_current, Current, cells_binding());
