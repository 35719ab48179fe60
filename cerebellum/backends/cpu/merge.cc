// Merges the lists of projections into one list for each source, by delay: see deferred.py and
// arrive.cc.
//
// Operands: for each projection its targets [S, F], the delays of its synapses [S, F], and its
// weights [S, F] or a scalar. Results: starts, slots and weights of the merged lists, and how many
// synapses each slot has, uint32 [slots]. Attributes, for each projection: the first source and the
// first slot of it, and its number of targets. Projections of the same sources come in the order of
// their slots.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

struct Lists {
  const void* targets;
  const void* delays;
  const float* weights;
  bool narrow, brief, shared;
  int64_t first, count, fan, slot, size;

  bool has(int64_t source) const { return source >= first && source < first + count; }

  // visit(slot, delay, weight) for each synapse of a source.
  template <typename Visit>
  void each(int64_t source, Visit visit) const {
    const auto walk = [&](const auto* target, const auto* delay) {
      const int64_t at = (source - first) * fan;
      for (int64_t k = at; k < at + fan && target[k] < size; ++k)
        visit(slot + target[k], delay[k], shared ? *weights : weights[k]);
    };
    const auto by_delay = [&](const auto* target) {
      brief ? walk(target, static_cast<const uint8_t*>(delays))
            : walk(target, static_cast<const uint16_t*>(delays));
    };
    narrow ? by_delay(static_cast<const uint16_t*>(targets))
           : by_delay(static_cast<const uint32_t*>(targets));
  }
};

ffi::Error Merge(ffi::RemainingArgs args, ffi::Result<ffi::Buffer<ffi::U32>> starts,
                 ffi::Result<ffi::Buffer<ffi::U32>> slots,
                 ffi::Result<ffi::Buffer<ffi::F32>> weights,
                 ffi::Result<ffi::Buffer<ffi::U32>> loads, ffi::Span<const int64_t> first,
                 ffi::Span<const int64_t> slot, ffi::Span<const int64_t> sizes) {
  std::vector<Lists> all;
  for (size_t p = 0; p < first.size(); ++p) {
    const auto targets = *args.get<ffi::AnyBuffer>(3 * p);
    const auto delays = *args.get<ffi::AnyBuffer>(3 * p + 1);
    const auto weight = *args.get<ffi::AnyBuffer>(3 * p + 2);
    if (weight.element_type() != ffi::F32)
      return ffi::Error(ffi::ErrorCode::kInvalidArgument, "merge: weights that are not float32");
    all.push_back({targets.untyped_data(), delays.untyped_data(),
                   static_cast<const float*>(weight.untyped_data()),
                   targets.element_type() == ffi::U16, delays.element_type() == ffi::U8,
                   weight.dimensions().size() == 0, first[p], targets.dimensions()[0],
                   targets.dimensions()[1], slot[p], sizes[p]});
  }
  const int64_t sources = starts->dimensions()[0], stride = starts->dimensions()[1];
  std::fill_n(loads->typed_data(), loads->element_count(), 0u);
  uint32_t end = 0;
  for (int64_t source = 0; source < sources; ++source) {
    uint32_t* start = starts->typed_data() + source * stride;
    std::fill_n(start, stride, 0u);
    for (const Lists& lists : all)
      if (lists.has(source))
        lists.each(source, [&](int64_t to, int64_t delay, float) {
          ++start[delay];
          ++loads->typed_data()[to];
        });
    start[0] = end;
    for (int64_t d = 1; d < stride; ++d) start[d] += start[d - 1];
    end = start[stride - 1];
  }
  team::run(int64_t{end}, [&](int index, int parts) {
    std::vector<uint32_t> next(stride);
    const team::Range own = team::part(sources, index, parts);
    for (int64_t source = own.first; source < own.last; ++source) {
      std::copy_n(starts->typed_data() + source * stride, stride, next.data());
      for (const Lists& lists : all)
        if (lists.has(source))
          lists.each(source, [&](int64_t to, int64_t delay, float weight) {
            const uint32_t at = next[delay - 1]++;
            slots->typed_data()[at] = static_cast<uint32_t>(to);
            weights->typed_data()[at] = weight;
          });
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_merge, Merge,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Attr<ffi::Span<const int64_t>>("first")
                                  .Attr<ffi::Span<const int64_t>>("slot")
                                  .Attr<ffi::Span<const int64_t>>("sizes"));
