// How a handler of `jax.ffi` launches kernels: on the stream of its caller, without waiting.
//
//   ffi::Error Add(STREAM ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y) {
//     return launch(add, blocks, kThreads, 0, stream, AddArgs{...});
//   }
//   XLA_FFI_DEFINE_HANDLER_SYMBOL(cerebellum_cuda_add, Add,
//                                 BIND.Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>(), COMMANDS);

#pragma once

#include <cstring>
#include <string>

#include "device.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// A handler with this trait may be recorded in a command buffer.
#define COMMANDS \
  { ffi::Traits::kCmdBufferCompatible }

#ifdef __CUDACC__

#define STREAM Stream stream,
#define BIND ffi::Ffi::Bind().Ctx<ffi::PlatformStream<Stream>>()

inline ffi::Error checked(cudaError_t code, const char* what) {
  if (code == cudaSuccess) return ffi::Error::Success();
  return ffi::Error::Internal(std::string(what) + ": " + cudaGetErrorString(code));
}

// Permit a kernel the dynamic shared memory that it needs, if that is more than the usual 48 KiB.
template <typename Args>
cudaError_t allow_shared(void (*kernel)(Args), size_t bytes) {
  if (bytes <= 48 * 1024) return cudaSuccess;
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                              cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

using Launcher = cudaError_t(const void*, dim3, dim3, void**, size_t, Stream);

template <typename Args>
ffi::Error launch_by(Launcher* launcher, void (*kernel)(Args), unsigned grid, unsigned block,
                     size_t shared, Stream stream, Args args) {
  if (const cudaError_t code = allow_shared(kernel, shared); code != cudaSuccess)
    return checked(code, "shared memory");
  void* pointers[] = {&args};
  const auto function = reinterpret_cast<const void*>(kernel);
  return checked(launcher(function, grid, block, pointers, shared, stream), "launch");
}

// Launch a kernel.
template <typename Args>
ffi::Error launch(void (*kernel)(Args), unsigned grid, unsigned block, size_t shared,
                  Stream stream, Args args) {
  return launch_by(cudaLaunchKernel, kernel, grid, block, shared, stream, args);
}

// Launch a kernel all of whose blocks are on the device at once, so that they can wait for each
// other. There may be no more of them than `blocks_at_once`.
template <typename Args>
ffi::Error launch_together(void (*kernel)(Args), unsigned grid, unsigned block, size_t shared,
                           Stream stream, Args args) {
  return launch_by(cudaLaunchCooperativeKernel, kernel, grid, block, shared, stream, args);
}

// The number of blocks of a kernel that the current device holds at once; 0 if it holds none.
template <typename Args>
int blocks_at_once(void (*kernel)(Args), unsigned block, size_t shared) {
  int device = 0, processors = 0, each = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess ||
      allow_shared(kernel, shared) != cudaSuccess ||
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(
          &each, reinterpret_cast<const void*>(kernel), static_cast<int>(block), shared) !=
          cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return processors * each;
}

// The most dynamic shared memory that a block may have on the current device; 0 if there is none.
inline size_t most_shared() {
  int device = 0, bytes = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) !=
          cudaSuccess) {
    cudaGetLastError();
    return 0;
  }
  return static_cast<size_t>(bytes);
}

inline ffi::Error zero(void* at, size_t bytes, Stream stream) {
  return checked(cudaMemsetAsync(at, 0, bytes, stream), "memset");
}

inline ffi::Error copy(void* to, const void* from, size_t bytes, Stream stream) {
  if (to == from) return ffi::Error::Success();
  return checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "copy");
}

#else

#define STREAM
#define BIND ffi::Ffi::Bind()

constexpr Stream stream{};  // there is only one order on a CPU

template <typename Args>
ffi::Error emulated(void (*kernel)(Args), unsigned grid, unsigned block, size_t shared,
                    const Args& args, bool together) {
  static_assert(std::is_trivially_copyable_v<Args> && sizeof(Args) <= 4'000);
  const char* problem = emulation::run([&] { kernel(args); }, grid, block, shared, together);
  return problem ? ffi::Error::Internal(problem) : ffi::Error::Success();
}

template <typename Args>
ffi::Error launch(void (*kernel)(Args), unsigned grid, unsigned block, size_t shared, Stream,
                  Args args) {
  return emulated(kernel, grid, block, shared, args, false);
}

template <typename Args>
ffi::Error launch_together(void (*kernel)(Args), unsigned grid, unsigned block, size_t shared,
                           Stream, Args args) {
  return emulated(kernel, grid, block, shared, args, true);
}

template <typename Args>
int blocks_at_once(void (*)(Args), unsigned, size_t shared) {
  return shared <= emulation::kSharedBytes ? emulation::kBlocksAtOnce : 0;
}

inline size_t most_shared() { return emulation::kSharedBytes; }

inline ffi::Error zero(void* at, size_t bytes, Stream) {
  std::memset(at, 0, bytes);
  return ffi::Error::Success();
}

inline ffi::Error copy(void* to, const void* from, size_t bytes, Stream) {
  if (to != from) std::memcpy(to, from, bytes);
  return ffi::Error::Success();
}

#endif
