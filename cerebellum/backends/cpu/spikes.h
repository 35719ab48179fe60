// Packed spikes, 32 to a word.

#pragma once

#include <cstdint>
#include <vector>

// Cells that fired, ascending. Bits past the last of the cells are none.
inline void find(const uint32_t* words, int64_t count, int64_t cells, std::vector<int32_t>& fired) {
  fired.clear();
  for (int64_t w = 0; w < count; ++w)
    for (uint32_t word = words[w]; word; word &= word - 1)
      fired.push_back(static_cast<int32_t>(32 * w + __builtin_ctz(word)));
  while (!fired.empty() && fired.back() >= cells) fired.pop_back();
}

// Asks memory for a row before it is needed.
template <typename T>
inline void fetch(const T* row, int64_t count) {
  for (int64_t k = 0; k < count; k += 64 / sizeof(T)) __builtin_prefetch(row + k);
  __builtin_prefetch(row + count - 1);
}
