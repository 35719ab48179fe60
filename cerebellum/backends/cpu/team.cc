// One team of threads for the process. OpenMP has one for every thread that calls it, and XLA
// calls from several: its teams then keep each other off the cores.

#include "team.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace team {

namespace {

constexpr int kPatience = 20'000;  // looks for work before sleeping, some 100 us: a step is shorter

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Parts are taken by whoever is free, so that a thread which has no core costs nothing: the caller
// does its part. Who does a part changes no result.
struct Team {
  std::mutex used;
  std::atomic<uint32_t> round{0};
  std::atomic<uint64_t> next{0};  // the round, and the first of its parts that nobody has taken
  std::atomic<int> undone{0};
  void (*visit)(void*, int, int) = nullptr;
  void* data = nullptr;

  Team() {
    for (int index = 1; index < members(); ++index) std::thread([this] { work(); }).detach();
  }

  // Take parts of a round until there are none. While one is undone, its caller waits, so that what
  // is to be done stays as it was when the part was taken.
  void take(uint32_t own) {
    const uint64_t end = (uint64_t{own} << 32) + members();
    uint64_t part = next.load(std::memory_order_acquire);
    while (part >> 32 == own && part < end) {
      if (!next.compare_exchange_weak(part, part + 1, std::memory_order_acquire)) continue;
      visit(data, static_cast<int>(static_cast<uint32_t>(part)), members());
      undone.fetch_sub(1, std::memory_order_release);
      part = next.load(std::memory_order_acquire);
    }
  }

  void work() {
    for (uint32_t seen = 0;;) {
      for (int look = 0; look < kPatience && round.load(std::memory_order_acquire) == seen; ++look)
        pause();
      round.wait(seen, std::memory_order_acquire);
      seen = round.load(std::memory_order_acquire);
      take(seen);
    }
  }
};

}  // namespace

int members() {
  static const int count = [] {
    const char* asked = std::getenv("OMP_NUM_THREADS");
    return asked ? std::clamp(std::atoi(asked), 1, 1024) : 1;
  }();
  return count;
}

void call(void (*visit)(void*, int, int), void* data) {
  static Team* const team = new Team;  // never ends: its threads may outlive everything else
  std::unique_lock lock(team->used, std::try_to_lock);
  if (!lock) return visit(data, 0, 1);
  team->visit = visit;
  team->data = data;
  team->undone.store(members(), std::memory_order_relaxed);
  const uint32_t round = team->round.load(std::memory_order_relaxed) + 1;
  team->next.store(uint64_t{round} << 32, std::memory_order_release);
  team->round.store(round, std::memory_order_release);
  team->round.notify_all();
  team->take(round);
  for (int look = 0; team->undone.load(std::memory_order_acquire); ++look)
    look < kPatience ? pause() : std::this_thread::yield();
}

}  // namespace team
