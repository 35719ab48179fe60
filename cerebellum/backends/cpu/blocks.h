// What kernels of cells have in common that integrate blocks of 64, which have two words of spikes. To
// be included before everything else.

#pragma once

// Such cells are more arithmetic than memory: vectors of 512 bits where the processor has them, of
// which GCC uses half by default.
#if defined(__AVX512F__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("prefer-vector-width=512")
#endif

#include <cstdint>
#include <cstring>

constexpr int kBlock = 64;

// Whether a cell of the block is refractory.
inline bool any_waits(const uint8_t* left) {
  uint64_t all[kBlock / 8], any = 0;
  std::memcpy(all, left, kBlock);
  for (const uint64_t some : all) any |= some;
  return any != 0;
}

// Write the words that `cells` cells from a block's first one on have.
inline void pack(uint64_t fired, int64_t cells, uint32_t* words) {
  words[0] = static_cast<uint32_t>(fired);
  if (cells > 32) words[1] = static_cast<uint32_t>(fired >> 32);
}
