// Kernels that use every word of device.h, for test_emulation.py.

#include "handler.h"

namespace {

struct Args {
  const int* values;
  int count;
  int* out;
  unsigned* counter;
  int rounds;
};

// The sum of the values, once in each round, by warps, blocks and all of them; with the number of
// blocks that have counted an odd value.
KERNEL void sum(Args args) {
  int* parts = shared_memory<int>();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  for (int round = 1; round <= args.rounds; ++round) {
    int mine = 0, odd = 0;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < args.count; k += gridDim.x * blockDim.x) {
      mine += load_once(args.values + k);
      odd |= args.values[k] & 1;
    }
    mine = __reduce_add_sync(FULL, mine);
    if (lane == 0) parts[warp] = mine;
    const bool any = __syncthreads_or(odd);
    if (threadIdx.x == 0) {
      int total = 0;
      for (unsigned w = 0; w < blockDim.x / kWarp; ++w) total += parts[w];
      atomicAdd(args.out, total);
      atomicAdd(args.out + 1, any ? 1 : 0);
    }
    barrier_wait(args.counter, gridDim.x, round);
    // Every block sees what all of them have written.
    if (threadIdx.x == 0 && load_fresh(args.out + 1) % static_cast<int>(gridDim.x) != 0)
      atomicOr(args.out + 2, 1);
    barrier_wait(args.counter + 1, gridDim.x, round);
  }
}

// The values above zero in their order, and their number, by votes of one block.
KERNEL void compact(Args args) {
  int* before = shared_memory<int>();
  if (threadIdx.x == 0) *before = 0;
  __syncthreads();
  const unsigned lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  if (warp == 0) {
    for (int first = 0; first < args.count; first += kWarp) {
      const int value = first + static_cast<int>(lane) < args.count ? args.values[first + lane] : 0;
      const unsigned votes = __ballot_sync(FULL, value > 0);
      const int place = *before + __popc(votes & ((1u << lane) - 1));
      if (value > 0) args.out[1 + place] = value;
      __syncwarp();
      if (lane == 0) *before += __popc(votes);
      __syncwarp();
    }
  }
  __syncthreads();
  if (threadIdx.x == blockDim.x - 1) args.out[0] = *before;
}

// What each lane of a warp gets from others: its left and right neighbour, and lane 5.
KERNEL void shuffle(Args args) {
  const int mine = args.values[threadIdx.x];
  const int left = __shfl_up_sync(FULL, mine, 1), right = __shfl_down_sync(FULL, mine, 1);
  const int fifth = __shfl_sync(FULL, mine, 5), other = __shfl_xor_sync(FULL, mine, 1);
  int* out = args.out + 4 * threadIdx.x;
  out[0] = left;
  out[1] = right;
  out[2] = fifth;
  out[3] = other;
}

// A barrier that half of the block does not reach.
KERNEL void hang(Args args) {
  if (threadIdx.x < blockDim.x / 2) __syncthreads();
  args.out[0] = args.count;
}

}  // namespace

ffi::Error Run(STREAM ffi::Buffer<ffi::S32> values, ffi::Result<ffi::Buffer<ffi::S32>> out,
               ffi::Result<ffi::Buffer<ffi::U32>> counter, int64_t kernel, int64_t blocks,
               int64_t threads, int64_t rounds) {
  const Args args{values.typed_data(), static_cast<int>(values.element_count()),
                  out->typed_data(), counter->typed_data(), static_cast<int>(rounds)};
  if (auto error = zero(args.out, out->size_bytes(), stream); error.failure()) return error;
  if (auto error = zero(args.counter, counter->size_bytes(), stream); error.failure()) return error;
  if (kernel == 0) return launch_together(sum, blocks, threads, 128, stream, args);
  if (kernel == 1) return launch(compact, 1, threads, 4, stream, args);
  if (kernel == 2) return launch(shuffle, 1, threads, 0, stream, args);
  return launch(hang, 1, threads, 0, stream, args);
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_test_run, Run,
                              BIND.Arg<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::S32>>()
                                  .Ret<ffi::Buffer<ffi::U32>>()
                                  .Attr<int64_t>("kernel")
                                  .Attr<int64_t>("blocks")
                                  .Attr<int64_t>("threads")
                                  .Attr<int64_t>("rounds"),
                              COMMANDS);
