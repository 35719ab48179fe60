// An operand that becomes a result.

#pragma once

#include <cstring>

#include "xla/ffi/api/ffi.h"

// The data of a result that is aliased to an operand. XLA gives both the same memory where it can;
// where it has not, the data are copied.
inline void* carried(const xla::ffi::AnyBuffer& before, xla::ffi::AnyBuffer after) {
  if (after.untyped_data() != before.untyped_data())
    std::memcpy(after.untyped_data(), before.untyped_data(), before.size_bytes());
  return after.untyped_data();
}
