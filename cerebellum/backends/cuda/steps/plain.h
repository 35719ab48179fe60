// The cells of the largest populations: all alike, and nothing arrives but spikes through at most
// one projection onto each receptor, in counters of 4 bits. It is `currents` of cells.h with what
// is the same for all groups taken out of the loop, and with what is rare behind branches.

#pragma once

#include "../cells/current.h"
#include "../fixed.cuh"
#include "arrivals.h"
#include "places.h"
#include "send.h"

namespace steps {

// The number of the next group of the block that no warp has taken in this step, or one beyond
// all of them.
DEVICE int take_group(const Block& b) {
  unsigned taken = 0;
  if (b.lane() == 0) taken = atomicAdd(&b.shared().next_group, 1u);
  return static_cast<int>(__shfl_sync(FULL, taken, 0));
}

// What arrives at one receptor: 16 bits for the four cells of a lane.
struct Inflow {
  unsigned short* counters;  // or none
  float weight;

  DEVICE Inflow(const Block& b, const Population& p, Receptor receptor)
      : counters(nullptr), weight(0.0f) {
    if (b.step() == 0) return;
    for (int64_t a = p.first_arrival; a < p.first_arrival + p.arrivals; ++a) {
      const Projection& projection = b.plan().projections[b.plan().arrivals[a]];
      if (projection.receptor != receptor) continue;
      counters = reinterpret_cast<unsigned short*>(sums_of(projection, b.step() - 1));
      weight = weight_of(projection);
    }
  }

  DEVICE unsigned fetch(int at) const {
    return counters == nullptr ? 0 : load_fresh(counters + at);
  }

  // Add what was fetched, and clear it.
  DEVICE void add(unsigned held, int at, Four& four) const {
    if (held == 0) return;
    counters[at] = 0;
    const bool once = (held & 0xEEEE) == 0;  // no counter above 1
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      if (once)
        four.values[j] = held & 1u << 4 * j ? four.values[j] + weight : four.values[j];
      else
        four.values[j] = add_times(four.values[j], weight, held >> 4 * j & 15);
    }
  }
};

// What stands for the voltage of a silent cell one step later.
DEVICE float one_step_less(float v, float v_reset) {
  const current::Cell cell = as_cell(v, 0.0f, 0.0f, v_reset);
  return cell.refractory == 0 ? v : as_voltage(v_reset, cell.refractory - 1);
}

// The groups of a population from the one of number `index` on that this warp can take. Returns the
// number of the first group that it has taken of another population.
DEVICE int advance_plain(const Block& b, int number, int index, bool last) {
  const Population& p = b.plan().populations[number];
  const Share mine = b.shared().cells[number];
  const int end = mine.before + mine.count;
  const current::Constants c = b.shared().constants[number];
  const float bias = p.bias[0];
  const float after_spike = as_voltage(c.v_reset, static_cast<uint32_t>(c.period));
  const Inflow to_exc(b, p, kExc), to_inh(b, p, kInh);
  const auto place_in_sums = [&](int index) {
    return (mine.first + index - mine.before) * kWarp + static_cast<int>(b.lane());
  };
  unsigned exc_held = to_exc.fetch(place_in_sums(index));
  unsigned inh_held = to_inh.fetch(place_in_sums(index));
  while (index < end) {
    const int next = take_group(b), at = place_in_sums(index);
    const unsigned exc_now = exc_held, inh_now = inh_held;
    if (next < end) {
      // They come while this group is computed.
      exc_held = to_exc.fetch(place_in_sums(next));
      inh_held = to_inh.fetch(place_in_sums(next));
    }
    const int local = index - mine.before;
    const Group g(b, p, mine.first + local, local);
    const Place place = place_of(b, p, number, g);
    Four v = get(place.v, place, g), exc = get(place.exc, place, g), inh = get(place.inh, place, g);
    to_exc.add(exc_now, at, exc);
    to_inh.add(inh_now, at, inh);
    if (!last) {
      unsigned fired = 0;
      bool silent = false;
      Four reached;
#pragma unroll
      for (int j = 0; j < kEach; ++j) {
        // The voltage of a silent cell is no number, and below no threshold.
        reached.values[j] =
            current::integrated(c, bias, v.values[j], exc.values[j], inh.values[j]);
        silent |= v.values[j] != v.values[j];
        fired |= static_cast<unsigned>(reached.values[j] >= c.v_th) << j;
        exc.values[j] *= c.keep_exc;
        inh.values[j] *= c.keep_inh;
      }
      if (silent || fired != 0) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
          if (v.values[j] != v.values[j]) reached.values[j] = one_step_less(v.values[j], c.v_reset);
          if (fired >> j & 1) reached.values[j] = after_spike;
        }
      }
      put(place.v, reached, place, g);
      send(b, p, number, g, fired & g.mask());
    }
    put(place.exc, exc, place, g);
    put(place.inh, inh, place, g);
    index = next;
  }
  return index;
}

}  // namespace steps
