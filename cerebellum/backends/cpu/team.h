// Work shared out to threads, so that the result does not depend on how many there are.

#pragma once

#include <algorithm>
#include <cstdint>

namespace team {

constexpr int64_t kLeast = 16'384;  // elements of work that pay for calling another thread

struct Range {
  int64_t first, last;
};

// Part `index` of `parts` of 0 to `size`, with edges at multiples of `grain`.
inline Range part(int64_t size, int index, int parts, int64_t grain = 1) {
  const int64_t grains = (size + grain - 1) / grain;
  return {std::min(size, grains * index / parts * grain),
          std::min(size, grains * (index + 1) / parts * grain)};
}

// As many as the user asked for: one, unless OMP_NUM_THREADS says otherwise.
int members();

// visit(data, index, parts) once for each part; returns when all are done. If the team is at work
// for somebody else the caller does all by itself.
void call(void (*visit)(void*, int, int), void* data);

// visit(index, parts) once for each part.
template <typename Visit>
void run(int64_t work, Visit visit) {
  if (members() == 1 || work < kLeast) return visit(0, 1);
  call([](void* data, int index, int parts) { (*static_cast<Visit*>(data))(index, parts); },
       &visit);
}

}  // namespace team
