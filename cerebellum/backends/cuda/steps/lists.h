// Delivery through lists, and rows of floats: the spikes of a block's part of the source cells, into sums that all
// blocks add to. Sums are integers, so that their order changes nothing.

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
      : weights(p.sums + b.step() % p.copies * p.copy_bytes),
        targets(static_cast<unsigned>(b.plan().populations[p.target].size)) {
    taught = p.taught == nullptr ? nullptr : p.taught + b.step() % p.copies * targets;
  }
};

// Add the weight of place `at` of all lists or rows to what arrives at a target.
DEVICE void add_synapse(const Projection& p, const Sums& sums, unsigned target, int64_t at) {
  if (p.kind == kOneWeight) {
    const unsigned bit = target * static_cast<unsigned>(p.bits);
    atomicAdd(reinterpret_cast<unsigned*>(sums.weights) + bit / 32, 1u << bit % 32);
    return;
  }
  const float weight = static_cast<const float*>(p.weights)[at];
  if (weight != 0.0f) atomicAdd(reinterpret_cast<Fixed*>(sums.weights) + target, to_fixed(weight));
  if (sums.taught != nullptr && (p.kind == kOwnWeights || weight > 0.0f))
    atomicAdd(sums.taught + target, 1u);
}

// The places of an event: a piece of the list or row of a source cell.
struct Piece {
  int64_t list;         // first place of the list
  unsigned first, end;  // places of the piece in the list

  DEVICE Piece(const Projection& p, unsigned event) {
    const unsigned pieces = static_cast<unsigned>(p.pieces), fan = static_cast<unsigned>(p.fan);
    const unsigned length = static_cast<unsigned>(p.piece);
    list = static_cast<int64_t>(event / pieces) * fan;
    first = event % pieces * length;
    end = fan - first < length ? fan : first + length;
  }
};

template <typename Target>
DEVICE void deliver_list(const Projection& p, const Sums& sums, const Piece& piece, unsigned lane,
                         unsigned lanes) {
  constexpr int kAhead = 4;  // targets that a lane fetches at once
  const Target* list = static_cast<const Target*>(p.targets) + piece.list;
  for (unsigned at = piece.first + lane; at < piece.end; at += kAhead * lanes) {
    unsigned target[kAhead];
#pragma unroll
    for (unsigned k = 0; k < kAhead; ++k)
      target[k] = at + k * lanes < piece.end ? list[at + k * lanes] : FULL;
#pragma unroll
    for (unsigned k = 0; k < kAhead; ++k)
      if (target[k] < sums.targets) add_synapse(p, sums, target[k], piece.list + at + k * lanes);
  }
}

// Bring the begin of what an event reads into the cache.
DEVICE void prefetch_event(const Projection& p, unsigned event) {
  const Piece piece(p, event);
  const int64_t at = piece.list + piece.first;
  if (p.kind != kRows)
    prefetch(static_cast<const unsigned char*>(p.targets) + (p.wide ? 4 : 2) * at);
  if (p.kind != kOneWeight) prefetch(static_cast<const float*>(p.weights) + at);
}

// One event of a projection, a source cell and a piece of its list, by `lanes` lanes.
DEVICE void deliver_event(const Block& b, const Projection& p, unsigned event, unsigned lane,
                          unsigned lanes) {
  const Sums sums(b, p);
  const Piece piece(p, event);
  if (p.kind == kRows) {
    const unsigned cell = event / static_cast<unsigned>(p.pieces);
    const unsigned first = cell / static_cast<unsigned>(p.beam_sources) * p.fan;
    for (unsigned at = piece.first + lane; at < piece.end; at += lanes)
      if (first + at < sums.targets) add_synapse(p, sums, first + at, piece.list + at);
  } else if (p.wide) {
    deliver_list<uint32_t>(p, sums, piece, lane, lanes);
  } else {
    deliver_list<uint16_t>(p, sums, piece, lane, lanes);
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
      const int piece = shared.lists[from].first + at - shared.lists[from].before;
      const int number = shared.list_of[from];
      words[k] = load_fresh(shared.due[number] + piece / b.plan().projections[number].pieces);
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
          shared.queue[queue.first + place] = event;
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

// Deliver the events of the queue, by `warps` warps of the block from `first` on.
DEVICE void deliver_lists(const Block& b, unsigned first, unsigned warps) {
  unsigned item = b.warp() - first;
  for (int number = 0; number < b.plan().header->projections; ++number) {
    const Queue& queue = b.shared().queues[number];
    const unsigned count = queue.count();
    if (count == 0) continue;
    const Projection& p = b.plan().projections[number];
    const unsigned lanes = lanes_of(p), each = 32 / lanes, items = (count + each - 1) / each;
    for (; item < items; item += warps) {
      const unsigned event = item * each + b.lane() / lanes;
      if (event < count)
        deliver_event(b, p, b.shared().queue[queue.first + event], b.lane() % lanes, lanes);
    }
    item -= items;
  }
}

}  // namespace steps
