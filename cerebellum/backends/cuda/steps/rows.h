// Rows of uint16 weights: sums of the rows of spikes, and learning.
//
// A unit is some columns of the rows of one beam, at most kSegment. It belongs to one block, which
// alone reads and writes its weights and pending updates.

#pragma once

#include "block.h"

namespace steps {

DEVICE int ceiling(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// Columns of the units of a projection: a multiple of 32, such that all blocks have some.
DEVICE int segment_of(const Block& b, const Projection& p) {
  const int64_t all = p.beams * b.plan().header->row_projections;
  const int64_t each = b.blocks() / all > 1 ? b.blocks() / all : 1;
  const int columns = ceiling(ceiling(p.fan, each), 32) * 32;
  return columns < kSegment ? columns : kSegment;
}

// visit(unit) for the units of the block, in the same order in every step.
template <typename Visit>
DEVICE void each_unit(const Block& b, Visit visit) {
  int64_t before = 0;
  for (int number = 0; number < b.plan().header->projections; ++number) {
    const Projection& p = b.plan().projections[number];
    if (p.kind != kLevels) continue;
    const int segment = segment_of(b, p), pieces = ceiling(p.fan, segment);
    const int64_t units = p.beams * pieces;
    const int64_t skipped = (blockIdx.x + b.blocks() - before % b.blocks()) % b.blocks();
    for (int64_t unit = skipped; unit < units; unit += b.blocks()) {
      const int beam = static_cast<int>(unit / pieces);
      const int first = static_cast<int>(unit % pieces) * segment;
      const int left = static_cast<int>(p.fan) - first;
      const int64_t size = b.plan().populations[p.source].size;
      const int64_t from = beam * p.beam_sources;
      const int64_t end = from + p.beam_sources < size ? from + p.beam_sources : size;
      visit(Unit{number, beam, first, left < segment ? left : segment, static_cast<int>(from),
                 static_cast<int>(end)});
    }
    before += units;
  }
}

// Keep the first unit of the block, and the number of its units.
DEVICE void divide_rows(const Block& b) {
  if (threadIdx.x == 0) {
    int units = 0;
    each_unit(b, [&](const Unit& u) {
      if (units++ == 0) b.shared().unit = u;
    });
    b.shared().units = units;
  }
  for (int column = threadIdx.x; column < kSegment; column += kThreads)
    b.shared().low[column] = b.shared().high[column] = 0;
  __syncthreads();
}

// visit(unit) for the units of the block but the first.
template <typename Visit>
DEVICE void each_other_unit(const Block& b, Visit visit) {
  if (b.shared().units < 2) return;
  bool other = false;
  each_unit(b, [&](const Unit& u) {
    if (other) visit(u);
    other = true;
  });
}

// Find the spikes of the sources of a unit. What the queue has no room for, alone(cell) does.
template <typename Alone>
DEVICE void find_rows(const Block& b, const Unit& u, const uint32_t* spikes, Queue& queue,
                      Alone alone) {
  constexpr int kAhead = 4;  // words that a thread fetches at once
  const Projection& p = b.plan().projections[u.projection];
  const int first = u.first_cell / 32, end = ceiling(u.end_cell, 32);
  for (int at = first + static_cast<int>(threadIdx.x); at < end; at += kAhead * kThreads) {
    uint32_t words[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      words[k] = at + k * kThreads < end ? load_fresh(spikes + at + k * kThreads) : 0;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      for (uint32_t left = words[k]; left != 0; left &= left - 1) {
        const int cell = (at + k * kThreads) * 32 + __ffs(static_cast<int>(left)) - 1;
        if (cell < u.first_cell || cell >= u.end_cell) continue;
        const unsigned place = atomicAdd(&queue.found, 1u);
        if (place < queue.room) {
          b.queue()[queue.first + place] = static_cast<unsigned>(cell);
          const uint16_t* row = static_cast<const uint16_t*>(p.weights) + cell * p.fan + u.first;
          prefetch(row);
          prefetch(row + u.columns - 1);
        } else {
          alone(cell);
        }
      }
    }
  }
}

// Add to the sum of a column, in two limbs of 32 bits of which the upper one is in units of 2^16.
DEVICE void add_to_column(Shared& shared, int column, unsigned value) {
  const unsigned before = atomicAdd(shared.low + column, value);
  if (before + value < before) atomicAdd(shared.high + column, 65'536u);
}

// Weights side by side, and their type: as many as the alignment of rows permits.
template <int kWide>
struct Packed;
template <>
struct Packed<1> {
  using Type = unsigned short;
};
template <>
struct Packed<2> {
  using Type = unsigned;
};
template <>
struct Packed<4> {
  using Type = unsigned long long;
};

// The places of a lane in a segment: four columns, in loads of kWide.
template <int kWide>
struct Lane {
  using Type = typename Packed<kWide>::Type;
  static constexpr int kLoads = 4 / kWide;

  unsigned lane;

  DEVICE int column(int load) const { return (load * 32 + static_cast<int>(lane)) * kWide; }
};

template <int kWide>
DEVICE void sum_rows_of(const Block& b, const Unit& u, unsigned first, unsigned warps) {
  using Places = Lane<kWide>;
  using Type = typename Places::Type;
  constexpr int kAhead = 4;  // rows that a warp fetches at once
  const Projection& p = b.plan().projections[u.projection];
  const uint16_t* weights = static_cast<const uint16_t*>(p.weights) + u.first;
  const Places places{b.lane()};
  const unsigned* cells = b.queue() + b.shared().rows.first;
  const unsigned count = b.shared().rows.count();  // so few that no sum of 32 bits overflows
  unsigned sums[4] = {};
  for (unsigned at = b.warp() - first; at < count; at += kAhead * warps) {
    Type held[kAhead][Places::kLoads];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const bool real = at + k * warps < count;
      const uint16_t* row = weights + (real ? cells[at + k * warps] * p.fan : 0);
#pragma unroll
      for (int load = 0; load < Places::kLoads; ++load) {
        const int column = places.column(load);
        held[k][load] = real && column < u.columns
                            ? load_once(reinterpret_cast<const Type*>(row + column))
                            : Type{0};
      }
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
#pragma unroll
      for (int load = 0; load < Places::kLoads; ++load)
#pragma unroll
        for (int j = 0; j < kWide; ++j)
          sums[load * kWide + j] += static_cast<unsigned>(held[k][load] >> 16 * j) & 0xFFFF;
  }
#pragma unroll
  for (int load = 0; load < Places::kLoads; ++load)
#pragma unroll
    for (int j = 0; j < kWide; ++j)
      if (const int column = places.column(load) + j; column < u.columns && sums[load * kWide + j])
        add_to_column(b.shared(), column, sums[load * kWide + j]);
}

// Sum the rows of the queue, by `warps` warps of the block from `first` on.
DEVICE void sum_rows(const Block& b, const Unit& u, unsigned first, unsigned warps) {
  const int64_t width = b.plan().projections[u.projection].fan;
  if (width % 4 == 0)
    sum_rows_of<4>(b, u, first, warps);
  else if (width % 2 == 0)
    sum_rows_of<2>(b, u, first, warps);
  else
    sum_rows_of<1>(b, u, first, warps);
}

DEVICE void sum_row_alone(const Block& b, const Unit& u, int cell) {
  const Projection& p = b.plan().projections[u.projection];
  const uint16_t* row = static_cast<const uint16_t*>(p.weights) + cell * p.fan + u.first;
  for (int column = 0; column < u.columns; ++column) add_to_column(b.shared(), column, row[column]);
}

// Write the sums of a unit, and clear them for the next one.
DEVICE void write_columns(const Block& b, const Unit& u) {
  const Projection& p = b.plan().projections[u.projection];
  unsigned char* copy = p.sums + copy_of(b.step(), p.copies) * p.copy_bytes;
  auto* sums = reinterpret_cast<unsigned long long*>(copy) + u.beam * p.fan + u.first;
  for (int column = threadIdx.x; column < u.columns; column += kThreads) {
    sums[column] = (static_cast<unsigned long long>(b.shared().high[column]) << 16) +
                   b.shared().low[column];
    b.shared().low[column] = b.shared().high[column] = 0;
  }
}

}  // namespace steps
