// Cells in a step: what has arrived is added, they are integrated, and their spikes are packed.
//
// A warp has a group of cells at once, four to a lane. As many groups as fit lie in shared memory
// for the whole launch, the others where the state lies. Arrivals of a step are added in the next
// one, before the cells are integrated, or after the last step.

#pragma once

#include "arrivals.h"
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

// Which of four relays are driven in this step, a bit each.
DEVICE unsigned driven(const Block& b, const Population& p, const Group& g) {
  unsigned any = 0;
  for (int64_t d = p.first_drive; d < p.first_drive + p.drives; ++d) {
    const Drive& drive = b.plan().drives[d];
    const int64_t row = b.shared().draw_row[d];
    if (drive.starts == nullptr) {
      const int word = g.first / 32;
      if (word >= p.words) continue;
      const uint32_t* words = static_cast<const uint32_t*>(drive.values) + row * drive.stride;
      any |= words[word] >> g.first % 32;
    } else if (row >= 0) {
      const float* chances = static_cast<const float*>(drive.values) + row * drive.stride;
      for (int j = 0; j < kEach; ++j)
        if (g.has(j) && fires(b.shared().draw_key[d], static_cast<uint32_t>(g.first + j),
                              chances[drive.stride > 1 ? g.first + j : 0]))
          any |= 1u << j;
    }
  }
  return any & g.mask();
}

// Four relays: which of them fire, a bit each.
OUTLINE unsigned relays(Block b, const Population& p, Group g, bool last) {
  if (p.repeats) return last ? 0 : driven(b, p, g);
  Four arrived{};
  if (b.step() == 0) {
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      if (g.has(j)) arrived.values[j] = p.v[g.first + j];
  } else {
    for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a)
      arrived = add_arrivals(b, b.plan().projections[b.plan().arrivals[a]], g, arrived);
  }
  if (last) {
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      if (g.has(j)) p.v[g.first + j] = arrived.values[j];
    return 0;
  }
  unsigned fired = driven(b, p, g);
#pragma unroll
  for (int j = 0; j < kEach; ++j) fired |= (arrived.values[j] > 0.0f) << j;
  return fired & g.mask();
}

// A voltage, or what is left of a refractory period: then the voltage is that of the reset.
constexpr uint32_t kSilent = 0x7FFF;  // upper half of a number that is none

DEVICE float as_voltage(float v, uint32_t refractory) {
  if (refractory == 0) return v;
  const uint32_t bits = kSilent << 16 | refractory;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

DEVICE current::Cell as_cell(float v, float exc, float inh, float v_reset) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  const bool silent = bits >> 16 == kSilent;
  return {silent ? v_reset : v, exc, inh, silent ? bits & 0xFFFF : 0};
}

// Where the variables of a group lie, those of this lane first.
struct Place {
  float *v, *exc, *inh;
  bool whole;  // whether all four may be read and written at once
};

DEVICE Place place_of(const Block& b, const Population& p, int number, const Group& g) {
  const int slot = b.shared().first_slot[number] + g.local;
  if (slot < static_cast<int>(b.shared().slots)) {
    float* at = b.resident() + slot * 3 * kGroup + kEach * b.lane();
    return {at, at + kGroup, at + 2 * kGroup, true};
  }
  return {p.v + g.first, p.exc + g.first, p.inh + g.first, g.has(kEach - 1)};
}

DEVICE Four get(const float* at, const Place& place, const Group& g) {
  if (place.whole) return *reinterpret_cast<const Four*>(at);
  Four four{};
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    if (g.has(j)) four.values[j] = at[j];
  return four;
}

DEVICE void put(float* at, const Four& four, const Place& place, const Group& g) {
  if (place.whole) {
    *reinterpret_cast<Four*>(at) = four;
    return;
  }
#pragma unroll
  for (int j = 0; j < kEach; ++j)
    if (g.has(j)) at[j] = four.values[j];
}

OUTLINE current::Constants constants_of(const Population& p, int cell) {
  current::Constants c;
  float* fields = reinterpret_cast<float*>(&c);
  constexpr int kFields = sizeof(c) / sizeof(float);
  for (int k = 0; k < kFields; ++k) fields[k] = p.constants[k * p.size + cell];
  return c;
}

// Four current-based cells: which of them fire, a bit each.
//
// `kPlain`: all cells are alike, all that arrives was fetched, and no variable is recorded.
template <bool kPlain>
DEVICE unsigned currents(const Block& b, const Population& p, int number, const Group& g,
                         const Counters& counters, bool last) {
  const Place place = place_of(b, p, number, g);
  Four v = get(place.v, place, g), exc = get(place.exc, place, g), inh = get(place.inh, place, g);
  if (b.step() > 0)
    for (int a = 0; a < p.arrivals; ++a) {
      const Projection& projection = b.plan().projections[b.plan().arrivals[p.first_arrival + a]];
      const bool to_exc = projection.receptor == kExc;
      Four four = to_exc ? exc : inh;
      if (kPlain || (a < kFetched && is_small(projection)))
        four = add_counters(b, projection, g, a == 0 ? counters.held[0] : counters.held[1], four);
      else
        four = add_arrivals(b, projection, g, four);
      exc = to_exc ? four : exc;
      inh = to_exc ? inh : four;
    }
  unsigned fired = 0;
  const current::Constants& alike = b.shared().constants[number];
  if (!kPlain && b.step() > 0 && p.traces > 0) {
    for (int64_t r = p.first_trace; r < p.first_trace + p.traces; ++r)
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        const float reset =
            p.own_constants && g.has(j) ? constants_of(p, g.first + j).v_reset : alike.v_reset;
        const current::Cell cell = as_cell(v.values[j], exc.values[j], inh.values[j], reset);
        trace(b, b.plan().recorders[r], g, j, cell);
      }
  }
  if (!last) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int own = g.has(j) ? g.first + j : 0;
      const current::Constants c = !kPlain && p.own_constants ? constants_of(p, own) : alike;
      current::Cell cell = as_cell(v.values[j], exc.values[j], inh.values[j], c.v_reset);
      fired |= static_cast<unsigned>(current::advance(c, p.bias[p.own_bias ? own : 0], cell)) << j;
      v.values[j] = as_voltage(cell.v, cell.refractory);
      exc.values[j] = cell.exc;
      inh.values[j] = cell.inh;
    }
    put(place.v, v, place, g);
  }
  put(place.exc, exc, place, g);
  put(place.inh, inh, place, g);
  return fired & g.mask();
}

OUTLINE unsigned any_currents(Block b, const Population& p, int number, Group g,
                              Counters counters, bool last) {
  return currents<false>(b, p, number, g, counters, last);
}

// Eight bits, each to the first of four.
DEVICE uint32_t spread(uint32_t bits) {
  bits = (bits | bits << 12) & 0x000F000F;
  bits = (bits | bits << 6) & 0x03030303;
  return (bits | bits << 3) & 0x11111111;
}

// Write the spikes of a group, of which each lane has four.
DEVICE void send(const Block& b, const Population& p, int number, const Group& g, unsigned fired) {
  uint32_t sent = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) {
    const uint32_t votes = __ballot_sync(FULL, fired >> j & 1);
    sent |= spread(votes >> 8 * (b.lane() % kEach) & 0xFF) << j;
  }
  const int64_t word = g.first_word() + b.lane();
  if (b.lane() >= kGroup / 32 || word >= p.words) return;
  if (p.alive != nullptr) sent &= p.alive[word];
  front_row(p, b.now)[word] = sent;
  if (p.raster != nullptr) p.raster[b.step() * p.words + word] = sent;
  if (sent != 0) atomicAdd(b.shared().totals + number, __popc(sent));
}

// The next group of a warp, with counters that are fetched while the one before is computed.
struct Next {
  int index;   // of the group among those of the block, or beyond them
  int number;  // of its population
  Group group;
  Counters counters;
};

// Take the next group that no warp of the block has.
DEVICE Next take_group(const Block& b, int number) {
  Shared& shared = b.shared();
  unsigned taken = 0;
  if (b.lane() == 0) taken = atomicAdd(&shared.next_group, 1u);
  const int index = static_cast<int>(__shfl_sync(FULL, taken, 0));
  if (index >= shared.groups) return {index, number, {}, {}};
  while (index >= shared.cells[number].before + shared.cells[number].count) ++number;
  const Population& p = b.plan().populations[number];
  const int local = index - shared.cells[number].before;
  const Group group(b, p, shared.cells[number].first + local, local);
  return {index, number, group, fetch(b, p, group)};
}

// All cells of the block. In the step after the `last` one they only take what has arrived.
OUTLINE void advance_cells(Block b, bool last) {
  const int groups = b.shared().groups;
  Next next = take_group(b, 0);
  while (next.index < groups) {
    const Next here = next;
    next = take_group(b, here.number);
    const Population& p = b.plan().populations[here.number];
    const unsigned fired =
        p.relay ? relays(b, p, here.group, last)
        : b.shared().plain[here.number]
            ? currents<true>(b, p, here.number, here.group, here.counters, last)
            : any_currents(b, p, here.number, here.group, here.counters, last);
    if (!last) send(b, p, here.number, here.group, fired);
  }
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

// visit(population, its number, group) for the groups of current-based cells of the block.
template <typename Visit>
DEVICE void each_group(const Block& b, Visit visit) {
  for (int number = 0; number < b.plan().header->populations; ++number) {
    const Population& p = b.plan().populations[number];
    const Share& mine = b.shared().cells[number];
    for (int local = b.warp(); !p.relay && local < mine.count; local += b.warps())
      visit(p, number, Group(b, p, mine.first + local, local));
  }
}

// Bring the cells to where they are during the launch.
DEVICE void take_cells(const Block& b) {
  each_group(b, [&](const Population& p, int number, const Group& g) {
    const Place place = place_of(b, p, number, g);
    for (int j = 0; j < kEach; ++j) {
      const int cell = g.first + j;
      // Places that are no cells are computed, too, and never fire.
      if (g.has(j)) {
        place.v[j] = as_voltage(p.v[cell], refractory_of(p, cell));
        place.exc[j] = p.exc[cell];
        place.inh[j] = p.inh[cell];
      } else if (place.whole) {
        place.v[j] = place.exc[j] = place.inh[j] = 0.0f;
      }
    }
  });
}

// Bring them back.
DEVICE void return_cells(const Block& b) {
  each_group(b, [&](const Population& p, int number, const Group& g) {
    const Place place = place_of(b, p, number, g);
    for (int j = 0; j < kEach; ++j) {
      const int cell = g.first + j;
      if (!g.has(j)) continue;
      const float reset =
          p.own_constants ? constants_of(p, cell).v_reset : b.shared().constants[number].v_reset;
      const current::Cell own = as_cell(place.v[j], place.exc[j], place.inh[j], reset);
      p.v[cell] = own.v;
      p.exc[cell] = own.exc;
      p.inh[cell] = own.inh;
      set_refractory(p, cell, own.refractory);
    }
  });
}

}  // namespace steps
