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

struct Team {
  std::mutex used;
  std::atomic<uint32_t> round{0};
  std::atomic<int> busy{0};
  void (*visit)(void*, int, int) = nullptr;
  void* data = nullptr;

  Team() {
    for (int index = 1; index < members(); ++index)
      std::thread([this, index] { work(index); }).detach();
  }

  void work(int index) {
    for (uint32_t seen = 0;; ++seen) {
      for (int look = 0; look < kPatience && round.load(std::memory_order_acquire) == seen; ++look)
        pause();
      round.wait(seen, std::memory_order_acquire);
      visit(data, index, members());
      busy.fetch_sub(1, std::memory_order_release);
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
  team->busy.store(members() - 1, std::memory_order_relaxed);
  team->round.fetch_add(1, std::memory_order_release);
  team->round.notify_all();
  visit(data, 0, members());
  for (int look = 0; team->busy.load(std::memory_order_acquire); ++look)
    look < kPatience ? pause() : std::this_thread::yield();
}

}  // namespace team
