// Learning by a rule of model/plasticity/window.py: what teaching spikes add to pending updates,
// and rows whose window has closed.
//
// It is of the step before the present one, whose teaching spikes have all arrived, and comes
// before any row is summed.

#pragma once

#include "rows.h"

namespace steps {

// The teaching spikes that have reached a target.
DEVICE unsigned teaching(const Block& b, const Rule& rule, const Projection& p, int target) {
  const Population& targets = b.plan().populations[p.target];
  if (target >= targets.size) return 0;
  if (rule.taught == nullptr)
    return load_fresh(front_row(targets, b.now - 1) + target / 32) >> target % 32 & 1;
  const unsigned char* counters =
      rule.taught + copy_of(b.step() - 1, rule.copies) * rule.copy_bytes;
  return counter(reinterpret_cast<const unsigned*>(counters), rule.bits, target);
}

// Add teaching spikes to the pending updates of the unit, and take out those that are due now: what
// each spike of a source adds to the weights of each column.
DEVICE void take_updates(const Block& b, const Unit& u) {
  const Projection& p = b.plan().projections[u.projection];
  const Rule& rule = b.plan().rules[p.rule];
  const int step = b.now - 1, depth = static_cast<int>(rule.depth);
  const int64_t all = p.beams * p.fan;
  const int row = remainder(step + 1 - rule.ahead, depth);
  const float per_spike = as_float(rule.per_spike), per_pair = as_float(rule.per_pair);
  const Pair rounding = b.shared().rounding[p.rule];
  for (int from = b.warp() * 32; from < u.columns; from += b.warps() * 32) {
    const int column = from + static_cast<int>(b.lane());
    const bool exists = column < u.columns;
    float* pending = rule.pending + u.beam * p.fan + u.first;
    const unsigned count =
        exists ? teaching(b, rule, p, static_cast<int>(u.beam * p.fan) + u.first + column) : 0;
    for (uint32_t left = __ballot_sync(FULL, count != 0); left != 0; left &= left - 1) {
      const int taught = __ffs(static_cast<int>(left)) - 1;
      const float spikes = static_cast<float>(__shfl_sync(FULL, count, taught));
      for (int r = b.lane(); r < depth; r += 32)
        pending[r * all + from + taught] +=
            rule.window[remainder(step + rule.back - r, depth)] * spikes;
    }
    __syncwarp();
    if (!exists) continue;
    float& place = pending[row * all + column];
    const float due = place;
    place = due * 0.0f;
    // Rounded as XLA rounds it, which computes the sum at once and multiplies by an inverse.
    const float change = *rule.gain * fmaf(per_pair, due, per_spike) * as_float(rule.inverse);
    const float bounded = fminf(fmaxf(change, -32'767.0f), 32'766.0f);
    b.shared().levels[column] = static_cast<int>(rintf(bounded * 65'536.0f));
    b.shared().columns[column] =
        threefry(rounding, {1, static_cast<uint32_t>(u.first + column)}).a | 1;
  }
}

// The random word of a synapse, of which two of a row are drawn together: see noise.synapses.
DEVICE bool contact_exists(const Rule& rule, int cell, int column) {
  const uint32_t number = static_cast<uint32_t>(column);
  const Pair words = threefry({rule.contacts[0], rule.contacts[1]},
                              {static_cast<uint32_t>(cell), number >> 1});
  return ((number & 1 ? words.b : words.a) >> 8) < rule.share;
}

// A weight after an update that is rounded at random: see fixed.add.
DEVICE unsigned updated(unsigned weight, int levels, uint32_t dither) {
  const int change = (levels + static_cast<int>(dither >> 16)) >> 16;
  const int next = static_cast<int>(weight) + change;
  return static_cast<unsigned>(next < 0 ? 0 : next > 65'535 ? 65'535 : next);
}

// Write the weights of a cell's row, the loads `lane`, `lane` + 32, ... of the unit.
template <int kWide>
DEVICE void settle_row(const Block& b, const Unit& u, int cell, int lane, int lanes) {
  using Type = typename Packed<kWide>::Type;
  const Projection& p = b.plan().projections[u.projection];
  const Rule& rule = b.plan().rules[p.rule];
  uint16_t* row = static_cast<uint16_t*>(p.weights) + cell * p.fan + u.first;
  const Pair rounding = b.shared().rounding[p.rule];
  const uint32_t word = threefry(rounding, {0, static_cast<uint32_t>(cell)}).a | 1;
  for (int column = lane * kWide; column < u.columns; column += lanes * kWide) {
    Type* place = reinterpret_cast<Type*>(row + column);
    const Type before = *place;
    Type after = 0;
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      int levels = b.shared().levels[column + j];
      if (rule.share < kSharedAll && !contact_exists(rule, cell, u.first + column + j)) levels = 0;
      const unsigned weight = static_cast<unsigned>(before >> 16 * j) & 0xFFFF;
      const uint32_t dither = word * b.shared().columns[column + j];
      after |= static_cast<Type>(static_cast<Type>(updated(weight, levels, dither)) << 16 * j);
    }
    *place = after;
  }
}

DEVICE void settle_cell(const Block& b, const Unit& u, int cell, int lane, int lanes) {
  const int64_t width = b.plan().projections[u.projection].fan;
  if (width % 4 == 0)
    settle_row<4>(b, u, cell, lane, lanes);
  else if (width % 2 == 0)
    settle_row<2>(b, u, cell, lane, lanes);
  else
    settle_row<1>(b, u, cell, lane, lanes);
}

// Apply the updates of the step before to a unit. Its spikes may have been found ahead.
DEVICE void learn_unit(const Block& b, const Unit& u, bool found) {
  const Projection& p = b.plan().projections[u.projection];
  if (p.rule < 0) return;
  Queue& queue = b.shared().closing;
  take_updates(b, u);
  __syncthreads();
  if (!found || queue.found > queue.room) {
    __syncthreads();
    if (threadIdx.x == 0) queue.found = 0;
    __syncthreads();
    find_rows(b, u, b.shared().window_closed[p.rule], queue,
              [&](int cell) { settle_cell(b, u, cell, 0, 1); });
    __syncthreads();
  }
  const unsigned count = queue.count();
  for (unsigned at = b.warp(); at < count; at += b.warps())
    settle_cell(b, u, static_cast<int>(b.queue()[queue.first + at]),
                static_cast<int>(b.lane()), 32);
  __syncthreads();
}

OUTLINE void learn(Block b) {
  if (b.shared().units == 0) return;
  learn_unit(b, b.shared().unit, true);
  each_other_unit(b, [&](const Unit& u) { learn_unit(b, u, false); });
}

}  // namespace steps
