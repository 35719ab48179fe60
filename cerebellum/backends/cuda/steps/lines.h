// The delay lines of the state, and the front: the spikes of the last steps.

#pragma once

#include "block.h"

namespace steps {

// visit(population, word) for the words of the block's cells that have a delay line.
template <typename Visit>
DEVICE void each_word(const Block& b, Visit visit) {
  for (int number = 0; number < b.plan().header->populations; ++number) {
    const Population& p = b.plan().populations[number];
    const Share& mine = b.shared().cells[number];
    if (p.line == nullptr) continue;
    constexpr int kWords = kGroup / 32;
    const int first = mine.first * kWords, end = (mine.first + mine.count) * kWords;
    for (int word = first + threadIdx.x; word < end && word < p.words; word += kThreads)
      visit(p, word);
  }
}

// The spikes of `step` go from the front into the delay lines.
DEVICE void into_lines(const Block& b, int step) {
  if (step < b.shared().start) return;
  each_word(b, [&](const Population& p, int word) {
    p.line[remainder(step, p.depth) * p.words + word] = front_row(p, step)[word];
  });
}

// The spikes of the steps before the launch come from the delay lines into the front.
DEVICE void from_lines(const Block& b) {
  each_word(b, [&](const Population& p, int word) {
    for (int age = 1; age < kFronts && age <= p.depth; ++age)
      front_row(p, b.shared().start - age)[word] =
          p.line[remainder(b.shared().start - age, p.depth) * p.words + word];
  });
}

}  // namespace steps
