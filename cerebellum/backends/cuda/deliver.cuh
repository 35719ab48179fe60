// Makes all deliveries of a step: see model/delivery.py.
//
//   FIND     lists the cells that fired, source by source, in any order
//   CLEAR    writes zeros where spikes arrive, in sums that are too many to be cleared as a whole
//   ADD      counts the spikes of every target, or adds up fixed-point values where weights differ
//   COLLECT  visits the same synapses again, takes each sum out once, and adds it to the target
//
// Each is one launch for all projections. So memory is only touched where spikes arrive, and nothing
// depends on the order in which threads come (fixed.cuh says what is added). Where several
// projections add to the same targets, they are collected one after the other, in rounds.
//
// Dimensions: B batch, N source cells, T targets, F longest list, G beams, R targets of a beam.

#pragma once

#include <cmath>
#include <cstdint>

#include "device.h"
#include "events.cuh"
#include "fixed.cuh"

enum class Pass { CLEAR, ADD, COLLECT };

constexpr int kMostSources = 32;      // of a launch
constexpr int kMostProjections = 16;  // of a launch
constexpr int kFound = 8;             // words of a thread
constexpr int kFlight = 4;            // reads of a thread that are on their way at once
constexpr int kPlaces = kFlight * kWarp;    // of lists that a warp visits together
constexpr int kColumns = 4;                 // of a thread
constexpr int kSegment = kColumns * kWarp;  // columns of a row that a warp visits together
constexpr int kRows = 8;                    // that a warp visits together

struct Source {
  const uint32_t* words;  // [B, W]
  int32_t* events;        // [B, N]: the first `count` are cells that fired
  int32_t* count;         // [B]
  int64_t words_of_member, cells;
  int64_t first_warp;  // of those of the launch
};

struct FindArgs {
  int64_t members, warps;
  int32_t sources;
  Source source[kMostSources];
};
static_assert(sizeof(FindArgs) <= 4'000);

KERNEL void find(FindArgs args) {
  const int64_t warp = warp_of_thread();
  if (warp >= args.warps) return;
  int32_t index = 0;
  while (index + 1 < args.sources && warp >= args.source[index + 1].first_warp) ++index;
  const Source& s = args.source[index];
  const int64_t own = warp - s.first_warp;
  const int64_t warps = (s.words_of_member + kFound * kWarp - 1) / (kFound * kWarp);
  const int64_t member = own / warps, first = own % warps * kFound * kWarp;
  const int lane = lane_of_thread();
  uint32_t words[kFound];
  int32_t count = 0;
#pragma unroll
  for (int k = 0; k < kFound; ++k) {
    const int64_t at = first + k * kWarp + lane;
    uint32_t word = at < s.words_of_member ? s.words[member * s.words_of_member + at] : 0;
    if (at == s.cells / 32) word &= (1u << (s.cells % 32)) - 1;
    if (at > s.cells / 32) word = 0;
    words[k] = word;
    count += __popc(word);
  }
  int32_t before = count;  // events of this lane and those before it
#pragma unroll
  for (int by = 1; by < kWarp; by *= 2) {
    const int32_t other = __shfl_up_sync(FULL, before, by);
    if (lane >= by) before += other;
  }
  const int32_t total = __shfl_sync(FULL, before, kWarp - 1);
  if (total == 0) return;
  int32_t start = 0;
  if (lane == 0) start = atomicAdd(s.count + member, total);
  int32_t* out = s.events + member * s.cells + __shfl_sync(FULL, start, 0) + before - count;
#pragma unroll
  for (int k = 0; k < kFound; ++k)
    for (uint32_t word = words[k]; word != 0; word &= word - 1)
      *out++ = static_cast<int32_t>(32 * (first + k * kWarp + lane) + __ffs(word) - 1);
}

struct Projection {
  const int32_t* events;  // of its source, [B, N]
  const int32_t* count;   // [B]
  const void* targets;    // [1 or B, N, F], or null for rows
  const void* delays;     // [1 or B, N, F], or null
  const int32_t* row;     // of the ring in this step, [1 or B]
  const void* weights;    // [1 or B], [1 or B, N, F]; [1 or B, N, R]
  const float* gains;     // [1 or B, N], or null
  void* out;              // float [B, depth, T]; or int32 [B, G, 2, R]: limbs of 16 and 31 bits
  void* sums;             // of lists [B, depth, T], of rows [B, G, R]; counts or Fixed
  int64_t targets_member, row_member, weights_member, gains_member;  // strides; 0: shared
  int64_t cells;          // N
  int64_t width;          // F or R
  int64_t size;           // T
  int32_t cells_of_beam, beams;
  int32_t depth;          // rows of the ring; 1 without one
  int32_t segments;       // of a list or row
  int32_t together;       // events that a warp visits together
  int32_t warps;          // of a member in this pass
  int32_t first_warp;     // of those of the launch
  int32_t round;
  bool wide;              // whether targets are uint32, not uint16
  bool long_delays;       // whether delays are uint16, not uint8
  bool single;            // whether the list has one weight
  bool levels;            // whether rows are uint16
  bool limbs;             // whether `out` takes limbs
  bool cleared;           // whether all sums are zero before ADD
  float unit;             // the weight of a level

  // Whether sums are counts of spikes, int32, not fixed-point values.
  BOTH bool counts() const { return targets && single && !gains; }
};

struct DeliverArgs {
  int32_t projections;
  int32_t warps;
  Projection projection[kMostProjections];
};
static_assert(sizeof(DeliverArgs) <= 4'000);

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
  float* out = static_cast<float*>(p.out) + at;
  if (p.counts()) {
    int32_t* sum = static_cast<int32_t*>(p.sums) + at;
    if constexpr (kPass == Pass::CLEAR) *sum = 0;
    if constexpr (kPass == Pass::ADD) atomicAdd(sum, 1);
    if constexpr (kPass == Pass::COLLECT) {
      const int32_t count = atomicExch(sum, 0);
      const float weight = static_cast<const float*>(p.weights)[member * p.weights_member];
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
      *out = NAN;
  }
  if constexpr (kPass == Pass::COLLECT) {
    const Fixed total = atomicExch(sum, Fixed{0});
    if (total) *out += from_fixed(total);
  }
}

// The places of the lists of some events are shared out among the lanes.
template <Pass kPass>
DEVICE void visit_lists(const Projection& p, int64_t member, const int32_t* cells, int count,
                        int segment) {
  const int32_t row = p.delays ? p.row[member * p.row_member] : 0;
  const int64_t start = int64_t{segment} * kPlaces, rest = p.width - start;
  const int length = static_cast<int>(rest < kPlaces ? rest : kPlaces);
  Synapse synapses[kFlight];
#pragma unroll
  for (int u = 0; u < kFlight; ++u) {
    const int k = lane_of_thread() + u * kWarp;
    synapses[u].place = -1;
    if (k < count * length)
      synapses[u] = synapse_of(p, member, row, cells[k / length], start + k % length);
  }
#pragma unroll
  for (int u = 0; u < kFlight; ++u)
    if (synapses[u].place >= 0) visit_synapse<kPass>(p, member, synapses[u]);
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

// visit(beam, first, last) for runs of events of one beam.
template <typename Visit>
DEVICE void for_beams(const Projection& p, const int32_t* cells, int count, Visit visit) {
  for (int first = 0; first < count;) {
    const int32_t beam = cells[first] / p.cells_of_beam;
    int last = first + 1;
    while (last < count && cells[last] / p.cells_of_beam == beam) ++last;
    visit(beam, first, last);
    first = last;
  }
}

// Adds up a segment of rows of uint16, of which a word of memory has `kLevels`: the sums are whole
// numbers, of levels.
template <int kLevels>
DEVICE void add_levels(const Projection& p, int64_t member, const int32_t* cells, int count,
                       int segment) {
  using Word = typename Levels<kLevels>::Word;
  constexpr int kReads = kColumns / kLevels;
  const uint16_t* table = static_cast<const uint16_t*>(p.weights) + member * p.weights_member;
  int64_t column[kReads];
#pragma unroll
  for (int r = 0; r < kReads; ++r)
    column[r] = int64_t{segment} * kSegment + (r * kWarp + lane_of_thread()) * kLevels;
  for_beams(p, cells, count, [&](int32_t beam, int from, int to) {
    uint32_t sums[kColumns] = {};
    for (int first = from; first < to; first += kFlight) {
      Word read[kFlight][kReads];
#pragma unroll
      for (int e = 0; e < kFlight; ++e)
#pragma unroll
        for (int r = 0; r < kReads; ++r) {
          read[e][r] = 0;
          if (first + e < to && column[r] < p.width)
            read[e][r] = load_once(
                reinterpret_cast<const Word*>(table + cells[first + e] * p.width + column[r]));
        }
#pragma unroll
      for (int e = 0; e < kFlight; ++e)
#pragma unroll
        for (int r = 0; r < kReads; ++r)
#pragma unroll
          for (int k = 0; k < kLevels; ++k)
            sums[r * kLevels + k] += static_cast<uint32_t>(read[e][r] >> (16 * k)) & 0xffffu;
    }
    Fixed* totals = static_cast<Fixed*>(p.sums) + (member * p.beams + beam) * p.width;
#pragma unroll
    for (int r = 0; r < kReads; ++r)
#pragma unroll
      for (int k = 0; k < kLevels; ++k)
        if (const uint32_t sum = sums[r * kLevels + k]; sum != 0)
          atomicAdd(totals + column[r] + k, Fixed{sum});
  });
}

// Where a column of a beam's rows is in `out`, or nowhere.
DEVICE float* target_of(const Projection& p, int64_t member, int64_t beam, int64_t column) {
  const int64_t target = beam * p.width + column;
  return target < p.size ? static_cast<float*>(p.out) + member * p.size + target : nullptr;
}

// Adds up a segment of rows of floats, in fixed point.
DEVICE void add_floats(const Projection& p, int64_t member, const int32_t* cells, int count,
                       int segment) {
  const float* table = static_cast<const float*>(p.weights) + member * p.weights_member;
  const float* gains = p.gains ? p.gains + member * p.gains_member : nullptr;
  for_beams(p, cells, count, [&](int32_t beam, int first, int last) {
    for (int k = 0; k < kColumns; ++k) {
      const int64_t column = int64_t{segment} * kSegment + k * kWarp + lane_of_thread();
      if (column >= p.width) return;
      Fixed sum = 0;
      bool finite = true;
#pragma unroll 4
      for (int e = first; e < last; ++e) {
        const float weight = load_once(table + cells[e] * p.width + column);
        const float value = gains ? weight * gains[cells[e]] : weight;
        finite &= fits(value);
        sum += to_fixed(value);
      }
      Fixed* sums = static_cast<Fixed*>(p.sums) + (member * p.beams + beam) * p.width;
      if (sum) atomicAdd(sums + column, sum);
      float* out = target_of(p, member, beam, column);
      if (!finite && out) *out = NAN;
    }
  });
}

// Adds the sums of rows to their targets, kColumns a thread.
DEVICE void collect_rows(const Projection& p, int64_t member, int64_t unit) {
  const int64_t segment = unit % p.segments, beam = unit / p.segments;
  const int64_t group = member * p.beams + beam;
  for (int k = 0; k < kColumns; ++k) {
    const int64_t column = segment * kSegment + k * kWarp + lane_of_thread();
    if (column >= p.width) return;
    const Fixed sum = static_cast<Fixed*>(p.sums)[group * p.width + column];
    if (p.limbs) {
      int32_t* limbs = static_cast<int32_t*>(p.out) + group * 2 * p.width + column;
      limbs[0] = static_cast<int32_t>(sum & 0xffff);
      limbs[p.width] = static_cast<int32_t>(sum >> 16);
    } else if (float* out = target_of(p, member, beam, column)) {
      // Levels in the order of `events._total`.
      const float high = static_cast<float>(static_cast<int32_t>(sum >> 16));
      const float total = high * 65'536.0f + static_cast<float>(sum & 0xffff);
      *out += p.levels ? total * p.unit : from_fixed(sum);
    }
  }
}

template <Pass kPass>
KERNEL void deliver(DeliverArgs args) {
  const int32_t warp = static_cast<int32_t>(warp_of_thread());
  if (warp >= args.warps) return;
  int32_t index = 0;
  while (index + 1 < args.projections && warp >= args.projection[index + 1].first_warp) ++index;
  const Projection& p = args.projection[index];
  const int32_t own = warp - p.first_warp;
  const int64_t member = own / p.warps;
  if (kPass == Pass::COLLECT && !p.targets) return collect_rows(p, member, own % p.warps);
  const int32_t* cells = p.events + member * p.cells;
  const int64_t count = p.count[member];
  const int64_t units = (count + p.together - 1) / p.together * p.segments;
  for (int64_t unit = own % p.warps; unit < units; unit += p.warps) {
    const int64_t first = unit / p.segments * p.together, left = count - first;
    const int segment = static_cast<int>(unit % p.segments);
    const int here = static_cast<int>(left < p.together ? left : p.together);
    if (p.targets)
      visit_lists<kPass>(p, member, cells + first, here, segment);
    else if (kPass != Pass::ADD)
      return;
    else if (!p.levels)
      add_floats(p, member, cells + first, here, segment);
    else if (p.width % 4 == 0)
      add_levels<4>(p, member, cells + first, here, segment);
    else if (p.width % 2 == 0)
      add_levels<2>(p, member, cells + first, here, segment);
    else
      add_levels<1>(p, member, cells + first, here, segment);
  }
}
