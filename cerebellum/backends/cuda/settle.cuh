// Writes the weights of spikes whose window has closed, in place: see plasticity.settle.
//
// A warp takes the events of a slice of the cells, and of their rows the columns of one segment, two
// pairs a thread. No two events have a weight in common, so the order is free.

#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "device.h"
#include "events.cuh"
#include "threefry.cuh"

constexpr int kPairs = 2;                           // of columns of a thread
constexpr int kSettled = 2 * kPairs * kWarp;        // columns of a segment
constexpr int kSettledList = 512;                   // places of a list in a segment

struct SettleArgs {
  const uint32_t* words;  // [1 or B, W]
  const void* targets;    // [1 or B, N, F], or null for rows
  const void* change;     // [1 or B, G R] or [1 or B, T]: float, or int32 in 65,536ths of a level
  const uint32_t* noise;  // [1 or B, 5]: keys of rounding and of contacts, number of the first row
  void* weights;          // [B, N, R] or [B, N, F]
  int64_t members, cells, width, words_of_member, in_beam, targets_size;
  int64_t words_member, targets_member, change_member, noise_member;  // strides; 0: shared
  int64_t slices, words_of_slice, segments;
  uint32_t share;  // a contact exists where the upper 24 bits of its word are below
  float w_max;
  bool wide;  // whether targets are uint32, not uint16
};

// What a warp has to do: a member of the batch, a slice of its cells and a segment of their rows.
struct SettleTask {
  int64_t member, segment;
  Range cells;
  const uint32_t* words;
  Pair rounding, contacts;
  uint32_t offset;

  DEVICE explicit SettleTask(const SettleArgs& args) {
    int64_t index = warp_of_thread();
    segment = index % args.segments;
    index /= args.segments;
    member = index / args.slices;
    cells = Range{0, args.cells}.slice(index % args.slices, args.words_of_slice);
    words = args.words + member * args.words_member;
    const uint32_t* noise = args.noise + member * args.noise_member;
    rounding = {noise[0], noise[1]};
    contacts = {noise[2], noise[3]};
    offset = noise[4];
  }
};

DEVICE bool has_settle_task(const SettleArgs& args) {
  return warp_of_thread() < args.members * args.slices * args.segments;
}

// Two weights side by side, of which the second may be past the row's end.
template <typename Weight>
struct WeightPair {
  Weight first, second;
};

// Reads and writes pairs of columns: at once where rows have an even width.
template <typename Weight, bool kEven>
struct Columns {
  DEVICE static WeightPair<Weight> read(const Weight* at, bool both) {
    if constexpr (kEven) {
      using Word = std::conditional_t<sizeof(Weight) == 2, uint32_t, unsigned long long>;
      const Word word = *reinterpret_cast<const Word*>(at);
      WeightPair<Weight> pair;
      static_assert(sizeof(pair) == sizeof(word));
      memcpy(&pair, &word, sizeof(pair));
      return pair;
    } else {
      return {at[0], both ? at[1] : Weight{0}};
    }
  }

  DEVICE static void write(Weight* at, bool both, WeightPair<Weight> pair) {
    if constexpr (kEven) {
      using Word = std::conditional_t<sizeof(Weight) == 2, uint32_t, unsigned long long>;
      Word word;
      memcpy(&word, &pair, sizeof(pair));
      *reinterpret_cast<Word*>(at) = word;
    } else {
      at[0] = pair.first;
      if (both) at[1] = pair.second;
    }
  }
};

// A level after a change in 65,536ths, rounded at random: `fixed.add`.
DEVICE uint16_t changed(uint16_t level, int32_t change, uint32_t dither, float) {
  const int32_t next = static_cast<int32_t>(level) +
                       ((change + static_cast<int32_t>(dither >> 16)) >> 16);
  return static_cast<uint16_t>(next < 0 ? 0 : next > 65'535 ? 65'535 : next);
}

DEVICE float changed(float weight, float change, uint32_t, float w_max) {
  return fminf(fmaxf(weight + change, 0.0f), w_max);
}

// Rows of uint16 levels (with changes in int32) or of floats.
template <typename Weight, typename Change, bool kEven, bool kSparse>
KERNEL void settle_rows(SettleArgs args) {
  if (!has_settle_task(args)) return;
  constexpr bool kLevels = sizeof(Weight) == 2;
  constexpr int kFlight = 2;  // events whose weights are on their way at once
  const SettleTask task(args);
  const int lane = lane_of_thread();
  const int64_t width = args.width;
  Weight* weights = static_cast<Weight*>(args.weights) + task.member * args.cells * width;
  const Change* changes = static_cast<const Change*>(args.change) + task.member * args.change_member;
  int64_t column[kPairs];
  uint32_t of_column[kPairs][2] = {};
#pragma unroll
  for (int p = 0; p < kPairs; ++p) {
    column[p] = task.segment * kSettled + 2 * (p * kWarp + lane);
    for (uint32_t k = 0; kLevels && k < 2; ++k)
      of_column[p][k] = threefry(task.rounding, {1, static_cast<uint32_t>(column[p]) + k}).a | 1u;
  }
  for_events(task.words, task.cells, queue_of_warp(), [&](const int32_t* cells, int count) {
    uint32_t of_rows = 0;  // each lane that of one event
    if (kLevels && lane < count)
      of_rows = threefry(task.rounding, {0, task.offset + static_cast<uint32_t>(cells[lane])}).a | 1u;
    for (int first = 0; first < count; first += kFlight) {
      WeightPair<Weight> pairs[kFlight][kPairs];
#pragma unroll
      for (int e = 0; e < kFlight; ++e)
#pragma unroll
        for (int p = 0; p < kPairs; ++p)
          if (first + e < count && column[p] < width)
            pairs[e][p] = Columns<Weight, kEven>::read(
                weights + cells[first + e] * width + column[p], column[p] + 1 < width);
#pragma unroll
      for (int e = 0; e < kFlight; ++e) {
        const uint32_t of_row = __shfl_sync(FULL, of_rows, (first + e) % kWarp);
        if (first + e >= count) continue;
        const int64_t cell = cells[first + e];
        const uint32_t row = task.offset + static_cast<uint32_t>(cell);
        const Change* change = changes + cell / args.in_beam * width;
#pragma unroll
        for (int p = 0; p < kPairs; ++p) {
          if (column[p] >= width) continue;
          const bool both = column[p] + 1 < width;
          Change first_change = change[column[p]];
          Change second_change = both ? change[column[p] + 1] : Change{0};
          if (kSparse) {
            const Pair drawn =
                threefry(task.contacts, {row, static_cast<uint32_t>(column[p] / 2)});
            if ((drawn.a >> 8) >= args.share) first_change = 0;
            if ((drawn.b >> 8) >= args.share) second_change = 0;
          }
          const WeightPair<Weight> before = pairs[e][p];
          const WeightPair<Weight> after{
              changed(before.first, first_change, of_row * of_column[p][0], args.w_max),
              changed(before.second, second_change, of_row * of_column[p][1], args.w_max)};
          Columns<Weight, kEven>::write(weights + cell * width + column[p], both, after);
        }
      }
    }
  });
}

// Lists of floats: the places of all events that are visited together are shared out among the lanes.
template <typename Target>
KERNEL void settle_lists(SettleArgs args) {
  if (!has_settle_task(args)) return;
  const SettleTask task(args);
  const int lane = lane_of_thread();
  float* weights = static_cast<float*>(args.weights) + task.member * args.cells * args.width;
  const float* change = static_cast<const float*>(args.change) + task.member * args.change_member;
  const Target* targets = static_cast<const Target*>(args.targets) + task.member * args.targets_member;
  const int64_t start = task.segment * kSettledList, rest = args.width - start;
  const int length = static_cast<int>(rest < kSettledList ? rest : kSettledList);
  for_events(task.words, task.cells, queue_of_warp(), [&](const int32_t* cells, int count) {
    for (int k = lane; k < count * length; k += kWarp) {
      const int64_t at = cells[k / length] * args.width + start + k % length;
      const int64_t target = targets[at];
      if (target < args.targets_size)
        weights[at] = changed(weights[at], change[target], 0, args.w_max);
    }
  });
}

struct IncurArgs {
  const float* spikes;  // [1 or B, T]
  const float* by_row;  // [1 or B, D]
  float* pending;       // [B, D, G R]
  int64_t members, depth, width, targets;
  int64_t spikes_member, by_row_member;  // strides; 0: shared
};

// Adds the effect of teaching spikes to pending weight updates: see plasticity.incur. A warp takes 32
// targets, and shares out the rows of those that got spikes among its lanes.
KERNEL void incur(IncurArgs args) {
  const int64_t groups = (args.targets + kWarp - 1) / kWarp;
  const int64_t group = warp_of_thread();
  if (group >= args.members * groups) return;
  const int64_t member = group / groups, first = group % groups * kWarp;
  const int lane = lane_of_thread();
  const float* by_row = args.by_row + member * args.by_row_member;
  float* pending = args.pending + member * args.depth * args.width;
  const float own = first + lane < args.targets
                        ? args.spikes[member * args.spikes_member + first + lane]
                        : 0.0f;
  for (uint32_t left = __ballot_sync(FULL, own > 0.0f); left != 0; left &= left - 1) {
    const int from = __ffs(left) - 1;
    const float spikes = __shfl_sync(FULL, own, from);
    for (int64_t row = lane; row < args.depth; row += kWarp)
      pending[row * args.width + first + from] += by_row[row] * spikes;
  }
}
