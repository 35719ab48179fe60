// The words of CUDA that the kernels use, in one place.
//
// nvcc takes them from CUDA. A C++ compiler takes them from emulation/threads.h, where the threads
// of a block are fibers on one thread of the processor, so that tests run the same kernels without a
// GPU. A kernel takes one argument, a record; its shared memory is dynamic; its blocks have one
// dimension and whole warps, and all lanes of a warp take part in its votes and shuffles.

#pragma once

#include <cstdint>

constexpr unsigned FULL = 0xffffffffu;  // the mask of a whole warp
constexpr int kWarp = 32;

#ifdef __CUDACC__

#include <cuda_runtime.h>

#define KERNEL __global__
#define BOUNDED(threads) __launch_bounds__(threads)
#define DEVICE __device__ __forceinline__
#define OUTLINE __device__ __noinline__
#define BOTH __host__ __device__ __forceinline__

constexpr bool kEmulated = false;

using Stream = cudaStream_t;

// The dynamic shared memory of the block.
template <typename T>
DEVICE T* shared_memory() {
  extern __shared__ __align__(16) unsigned char dynamic_shared_memory[];
  return reinterpret_cast<T*>(dynamic_shared_memory);
}

// Bring the line of an address into the L2 cache.
DEVICE void prefetch(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

// Read and write what will not be needed again soon.
template <typename T>
DEVICE T load_once(const T* at) {
  return __ldcs(at);
}
template <typename T>
DEVICE void store_once(T* at, T value) {
  __stcs(at, value);
}

// Read what other blocks may have written before the last barrier.
template <typename T>
DEVICE T load_fresh(const T* at) {
  return __ldcg(at);
}

// Add to global memory. The compiler need not find out what memory it is.
DEVICE void add_global(unsigned* at, unsigned value) {
  asm volatile("red.global.add.u32 [%0], %1;" ::"l"(__cvta_generic_to_global(at)), "r"(value)
               : "memory");
}
DEVICE void add_global(unsigned long long* at, unsigned long long value) {
  asm volatile("red.global.add.u64 [%0], %1;" ::"l"(__cvta_generic_to_global(at)), "l"(value)
               : "memory");
}

DEVICE unsigned load_acquire(const unsigned* at) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
}

#else

#include "emulation/threads.h"

#endif

// A barrier of blocks: a block says that it is here, and later waits until all of `blocks` blocks
// have said so for the `round`th time, from 1 on. What they wrote before is then visible to all.
//
// `counter` is in global memory and zero at the launch, which must be one of `launch_together`.
DEVICE void barrier_arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(counter, 1u);
  }
}

DEVICE void barrier_await(const unsigned* counter, unsigned blocks, unsigned round) {
  if (threadIdx.x == 0) {
    while (static_cast<int>(load_acquire(counter) - blocks * round) < 0) {
    }
    __threadfence();
  }
  __syncthreads();
}

// Both at once.
DEVICE void barrier_wait(unsigned* counter, unsigned blocks, unsigned round) {
  barrier_arrive(counter);
  barrier_await(counter, blocks, round);
}
