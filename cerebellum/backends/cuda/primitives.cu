// The handlers of integrate, settle, incur, draw and take.

#include <algorithm>
#include <cstdint>

#include "cells/conductance.h"
#include "cells/current.h"
#include "cells/eglif.h"
#include "draw.cuh"
#include "handler.h"
#include "integrate.cuh"
#include "operands.h"
#include "settle.cuh"

namespace {

// ---- integrate ----

template <typename Cell>
ffi::Error integrate_cells(Stream stream, const IntegrateArgs& args, bool narrow) {
  const int64_t groups = ceil_div(args.words_of_member, kWords<Cell>);
  const unsigned blocks = blocks_for(args.members * groups);
  return narrow ? launch(integrate<Cell, uint8_t>, blocks, kBlock, 0, stream, args)
                : launch(integrate<Cell, uint16_t>, blocks, kBlock, 0, stream, args);
}

ffi::Error of_model(Stream stream, const IntegrateArgs& args, bool narrow, int64_t model,
                    int64_t variant) {
  if (model == 0) return integrate_cells<current::Cell>(stream, args, narrow);
  if (model == 1) {
    switch (variant) {
      case 0: return integrate_cells<conductance::Cell<false, false>>(stream, args, narrow);
      case 1: return integrate_cells<conductance::Cell<false, true>>(stream, args, narrow);
      case 2: return integrate_cells<conductance::Cell<true, false>>(stream, args, narrow);
      default: return integrate_cells<conductance::Cell<true, true>>(stream, args, narrow);
    }
  }
  switch (variant) {
    case 1: return integrate_cells<eglif::Cell<1>>(stream, args, narrow);
    case 2: return integrate_cells<eglif::Cell<2>>(stream, args, narrow);
    case 3: return integrate_cells<eglif::Cell<3>>(stream, args, narrow);
    case 4: return integrate_cells<eglif::Cell<4>>(stream, args, narrow);
    default: return ffi::Error::InvalidArgument("eglif: one to four receptors");
  }
}

// Operands: constants [1 or B, K, 1 or N], current [1 or B, 1 or N], uniform [B, N] (or [1, 1]), the
// arrays of the state [B N], the counter of the refractory period last. Results: the state after the
// step, each array aliased, and the packed spikes [B, W]. Attributes: the model (current,
// conductance, eglif), and its variant: of conductance, 2 for alpha synapses and 1 for Runge-Kutta;
// of eglif, the number of receptors.
ffi::Error Integrate(STREAM ffi::RemainingArgs operands, ffi::RemainingRets results, int64_t model,
                     int64_t variant) {
  constexpr size_t kBefore = 3;
  const auto constants = operand(operands, 0), current = operand(operands, 1);
  const size_t arrays = results.size() - 2;
  IntegrateArgs args{};
  for (size_t k = 0; k <= arrays; ++k) {
    const auto after = result(results, k);
    if (auto error = in_place(operand(operands, kBefore + k), after, stream); error.failure())
      return error;
    if (k < arrays)
      args.state[k] = static_cast<float*>(after.untyped_data());
    else
      args.refractory = after.untyped_data();
  }
  const auto refractory = result(results, arrays), words = result(results, arrays + 1);
  args.constants = data<float>(constants);
  args.constants_member = stride(constants);
  args.constants_cell = constants.dimensions()[2] > 1;
  args.current = data<float>(current);
  args.current_member = stride(current);
  args.current_cell = current.dimensions()[1] > 1;
  args.uniform = data<float>(operand(operands, 2));
  args.words = static_cast<uint32_t*>(words.untyped_data());
  args.members = words.dimensions()[0];
  args.words_of_member = words.dimensions()[1];
  args.cells = static_cast<int64_t>(refractory.element_count()) / args.members;
  return of_model(stream, args, refractory.element_type() == ffi::U8, model, variant);
}

// ---- settle ----

constexpr int64_t kUsefulWarps = 4'096;  // more of them do not hide more latency

// Words of a slice, if `words` are divided among warps of which there are `others` for each slice.
int64_t words_of_slice(int64_t words, int64_t others) {
  return std::max<int64_t>(1, words * others / kUsefulWarps);
}

template <typename Weight, typename Change>
ffi::Error settle_table(Stream stream, const SettleArgs& args, unsigned blocks, bool sparse) {
  const auto call = [&](auto kernel) {
    return launch(kernel, blocks, kBlock, kQueues, stream, args);
  };
  if (args.width % 2 == 0)
    return sparse ? call(settle_rows<Weight, Change, true, true>)
                  : call(settle_rows<Weight, Change, true, false>);
  return sparse ? call(settle_rows<Weight, Change, false, true>)
                : call(settle_rows<Weight, Change, false, false>);
}

// Operands: words [1 or B, W]; targets of lists [1 or B, N, F] (or one word, for rows); what each
// target is owed, [1 or B, T] or [1 or B, G R]: float, or int32 in 65,536ths of a level for uint16
// rows; noise, uint32 [1 or B, 5]: the keys of the rounding and of the contacts that exist, and the
// number of the first source cell; weights [B N, F] or [B N, R], aliased with the result.
ffi::Error Settle(STREAM ffi::AnyBuffer words, ffi::AnyBuffer targets, ffi::AnyBuffer change,
                  ffi::Buffer<ffi::U32> noise, ffi::AnyBuffer before,
                  ffi::Result<ffi::AnyBuffer> weights, int64_t members, int64_t beams, int64_t share,
                  float w_max) {
  if (auto error = in_place(before, *weights, stream); error.failure()) return error;
  const bool listed = targets.dimensions().size() == 3;
  SettleArgs args{};
  args.words = data<uint32_t>(words);
  if (listed) args.targets = targets.untyped_data();
  args.change = change.untyped_data();
  args.noise = noise.typed_data();
  args.weights = weights->untyped_data();
  args.members = members;
  args.cells = weights->dimensions()[0] / members;
  args.width = weights->dimensions()[1];
  args.in_beam = ceil_div(args.cells, beams);
  args.targets_size = change.dimensions()[1];
  args.words_member = stride(words);
  args.targets_member = stride(targets);
  args.change_member = stride(change);
  args.noise_member = noise.dimensions()[0] > 1 ? 5 : 0;
  args.share = static_cast<uint32_t>(share);
  args.w_max = w_max;
  args.segments = ceil_div(args.width, listed ? kSettledList : kSettled);
  const int64_t all = ceil_div(args.cells, 32);
  args.words_of_slice = words_of_slice(all, args.members * args.segments);
  args.slices = ceil_div(all, args.words_of_slice);
  const unsigned blocks = blocks_for(args.members * args.slices * args.segments);
  if (listed)
    return targets.element_type() == ffi::U32
               ? launch(settle_lists<uint32_t>, blocks, kBlock, kQueues, stream, args)
               : launch(settle_lists<uint16_t>, blocks, kBlock, kQueues, stream, args);
  const bool sparse = share < (1 << 24);
  return weights->element_type() == ffi::U16
             ? settle_table<uint16_t, int32_t>(stream, args, blocks, sparse)
             : settle_table<float, float>(stream, args, blocks, sparse);
}

// Operands: teaching spikes [1 or B, T]; what one of them adds to each row [1 or B, D]; the pending
// weight updates [B D, G R], aliased with the result.
ffi::Error Incur(STREAM ffi::AnyBuffer spikes, ffi::AnyBuffer by_row, ffi::AnyBuffer before,
                 ffi::Result<ffi::AnyBuffer> pending, int64_t members) {
  if (auto error = in_place(before, *pending, stream); error.failure()) return error;
  IncurArgs args{};
  args.spikes = data<float>(spikes);
  args.by_row = data<float>(by_row);
  args.pending = static_cast<float*>(pending->untyped_data());
  args.members = members;
  args.depth = pending->dimensions()[0] / members;
  args.width = pending->dimensions()[1];
  args.targets = spikes.dimensions()[1];
  args.spikes_member = stride(spikes);
  args.by_row_member = stride(by_row);
  const int64_t warps = members * ceil_div(args.targets, kWarp);
  return launch(incur, blocks_for(warps), kBlock, 0, stream, args);
}

// ---- draw and take ----

// Operands: key [1 or B, 2], step [1 or B], chance [1 or B, 1 or N], number of the first cell
// [1 or B]. Result: words [B, W]. Attributes: the number of cells, and that of the draw's name.
ffi::Error Draw(STREAM ffi::AnyBuffer key, ffi::AnyBuffer step, ffi::AnyBuffer chance,
                ffi::AnyBuffer offset, ffi::Result<ffi::AnyBuffer> words, int64_t size,
                int64_t name) {
  DrawArgs args{};
  args.key = data<uint32_t>(key);
  args.step = data<int32_t>(step);
  args.chance = data<float>(chance);
  args.offset = data<uint32_t>(offset);
  args.words = static_cast<uint32_t*>(words->untyped_data());
  args.members = words->dimensions()[0];
  args.words_of_member = words->dimensions()[1];
  args.cells = size;
  args.key_member = stride(key);
  args.step_member = stride(step);
  args.chance_member = stride(chance);
  args.chance_cell = chance.dimensions()[1] > 1;
  args.offset_member = stride(offset);
  args.name = static_cast<uint32_t>(name);
  const int64_t warps = args.members * ceil_div(args.words_of_member, kDrawn);
  return launch(draw, blocks_for(warps), kBlock, 0, stream, args);
}

// Operands: the row of each ring [B]; the rings [B D, T], aliased with the second result. Results: the
// rows [B T], and the rings with zeros in their place.
ffi::Error Take(STREAM ffi::AnyBuffer rows, ffi::AnyBuffer before, ffi::Result<ffi::AnyBuffer> taken,
                ffi::Result<ffi::AnyBuffer> rings) {
  if (auto error = in_place(before, *rings, stream); error.failure()) return error;
  const int64_t members = rows.element_count();
  const TakeArgs args{data<int32_t>(rows),
                      static_cast<float*>(rings->untyped_data()),
                      static_cast<float*>(taken->untyped_data()),
                      members, rings->dimensions()[0] / members, rings->dimensions()[1]};
  const auto blocks = static_cast<unsigned>(ceil_div(args.members * args.targets, kBlock));
  return launch(take, blocks, kBlock, 0, stream, args);
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_integrate, Integrate,
                              BIND.RemainingArgs()
                                  .RemainingRets()
                                  .Attr<int64_t>("model")
                                  .Attr<int64_t>("variant"),
                              COMMANDS);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_settle, Settle,
                              BIND.Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::Buffer<ffi::U32>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("members")
                                  .Attr<int64_t>("beams")
                                  .Attr<int64_t>("share")
                                  .Attr<float>("w_max"),
                              COMMANDS);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_incur, Incur,
                              BIND.Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("members"),
                              COMMANDS);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_draw, Draw,
                              BIND.Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Attr<int64_t>("size")
                                  .Attr<int64_t>("name"),
                              COMMANDS);

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_take, Take,
                              BIND.Arg<ffi::AnyBuffer>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>()
                                  .Ret<ffi::AnyBuffer>(),
                              COMMANDS);
