// Takes a row out of rings of arrivals: returns it and leaves zeros in its place. See
// primitives.take. One call reads and clears, so that XLA has no reason to copy a ring.
//
// Operands: the row of each ring, int32 [B]; the rings [B, D, T], aliased with the second result.
// Results: the rows [B, T]; the rings.

#include <algorithm>
#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

ffi::Error Take(ffi::Buffer<ffi::S32> rows, ffi::Buffer<ffi::F32> rings,
                ffi::ResultBuffer<ffi::F32> taken, ffi::ResultBuffer<ffi::F32> left) {
  const int64_t members = rows.element_count();
  const int64_t size = rings.element_count() / members, targets = rings.dimensions().back();
  if (left->typed_data() != rings.typed_data())
    std::copy_n(rings.typed_data(), rings.element_count(), left->typed_data());
  for (int64_t b = 0; b < members; ++b) {
    float* row = left->typed_data() + b * size + rows.typed_data()[b] * targets;
    std::copy_n(row, targets, taken->typed_data() + b * targets);
    std::fill_n(row, targets, 0.0f);
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_take, Take,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>()
                                  .Ret<ffi::Buffer<ffi::F32>>());
