// Numbers of Poisson spikes of one step: 64 random bits of each cell, compared with the chances that
// there are more than so many. See primitives.count.
//
// Operands: the key of the run [2], the step, the chances [K, N] or [K, 1], which do not rise with k,
// the number of the first cell, and how many draws are added up. Result: the counts [N].

#include <algorithm>
#include <cstdint>
#include <vector>

#include "chance.h"
#include "team.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kBlock = 64;

// Limits of 64 cells for one k: those of all, or each cell's own.
struct Limits {
  uint32_t upper[kBlock], lower[kBlock];

  void set(int k, Limit limit) {
    upper[k] = limit.upper;
    lower[k] = limit.lower;
  }
};

// Adds 1 to the counts whose draw is below its limit; returns whether there is one.
bool add(const uint32_t* __restrict high, const uint32_t* __restrict low, const Limits& limits,
         int32_t* __restrict count) {
  uint32_t any = 0;
  for (int k = 0; k < kBlock; ++k) {
    const uint32_t above = under(high[k], low[k], {limits.upper[k], limits.lower[k]});
    count[k] += static_cast<int32_t>(above);
    any |= above;
  }
  return any != 0;
}

ffi::Error Count(ffi::Buffer<ffi::U32> key, ffi::Buffer<ffi::S32> step,
                 ffi::Buffer<ffi::F32> tails, ffi::Buffer<ffi::U32> first,
                 ffi::Buffer<ffi::S32> draws, ffi::Result<ffi::Buffer<ffi::S32>> counts,
                 int64_t part) {
  const float* chance = tails.typed_data();
  const int64_t levels = tails.dimensions()[0], size = counts->element_count();
  const bool one = tails.dimensions()[1] == 1;
  const uint32_t* run = key.typed_data();
  const Pair own = fold({run[0], run[1]}, static_cast<uint32_t>(part));
  const Pair now = fold(own, static_cast<uint32_t>(*step.typed_data()));
  const uint32_t from = *first.typed_data();
  const uint32_t times = static_cast<uint32_t>(*draws.typed_data());
  int32_t* out = counts->typed_data();
  std::vector<Limits> shared(one ? levels : 0);
  for (size_t l = 0; l < shared.size(); ++l)
    for (int k = 0; k < kBlock; ++k) shared[l].set(k, limit_of(chance[l]));
  team::run(4 * size, [&](int index, int parts) {
    const team::Range cells = team::part(size, index, parts, kBlock);
    uint32_t high[kBlock], low[kBlock];
    int32_t count[kBlock];
    Limits limits = {};
    for (int64_t at = cells.first; at < cells.last; at += kBlock) {
      const int64_t here = std::min<int64_t>(kBlock, cells.last - at);
      std::fill_n(count, kBlock, 0);
      for (uint32_t draw = 0; draw < times; ++draw) {
        for (uint32_t k = 0; k < kBlock; ++k) {
          const Pair drawn = threefry(now, {draw, from + static_cast<uint32_t>(at) + k});
          high[k] = drawn.a ^ drawn.b;
          low[k] = drawn.b;
        }
        for (int64_t l = 0; l < levels; ++l) {
          for (int64_t k = 0; !one && k < here; ++k)
            limits.set(k, limit_of(chance[l * size + at + k]));
          if (!add(high, low, one ? shared[l] : limits, count)) break;
        }
      }
      std::copy_n(count, here, out + at);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_count, Count,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::S32>>()
                                  .Attr<int64_t>("part"));
