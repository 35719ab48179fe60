// Sends packed spikes through every projection of their population: see events.sweep.
//
// The passes over the events are launches of one kernel, so that no sum depends on the order in which
// threads come: ADD counts the spikes of every target, or adds up fixed-point values where weights
// differ; COLLECT visits the same synapses again, takes each sum out once and adds it to the target. So memory is only touched where spikes arrive. CLEAR, before both, writes zeros
// where the sums of a ring are too many to be cleared as a whole. Sums of rows, in levels, are whole
// numbers in two limbs, of 16 and 31 bits, which COLLECT separates.
//
// See fixed.cuh for what is added.

#pragma once

#include <cstdint>

#include "device.h"
#include "events.cuh"
#include "fixed.cuh"

enum class Pass { CLEAR, ADD, COLLECT };

constexpr int kMostProjections = 16;  // of a launch
constexpr int kPlaces = 512;          // of a list in a segment
constexpr int kColumns = 4;           // of a thread
constexpr int kSegment = kColumns * kWarp;  // columns of a row in a segment
constexpr int kFlight = 4;            // reads of a thread that are on their way at once
constexpr int64_t kMostWords = 2'048; // of a slice: its rows of levels have a sum below 2^32

struct Projection {
  const void* targets;   // [1 or B, N, F], or null for rows
  const void* delays;    // [1 or B, N, F], or null
  const int32_t* row;    // of the ring in this step, [1 or B]
  const void* weights;   // [1 or B], [1 or B, N, F]; [1 or B, N, R]
  const float* gains;    // [1 or B, N], or null
  void* out;             // float [B, depth, T]; of rows [B, G, limbs, R], int32 or float
  void* sums;            // of lists, and of rows of floats
  int64_t targets_member, row_member, weights_member, gains_member;  // strides; 0: shared
  int64_t width;         // F or R
  int64_t size;          // T
  int32_t depth;         // rows of the ring; 1 without one
  bool wide;             // whether targets are uint32, not uint16
  bool long_delays;      // whether delays are uint16, not uint8
  bool single;           // whether the list has one weight
  bool levels;           // whether rows are uint16
  bool cleared;          // whether all sums are zero before ADD
  int64_t segments, slices, words_of_slice;
  int64_t first_warp;    // of those of the launch

  // Whether sums are counts of spikes, int32, not fixed-point values.
  BOTH bool counts() const { return targets && single && !gains; }
};

struct DeliverArgs {
  const uint32_t* words;  // [B, W]
  int64_t words_of_member, cells, members, beams, cells_of_beam, warps;
  int32_t projections;
  Projection projection[kMostProjections];
};
static_assert(sizeof(DeliverArgs) <= 4'000);

// What a warp has to do for a projection: a slice of the cells of a beam, and a segment of their lists
// or rows.
struct DeliverTask {
  int64_t member, beam, segment;
  Range cells;
  const uint32_t* words;

  DEVICE DeliverTask(const DeliverArgs& args, const Projection& p, int64_t index) {
    segment = index % p.segments;
    index /= p.segments;
    const int64_t slice = index % p.slices;
    index /= p.slices;
    const int64_t beams = p.targets ? 1 : args.beams;
    const int64_t of_beam = p.targets ? args.cells : args.cells_of_beam;
    beam = index % beams;
    member = index / beams;
    const int64_t first = beam * of_beam, last = first + of_beam;
    cells = Range{first, last < args.cells ? last : args.cells}.slice(slice, p.words_of_slice);
    words = args.words + member * args.words_of_member;
  }
};

// A synapse of a list: where its weight arrives, or nowhere, and whose it is.
struct Synapse {
  int64_t place;  // in [depth, T], or -1
  int64_t at;     // in [N, F]
  int32_t cell;
};

DEVICE Synapse synapse_of(const Projection& p, int64_t member, int32_t row, int32_t cell,
                          int64_t place_in_list) {
  Synapse s{-1, cell * p.width + place_in_list, cell};
  const int64_t at = member * p.targets_member + s.at;
  const int64_t target = p.wide ? static_cast<const uint32_t*>(p.targets)[at]
                                : static_cast<const uint16_t*>(p.targets)[at];
  if (target >= p.size) return s;
  s.place = target;
  if (p.delays) {
    const int32_t delay = p.long_delays ? static_cast<const uint16_t*>(p.delays)[at]
                                        : static_cast<const uint8_t*>(p.delays)[at];
    s.place += int64_t{(row + delay) % p.depth} * p.size;
  }
  return s;
}

template <Pass kPass>
DEVICE void visit_synapse(const Projection& p, int64_t member, const Synapse& s) {
  const int64_t at = member * p.depth * p.size + s.place;
  if (p.counts()) {
    int32_t* sum = static_cast<int32_t*>(p.sums) + at;
    if constexpr (kPass == Pass::CLEAR) *sum = 0;
    if constexpr (kPass == Pass::ADD) atomicAdd(sum, 1);
    if constexpr (kPass == Pass::COLLECT) {
      const int32_t count = atomicExch(sum, 0);
      const float weight = static_cast<const float*>(p.weights)[member * p.weights_member];
      float* out = static_cast<float*>(p.out) + at;
      if (count) *out = add_times(*out, weight, count);
    }
    return;
  }
  Fixed* sum = static_cast<Fixed*>(p.sums) + at;
  if constexpr (kPass == Pass::CLEAR) *sum = 0;
  if constexpr (kPass == Pass::ADD) {
    const float* weights = static_cast<const float*>(p.weights) + member * p.weights_member;
    float value = p.single ? *weights : weights[s.at];
    if (p.gains) value *= p.gains[member * p.gains_member + s.cell];
    if (fits(value))
      atomicAdd(sum, to_fixed(value));
    else
      static_cast<float*>(p.out)[at] = NAN;
  }
  if constexpr (kPass == Pass::COLLECT) {
    const Fixed total = atomicExch(sum, Fixed{0});
    if (total) static_cast<float*>(p.out)[at] += from_fixed(total);
  }
}

// The lists of events: the places of all that are visited together are shared out among the lanes.
template <Pass kPass>
DEVICE void deliver_lists(const Projection& p, const DeliverTask& task) {
  const int64_t start = task.segment * kPlaces, rest = p.width - start;
  const int length = static_cast<int>(rest < kPlaces ? rest : kPlaces);
  const int32_t row = p.delays ? p.row[task.member * p.row_member] : 0;
  for_events(task.words, task.cells, queue_of_warp(), [&](const int32_t* cells, int count) {
    for (int first = lane_of_thread(); first < count * length; first += kFlight * kWarp) {
      Synapse synapses[kFlight];
#pragma unroll
      for (int u = 0; u < kFlight; ++u) {
        const int k = first + u * kWarp;
        synapses[u].place = -1;
        if (k < count * length)
          synapses[u] =
              synapse_of(p, task.member, row, cells[k / length], start + k % length);
      }
#pragma unroll
      for (int u = 0; u < kFlight; ++u)
        if (synapses[u].place >= 0) visit_synapse<kPass>(p, task.member, synapses[u]);
    }
  });
}

// A word of memory that has so many levels.
template <int kLevels>
struct Levels;
template <>
struct Levels<1> {
  using Word = unsigned short;
};
template <>
struct Levels<2> {
  using Word = unsigned int;
};
template <>
struct Levels<4> {
  using Word = unsigned long long;
};

// Sums of rows of uint16, of which a word of memory has `kLevels`.
template <int kLevels>
DEVICE void add_levels(const DeliverArgs& args, const Projection& p, const DeliverTask& task) {
  using Word = typename Levels<kLevels>::Word;
  constexpr int kReads = kColumns / kLevels;
  const int64_t lane = lane_of_thread();
  const uint16_t* table =
      static_cast<const uint16_t*>(p.weights) + task.member * p.weights_member;
  int64_t column[kReads];
#pragma unroll
  for (int r = 0; r < kReads; ++r)
    column[r] = task.segment * kSegment + (r * kWarp + lane) * kLevels;
  uint32_t sums[kColumns] = {};
  for_events(task.words, task.cells, queue_of_warp(), [&](const int32_t* cells, int count) {
    for (int first = 0; first < count; first += kFlight) {
      Word read[kFlight][kReads];
#pragma unroll
      for (int e = 0; e < kFlight; ++e)
#pragma unroll
        for (int r = 0; r < kReads; ++r) {
          read[e][r] = 0;
          if (first + e < count && column[r] < p.width)
            read[e][r] = load_once(reinterpret_cast<const Word*>(
                table + cells[first + e] * p.width + column[r]));
        }
#pragma unroll
      for (int e = 0; e < kFlight; ++e)
#pragma unroll
        for (int r = 0; r < kReads; ++r)
#pragma unroll
          for (int k = 0; k < kLevels; ++k)
            sums[r * kLevels + k] += static_cast<uint32_t>(read[e][r] >> (16 * k)) & 0xffffu;
    }
  });
  int32_t* limbs =
      static_cast<int32_t*>(p.out) + (task.member * args.beams + task.beam) * 2 * p.width;
#pragma unroll
  for (int r = 0; r < kReads; ++r)
#pragma unroll
    for (int k = 0; k < kLevels; ++k) {
      const uint32_t sum = sums[r * kLevels + k];
      const int64_t at = column[r] + k;
      if (sum == 0 || at >= p.width) continue;
      atomicAdd(limbs + at, static_cast<int32_t>(sum & 0xffffu));
      if (sum >> 16) atomicAdd(limbs + p.width + at, static_cast<int32_t>(sum >> 16));
    }
}

// Sums of rows of floats, in fixed point.
DEVICE void add_floats(const DeliverArgs& args, const Projection& p, const DeliverTask& task) {
  const int64_t lane = lane_of_thread();
  const float* table = static_cast<const float*>(p.weights) + task.member * p.weights_member;
  const float* gains = p.gains ? p.gains + task.member * p.gains_member : nullptr;
  const int64_t start = task.segment * kSegment + lane;
  Fixed sums[kColumns] = {};
  bool finite[kColumns] = {true, true, true, true};
  static_assert(kColumns == 4);
  for_events(task.words, task.cells, queue_of_warp(), [&](const int32_t* cells, int count) {
    for (int e = 0; e < count; ++e) {
      const float gain = gains ? gains[cells[e]] : 1.0f;
      float values[kColumns];
#pragma unroll
      for (int k = 0; k < kColumns; ++k)
        values[k] = start + k * kWarp < p.width
                        ? load_once(table + cells[e] * p.width + start + k * kWarp)
                        : 0.0f;
#pragma unroll
      for (int k = 0; k < kColumns; ++k) {
        const float value = gains ? values[k] * gain : values[k];
        finite[k] &= fits(value);
        sums[k] += to_fixed(value);
      }
    }
  });
  const int64_t group = (task.member * args.beams + task.beam) * p.width + start;
#pragma unroll
  for (int k = 0; k < kColumns; ++k) {
    if (sums[k]) atomicAdd(static_cast<Fixed*>(p.sums) + group + k * kWarp, sums[k]);
    if (!finite[k]) static_cast<float*>(p.out)[group + k * kWarp] = NAN;
  }
}

// The sums of rows, one a thread of as many warps as there are segments.
DEVICE void collect_rows(const DeliverArgs& args, const Projection& p, int64_t warp) {
  const int64_t segment = warp % p.segments, group = warp / p.segments;  // member and beam
  for (int k = 0; k < kColumns; ++k) {
    const int64_t column = segment * kSegment + k * kWarp + lane_of_thread();
    if (column >= p.width) return;
    if (p.levels) {
      int32_t* limbs = static_cast<int32_t*>(p.out) + group * 2 * p.width + column;
      limbs[p.width] += limbs[0] >> 16;
      limbs[0] &= 0xffff;
    } else {
      const int64_t at = group * p.width + column;
      static_cast<float*>(p.out)[at] += from_fixed(static_cast<Fixed*>(p.sums)[at]);
    }
  }
}

template <Pass kPass>
KERNEL void deliver(DeliverArgs args) {
  const int64_t warp = warp_of_thread();
  if (warp >= args.warps) return;
  int32_t index = 0;
  while (index + 1 < args.projections && warp >= args.projection[index + 1].first_warp) ++index;
  const Projection& p = args.projection[index];
  const int64_t own = warp - p.first_warp;
  if (kPass == Pass::COLLECT && !p.targets) return collect_rows(args, p, own);
  const DeliverTask task(args, p, own);
  if (p.targets) {
    if (kPass != Pass::CLEAR || !p.cleared) deliver_lists<kPass>(p, task);
  } else if (kPass == Pass::ADD) {
    if (!p.levels)
      add_floats(args, p, task);
    else if (p.width % 4 == 0)
      add_levels<4>(args, p, task);
    else if (p.width % 2 == 0)
      add_levels<2>(args, p, task);
    else
      add_levels<1>(args, p, task);
  }
}
