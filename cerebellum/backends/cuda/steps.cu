// Many steps of a circuit in one launch (steps.py says of which circuits).
//
// All blocks are on the device at once, and wait for each other once a step. In step n a block
//   1. applies the weight updates of step n - 1 to its rows (steps/learn.h),
//   2. adds the weights of the spikes that are due in step n, all of them sent before the last
//      barrier, to sums that their targets take in step n + 1 (steps/lists.h, steps/rows.h),
//   3. adds what arrived in step n - 1 to its cells, integrates them for step n, and writes their
//      packed spikes (steps/cells.h, steps/arrivals.h),
//   4. says that it is there, and finds what is already known of the next step while it waits.
// After the last step it does 1 and 3 once more, without integrating: the state is then that of
// model.step. Spikes of the last steps lie in a front of kFronts rows, from which they go into the
// delay lines two steps later, when nobody reads the row any more that they replace
// (steps/lines.h).
//
// Operands: the plan (steps/plan.h), and what it refers to. `changed` has for every result the
// operand that it is aliased with, `sizes` the numbers of current-based cells of each population.
// `queue` and `slots` are the most events and groups of cells for which a block has shared memory.

#include <algorithm>

#include "handler.h"
#include "steps/arrivals.h"
#include "steps/block.h"
#include "steps/cells.h"
#include "steps/learn.h"
#include "steps/lines.h"
#include "steps/lists.h"
#include "steps/record.h"
#include "steps/rows.h"

namespace steps {

// Find what the next step delivers and learns, as far as it is known before this step ends: spikes
// of delays above one step, and of windows.
OUTLINE void look_ahead(Block b) {
  const Shared& shared = b.shared();
  find_list_events(b, shared.near_words, shared.list_words, true);
  if (shared.units == 0) return;
  const Unit& u = shared.unit;
  const Projection& p = b.plan().projections[u.projection];
  const auto leave = [](int) {};
  if (p.delay > 1) find_rows(b, u, shared.due[u.projection], b.shared().rows, leave);
  if (p.rule >= 0) find_rows(b, u, shared.window_closed[p.rule], b.shared().closing, leave);
}

// Find the rest, and all of what had no room.
OUTLINE void find_events(Block b) {
  find_list_events(b);
  if (b.shared().units == 0) return;
  const Unit& u = b.shared().unit;
  Queue& queue = b.shared().rows;
  if (b.plan().projections[u.projection].delay > 1) {
    if (queue.found <= queue.room) return;
    __syncthreads();
    if (threadIdx.x == 0) queue.found = 0;
    __syncthreads();
  }
  find_rows(b, u, b.shared().due[u.projection], queue,
            [&](int cell) { sum_row_alone(b, u, cell); });
}

// Deliver what was found: rows and lists side by side, by as many warps as they have events.
OUTLINE void deliver(Block b) {
  const unsigned of_rows = b.shared().units == 0 ? 0 : b.shared().rows.count();
  unsigned of_lists = 0;
  for (int p = 0; p < b.plan().header->projections; ++p) of_lists += b.shared().queues[p].count();
  unsigned rows = of_rows == 0 ? 0 : of_rows * b.warps() / (of_rows + of_lists);
  if (of_rows != 0 && rows == 0) rows = 1;
  if (of_lists != 0 && rows == b.warps()) rows = b.warps() - 1;
  if (b.warp() < rows)
    sum_rows(b, b.shared().unit, 0, rows);
  else
    deliver_lists(b, rows, b.warps() - rows);
}

// The sums of rows: those of the first unit are there, those of the others are yet to be summed.
OUTLINE void finish_rows(Block b) {
  if (b.shared().units == 0) return;
  write_columns(b, b.shared().unit);
  each_other_unit(b, [&](const Unit& u) {
    Queue& queue = b.shared().rows;
    __syncthreads();
    if (threadIdx.x == 0) queue.found = 0;
    __syncthreads();
    find_rows(b, u, b.shared().due[u.projection], queue,
              [&](int cell) { sum_row_alone(b, u, cell); });
    __syncthreads();
    sum_rows(b, u, 0, b.warps());
    __syncthreads();
    write_columns(b, u);
  });
}

KERNEL void BOUNDED(kThreads) run(Args args) {
  Shared& shared = *shared_memory<Shared>();
  // Behind the record come the variables of groups, the plan, and the queue.
  const unsigned plan_at = sizeof(Shared) + kGroupBytes * args.slots;
  load(args, plan_at, shared.plan);
  const int start = *shared.plan.header->start;
  const int end = start + static_cast<int>(shared.plan.header->steps);
  if (threadIdx.x == 0) {
    shared.queue_at = plan_at + 8 * args.words;
    shared.slots = args.slots;
    shared.start = start;
  }
  __syncthreads();
  Block b{start};
  unsigned* counter = b.plan().header->counter;
  unsigned round = 0;
  divide(b, args.queue);
  divide_rows(b);
  from_lines(b);
  take_cells(b);
  prepare(b, start);
  barrier_wait(counter, gridDim.x, ++round);
  look_ahead(b);
  __syncthreads();
  for (;; ++b.now) {
    const bool last = b.now == end;
    if (b.step() > 0) learn(b);
    if (!last) {
      find_events(b);
      __syncthreads();
      deliver(b);
    }
    // Warps that have delivered their part share the cells.
    advance_cells(b, last);
    into_lines(b, b.now - 2);
    __syncthreads();
    if (last) break;
    finish_rows(b);
    barrier_arrive(counter);
    record_totals(b);
    if (b.step() > 0) record_spikes(b);
    prepare(b, b.now + 1);
    __syncthreads();
    look_ahead(b);
    barrier_await(counter, gridDim.x, ++round);
  }
  record_spikes(b);
  return_cells(b);
  barrier_wait(counter, gridDim.x, ++round);
  into_lines(b, end - 1);
}

size_t shared_bytes(const Args& args) {
  return sizeof(Shared) + kGroupBytes * args.slots + 8 * args.words + 4 * args.queue;
}

// The groups of current-based cells that a block of so many has, at most.
int64_t groups_of(ffi::Span<const int64_t> sizes, int blocks) {
  int64_t groups = 0;
  for (const int64_t size : sizes) groups += (size + kGroup * blocks - 1) / (kGroup * blocks);
  return groups;
}

}  // namespace steps

ffi::Error Steps(STREAM ffi::RemainingArgs operands, ffi::RemainingRets results,
                 ffi::Span<const int64_t> changed, ffi::Span<const int64_t> sizes, int64_t queue,
                 int64_t slots) {
  using namespace steps;
  Args args{};
  const size_t given = operands.size(), made = results.size();
  if (given + made > kBuffers) return ffi::Error::InvalidArgument("too many arrays");
  for (size_t i = 0; i < given; ++i) {
    const auto operand = operands.get<ffi::AnyBuffer>(i);
    if (!operand.has_value()) return operand.error();
    args.buffers[i] = operand->untyped_data();
    if (i == 0) args.words = static_cast<unsigned>(operand->size_bytes() / 8);
  }
  for (size_t i = 0; i < made; ++i) {
    auto result = results.get<ffi::AnyBuffer>(i);
    if (!result.has_value()) return result.error();
    ffi::AnyBuffer buffer = *result.value();
    args.buffers[given + i] = buffer.untyped_data();
    if (changed[i] < 0) continue;
    if (auto error = copy(args.buffers[given + i], args.buffers[changed[i]], buffer.size_bytes(),
                          stream);
        error.failure())
      return error;
  }
  args.plan = static_cast<const int64_t*>(args.buffers[0]);
  args.queue = static_cast<unsigned>(queue);
  const size_t least = shared_bytes(args), most = most_shared();
  const int blocks = blocks_at_once(run, kThreads, least);
  if (blocks < 1 || least > most)
    return ffi::Error::Internal("the device holds no block of this kernel");
  // More blocks than groups of cells would only make the barrier longer.
  const int64_t useful = std::max<int64_t>(1, groups_of(sizes, 1));
  const int grid = static_cast<int>(std::min<int64_t>(blocks, useful));
  // Cells that do not fit into shared memory stay where the state lies.
  const size_t room = std::min<size_t>((most - least) / kGroupBytes, slots);
  args.slots = static_cast<unsigned>(std::min<size_t>(room, groups_of(sizes, grid)));
  const size_t shared = shared_bytes(args);
  const int fitting = std::min(grid, blocks_at_once(run, kThreads, shared));
  return launch_together(run, fitting, kThreads, shared, stream, args);
}

// Not for a command buffer, which has nothing to gain from one launch of many steps.
XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_steps, Steps,
                              BIND.RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("changed")
                                  .Attr<ffi::Span<const int64_t>>("sizes")
                                  .Attr<int64_t>("queue")
                                  .Attr<int64_t>("slots"));
