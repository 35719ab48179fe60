// CUDA's threads on a processor: each is a fiber, which runs until it waits for others.
//
// Order is that of the numbers of threads and blocks, or, with CEREBELLUM_EMULATE_SEED set to a
// number above zero, drawn anew at every wait, where atomic operations may hand over, too. So a
// result that depends on the order of threads differs between two seeds. What would hang on a GPU
// (a barrier that not all threads of a block reach, a vote that not all lanes of a warp take part
// in) is an error here, and shared memory begins with bytes that are no useful numbers.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

#define KERNEL
#define BOUNDED(threads)
#define DEVICE inline
#define OUTLINE inline
#define BOTH inline

constexpr bool kEmulated = true;

struct Stream {};

struct Index {
  unsigned x;
};

// Of the fiber that runs.
extern thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr int kBlocksAtOnce = 8;
constexpr size_t kSharedBytes = 227 * 1024;  // of a block, as on an H100

// Run a kernel: nullptr, or what went wrong.
const char* run(const std::function<void()>& kernel, unsigned grid, unsigned block, size_t shared,
                bool together);

unsigned char* shared_bytes();
void event();       // something has changed that a fiber may wait for
void pass();        // let other fibers run, sometimes, where orders are drawn
void spin();        // let other fibers run
void block_wait();  // wait for all threads of the block
int block_sum(int value);
// What a lane of the warp gave in this exchange, by lane; it holds until the next one.
const uint32_t* exchange(uint32_t value);

}  // namespace emulation

template <typename T>
T* shared_memory() {
  return reinterpret_cast<T*>(emulation::shared_bytes());
}

inline void prefetch(const void*) {}
template <typename T>
T load_once(const T* at) {
  return *at;
}
template <typename T>
void store_once(T* at, T value) {
  *at = value;
}
template <typename T>
T load_fresh(const T* at) {
  emulation::pass();
  return *at;
}
inline unsigned load_acquire(const unsigned* at) {
  emulation::spin();
  return *at;
}

inline void __threadfence() {}
inline void __syncthreads() { emulation::block_wait(); }
inline int __syncthreads_count(int predicate) { return emulation::block_sum(predicate != 0); }
inline int __syncthreads_or(int predicate) { return emulation::block_sum(predicate != 0) != 0; }
inline void __syncwarp() { emulation::exchange(0); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }

inline unsigned __ballot_sync(unsigned, int predicate) {
  const uint32_t* given = emulation::exchange(predicate != 0);
  unsigned votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= given[lane] << lane;
  return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == ~0u; }

namespace emulation {

template <typename T>
T from_lane(T value, int lane) {
  static_assert(sizeof(T) == 4);
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  bits = exchange(bits)[lane & 31];
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline int lane() { return static_cast<int>(threadIdx.x % 32); }

}  // namespace emulation

template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return emulation::from_lane(value, from);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned by) {
  const int from = emulation::lane() - static_cast<int>(by);
  return emulation::from_lane(value, from < 0 ? emulation::lane() : from);
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned by) {
  const int from = emulation::lane() + static_cast<int>(by);
  return emulation::from_lane(value, from > 31 ? emulation::lane() : from);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int by) {
  return emulation::from_lane(value, emulation::lane() ^ by);
}
template <typename T>
T __reduce_add_sync(unsigned, T value) {
  const uint32_t* given = emulation::exchange(static_cast<uint32_t>(value));
  uint32_t total = 0;
  for (int lane = 0; lane < 32; ++lane) total += given[lane];
  return static_cast<T>(total);
}

namespace emulation {

template <typename T, typename Change>
T atomic(T* at, Change change) {
  pass();
  event();
  const T before = *at;
  *at = change(before);
  return before;
}

}  // namespace emulation

template <typename T>
T atomicAdd(T* at, T value) {
  return emulation::atomic(at, [=](T x) { return static_cast<T>(x + value); });
}
inline int atomicAdd(int* at, int value) {
  return emulation::atomic(
      at, [=](int x) { return static_cast<int>(static_cast<unsigned>(x) + value); });
}
template <typename T>
T atomicOr(T* at, T value) {
  return emulation::atomic(at, [=](T x) { return x | value; });
}
template <typename T>
T atomicAnd(T* at, T value) {
  return emulation::atomic(at, [=](T x) { return x & value; });
}
template <typename T>
T atomicMax(T* at, T value) {
  return emulation::atomic(at, [=](T x) { return x > value ? x : value; });
}
template <typename T>
T atomicMin(T* at, T value) {
  return emulation::atomic(at, [=](T x) { return x < value ? x : value; });
}
template <typename T>
T atomicExch(T* at, T value) {
  return emulation::atomic(at, [=](T) { return value; });
}
template <typename T>
T atomicCAS(T* at, T compare, T value) {
  return emulation::atomic(at, [=](T x) { return x == compare ? value : x; });
}
template <typename T>
void add_global(T* at, T value) {
  atomicAdd(at, value);
}
