// Writes the rows of spikes whose window has closed, in place: see plasticity.settle.
//
// Operands: words [W]; targets of lists [N, F] (or one word, for rows); what each target is owed:
// float [T] or [G R], or int32 [G R] in 65,536ths of a level for uint16 rows; noise: uint32 [2],
// of the rounding and of the contacts that exist; weights [N, F] or [N, R], aliased.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

inline uint32_t mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

struct Rows {
  const int32_t* levels;  // of this beam, uint16
  const float* change;    // of this beam, float
  const uint32_t* column;
  uint32_t rounding, contacts;
  uint32_t share;  // contacts exist where their word's upper 24 bits are below
  float w_max;
  int64_t width;
};

inline bool exists(const Rows& r, uint32_t row, int64_t k) {
  return (mix(row + static_cast<uint32_t>(k)) >> 8) < r.share;
}

template <bool kSparse>
void row(const Rows& r, int64_t cell, uint16_t* own) {
  const uint32_t dither = mix(static_cast<uint32_t>(cell) + r.rounding);
  const uint32_t there = mix(static_cast<uint32_t>(cell) ^ r.contacts) * 0x9E3779B1u;
  for (int64_t k = 0; k < r.width; ++k) {
    int32_t levels = r.levels[k];
    if (kSparse) levels = exists(r, there, k) ? levels : 0;
    const int32_t fine = static_cast<int32_t>((dither + r.column[k]) >> 16);
    const int32_t next = own[k] + ((levels + fine) >> 16);
    own[k] = static_cast<uint16_t>(std::min(std::max(next, 0), 65535));
  }
}

template <bool kSparse>
void row(const Rows& r, int64_t cell, float* own) {
  const uint32_t there = mix(static_cast<uint32_t>(cell) ^ r.contacts) * 0x9E3779B1u;
  for (int64_t k = 0; k < r.width; ++k) {
    float change = r.change[k];
    if (kSparse) change = exists(r, there, k) ? change : 0.0f;
    own[k] = std::min(std::max(own[k] + change, 0.0f), r.w_max);
  }
}

// Bits past the last of the cells are none.
template <typename Visit>
void each(const uint32_t* words, int64_t count, int64_t cells, Visit visit) {
  for (int64_t w = 0; w < count; ++w)
    for (uint32_t word = words[w]; word; word &= word - 1) {
      const int64_t cell = int64_t{32} * w + __builtin_ctz(word);
      if (cell < cells) visit(cell);
    }
}

template <typename Target>
void lists(const uint32_t* words, int64_t count, int64_t cells, const Target* targets,
           const float* owed, int64_t size, float* weights, int64_t fan, float w_max) {
  each(words, count, cells, [&](int64_t cell) {
    const Target* row = targets + cell * fan;
    float* own = weights + cell * fan;
    for (int64_t k = 0; k < fan && row[k] < size; ++k)
      own[k] = std::min(std::max(own[k] + owed[row[k]], 0.0f), w_max);
  });
}

ffi::Error Settle(ffi::Buffer<ffi::U32> words, ffi::AnyBuffer targets, ffi::AnyBuffer owed,
                  ffi::Buffer<ffi::U32> noise, ffi::AnyBuffer before, ffi::Result<ffi::AnyBuffer> out,
                  int64_t beams, int64_t share, float w_max) {
  if (out->untyped_data() != before.untyped_data())
    std::copy_n(static_cast<const char*>(before.untyped_data()), out->size_bytes(),
                static_cast<char*>(out->untyped_data()));
  const int64_t count = words.element_count();
  const int64_t cells = out->dimensions()[0], width = out->dimensions()[1];
  void* weights = out->untyped_data();
  if (targets.dimensions().size() == 2) {
    const auto* change = static_cast<const float*>(owed.untyped_data());
    const int64_t size = owed.element_count();
    auto* lists_of = static_cast<float*>(weights);
    if (targets.element_type() == ffi::U16)
      lists(words.typed_data(), count, cells, static_cast<const uint16_t*>(targets.untyped_data()),
            change, size, lists_of, width, w_max);
    else
      lists(words.typed_data(), count, cells, static_cast<const uint32_t*>(targets.untyped_data()),
            change, size, lists_of, width, w_max);
    return ffi::Error::Success();
  }
  const uint32_t rounding = noise.typed_data()[0], contacts = noise.typed_data()[1];
  std::vector<uint32_t> column(width);
  for (int64_t k = 0; k < width; ++k) column[k] = mix(static_cast<uint32_t>(k) ^ ~rounding);
  const bool whole = out->element_type() == ffi::U16, sparse = share < (int64_t{1} << 24);
  const int64_t in_beam = (cells + beams - 1) / beams;
  each(words.typed_data(), count, cells, [&](int64_t cell) {
    const int64_t place = cell / in_beam * width;
    const Rows r{static_cast<const int32_t*>(owed.untyped_data()) + place,
                 static_cast<const float*>(owed.untyped_data()) + place,
                 column.data(),
                 rounding,
                 contacts,
                 static_cast<uint32_t>(share),
                 w_max,
                 width};
    if (whole) {
      uint16_t* own = static_cast<uint16_t*>(weights) + cell * width;
      sparse ? row<true>(r, cell, own) : row<false>(r, cell, own);
    } else {
      float* own = static_cast<float*>(weights) + cell * width;
      sparse ? row<true>(r, cell, own) : row<false>(r, cell, own);
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_settle, Settle,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("beams")
                                  .Attr<int64_t>("share")
                                  .Attr<float>("w_max"));
