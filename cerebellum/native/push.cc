// Sends packed spikes through every projection of their population in one pass: see events.push.
//
// Operands: words [B, W]; then for each projection its targets [R, N, F] (or one word, for rows),
// its weights, its gains [R] (none) or [R, N], and what is added to, flat and aliased with the
// result: out [B, T] of lists, or the sums of rows [B, G, limbs, R]. R, before N, is 1 or B.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

struct View {
  const void* data;
  ffi::DataType type;
  std::vector<int64_t> shape;

  explicit View(const ffi::AnyBuffer& buffer)
      : data(buffer.untyped_data()),
        type(buffer.element_type()),
        shape(buffer.dimensions().begin(), buffer.dimensions().end()) {}

  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
  // Rows of a table [R, ...] that a member of the batch reads.
  int64_t member(int64_t b) const { return shape[0] > 1 ? b : 0; }
};

constexpr int kAhead = 6;  // events whose rows are fetched before they are needed
constexpr int64_t kBlock = 16'384;  // events whose sum fits in 32 bits

template <typename T>
inline void fetch(const T* row, int64_t count) {
  for (int64_t k = 0; k < count; k += 64 / sizeof(T)) __builtin_prefetch(row + k);
}

void find(const uint32_t* words, int64_t count, std::vector<int32_t>& cells) {
  cells.clear();
  for (int64_t w = 0; w < count; ++w)
    for (uint32_t word = words[w]; word; word &= word - 1)
      cells.push_back(static_cast<int32_t>(32 * w + __builtin_ctz(word)));
}

// A list ends at its first unused place.
template <typename Target>
void by_list(const std::vector<int32_t>& cells, const View& targets, const View& weights,
             const View& gains, int64_t member, float* out, int64_t out_size) {
  const int64_t fan = targets.shape[2], sources = targets.shape[1];
  const Target* table = targets.as<Target>() + targets.member(member) * sources * fan;
  const bool shared = weights.shape.size() == 1;
  const float* weight =
      weights.as<float>() + weights.member(member) * (shared ? 1 : sources * fan);
  const float* gain = gains.shape.size() == 1
                          ? nullptr
                          : gains.as<float>() + gains.member(member) * gains.shape[1];
  const size_t events = cells.size();
  for (size_t e = 0; e < events; ++e) {
    if (e + kAhead < events) {
      const int64_t next = int64_t{cells[e + kAhead]} * fan;
      fetch(table + next, fan);
      if (!shared) fetch(weight + next, fan);
    }
    const int64_t cell = cells[e];
    const Target* row = table + cell * fan;
    const float* own = shared ? weight : weight + cell * fan;
    for (int64_t k = 0; k < fan; ++k) {
      const int64_t target = row[k];
      if (target >= out_size) break;
      float value = shared ? *own : own[k];
      if (gain) value *= gain[cell];
      out[target] += value;
    }
  }
}

// Sums of a beam's rows: integers in limbs of 16 and 31 bits, which no order can change.
template <typename Weight>
void by_row(const int32_t* cells, int64_t events, const View& weights, const View& gains,
            int64_t member, void* sums) {
  constexpr bool whole = std::is_same_v<Weight, uint16_t>;
  using Sum = std::conditional_t<whole, int32_t, float>;
  const int64_t sources = weights.shape[1], width = weights.shape[2];
  const Weight* table = weights.as<Weight>() + weights.member(member) * sources * width;
  const float* gain = gains.shape.size() == 1
                          ? nullptr
                          : gains.as<float>() + gains.member(member) * gains.shape[1];
  static thread_local std::vector<Sum> held;
  held.resize(width);
  Sum* sum = held.data();
  Sum* total = static_cast<Sum*>(sums);
  for (int64_t first = 0; first < events; first += kBlock) {
    std::fill_n(sum, width, Sum{0});
    const int64_t last = std::min(events, first + kBlock);
    for (int64_t e = first; e < last; ++e) {
      if (e + 2 < events) fetch(table + cells[e + 2] * width, width);
      const Weight* row = table + cells[e] * width;
      if (!whole && gain) {
        for (int64_t k = 0; k < width; ++k) sum[k] += row[k] * gain[cells[e]];
      } else {
        for (int64_t k = 0; k < width; ++k) sum[k] += row[k];
      }
    }
    if constexpr (whole) {
      for (int64_t k = 0; k < width; ++k) {
        const int32_t low = total[k] + sum[k];
        total[k] = low & 0xFFFF;
        total[width + k] += low >> 16;
      }
    } else {
      for (int64_t k = 0; k < width; ++k) total[k] += sum[k];
    }
  }
}

ffi::Error Push(ffi::RemainingArgs args, ffi::RemainingRets rets,
                ffi::Span<const int64_t> edges) {
  const View words(*args.get<ffi::AnyBuffer>(0));
  const int64_t members = words.shape[0], stride = words.shape[1];
  static thread_local std::vector<int32_t> cells;
  for (size_t p = 0; p < rets.size(); ++p) {
    const View before(*args.get<ffi::AnyBuffer>(4 * p + 4));
    auto out = *rets.get<ffi::AnyBuffer>(p);
    if (out->untyped_data() != before.data)
      std::copy_n(static_cast<const char*>(before.data), out->size_bytes(),
                  static_cast<char*>(out->untyped_data()));
  }
  for (int64_t b = 0; b < members; ++b) {
    find(words.as<uint32_t>() + b * stride, stride, cells);
    for (size_t p = 0; p < rets.size(); ++p) {
      const View targets(*args.get<ffi::AnyBuffer>(4 * p + 1));
      const View weights(*args.get<ffi::AnyBuffer>(4 * p + 2));
      const View gains(*args.get<ffi::AnyBuffer>(4 * p + 3));
      auto ret = *rets.get<ffi::AnyBuffer>(p);
      // Bits past the last source are no cells; all projections have the same sources.
      const int64_t sources = (targets.shape.size() == 3 ? targets : weights).shape[1];
      while (!cells.empty() && cells.back() >= sources) cells.pop_back();
      const int64_t size = ret->element_count() / members;
      if (targets.shape.size() == 3) {
        float* out = static_cast<float*>(ret->untyped_data()) + b * size;
        if (targets.type == ffi::U16)
          by_list<uint16_t>(cells, targets, weights, gains, b, out, size);
        else
          by_list<uint32_t>(cells, targets, weights, gains, b, out, size);
        continue;
      }
      const int64_t beams = edges.size();
      for (int64_t g = 0; g < beams; ++g) {
        const auto first = std::lower_bound(cells.begin(), cells.end(), edges[g]);
        const auto last = g + 1 < beams ? std::lower_bound(first, cells.end(), edges[g + 1])
                                        : cells.end();
        const int32_t* fired = cells.data() + (first - cells.begin());
        void* sums = static_cast<int32_t*>(ret->untyped_data()) + (b * beams + g) * (size / beams);
        if (weights.type == ffi::U16)
          by_row<uint16_t>(fired, last - first, weights, gains, b, sums);
        else
          by_row<float>(fired, last - first, weights, gains, b, sums);
      }
    }
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_push, Push,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("edges"));
