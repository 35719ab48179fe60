// Writes the rows of spikes whose window has closed, in place: see plasticity.settle.
//
// Operands: words [W]; targets of lists [N, F] (or one word, for rows); what each target is owed:
// float [T] or [G R], or int32 [G R] in 65,536ths of a level for uint16 rows; noise: uint32 [5], the
// keys of the rounding and of the contacts that exist, and the number of the first source cell;
// weights [N, F] or [N, R], aliased.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "spikes.h"
#include "team.h"
#include "threefry.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

struct Rows {
  const int32_t* levels;  // of this beam, uint16
  const float* change;    // of this beam, float
  const uint32_t* column;
  Pair rounding, contacts;  // keys
  uint32_t first;
  uint32_t share;  // contacts exist where their word's upper 24 bits are below
  float w_max;
  int64_t width;
};

constexpr int kBlock = 64;
constexpr int64_t kAhead = 3;  // spikes whose rows are fetched before they are needed

// Which contacts of a block of a row exist, from an even column on: see fixed.exists.
inline void find_contacts(const Rows& r, uint32_t row, int64_t at, uint32_t* __restrict exists) {
  const uint32_t pair = static_cast<uint32_t>(at / 2);
  for (uint32_t k = 0; k < kBlock / 2; ++k) {
    const Pair words = threefry(r.contacts, {row, pair + k});
    exists[2 * k] = (words.a >> 8) < r.share;
    exists[2 * k + 1] = (words.b >> 8) < r.share;
  }
}

// A block of a row. The weights are widened first: mixed widths do not vectorize.
template <bool kSparse>
inline void block(const Rows& r, uint32_t dither, uint32_t number, int64_t at, int size,
                  uint16_t* __restrict own) {
  uint32_t exists[kBlock];
  if (kSparse) find_contacts(r, number, at, exists);
  const int32_t* __restrict owed = r.levels + at;
  const uint32_t* __restrict column = r.column + at;
  int32_t next[kBlock];
  for (int k = 0; k < size; ++k) next[k] = own[k];
  for (int k = 0; k < size; ++k) {
    int32_t levels = owed[k];
    if (kSparse) levels = exists[k] ? levels : 0;
    const int32_t fine = static_cast<int32_t>((dither * column[k]) >> 16);
    next[k] = std::min(std::max(next[k] + ((levels + fine) >> 16), 0), 65535);
  }
  for (int k = 0; k < size; ++k) own[k] = static_cast<uint16_t>(next[k]);
}

template <bool kSparse>
void row(const Rows& r, int64_t cell, uint16_t* own) {
  const uint32_t number = static_cast<uint32_t>(cell) + r.first;
  const uint32_t dither = threefry(r.rounding, {0, number}).a | 1u;
  int64_t at = 0;
  for (; at + kBlock <= r.width; at += kBlock)
    block<kSparse>(r, dither, number, at, kBlock, own + at);
  if (at < r.width)
    block<kSparse>(r, dither, number, at, static_cast<int>(r.width - at), own + at);
}

template <bool kSparse>
void row(const Rows& r, int64_t cell, float* __restrict own) {
  const uint32_t number = static_cast<uint32_t>(cell) + r.first;
  uint32_t exists[kBlock];
  for (int64_t k = 0; k < r.width; ++k) {
    if (kSparse && k % kBlock == 0) find_contacts(r, number, k, exists);
    float change = r.change[k];
    if (kSparse) change = exists[k % kBlock] ? change : 0.0f;
    own[k] = std::min(std::max(own[k] + change, 0.0f), r.w_max);
  }
}

// visit(cell, its weights) for the cells of a range of those that fired: no two have a weight in
// common.
template <typename Weight, typename Visit>
void each(const std::vector<int32_t>& fired, team::Range range, int64_t width, void* weights,
          Visit visit) {
  Weight* table = static_cast<Weight*>(weights);
  for (int64_t e = range.first; e < range.last; ++e) {
    if (e + kAhead < range.last) fetch(table + fired[e + kAhead] * width, width);
    visit(int64_t{fired[e]}, table + fired[e] * width);
  }
}

template <typename Target>
void lists(const std::vector<int32_t>& fired, team::Range range, const ffi::AnyBuffer& targets,
           const float* owed, int64_t size, void* weights, int64_t fan, float w_max) {
  const Target* table = static_cast<const Target*>(targets.untyped_data());
  each<float>(fired, range, fan, weights, [&](int64_t cell, float* own) {
    const Target* row = table + cell * fan;
    for (int64_t k = 0; k < fan && row[k] < size; ++k)
      own[k] = std::min(std::max(own[k] + owed[row[k]], 0.0f), w_max);
  });
}

template <typename Weight>
void rows(const std::vector<int32_t>& fired, team::Range range, const ffi::AnyBuffer& owed,
          Rows all, int64_t in_beam, void* weights) {
  const bool sparse = all.share < (1u << 24);
  each<Weight>(fired, range, all.width, weights, [&](int64_t cell, Weight* own) {
    const int64_t place = cell / in_beam * all.width;
    all.levels = static_cast<const int32_t*>(owed.untyped_data()) + place;
    all.change = static_cast<const float*>(owed.untyped_data()) + place;
    sparse ? row<true>(all, cell, own) : row<false>(all, cell, own);
  });
}

ffi::Error Settle(ffi::Buffer<ffi::U32> words, ffi::AnyBuffer targets, ffi::AnyBuffer owed,
                  ffi::Buffer<ffi::U32> noise, ffi::AnyBuffer before,
                  ffi::Result<ffi::AnyBuffer> out, int64_t beams, int64_t share, float w_max) {
  void* weights = out->untyped_data();
  if (weights != before.untyped_data())
    std::copy_n(static_cast<const char*>(before.untyped_data()), out->size_bytes(),
                static_cast<char*>(weights));
  const int64_t cells = out->dimensions()[0], width = out->dimensions()[1];
  std::vector<int32_t> fired;
  find(words.typed_data(), words.element_count(), cells, fired);
  const int64_t events = fired.size();
  if (targets.dimensions().size() == 2) {
    const auto* change = static_cast<const float*>(owed.untyped_data());
    const int64_t size = owed.element_count();
    team::run(events * width, [&](int index, int parts) {
      const team::Range own = team::part(events, index, parts);
      if (targets.element_type() == ffi::U16)
        lists<uint16_t>(fired, own, targets, change, size, weights, width, w_max);
      else
        lists<uint32_t>(fired, own, targets, change, size, weights, width, w_max);
    });
    return ffi::Error::Success();
  }
  if (fired.empty()) return ffi::Error::Success();
  const uint32_t* drawn = noise.typed_data();
  const Pair rounding{drawn[0], drawn[1]}, contacts{drawn[2], drawn[3]};
  std::vector<uint32_t> column(width);
  for (int64_t k = 0; k < width; ++k)
    column[k] = threefry(rounding, {1, static_cast<uint32_t>(k)}).a | 1u;
  const Rows all{nullptr,  nullptr,  column.data(),               rounding, contacts,
                 drawn[4], static_cast<uint32_t>(share), w_max, width};
  const int64_t in_beam = (cells + beams - 1) / beams;
  team::run(events * width, [&](int index, int parts) {
    const team::Range own = team::part(events, index, parts);
    if (out->element_type() == ffi::U16)
      rows<uint16_t>(fired, own, owed, all, in_beam, weights);
    else
      rows<float>(fired, own, owed, all, in_beam, weights);
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
