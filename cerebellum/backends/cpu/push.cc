// Sends packed spikes through every projection of their population in one pass: see events.push.
//
// Operands: words [B, W]; then for each projection its targets [R, N, F] (or one word, for rows),
// the delays of its synapses [R, N, F] and the ring's row [R] (or one word each, without a ring), its
// weights, its gains [R] (none) or [R, N], and what is added to, flat and aliased with the result:
// out [B, T] of lists, a ring of arrivals [B, depth, T], or the sums of rows [B, G, limbs, R]. R,
// before N, is 1 or B. Attributes: the beams' first cells, and for each projection whether its lists
// ascend and the rows of its ring, 1 without one.

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "alias.h"
#include "spikes.h"
#include "team.h"
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

constexpr size_t kAhead = 12;  // events whose lists are fetched before they are needed
constexpr int64_t kBlock = 16'384;  // events whose sum fits in 32 bits

// First of an ascending list's places that is not below `target`. No branch: half would be wrong.
template <typename Target>
inline int64_t reach(const Target* row, int64_t fan, int64_t target) {
  const Target* at = row;
  for (int64_t left = fan; left > 1; left -= left / 2) at += (at[left / 2 - 1] < target) * (left / 2);
  return at - row + (*at < target);
}

// What a member of the batch reads: its lists, their weights (one, if shared) and the gains of cells.
template <typename Target>
struct Lists {
  int64_t fan, sources;
  const Target* table;
  bool shared;
  const float* weight;
  const float* gain;  // or null

  Lists(const View& targets, const View& weights, const View& gains, int64_t member)
      : fan(targets.shape[2]),
        sources(targets.shape[1]),
        table(targets.as<Target>() + targets.member(member) * sources * fan),
        shared(weights.shape.size() == 1),
        weight(weights.as<float>() + weights.member(member) * (shared ? 1 : sources * fan)),
        gain(gains.shape.size() == 1
                 ? nullptr
                 : gains.as<float>() + gains.member(member) * gains.shape[1]) {}
};

// What events add to the targets of a range. A list ends at its first unused place; those that do
// not ascend are for whoever has all targets.
template <typename Target>
void by_list(const std::vector<int32_t>& cells, const View& targets, const View& weights,
             const View& gains, int64_t member, float* __restrict out, int64_t size,
             team::Range range) {
  const auto [fan, sources, table, shared, weight, gain] =
      Lists<Target>(targets, weights, gains, member);
  const size_t events = cells.size();
  // Targets are spread evenly, more or less: where in a list those of the range are.
  const int64_t near = fan * range.first / size, far = fan * range.last / size;
  const auto ask = [&](size_t e) {
    const int64_t next = int64_t{cells[e]} * fan;
    fetch(table + next, fan);
    if (!shared) fetch(weight + next + near, far - near);
  };
  for (size_t e = 0; e < std::min(kAhead, events); ++e) ask(e);
  for (size_t e = 0; e < events; ++e) {
    if (e + kAhead < events) ask(e + kAhead);
    const int64_t cell = cells[e];
    const Target* row = table + cell * fan;
    const float scale = gain ? gain[cell] : 1.0f;
    int64_t k = range.first ? reach(row, fan, range.first) : 0;
    if (shared) {
      const float value = *weight * scale;
      for (; k < fan && row[k] < range.last; ++k) out[row[k]] += value;
    } else {
      const float* own = weight + cell * fan;
      for (; k < fan && row[k] < range.last; ++k) out[row[k]] += own[k] * scale;
    }
  }
}

// As by_list, where each synapse has a delay: its weight goes to the row of the ring for it.
template <typename Target, typename Delay>
void by_delay(const std::vector<int32_t>& cells, const View& targets, const View& delays,
              const View& weights, const View& gains, int64_t member, float* __restrict ring,
              int64_t depth, int64_t now, int64_t size, team::Range range) {
  const auto [fan, sources, table, shared, weight, gain] =
      Lists<Target>(targets, weights, gains, member);
  const Delay* __restrict delay = delays.as<Delay>() + delays.member(member) * sources * fan;
  static thread_local std::vector<int64_t> rows;  // of the ring, by delay
  rows.resize(depth + 1);
  for (int64_t d = 0; d <= depth; ++d) rows[d] = (now + d) % depth * size;
  const int64_t* __restrict start = rows.data();
  const size_t events = cells.size();
  const int64_t near = fan * range.first / size, far = fan * range.last / size;
  const auto ask = [&](size_t e) {
    const int64_t next = int64_t{cells[e]} * fan + near;
    fetch(table + next, far - near);
    fetch(delay + next, far - near);
    if (!shared) fetch(weight + next, far - near);
  };
  for (size_t e = 0; e < std::min(kAhead, events); ++e) ask(e);
  for (size_t e = 0; e < events; ++e) {
    if (e + kAhead < events) ask(e + kAhead);
    const int64_t cell = cells[e];
    const Target* row = table + cell * fan;
    const Delay* late = delay + cell * fan;
    const float* own = shared ? nullptr : weight + cell * fan;
    const float scale = gain ? gain[cell] : 1.0f;
    int64_t k = range.first ? reach(row, fan, range.first) : 0;
    for (; k < fan && row[k] < range.last; ++k)
      ring[start[late[k]] + row[k]] += (shared ? *weight : own[k]) * scale;
  }
}

// Sums of a range of columns of a beam's rows: integers in limbs of 16 and 31 bits, which no order
// can change.
template <typename Weight>
void by_row(const int32_t* cells, int64_t events, const View& weights, const View& gains,
            int64_t member, void* sums, team::Range range) {
  constexpr bool whole = std::is_same_v<Weight, uint16_t>;
  using Sum = std::conditional_t<whole, int32_t, float>;
  const int64_t sources = weights.shape[1], width = weights.shape[2];
  const int64_t here = range.last - range.first;
  const Weight* table =
      weights.as<Weight>() + weights.member(member) * sources * width + range.first;
  const float* gain = gains.shape.size() == 1
                          ? nullptr
                          : gains.as<float>() + gains.member(member) * gains.shape[1];
  static thread_local std::vector<Sum> held;
  held.resize(here);
  Sum* sum = held.data();
  Sum* total = static_cast<Sum*>(sums) + range.first;
  for (int64_t first = 0; first < events; first += kBlock) {
    std::fill_n(sum, here, Sum{0});
    const int64_t last = std::min(events, first + kBlock);
    for (int64_t e = first; e < last; ++e) {
      if (e + 2 < events) fetch(table + cells[e + 2] * width, here);
      const Weight* row = table + cells[e] * width;
      if (!whole && gain) {
        for (int64_t k = 0; k < here; ++k) sum[k] += row[k] * gain[cells[e]];
      } else {
        for (int64_t k = 0; k < here; ++k) sum[k] += row[k];
      }
    }
    if constexpr (whole) {
      for (int64_t k = 0; k < here; ++k) {
        const int32_t low = total[k] + sum[k];
        total[k] = low & 0xFFFF;
        total[width + k] += low >> 16;
      }
    } else {
      for (int64_t k = 0; k < here; ++k) total[k] += sum[k];
    }
  }
}

struct Projection {
  View targets, delays, ring_row, weights, gains;
  void* out;
  int64_t size;  // of what a member of the batch has of `out`, or of one row of its ring
  bool ascends;
  int64_t depth;

  bool delayed() const { return delays.shape.size() == 3; }
  bool listed() const { return targets.shape.size() == 3; }
  int64_t width() const { return (listed() ? targets : weights).shape[2]; }
  // Of one event, in synapses: finding its list costs as much as some of them.
  int64_t cost() const { return width() + 16; }

  // What a part does of targets or columns, where parts share the cost of several projections
  // evenly and `before` is that of the ones before this.
  team::Range of(team::Range part, int64_t before) const {
    const int64_t all = listed() ? size : width();
    const auto edge = [&](int64_t at) {
      const int64_t here = std::clamp<int64_t>(at - before, 0, cost());
      if (listed() && !ascends) return here == cost() ? all : 0;
      return here == cost() ? all : all * here / cost() / 32 * 32;
    };
    return {edge(part.first), edge(part.last)};
  }
};

// What events add for member `b` in a range of targets or columns.
void deliver(const std::vector<int32_t>& cells, const Projection& p, int64_t b,
             ffi::Span<const int64_t> edges, team::Range range) {
  if (p.listed()) {
    float* out = static_cast<float*>(p.out) + b * p.size * p.depth;
    if (p.delayed()) {
      const int64_t now = p.ring_row.as<int32_t>()[p.ring_row.member(b)];
      const auto add = [&](auto target, auto delay) {
        by_delay<decltype(target), decltype(delay)>(cells, p.targets, p.delays, p.weights, p.gains,
                                                    b, out, p.depth, now, p.size, range);
      };
      const bool narrow = p.delays.type == ffi::U8;
      if (p.targets.type == ffi::U16)
        narrow ? add(uint16_t{}, uint8_t{}) : add(uint16_t{}, uint16_t{});
      else
        narrow ? add(uint32_t{}, uint8_t{}) : add(uint32_t{}, uint16_t{});
      return;
    }
    if (p.targets.type == ffi::U16)
      by_list<uint16_t>(cells, p.targets, p.weights, p.gains, b, out, p.size, range);
    else
      by_list<uint32_t>(cells, p.targets, p.weights, p.gains, b, out, p.size, range);
    return;
  }
  const int64_t beams = edges.size();
  for (int64_t g = 0; g < beams; ++g) {
    const auto first = std::lower_bound(cells.begin(), cells.end(), edges[g]);
    const auto last =
        g + 1 < beams ? std::lower_bound(first, cells.end(), edges[g + 1]) : cells.end();
    const int32_t* fired = cells.data() + (first - cells.begin());
    void* sums = static_cast<int32_t*>(p.out) + (b * beams + g) * (p.size / beams);
    if (p.weights.type == ffi::U16)
      by_row<uint16_t>(fired, last - first, p.weights, p.gains, b, sums, range);
    else
      by_row<float>(fired, last - first, p.weights, p.gains, b, sums, range);
  }
}

ffi::Error Push(ffi::RemainingArgs args, ffi::RemainingRets rets, ffi::Span<const int64_t> edges,
                ffi::Span<const int64_t> ascend, ffi::Span<const int64_t> depth) {
  const View words(*args.get<ffi::AnyBuffer>(0));
  const int64_t members = words.shape[0], stride = words.shape[1];
  std::vector<Projection> all;
  int64_t cost = 0, sources = 0;  // all projections have the same sources
  for (size_t p = 0; p < rets.size(); ++p) {
    auto out = *rets.get<ffi::AnyBuffer>(p);
    carried(*args.get<ffi::AnyBuffer>(6 * p + 6), *out);
    const auto operand = [&](int which) { return View(*args.get<ffi::AnyBuffer>(6 * p + which)); };
    all.push_back({operand(1), operand(2), operand(3), operand(4), operand(5),
                   out->untyped_data(),
                   static_cast<int64_t>(out->element_count()) / members / depth[p],
                   ascend[p] != 0, depth[p]});
    cost += all[p].cost();
    sources = (all[p].listed() ? all[p].targets : all[p].weights).shape[1];
  }
  static thread_local std::vector<int32_t> found;
  std::vector<int32_t>& cells = found;  // of this thread, for all of the team
  for (int64_t b = 0; b < members; ++b) {
    find(words.as<uint32_t>() + b * stride, stride, sources, cells);
    team::run(cells.size() * cost, [&](int index, int parts) {
      const team::Range part = team::part(cost, index, parts);
      int64_t before = 0;
      for (const Projection& p : all) {
        const team::Range own = p.of(part, before);
        if (own.first < own.last) deliver(cells, p, b, edges, own);
        before += p.cost();
      }
    });
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_push, Push,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("edges")
                                  .Attr<ffi::Span<const int64_t>>("ascend")
                                  .Attr<ffi::Span<const int64_t>>("depth"));
