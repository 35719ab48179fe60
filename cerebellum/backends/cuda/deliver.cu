// The handler of deliver.

#include <algorithm>
#include <array>
#include <cstdint>

#include "deliver.cuh"
#include "handler.h"
#include "operands.h"

namespace {

using Numbers = ffi::Span<const int64_t>;

constexpr int64_t kUsefulWarps = 2'048;  // of a projection, for all members of a batch
constexpr size_t kOperands = 5;          // of a projection

// What the attributes say; see Deliver.
struct Plan {
  int64_t arrays, counts, cleared;
  Numbers cells, events;                               // by source
  Numbers source, end, round, depth, beams, sums;      // by projection
  ffi::Span<const float> unit;
};

ffi::Error find_events(Stream stream, const Plan& plan, const ffi::RemainingArgs& operands,
                       unsigned char* scratch) {
  auto* counts = reinterpret_cast<int32_t*>(scratch + plan.counts);
  for (size_t first = 0; first < plan.cells.size(); first += kMostSources) {
    FindArgs args{};
    args.sources = static_cast<int32_t>(std::min<size_t>(kMostSources, plan.cells.size() - first));
    for (int32_t k = 0; k < args.sources; ++k) {
      const auto words = operand(operands, plan.arrays + first + k);
      args.members = words.dimensions()[0];
      Source& s = args.source[k];
      s.words = data<uint32_t>(words);
      s.words_of_member = words.dimensions()[1];
      s.cells = plan.cells[first + k];
      s.events = reinterpret_cast<int32_t*>(scratch + plan.events[first + k]);
      s.count = counts + (first + k) * args.members;
      s.first_warp = args.warps;
      args.warps += args.members * ceil_div(s.words_of_member, kFound * kWarp);
    }
    if (auto error = launch(find, blocks_for(args.warps), kBlock, 0, stream, args); error.failure())
      return error;
  }
  return ffi::Error::Success();
}

Projection projection_of(const Plan& plan, const ffi::RemainingArgs& operands,
                         const ffi::RemainingRets& results, size_t index, unsigned char* scratch) {
  const size_t first = plan.arrays + plan.cells.size() + kOperands * index;
  const auto targets = operand(operands, first), delays = operand(operands, first + 1);
  const auto row = operand(operands, first + 2), weights = operand(operands, first + 3);
  const auto gains = operand(operands, first + 4), out = result(results, plan.end[index]);
  const int64_t source = plan.source[index];
  const int64_t members = operand(operands, plan.arrays).dimensions()[0];
  const bool listed = targets.dimensions().size() == 3;
  Projection p{};
  p.events = reinterpret_cast<int32_t*>(scratch + plan.events[source]);
  p.count = reinterpret_cast<int32_t*>(scratch + plan.counts) + source * members;
  if (listed) p.targets = targets.untyped_data();
  if (delays.dimensions().size() == 3) p.delays = delays.untyped_data();
  p.row = data<int32_t>(row);
  p.weights = weights.untyped_data();
  if (gains.dimensions().size() == 2) p.gains = data<float>(gains);
  p.out = out.untyped_data();
  p.sums = scratch + plan.sums[index];
  p.targets_member = stride(targets);
  p.row_member = stride(row);
  p.weights_member = stride(weights);
  p.gains_member = stride(gains);
  p.cells = plan.cells[source];
  p.width = (listed ? targets : weights).dimensions()[2];
  p.depth = static_cast<int32_t>(plan.depth[index]);
  p.size = static_cast<int64_t>(out.element_count()) / members / p.depth;
  p.beams = static_cast<int32_t>(plan.beams[index]);
  p.cells_of_beam = static_cast<int32_t>(std::max<int64_t>(1, ceil_div(p.cells, p.beams)));
  p.segments = static_cast<int32_t>(ceil_div(p.width, listed ? kPlaces : kSegment));
  const int64_t lists = kPlaces / std::max<int64_t>(1, p.width);
  p.together = listed ? static_cast<int32_t>(std::max<int64_t>(1, lists)) : kRows;
  p.round = static_cast<int32_t>(plan.round[index]);
  p.wide = targets.element_type() == ffi::U32;
  p.long_delays = delays.element_type() == ffi::U16;
  p.single = weights.dimensions().size() == 1;
  p.levels = weights.element_type() == ffi::U16;
  p.limbs = out.element_type() == ffi::S32;
  p.cleared = plan.sums[index] < plan.cleared;
  p.unit = plan.unit[index];
  return p;
}

// The warps of a projection for each member of a batch in a pass.
int64_t warps_of(const Projection& p, Pass pass, int32_t round, int64_t members) {
  if (pass == Pass::CLEAR && (!p.targets || p.cleared)) return 0;
  if (pass == Pass::COLLECT && p.round != round) return 0;
  if (pass == Pass::COLLECT && !p.targets) return int64_t{p.beams} * p.segments;
  const int64_t most = ceil_div(p.cells, p.together) * p.segments;
  return std::min(most, std::max<int64_t>(1, ceil_div(kUsefulWarps, members)));
}

// One pass over projections, of which each launch takes as many as fit.
template <Pass kPass>
ffi::Error pass_over(Stream stream, const Plan& plan, const ffi::RemainingArgs& operands,
                     const ffi::RemainingRets& results, unsigned char* scratch,
                     int32_t round = 0) {
  const int64_t members = operand(operands, plan.arrays).dimensions()[0];
  DeliverArgs args{};
  const size_t count = plan.end.size();
  for (size_t index = 0; index < count; ++index) {
    Projection p = projection_of(plan, operands, results, index, scratch);
    p.warps = static_cast<int32_t>(warps_of(p, kPass, round, members));
    p.first_warp = args.warps;
    if (p.warps > 0) {
      args.warps += static_cast<int32_t>(p.warps * members);
      args.projection[args.projections++] = p;
    }
    if (args.warps == 0 || (index + 1 < count && args.projections < kMostProjections)) continue;
    const unsigned blocks = blocks_for(args.warps);
    if (auto error = launch(deliver<kPass>, blocks, kBlock, 0, stream, args); error.failure())
      return error;
    args = DeliverArgs{};
  }
  return ffi::Error::Success();
}

// Operands: the arrays that are added to, aliased with the results: of lists [B T], rings
// [B depth, T], targets of rows [B T] or limbs [B G, 2, R]; the words of each source [B, W]; then for each
// projection its targets [1 or B, N, F] (or one word, for rows), the delays of its synapses
// [1 or B, N, F] and the ring's row [1 or B] (or one word each, without a ring), its weights, and its
// gains [1] (none) or [1 or B, N]. Results: the arrays, and bytes of memory.
//
// Attributes: the number of arrays; where in the bytes the counts of events begin, and how many of the
// bytes are to be cleared; of each source its cells, and where its events begin; of each projection
// its source, the array that it adds to, its round, the rows of its ring (1 without one), its beams,
// where its sums begin, and the weight of a level.
ffi::Error Deliver(STREAM ffi::RemainingArgs operands, ffi::RemainingRets results, int64_t arrays,
                   int64_t counts, int64_t cleared, Numbers cells, Numbers events, Numbers source,
                   Numbers end, Numbers round, Numbers depth, Numbers beams, Numbers sums,
                   ffi::Span<const float> unit) {
  const Plan plan{arrays, counts, cleared, cells, events, source,
                  end,    round,  depth,   beams, sums,   unit};
  for (int64_t k = 0; k < arrays; ++k)
    if (auto error = in_place(operand(operands, k), result(results, k), stream); error.failure())
      return error;
  auto* scratch = static_cast<unsigned char*>(result(results, arrays).untyped_data());
  if (auto error = zero(scratch, cleared, stream); error.failure()) return error;
  if (auto error = find_events(stream, plan, operands, scratch); error.failure()) return error;
  for (auto pass : {pass_over<Pass::CLEAR>, pass_over<Pass::ADD>})
    if (auto error = pass(stream, plan, operands, results, scratch, 0); error.failure())
      return error;
  const int64_t rounds = 1 + *std::max_element(round.begin(), round.end());
  for (int32_t k = 0; k < rounds; ++k)
    if (auto error = pass_over<Pass::COLLECT>(stream, plan, operands, results, scratch, k);
        error.failure())
      return error;
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_deliver, Deliver,
                              BIND.RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("arrays")
                                  .Attr<int64_t>("counts")
                                  .Attr<int64_t>("cleared")
                                  .Attr<Numbers>("cells")
                                  .Attr<Numbers>("events")
                                  .Attr<Numbers>("source")
                                  .Attr<Numbers>("end")
                                  .Attr<Numbers>("round")
                                  .Attr<Numbers>("depth")
                                  .Attr<Numbers>("beams")
                                  .Attr<Numbers>("sums")
                                  .Attr<ffi::Span<const float>>("unit"),
                              COMMANDS);
