// Threefry-2x32, 20 rounds (Salmon et al. 2011), as in JAX and in model/noise.py. The CUDA kernels
// include this file, too.

#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define ANYWHERE __host__ __device__ inline  // for the processor and for the GPU
#else
#define ANYWHERE inline
#endif

ANYWHERE uint32_t turn(uint32_t x, int by) { return (x << by) | (x >> (32 - by)); }

struct Pair {
  uint32_t a, b;
};

ANYWHERE Pair threefry(Pair key, Pair x) {
  const uint32_t ks[3] = {key.a, key.b, key.a ^ key.b ^ 0x1BD11BDAu};
  constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  x.a += ks[0];
  x.b += ks[1];
  for (uint32_t i = 0; i < 5; ++i) {
    for (int j = 0; j < 4; ++j) {
      x.a += x.b;
      x.b = turn(x.b, kTurns[i % 2][j]) ^ x.a;
    }
    x.a += ks[(i + 1) % 3];
    x.b += ks[(i + 2) % 3] + i + 1;
  }
  return x;
}

// The key that belongs to a number under a key: `noise.fold`.
ANYWHERE Pair fold(Pair key, uint32_t number) { return threefry(key, {0, number}); }
