// Delivery through lists, and rows of floats: the spikes of a block's part of the source cells,
// into sums that all blocks add to. Sums are integers, so that their order changes nothing.

#pragma once

#include "../fixed.cuh"
#include "block.h"

namespace steps {

// Where a projection adds what arrives in this step.
struct Sums {
  unsigned char* weights;
  unsigned* taught;  // or none
  unsigned targets;

  DEVICE Sums(const Block& b, const Projection& p)
      : targets(static_cast<unsigned>(b.plan().populations[p.target].size)) {
    const unsigned copy = copy_of(b.step(), p.copies);
    weights = p.sums + copy * p.copy_bytes;
    taught = p.taught == nullptr ? nullptr : p.taught + copy * targets;
  }
};

// Adds spikes to counters of targets.
struct AddOne {
  unsigned* counters;
  unsigned bits;

  DEVICE AddOne(const Projection& p, const Sums& sums)
      : counters(reinterpret_cast<unsigned*>(sums.weights)), bits(static_cast<unsigned>(p.bits)) {}

  DEVICE void operator()(unsigned target, int64_t) const {
    const unsigned bit = target * bits;
    add_global(counters + bit / 32, 1u << bit % 32);
  }
};

// Adds the weight of place `at` of all lists or rows to the sum of a target.
struct AddWeight {
  const float* weights;
  Fixed* sums;
  unsigned* taught;
  bool rows;

  DEVICE AddWeight(const Projection& p, const Sums& sums)
      : weights(static_cast<const float*>(p.weights)),
        sums(reinterpret_cast<Fixed*>(sums.weights)),
        taught(sums.taught),
        rows(p.kind == kRows) {}

  DEVICE void operator()(unsigned target, int64_t at) const {
    const float weight = load_once(weights + at);
    if (weight != 0.0f) add_global(sums + target, to_fixed(weight));
    // A row has zeros where there is no contact.
    if (taught != nullptr && (!rows || weight > 0.0f)) add_global(taught + target, 1u);
  }
};

// The places of an event: a piece of the list or row of a source cell.
struct Piece {
  int64_t list;         // first place of the list
  unsigned first, end;  // places of the piece in the list

  DEVICE Piece(const Projection& p, unsigned event) {
    const unsigned pieces = static_cast<unsigned>(p.pieces), fan = static_cast<unsigned>(p.fan);
    const unsigned length = static_cast<unsigned>(p.piece);
    const unsigned cell = pieces == 1 ? event : event / pieces;
    list = static_cast<int64_t>(cell) * fan;
    first = (event - cell * pieces) * length;
    end = fan - first < length ? fan : first + length;
  }
};

template <typename Target, typename Add>
DEVICE void deliver_list(const Projection& p, unsigned targets, const Piece& piece, unsigned lane,
                         unsigned lanes, const Add& add) {
  constexpr int kAhead = 4;  // targets that a lane fetches at once
  const Target* list = static_cast<const Target*>(p.targets) + piece.list;
  for (unsigned at = piece.first + lane; at < piece.end; at += kAhead * lanes) {
    unsigned target[kAhead];
#pragma unroll
    for (unsigned k = 0; k < kAhead; ++k)
      target[k] = at + k * lanes < piece.end ? load_once(list + at + k * lanes) : FULL;
#pragma unroll
    for (unsigned k = 0; k < kAhead; ++k)
      if (target[k] < targets) add(target[k], piece.list + at + k * lanes);
  }
}

template <typename Add>
DEVICE void deliver_list(const Projection& p, unsigned targets, const Piece& piece, unsigned lane,
                         unsigned lanes, const Add& add) {
  if (p.wide)
    deliver_list<uint32_t>(p, targets, piece, lane, lanes, add);
  else
    deliver_list<uint16_t>(p, targets, piece, lane, lanes, add);
}

// Bring the first and the last of what an event reads into the cache.
DEVICE void prefetch_event(const Projection& p, unsigned event) {
  const Piece piece(p, event);
  if (piece.end == piece.first) return;
  const int64_t first = piece.list + piece.first, last = piece.list + piece.end - 1;
  if (p.kind != kRows) {
    const unsigned char* targets = static_cast<const unsigned char*>(p.targets);
    const int bytes = p.wide ? 4 : 2;
    prefetch(targets + bytes * first);
    prefetch(targets + bytes * last);
  }
  if (p.kind != kOneWeight) {
    const float* weights = static_cast<const float*>(p.weights);
    prefetch(weights + first);
    prefetch(weights + last);
  }
}

// One event of a projection, a source cell and a piece of its list, by `lanes` lanes.
DEVICE void deliver_event(const Block& b, const Projection& p, unsigned event, unsigned lane,
                          unsigned lanes) {
  const Sums sums(b, p);
  const Piece piece(p, event);
  if (p.kind == kOneWeight) {
    deliver_list(p, sums.targets, piece, lane, lanes, AddOne(p, sums));
  } else if (p.kind == kOwnWeights) {
    deliver_list(p, sums.targets, piece, lane, lanes, AddWeight(p, sums));
  } else {
    const AddWeight add(p, sums);
    const unsigned cell = event / static_cast<unsigned>(p.pieces);
    const unsigned first = cell / static_cast<unsigned>(p.beam_sources) * p.fan;
    for (unsigned at = piece.first + lane; at < piece.end; at += lanes)
      if (first + at < sums.targets) add(first + at, piece.list + at);
  }
}

// Find the events of lists, the words from `begin` to `end` - 1 of the block. What the queue has no
// room for, a thread delivers alone, or leaves where it is `ahead` of its step.
DEVICE void find_list_events(const Block& b, int begin, int end, bool ahead) {
  constexpr int kAhead = 4;  // words that a thread fetches at once
  Shared& shared = b.shared();
  int list = 0;
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kAhead * kThreads) {
    uint32_t words[kAhead];
    int from = list;
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      const int at = i + k * kThreads;
      words[k] = 0;
      if (at >= end) continue;
      while (at >= shared.lists[from].before + shared.lists[from].count) ++from;
      const unsigned piece = shared.lists[from].first + at - shared.lists[from].before;
      const int number = shared.list_of[from];
      const unsigned pieces = static_cast<unsigned>(b.plan().projections[number].pieces);
      words[k] = load_fresh(shared.due[number] + (pieces == 1 ? piece : piece / pieces));
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (words[k] == 0) continue;
      const int at = i + k * kThreads;
      while (at >= shared.lists[list].before + shared.lists[list].count) ++list;
      const int number = shared.list_of[list];
      const Projection& p = b.plan().projections[number];
      Queue& queue = shared.queues[number];
      const unsigned piece = shared.lists[list].first + at - shared.lists[list].before;
      const unsigned pieces = static_cast<unsigned>(p.pieces);
      for (uint32_t left = words[k]; left != 0; left &= left - 1) {
        const unsigned cell = piece / pieces * 32 + __ffs(static_cast<int>(left)) - 1;
        const unsigned event = cell * pieces + piece % pieces;
        const unsigned place = atomicAdd(&queue.found, 1u);
        if (place < queue.room) {
          b.queue()[queue.first + place] = event;
          prefetch_event(p, event);
        } else if (!ahead) {
          deliver_event(b, p, event, 0, 1);
        }
      }
    }
  }
}

// Find the events of all lists: those of delays above one step are found ahead, unless some had no
// room.
DEVICE void find_list_events(const Block& b) {
  Shared& shared = b.shared();
  find_list_events(b, 0, shared.near_words, false);
  int full = 0;
  for (int k = threadIdx.x; k < b.plan().header->projections; k += kThreads)
    full |= shared.queues[k].found > shared.queues[k].room && b.plan().projections[k].delay > 1;
  if (!__syncthreads_or(full)) return;
  for (int k = threadIdx.x; k < b.plan().header->projections; k += kThreads)
    if (b.plan().projections[k].delay > 1) shared.queues[k].found = 0;
  __syncthreads();
  find_list_events(b, shared.near_words, shared.list_words, false);
  __syncthreads();
}

// The number of lanes that share an event of a projection: a power of two.
DEVICE unsigned lanes_of(const Projection& p) {
  return p.piece > 16 ? 32 : p.piece > 8 ? 16 : p.piece > 4 ? 8 : 4;
}

// The items of a projection for a warp, the numbers from `item` on, `warps` apart. An item is `each`
// events that are delivered at once, by as many parts of the warp.
struct Items {
  const Queue& queue;
  unsigned item, warps, lanes;

  DEVICE unsigned each() const { return kWarp / lanes; }
  DEVICE unsigned count() const { return (queue.count() + each() - 1) / each(); }
};

// Deliver lists that need no more than one place of each lane: of several items at once.
template <typename Target, typename Add>
DEVICE void deliver_short(const Block& b, const Projection& p, const Sums& sums,
                          const Items& items, const Add& add) {
  constexpr int kAhead = 4;  // items whose targets are fetched at once
  const Target* targets = static_cast<const Target*>(p.targets);
  const unsigned place = b.lane() % items.lanes, fan = static_cast<unsigned>(p.fan);
  const unsigned events = items.queue.count(), stride = items.warps * items.each();
  unsigned event = items.item * items.each() + b.lane() / items.lanes;
  for (unsigned done = items.item; done < items.count(); done += kAhead * items.warps) {
    unsigned target[kAhead];
    int64_t at[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      target[k] = FULL;
      if (event < events && place < fan) {
        at[k] = static_cast<int64_t>(b.queue()[items.queue.first + event]) * fan + place;
        target[k] = load_once(targets + at[k]);
      }
      event += stride;
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (target[k] < sums.targets) add(target[k], at[k]);
  }
}

template <typename Add>
DEVICE void deliver_short(const Block& b, const Projection& p, const Sums& sums,
                          const Items& items, const Add& add) {
  if (p.wide)
    deliver_short<uint32_t>(b, p, sums, items, add);
  else
    deliver_short<uint16_t>(b, p, sums, items, add);
}

DEVICE void deliver_items(const Block& b, const Projection& p, const Items& items) {
  if (p.kind != kRows && p.fan <= items.lanes) {
    const Sums sums(b, p);
    if (p.kind == kOneWeight)
      deliver_short(b, p, sums, items, AddOne(p, sums));
    else
      deliver_short(b, p, sums, items, AddWeight(p, sums));
    return;
  }
  for (unsigned item = items.item; item < items.count(); item += items.warps) {
    const unsigned event = item * items.each() + b.lane() / items.lanes;
    if (event < items.queue.count())
      deliver_event(b, p, b.queue()[items.queue.first + event], b.lane() % items.lanes,
                    items.lanes);
  }
}

// Deliver the events of the queue, by `warps` warps of the block from `first` on.
DEVICE void deliver_lists(const Block& b, unsigned first, unsigned warps) {
  unsigned item = b.warp() - first;
  for (int number = 0; number < b.plan().header->projections; ++number) {
    const Queue& queue = b.shared().queues[number];
    if (queue.count() == 0) continue;
    const Projection& p = b.plan().projections[number];
    const Items items{queue, item, warps, lanes_of(p)};
    deliver_items(b, p, items);
    // The warp that would have the next item takes the first one of the next projection.
    const unsigned count = items.count();
    const unsigned rounds = item < count ? (count - item + warps - 1) / warps : 0;
    item = item + rounds * warps - count;
  }
}

}  // namespace steps
