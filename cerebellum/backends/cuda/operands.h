// Operands and results of the handlers. Each operand has a leading axis: B for what every member of a
// batch has of its own, 1 for what all members share. Sizes of grids follow from shapes alone.

#pragma once

#include <cstdint>

#include "events.cuh"
#include "handler.h"

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline unsigned blocks_for(int64_t warps) {
  return static_cast<unsigned>(ceil_div(warps, kWarps));
}

// How far it is from a member's part of an operand to the next member's; 0 if all members share it.
inline int64_t stride(const ffi::AnyBuffer& x) {
  return x.dimensions()[0] > 1 ? static_cast<int64_t>(x.element_count()) / x.dimensions()[0] : 0;
}

template <typename T>
const T* data(const ffi::AnyBuffer& x) {
  return static_cast<const T*>(x.untyped_data());
}

inline ffi::AnyBuffer operand(const ffi::RemainingArgs& operands, size_t index) {
  return *operands.get<ffi::AnyBuffer>(index);
}

inline ffi::AnyBuffer result(const ffi::RemainingRets& results, size_t index) {
  auto held = *results.get<ffi::AnyBuffer>(index);
  return *held;
}

// What a handler updates in place, whether or not XLA has given it the same memory twice.
inline ffi::Error in_place(ffi::AnyBuffer before, ffi::AnyBuffer after, Stream on) {
  return copy(after.untyped_data(), before.untyped_data(), before.size_bytes(), on);
}
