// See threads.h. A fiber begins in a context of its own (ucontext) and is then left and entered by
// _setjmp and _longjmp, which make no system call. It serves one thread of a kernel after another.

#include "threads.h"

#include <algorithm>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <ucontext.h>
#include <vector>

thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

namespace {

constexpr size_t kStack = 64 * 1024;

struct Warp {
  uint32_t given[2][32];  // of an exchange and the one before it, by lane
  int waiting = 0;
  unsigned round = 0;
};

struct Block {
  std::vector<unsigned char> shared;
  std::vector<Warp> warps;
  int size = 0, waiting = 0;
  unsigned round = 0;
  int sums[3] = {0, 0, 0};  // of a round, the one before it and the next one
};

struct Fiber {
  jmp_buf place;
  ucontext_t start;
  std::unique_ptr<unsigned char[]> stack{new unsigned char[kStack]};
  Block* block = nullptr;
  unsigned thread = 0, number = 0;
  bool begun = false, done = false;
};

struct Machine {
  std::vector<std::unique_ptr<Fiber>> fibers;
  const std::function<void()>* kernel = nullptr;
  Fiber* current = nullptr;
  jmp_buf scheduler;
  ucontext_t home;
  uint64_t events = 0;  // what waiting fibers wait for
  bool drawn = false;   // whether orders are drawn
  std::minstd_rand random;
};

thread_local Machine machine;

void leave() {
  if (!_setjmp(machine.current->place)) _longjmp(machine.scheduler, 1);
}

void begin() {
  for (;;) {
    (*machine.kernel)();
    machine.current->done = true;
    ++machine.events;
    leave();
  }
}

void enter(Fiber& fiber) {
  machine.current = &fiber;
  threadIdx.x = fiber.thread;
  blockIdx.x = fiber.number;
  if (_setjmp(machine.scheduler)) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  fiber.begun = true;
  getcontext(&fiber.start);
  fiber.start.uc_stack.ss_sp = fiber.stack.get();
  fiber.start.uc_stack.ss_size = kStack;
  fiber.start.uc_link = nullptr;
  makecontext(&fiber.start, begin, 0);
  setcontext(&fiber.start);
}

// Run fibers to the end of their threads: whether they came to it.
bool finish(std::vector<Fiber*> order) {
  while (!order.empty()) {
    const uint64_t before = machine.events;
    if (machine.drawn)
      for (size_t k = order.size(); k > 1; --k) std::swap(order[k - 1], order[machine.random() % k]);
    for (Fiber* fiber : order) enter(*fiber);
    order.erase(std::remove_if(order.begin(), order.end(), [](Fiber* f) { return f->done; }),
                order.end());
    if (machine.events == before) return false;
  }
  return true;
}

// Wait for all of `size`: the last to come lets the others go on.
void wait(int size, int& waiting, unsigned& round) {
  const unsigned mine = round;
  ++machine.events;
  if (++waiting == size) {
    waiting = 0;
    ++round;
    return;
  }
  while (round == mine) leave();
  ++machine.events;
}

}  // namespace

const char* run(const std::function<void()>& kernel, unsigned grid, unsigned block, size_t shared,
                bool together) {
  if (block == 0 || block % 32 || block > 1'024) return "block: whole warps, up to 1,024 threads";
  if (shared > kSharedBytes) return "shared memory: more than a block may have";
  if (together && grid > static_cast<unsigned>(kBlocksAtOnce)) return "grid: too many blocks at once";
  const char* seed = std::getenv("CEREBELLUM_EMULATE_SEED");
  machine.drawn = seed && std::atoi(seed) > 0;
  if (machine.drawn) machine.random.seed(std::atoi(seed));
  machine.kernel = &kernel;
  blockDim.x = block;
  gridDim.x = grid;
  const unsigned at_once = together ? grid : 1;
  while (machine.fibers.size() < size_t{at_once} * block)
    machine.fibers.emplace_back(new Fiber);
  std::vector<unsigned> numbers(grid);
  for (unsigned b = 0; b < grid; ++b) numbers[b] = b;
  if (machine.drawn)
    for (unsigned b = grid; b > 1; --b) std::swap(numbers[b - 1], numbers[machine.random() % b]);
  std::vector<Block> blocks(at_once);
  std::vector<Fiber*> running;
  for (unsigned first = 0; first < grid; first += at_once) {
    running.clear();
    for (unsigned b = 0; b < at_once; ++b) {
      Block& own = blocks[b];
      own = Block{};
      own.size = static_cast<int>(block);
      own.warps.resize(block / 32);
      own.shared.assign(shared + 16, 0xa5);
      for (unsigned t = 0; t < block; ++t) {
        Fiber& fiber = *machine.fibers[size_t{b} * block + t];
        fiber.block = &own;
        fiber.thread = t;
        fiber.number = numbers[first + b];
        fiber.done = false;
        running.push_back(&fiber);
      }
    }
    if (!finish(running)) {
      for (Fiber* fiber : running) fiber->begun = false;
      return "kernel: threads wait for others that do not come";
    }
  }
  return nullptr;
}

unsigned char* shared_bytes() {
  const auto at = reinterpret_cast<uintptr_t>(machine.current->block->shared.data());
  return reinterpret_cast<unsigned char*>((at + 15) / 16 * 16);
}

void pass() {
  if (machine.drawn && machine.random() % 8 == 0) {
    ++machine.events;
    leave();
  }
}

void spin() { leave(); }

void event() { ++machine.events; }

void block_wait() { block_sum(0); }

int block_sum(int value) {
  Block& own = *machine.current->block;
  const unsigned round = own.round;
  own.sums[round % 3] += value;
  own.sums[(round + 1) % 3] = 0;
  wait(own.size, own.waiting, own.round);
  return own.sums[round % 3];
}

const uint32_t* exchange(uint32_t value) {
  Fiber& fiber = *machine.current;
  Warp& own = fiber.block->warps[fiber.thread / 32];
  uint32_t* given = own.given[own.round % 2];
  given[fiber.thread % 32] = value;
  wait(32, own.waiting, own.round);
  return given;
}

}  // namespace emulation
