// Cells in a step: what has arrived is added, they are integrated, and their spikes are packed.
//
// A warp has a group of cells at once, four to a lane. As many groups as fit lie in shared memory
// for the whole launch, the others where the state lies. Arrivals of a step are added in the next
// one, before the cells are integrated, or after the last step.

#pragma once

#include "arrivals.h"
#include "places.h"
#include "plain.h"
#include "record.h"

namespace steps {

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
      for (int j = 0; j < kEach; ++j) {
        if (!g.has(j)) continue;
        const float chance = chances[drive.stride > 1 ? g.first + j : 0];
        const Pair counter{0, static_cast<uint32_t>(g.first + j)};
        if (chance > 0.0f && below(threefry(b.shared().draw_key[d], counter), chance))
          any |= 1u << j;
      }
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

OUTLINE current::Constants constants_of(const Population& p, int cell) {
  current::Constants c;
  float* fields = reinterpret_cast<float*>(&c);
  constexpr int kFields = sizeof(c) / sizeof(float);
  for (int k = 0; k < kFields; ++k) fields[k] = p.constants[k * p.size + cell];
  return c;
}

// Four current-based cells: which of them fire, a bit each.
OUTLINE unsigned currents(Block b, const Population& p, int number, Group g, bool last) {
  const Place place = place_of(b, p, number, g);
  Four v = get(place.v, place, g), exc = get(place.exc, place, g), inh = get(place.inh, place, g);
  if (b.step() > 0)
    for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a) {
      const Projection& projection = b.plan().projections[b.plan().arrivals[a]];
      const bool to_exc = projection.receptor == kExc;
      const Four four = add_arrivals(b, projection, g, to_exc ? exc : inh);
      exc = to_exc ? four : exc;
      inh = to_exc ? inh : four;
    }
  unsigned fired = 0;
  const current::Constants& alike = b.shared().constants[number];
  if (b.step() > 0) {
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
      const current::Constants c = p.own_constants ? constants_of(p, own) : alike;
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

// All cells of the block. In the step after the `last` one they only take what has arrived.
OUTLINE void advance_cells(Block b, bool last) {
  const Shared& shared = b.shared();
  int index = take_group(b), number = 0;
  while (index < shared.groups) {
    const Share& mine = shared.cells[number];
    const int local = index - mine.before;
    if (local >= mine.count) {
      ++number;
    } else if (shared.plain[number]) {
      index = advance_plain(b, number, index, last);
    } else {
      const Population& p = b.plan().populations[number];
      const Group group(b, p, mine.first + local, local);
      const unsigned fired = p.relay ? relays(b, p, group, last)
                                     : currents(b, p, number, group, last);
      if (!last) send(b, p, number, group, fired);
      index = take_group(b);
    }
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
