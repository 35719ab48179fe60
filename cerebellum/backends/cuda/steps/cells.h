// Cells in a step: what has arrived is added, they are integrated, and their spikes are packed.
//
// A warp has 32 cells of a population at once. Arrivals of a step are added in the next one, before
// the cells are integrated, or after the last step of a launch.

#pragma once

#include "../cells/current.h"
#include "block.h"
#include "record.h"

namespace steps {

// A chance as 64 bits, with which 64 random bits are compared: see noise.below.
DEVICE bool fires(Pair key, uint32_t cell, float chance) {
  const float scaled = chance * 0x1p32f;
  if (!(scaled > 0.0f)) return false;
  if (scaled >= 0x1p32f) return true;
  const uint32_t upper = static_cast<uint32_t>(scaled);
  const uint32_t lower =
      static_cast<uint32_t>((scaled - static_cast<float>(upper)) * 0x1p32f);
  const Pair drawn = threefry(key, {0, cell});
  const uint32_t high = drawn.a ^ drawn.b;
  return high < upper || (high == upper && drawn.b < lower);
}

// Whether a relay is driven in this step.
DEVICE bool driven(const Block& b, const Population& p, int word, int cell) {
  bool any = false;
  for (int64_t d = p.first_drive; d < p.first_drive + p.drives; ++d) {
    const Drive& drive = b.plan.drives[d];
    const int64_t row = b.shared.draw_row[d];
    if (drive.starts == nullptr) {
      const uint32_t* words = static_cast<const uint32_t*>(drive.values);
      any |= words[row * drive.stride + word] >> b.lane & 1;
    } else if (row >= 0) {
      const float* chances = static_cast<const float*>(drive.values);
      const float chance = chances[row * drive.stride + (drive.stride > 1 ? cell : 0)];
      any |= fires(b.shared.draw_key[d], static_cast<uint32_t>(cell), chance);
    }
  }
  return any;
}

// A value of 32 cells after the arrivals of the step before through one projection, whose sums are
// cleared for a later step. All lanes of a warp call it.
DEVICE float add_arrivals(const Block& b, const Projection& p, float value, int word, bool exists) {
  const int before = b.step() - 1, cell = word * 32 + static_cast<int>(b.lane);
  unsigned char* sums = p.sums + before % p.copies * p.copy_bytes;
  // Others may still read the sums of a teacher, of which there are three copies.
  unsigned char* stale = p.sums + (p.copies > 2 ? b.step() + 1 : before) % p.copies * p.copy_bytes;
  if (p.kind == kOneWeight) {
    const int bits = static_cast<int>(p.bits), bit = static_cast<int>(b.lane) * bits;
    const int at = word * bits + bit / 32;
    const unsigned held = load_fresh(reinterpret_cast<unsigned*>(sums) + at);
    const unsigned count = held >> bit % 32 & (bits == 32 ? FULL : (1u << bits) - 1);
    __syncwarp();
    if (bit % 32 == 0 && (held != 0 || p.copies > 2)) reinterpret_cast<unsigned*>(stale)[at] = 0;
    if (count != 0) value = value + *static_cast<const float*>(p.weights) * static_cast<float>(count);
    return value;
  }
  if (!exists) return value;
  if (p.taught != nullptr)
    p.taught[(b.step() + 1) % p.copies * b.plan.populations[p.target].size + cell] = 0;
  if (p.kind == kOwnWeights || p.kind == kRows) {
    const long long sum = load_fresh(reinterpret_cast<long long*>(sums) + cell);
    if (sum != 0 || p.copies > 2) reinterpret_cast<long long*>(stale)[cell] = 0;
    if (sum == 0) return value;
    return value + static_cast<float>(static_cast<double>(sum) * 0x1p-32);
  }
  const unsigned long long sum = load_fresh(reinterpret_cast<unsigned long long*>(sums) + cell);
  const float upper = static_cast<float>(sum >> 16), lower = static_cast<float>(sum & 0xFFFF);
  return value + (upper * 65'536.0f + lower) * as_float(p.unit);
}

DEVICE current::Constants constants_of(const Population& p, int cell) {
  current::Constants c;
  float* fields = reinterpret_cast<float*>(&c);
  constexpr int kFields = sizeof(c) / sizeof(float);
  for (int k = 0; k < kFields; ++k)
    fields[k] = p.own_constants ? p.constants[k * p.size + cell] : p.constants[k];
  return c;
}

DEVICE uint32_t refractory_of(const Population& p, int cell) {
  return p.wide ? static_cast<uint16_t*>(p.refractory)[cell]
                : static_cast<uint8_t*>(p.refractory)[cell];
}

DEVICE void set_refractory(const Population& p, int cell, uint32_t steps) {
  if (p.wide)
    static_cast<uint16_t*>(p.refractory)[cell] = static_cast<uint16_t>(steps);
  else
    static_cast<uint8_t*>(p.refractory)[cell] = static_cast<uint8_t>(steps);
}

// 32 relays: whether each fires.
DEVICE bool relays(const Block& b, const Population& p, int word, int cell, bool exists, bool last) {
  if (p.repeats) return !last && exists && driven(b, p, word, cell);
  float arrived = 0.0f;
  if (b.step() == 0)
    arrived = exists ? p.v[cell] : 0.0f;
  else
    for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a)
      arrived = add_arrivals(b, b.plan.projections[b.plan.arrivals[a]], arrived, word, exists);
  if (last && exists) p.v[cell] = arrived;
  return !last && exists && (arrived > 0.0f || driven(b, p, word, cell));
}

// 32 current-based cells: whether each fires.
DEVICE bool currents(const Block& b, const Population& p, int word, int cell, bool exists,
                     bool last) {
  current::Cell state{};
  if (exists) state = {p.v[cell], p.exc[cell], p.inh[cell], refractory_of(p, cell)};
  if (b.step() > 0) {
    for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a) {
      const Projection& projection = b.plan.projections[b.plan.arrivals[a]];
      float& receptor = projection.receptor == kExc ? state.exc : state.inh;
      receptor = add_arrivals(b, projection, receptor, word, exists);
    }
    for (int64_t r = p.first_trace; r < p.first_trace + p.traces; ++r)
      trace(b, b.plan.recorders[r], word, cell, exists, state);
  }
  bool fired = false;
  if (!last && exists)
    fired = current::advance(constants_of(p, cell), p.bias[p.own_bias ? cell : 0], state);
  if (exists) {
    p.v[cell] = state.v;
    p.exc[cell] = state.exc;
    p.inh[cell] = state.inh;
    set_refractory(p, cell, state.refractory);
  }
  return fired;
}

// All cells of the block. In the step after the `last` one they only take what has arrived.
DEVICE void advance_cells(const Block& b, bool last) {
  Shared& shared = b.shared;
  int number = 0;
  for (int i = b.warp; i < shared.words; i += b.warps) {
    while (i >= shared.cells[number].before + shared.cells[number].count) ++number;
    const Population& p = b.plan.populations[number];
    const int word = shared.cells[number].first + i - shared.cells[number].before;
    const int cell = word * 32 + static_cast<int>(b.lane);
    const bool exists = cell < p.size;
    const bool fired = p.relay ? relays(b, p, word, cell, exists, last)
                               : currents(b, p, word, cell, exists, last);
    const uint32_t all = __ballot_sync(FULL, fired);
    if (last || b.lane != 0) continue;
    const uint32_t sent = p.alive == nullptr ? all : all & p.alive[word];
    front_row(p, b.now)[word] = sent;
    if (p.raster != nullptr) p.raster[b.step() * p.words + word] = sent;
    if (sent != 0) atomicAdd(shared.totals + number, __popc(sent));
  }
}

// The spikes of `step` go from the front into the delay lines.
DEVICE void into_lines(const Block& b, int step) {
  if (step < b.start) return;
  for (int number = 0; number < b.plan.header->populations; ++number) {
    const Population& p = b.plan.populations[number];
    const Share& mine = b.shared.cells[number];
    if (p.line == nullptr) continue;
    uint32_t* row = p.line + remainder(step, p.depth) * p.words;
    for (int i = threadIdx.x; i < mine.count; i += blockDim.x)
      row[mine.first + i] = front_row(p, step)[mine.first + i];
  }
}

// The spikes of the steps before the launch come from the delay lines into the front.
DEVICE void from_lines(const Block& b) {
  for (int number = 0; number < b.plan.header->populations; ++number) {
    const Population& p = b.plan.populations[number];
    const Share& mine = b.shared.cells[number];
    if (p.line == nullptr) continue;
    for (int age = 1; age < kFronts - 1 && age <= p.depth; ++age) {
      const uint32_t* row = p.line + remainder(b.start - age, p.depth) * p.words;
      for (int i = threadIdx.x; i < mine.count; i += blockDim.x)
        front_row(p, b.start - age)[mine.first + i] = row[mine.first + i];
    }
  }
}

}  // namespace steps
