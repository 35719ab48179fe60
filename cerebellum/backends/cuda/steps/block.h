// What a block of the kernel in steps.cu knows: its share of the circuit, and the present step.

#pragma once

#include <cstdint>

#include "../cells/current.h"
#include "../device.h"
#include "../threefry.cuh"
#include "plan.h"

namespace steps {

constexpr int kThreads = kEmulated ? 64 : 1'024;
constexpr int kPopulations = 48, kProjections = 96, kRules = 16, kDrives = 48;
constexpr int kSegment = 128;       // most columns of rows that a block sums at once
constexpr int kEach = 4;            // cells of a lane
constexpr int kGroup = 32 * kEach;  // cells of a warp at once
constexpr size_t kGroupBytes = 3 * kGroup * sizeof(float);  // of their variables

// A block's part of some things: so many from `first` on; and how many it has of those before.
struct Share {
  int first, count, before;
};

// The part of block `block` of `blocks`. `turn` is where the first part goes, so that what is small
// does not always go to the same blocks.
DEVICE Share share_of(int64_t words, int64_t block, int64_t blocks, int64_t turn) {
  const int64_t at = (block + turn) % blocks;
  const int64_t first = at * words / blocks, last = (at + 1) * words / blocks;
  return {static_cast<int>(first), static_cast<int>(last - first), 0};
}

// The columns of rows that a block sums at once: of one beam.
struct Unit {
  int projection;
  int beam, first, columns;  // the beam, and its columns
  int first_cell, end_cell;  // sources of the beam
};

// A part of the queue of a block, and the events in it; more may have been found than fit.
struct Queue {
  unsigned first, room, found;

  DEVICE unsigned count() const { return found < room ? found : room; }
};

struct alignas(16) Shared {
  Plan plan;
  unsigned queue_at;  // offset of the queue in shared memory
  unsigned slots;     // groups whose variables lie there
  int start;          // step of the state before the launch
  const uint32_t* due[kProjections];  // spikes that a projection delivers in this step, packed
  const uint32_t* window_closed[kRules];  // spikes whose window has closed in the step before
  Pair rounding[kRules];              // key of that step
  Pair draw_key[kDrives];             // key of this step
  int draw_row[kDrives];              // row that applies, or -1; of packed spikes, the step
  int totals[kPopulations];           // spikes of this block in this step
  Share cells[kPopulations];          // groups of cells
  bool plain[kPopulations];           // those that plain.h is for
  int first_slot[kPopulations];       // places of their variables in shared memory, from this on
  current::Constants constants[kPopulations];  // where all cells of a population are alike
  // Words of the sources of lists, once for each piece of a list; delays of one step come first.
  Share lists[kProjections];
  int list_of[kProjections];          // the projection of each of `lists`
  Queue queues[kProjections];         // events of lists, by projection
  Queue rows, closing;                // events of `unit`
  Unit unit;                          // the first one of the block
  int units;                          // how many it has
  int groups;                         // of all populations
  unsigned next_group;                // that no warp has taken yet in this step
  int near_words, list_words;         // of lists with a delay of one step, and of all
  unsigned low[kSegment], high[kSegment];  // sums of columns of rows
  unsigned columns[kSegment];              // random words
  int levels[kSegment];                    // what spikes add to weights, 65,536ths of a level
};

struct Block {
  int now;  // the present step of the state

  // Its address is a constant, and so takes no register.
  DEVICE Shared& shared() const { return *shared_memory<Shared>(); }
  DEVICE const Plan& plan() const { return shared().plan; }
  DEVICE unsigned* queue() const {
    return reinterpret_cast<unsigned*>(shared_memory<unsigned char>() + shared().queue_at);
  }
  // Variables of groups, [slots][3][kGroup].
  DEVICE float* resident() const { return reinterpret_cast<float*>(&shared() + 1); }
  DEVICE unsigned lane() const { return threadIdx.x % kWarp; }
  DEVICE unsigned warp() const { return threadIdx.x / kWarp; }
  DEVICE unsigned warps() const { return kThreads / kWarp; }
  DEVICE unsigned blocks() const { return gridDim.x; }
  // The number of the present step in the launch.
  DEVICE int step() const { return now - shared().start; }
};

// The cells of a lane in a group: four side by side.
struct Group {
  int first;    // cell of this lane
  int present;  // how many of the four exist
  int local;    // number of the group among those of its population in this block

  DEVICE Group() : first(0), present(0), local(0) {}
  DEVICE Group(const Block& b, const Population& p, int number, int local) : local(local) {
    first = number * kGroup + kEach * static_cast<int>(b.lane());
    const int64_t left = p.size - first;
    present = left <= 0 ? 0 : left < kEach ? static_cast<int>(left) : kEach;
  }

  DEVICE bool has(int j) const { return j < present; }
  DEVICE unsigned mask() const { return (1u << present) - 1; }
  DEVICE int first_word() const { return first / kGroup * (kGroup / 32); }
};

// A value of each of the four cells of a lane.
struct alignas(16) Four {
  float values[kEach];
};

DEVICE int remainder(int64_t step, int64_t depth) {
  const int64_t row = step % depth;
  return static_cast<int>(row < 0 ? row + depth : row);
}

// The copy of what arrives to which a step of the launch adds, of two or three.
DEVICE unsigned copy_of(int step, int64_t copies) {
  const unsigned number = static_cast<unsigned>(step);
  return copies == 2 ? number % 2 : number % 3;
}

DEVICE uint32_t* front_row(const Population& p, int64_t step) {
  return p.front + remainder(step, kFronts) * p.words;
}

// The spikes of `step`, at least one before `now`: packed.
DEVICE const uint32_t* spikes_of(const Population& p, int64_t step, int64_t now) {
  if (now - step < kFronts) return front_row(p, step);
  return p.line + remainder(step, p.depth) * p.words;
}

DEVICE float as_float(int64_t bits) {
  const uint32_t narrow = static_cast<uint32_t>(bits);
  float value;
  memcpy(&value, &narrow, 4);
  return value;
}

// The counter of a number, of `bits` bits.
DEVICE unsigned counter(const unsigned* counters, int64_t bits, unsigned number) {
  const unsigned bit = number * static_cast<unsigned>(bits);
  return load_fresh(counters + bit / 32) >> bit % 32 & (bits == 32 ? FULL : (1u << bits) - 1);
}

DEVICE bool has_levels(const Projection& p) { return p.kind == kLevels; }

// Divide the sources of lists among the blocks, and the queue among what is found: a half of it for
// lists, and a quarter each for rows and for rows that learn.
DEVICE void divide_lists(const Block& b, unsigned queue) {
  const Plan& plan = b.plan();
  Shared& shared = b.shared();
  int before = 0, list = 0;
  for (int far = 0; far < 2; ++far) {
    for (int number = 0; number < plan.header->projections; ++number) {
      const Projection& p = plan.projections[number];
      if (has_levels(p) || (p.delay > 1) != (far == 1)) continue;
      Share& mine = shared.lists[list];
      mine = share_of(plan.populations[p.source].words * p.pieces, blockIdx.x, b.blocks(),
                      53 * number);
      mine.before = before;
      before += mine.count;
      shared.list_of[list++] = number;
    }
    if (far == 0) shared.near_words = before;
  }
  shared.list_words = before;
  const unsigned of_lists = queue / 2, of_rows = queue / 4;
  unsigned first = 0;
  for (int number = 0; number < plan.header->projections; ++number)
    shared.queues[number] = {first, 0, 0};
  for (int k = 0; k < list; ++k) {
    const int64_t count = shared.lists[k].count;
    const unsigned room = static_cast<unsigned>(of_lists * count / (before > 0 ? before : 1));
    shared.queues[shared.list_of[k]] = {first, room, 0};
    first += room;
  }
  shared.rows = {of_lists, of_rows, 0};
  shared.closing = {of_lists + of_rows, of_rows, 0};
}

// Whether four cells have counters of 4 bits for what arrives through a projection, and nobody else
// reads them.
DEVICE bool is_plain(const Projection& p) {
  return p.kind == kOneWeight && p.bits == 4 && p.copies == 2;
}

// Whether a population is one of those that plain.h is for.
DEVICE bool is_plain(const Plan& plan, const Population& p) {
  if (p.relay || p.own_constants || p.own_bias || p.traces > 0 || p.arrivals > 2) return false;
  int to_exc = 0, to_inh = 0;
  for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a) {
    const Projection& projection = plan.projections[plan.arrivals[a]];
    if (!is_plain(projection)) return false;
    ++(projection.receptor == kExc ? to_exc : to_inh);
  }
  return to_exc < 2 && to_inh < 2;
}

// Divide the circuit among the blocks.
DEVICE void divide(const Block& b, unsigned queue) {
  const Plan& plan = b.plan();
  Shared& shared = b.shared();
  if (threadIdx.x == 0) {
    int before = 0, slot = 0;
    for (int p = 0; p < plan.header->populations; ++p) {
      const Population& population = plan.populations[p];
      Share& mine = shared.cells[p];
      const int64_t groups = (population.size + kGroup - 1) / kGroup;
      mine = share_of(groups, blockIdx.x, b.blocks(), 37 * p);
      mine.before = before;
      before += mine.count;
      shared.totals[p] = 0;
      shared.first_slot[p] = slot;
      shared.plain[p] = is_plain(plan, population);
      if (population.relay) continue;
      slot += mine.count;
      if (!population.own_constants)
        memcpy(&shared.constants[p], population.constants, sizeof(current::Constants));
    }
    shared.groups = before;
    divide_lists(b, queue);
  }
  __syncthreads();
}

// Find where the spikes are that the step `now` delivers, and its keys; empty the queue.
DEVICE void prepare(const Block& b, int now) {
  const Plan& plan = b.plan();
  Shared& shared = b.shared();
  const Header& header = plan.header[0];
  if (threadIdx.x == 0) shared.rows.found = shared.closing.found = shared.next_group = 0;
  for (int i = threadIdx.x; i < header.projections; i += kThreads) {
    const Projection& p = plan.projections[i];
    shared.due[i] = spikes_of(plan.populations[p.source], now - p.delay, now);
    shared.queues[i].found = 0;
    if (p.rule >= 0) {
      const Rule& rule = plan.rules[p.rule];
      shared.window_closed[p.rule] =
          spikes_of(plan.populations[p.source], now - 1 - rule.age, now);
      const Pair key{rule.rounding[0], rule.rounding[1]};
      shared.rounding[p.rule] = threefry(key, {0, static_cast<uint32_t>(now - 1)});
    }
  }
  for (int i = threadIdx.x; i < header.drives; i += kThreads) {
    const Drive& drive = plan.drives[i];
    if (drive.starts == nullptr) {
      shared.draw_row[i] = now - shared.start;
      continue;
    }
    int row = -1;
    for (int k = 0; k < drive.rows; ++k) row += drive.starts[k] <= now;
    shared.draw_row[i] = row;
    const Pair key{drive.key[0], drive.key[1]};
    shared.draw_key[i] = threefry(key, {0, static_cast<uint32_t>(now)});
  }
}

}  // namespace steps
