// Delivers spikes when they arrive, not when they are emitted: see deferred.py. The synapses of a
// source lie in one list, by delay; what a spike of d steps ago adds in this step is one slice of
// it. So all sums of a step go into one row of arrivals, which stays in the cache, and not into
// rings many times as large.
//
// Each target sums in the order of the reference: the oldest spikes first, those of a step by group
// and cell, those of a cell by their place in its list.
//
// A slot is a place in the row: the targets of the first ring, then those of the second, and so on.
// A group is a population whose spikes go through projections of which no two share a ring; its
// cells, and then those of the next group, are the sources [N]. D is the longest delay.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "alias.h"
#include "spikes.h"
#include "team.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

constexpr size_t kAhead = 8;  // slices that are fetched before they are needed

struct Ring {
  float* data;
  int64_t depth, size;
};

// What both kernels get: the present step and the first whose spikes are in the table, int32 [2];
// where in its list the synapses of a source begin that have a delay of one step, two, and so on,
// and where they end, uint32 [N, D + 1]; their slots and weights [synapses]; edges of slots that
// divide the synapses evenly, int32 [E + 1]; the table of sources that fired in each of the last D
// steps, uint32 [D, N], and their numbers, int32 [D].
struct Synapses {
  int64_t now, since;
  const uint32_t* starts;
  const uint32_t* slots;
  const float* weights;
  ffi::Span<const int32_t> edges;
  uint32_t* fired;
  int32_t* counts;
  int64_t depth, sources;

  static constexpr size_t kOperands = 7;

  Synapses(ffi::RemainingArgs& args)
      : now(operand<int32_t>(args, 0)[0]),
        since(operand<int32_t>(args, 0)[1]),
        starts(operand<uint32_t>(args, 1)),
        slots(operand<uint32_t>(args, 2)),
        weights(operand<float>(args, 3)),
        edges(operand<int32_t>(args, 4), args.get<ffi::AnyBuffer>(4)->element_count()),
        fired(operand<uint32_t>(args, 5)),
        counts(operand<int32_t>(args, 6)),
        depth(args.get<ffi::AnyBuffer>(5)->dimensions()[0]),
        sources(args.get<ffi::AnyBuffer>(5)->dimensions()[1]) {}

  template <typename T>
  static T* operand(ffi::RemainingArgs& args, size_t at) {
    return static_cast<T*>(args.get<ffi::AnyBuffer>(at)->untyped_data());
  }

  // The slots of a part of the work.
  team::Range of(int index, int parts) const {
    const int64_t all = edges.size() - 1;
    return {edges[all * index / parts], edges[all * (index + 1) / parts]};
  }
};

struct Slice {
  uint32_t first, last;
};

// The slices that arrive in a step, the oldest spikes first.
void due(const Synapses& s, int64_t step, std::vector<Slice>& slices) {
  slices.clear();
  for (int64_t delay = s.depth; delay > 0; --delay) {
    const int64_t emitted = step - delay;
    if (emitted < s.since || emitted >= s.now) continue;
    const uint32_t* row = s.fired + emitted % s.depth * s.sources;
    const int64_t count = s.counts[emitted % s.depth];
    for (int64_t k = 0; k < count; ++k) {
      const uint32_t* start = s.starts + row[k] * (s.depth + 1) + delay - 1;
      if (start[0] < start[1]) slices.push_back({start[0], start[1]});
    }
  }
}

// Add slices to the slots of a range; slots of a slice ascend.
void add(const Synapses& s, const std::vector<Slice>& slices, float* __restrict row,
         team::Range range, bool whole) {
  const auto ask = [&](const Slice& slice) {
    fetch(s.slots + slice.first, slice.last - slice.first);
    fetch(s.weights + slice.first, slice.last - slice.first);
  };
  const size_t count = slices.size();
  for (size_t e = 0; e < std::min(kAhead, count); ++e) ask(slices[e]);
  for (size_t e = 0; e < count; ++e) {
    if (e + kAhead < count) ask(slices[e + kAhead]);
    const uint32_t* first = s.slots + slices[e].first;
    const uint32_t* last = s.slots + slices[e].last;
    const float* weight = s.weights + slices[e].first;
    if (!whole) {
      const uint32_t* begin = std::lower_bound(first, last, static_cast<uint32_t>(range.first));
      last = std::lower_bound(begin, last, static_cast<uint32_t>(range.last));
      weight += begin - first;
      first = begin;
    }
    for (; first < last; ++first, ++weight) row[*first] += *weight;
  }
}

// The row of a step: what is in the rings for it, which is cleared, and what these slices add.
void sum(const Synapses& s, const std::vector<Ring>& rings, int64_t step, float* row) {
  static thread_local std::vector<Slice> list;
  std::vector<Slice>& slices = list;  // of this thread, for all of the team
  due(s, step, slices);
  int64_t work = 0;
  for (const Slice& slice : slices) work += slice.last - slice.first;
  int64_t slot = 0;
  for (const Ring& ring : rings) {
    float* waiting = ring.data + step % ring.depth * ring.size;
    // Spikes from before arrive within the depth of the ring.
    if (step - s.since < ring.depth) {
      std::copy_n(waiting, ring.size, row + slot);
      std::fill_n(waiting, ring.size, 0.0f);
    } else {
      std::fill_n(row + slot, ring.size, 0.0f);
    }
    slot += ring.size;
  }
  team::run(work, [&](int index, int parts) {
    add(s, slices, row, s.of(index, parts), parts == 1);
  });
}

// The rings, which are operands from `at` on and results from `result` on, aliased.
std::vector<Ring> rings_of(ffi::RemainingArgs& args, ffi::RemainingRets& rets, size_t at,
                           size_t result, int64_t count) {
  std::vector<Ring> rings;
  for (int64_t k = 0; k < count; ++k) {
    const auto before = *args.get<ffi::AnyBuffer>(at + k);
    void* data = carried(before, **rets.get<ffi::AnyBuffer>(result + k));
    rings.push_back({static_cast<float*>(data), before.dimensions()[0], before.dimensions()[1]});
  }
  return rings;
}

// Operands: those of Synapses; the rings [D, T]; the packed spikes of each group in this step.
// Results: the row of this step [slots]; the table, its numbers and the rings, aliased. Attributes:
// the number of rings, and of the cells of each group.
ffi::Error Arrive(ffi::RemainingArgs args, ffi::RemainingRets rets, int64_t ring_count,
                  ffi::Span<const int64_t> cells) {
  Synapses s(args);
  const size_t first = Synapses::kOperands;
  const auto held = [&](size_t result, size_t at) {
    return carried(*args.get<ffi::AnyBuffer>(at), **rets.get<ffi::AnyBuffer>(result));
  };
  s.fired = static_cast<uint32_t*>(held(1, first - 2));
  s.counts = static_cast<int32_t*>(held(2, first - 1));
  const auto rings = rings_of(args, rets, first, 3, ring_count);
  sum(s, rings, s.now, static_cast<float*>((*rets.get<ffi::AnyBuffer>(0))->untyped_data()));
  static thread_local std::vector<int32_t> found;
  uint32_t* own = s.fired + s.now % s.depth * s.sources;
  int32_t count = 0, offset = 0;
  for (size_t g = 0; g < cells.size(); ++g) {
    const auto words = *args.get<ffi::AnyBuffer>(first + ring_count + g);
    find(static_cast<const uint32_t*>(words.untyped_data()), words.element_count(), cells[g],
         found);
    for (const int32_t cell : found) own[count++] = offset + cell;
    offset += static_cast<int32_t>(cells[g]);
  }
  s.counts[s.now % s.depth] = count;
  return ffi::Error::Success();
}

// Puts what is still to arrive into the rings. Operands: those of Synapses; the rings. Results: the
// rings, aliased.
ffi::Error Land(ffi::RemainingArgs args, ffi::RemainingRets rets) {
  const Synapses s(args);
  const size_t first = Synapses::kOperands;
  const auto rings = rings_of(args, rets, first, 0, rets.size());
  int64_t slots = 0;
  for (const Ring& ring : rings) slots += ring.size;
  std::vector<float> row(slots);
  for (int64_t step = s.now; step < s.now + s.depth; ++step) {
    sum(s, rings, step, row.data());
    int64_t slot = 0;
    for (const Ring& ring : rings) {
      // Nothing arrives later than the depth of a ring; its row is that of an earlier step.
      if (step < s.now + ring.depth)
        std::copy_n(row.data() + slot, ring.size, ring.data + step % ring.depth * ring.size);
      slot += ring.size;
    }
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_arrive, Arrive,
                              ffi::Ffi::Bind()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("rings")
                                  .Attr<ffi::Span<const int64_t>>("cells"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_land, Land,
                              ffi::Ffi::Bind().RemainingArgs().RemainingRets());
