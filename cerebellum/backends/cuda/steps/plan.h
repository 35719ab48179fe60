// What one launch of steps.cu runs: the populations, projections, rules, drives and recorders of a
// circuit, as records of 64-bit fields. steps_plan.py writes them, in the same order.
//
// An address is written as the number of a buffer and an offset in it, or -1 for none; `load` puts
// the address in its place.

#pragma once

#include <cstdint>

#include "../device.h"

namespace steps {

constexpr int kBuffers = 448;      // operands and results of a launch
constexpr int kOffsetBits = 40;    // of an address in the plan
constexpr int kFronts = 4;         // steps whose spikes are kept outside the delay lines
constexpr int64_t kSharedAll = 1 << 24;  // every contact of a row exists

enum Receptor : int64_t { kExc = 0, kInh = 1 };  // of relays there is only the first
enum Weights : int64_t {
  kOneWeight = 0,    // lists that share a weight; spikes are counted, `bits` bits a target
  kOwnWeights = 1,   // lists with a float a synapse; sums in fixed point (fixed.cuh)
  kRows = 2,         // rows of floats; sums as of kOwnWeights
  kLevels = 3,       // rows of uint16; sums are uint64
};
enum Choice : int64_t { kAll = 0, kRange = 1, kList = 2 };
enum Variable : int64_t { kV = 0, kIExc = 1, kIInh = 2, kSpikes = 3 };

// Cells of one kind: of a current-based model, or relays.
struct Population {
  float *v, *exc, *inh;    // [size]; of relays, what has arrived, and none
  void* refractory;        // uint8 or uint16 [size]
  const float* constants;  // current::Constants, [9] or [9][size]
  const float* bias;       // [1] or [size]
  uint32_t* line;          // delay line, [depth][words], or none
  uint32_t* front;         // [kFronts][words]
  const uint32_t* alive;   // cells that emit spikes, [words], or none: all
  uint32_t* raster;        // [steps][words], or none
  int* totals;             // [steps]
  int64_t size, words, depth;
  int64_t relay;           // whether they are relays
  int64_t repeats;         // relays that send on packed spikes and get no others
  int64_t own_constants, own_bias;  // whether each cell has its own
  int64_t wide;            // whether `refractory` is uint16
  int64_t first_arrival, arrivals;  // projections onto it, in the order of delivery
  int64_t first_drive, drives;
  int64_t first_trace, traces;
};
constexpr int kPopulationAddresses = 11;

struct Projection {
  const void* targets;    // lists [N][fan], uint16 or uint32; of rows none
  void* weights;          // float [1] or [N][fan], or uint16 [N][fan]
  unsigned char* sums;    // [copies] of what arrives
  unsigned* taught;       // spikes of a teacher whose sums are of weights, [copies][size]
  int64_t kind;         // Weights
  int64_t source, target, receptor, delay;
  int64_t wide;         // whether targets are uint32
  int64_t fan, pieces, piece;  // places of a list or row, its pieces, and their length
  int64_t bits;         // of a counter
  int64_t copies, copy_bytes;
  int64_t beams, beam_sources;  // of rows
  int64_t unit;         // bits of the float32 weight of a level
  int64_t rule;         // by which rows learn, or -1
};
constexpr int kProjectionAddresses = 4;

// A rule of plasticity.window on rows of uint16.
struct Rule {
  float* pending;            // [depth][beams * width]
  const float* window;       // k by lag, [depth]
  const float* gain;         // [1]
  const uint32_t* rounding;  // key of the rounding of a run, [2]
  const uint32_t* contacts;  // key of the contacts that exist, [2]
  const unsigned char* taught;  // counters of teaching spikes, or none: spikes of the target cells
  int64_t bits, copies, copy_bytes;  // of them
  int64_t depth, ahead, back;
  int64_t age;               // steps from a spike to the step in which its window closes
  int64_t per_spike, per_pair, inverse;  // bits of float32; 1 over the weight of a level
  int64_t share;             // contacts exist where the upper 24 bits of their word are below
};
constexpr int kRuleAddresses = 6;

struct Drive {
  const void* values;   // chances, float [rows][1] or [rows][size]; or packed spikes [steps][words]
  const int* starts;    // steps from which the rows apply, [rows]; none: packed spikes
  const uint32_t* key;  // of the run and of this use, [2]
  int64_t rows;
  int64_t stride;       // from one row to the next, in values
};
constexpr int kDriveAddresses = 3;

struct Recorder {
  void* out;               // float [steps][room], or packed spikes [steps][words of room]
  const int* index;        // cells of a list [room], or the first of a range [1]
  const uint32_t* chosen;  // cells of a list, packed
  int64_t population, variable, choice, room;
};
constexpr int kRecorderAddresses = 3;

struct Header {
  const int* start;   // step of the state
  unsigned* counter;  // of the barrier
  int64_t steps, populations, projections, arrivals, rules, drives, recorders;
  int64_t row_projections;
};
constexpr int kHeaderAddresses = 2;

static_assert(sizeof(void*) == 8);
static_assert(sizeof(Population) == 8 * 25 && sizeof(Projection) == 8 * 20);
static_assert(sizeof(Rule) == 8 * 17 && sizeof(Drive) == 8 * 5);
static_assert(sizeof(Recorder) == 8 * 7 && sizeof(Header) == 8 * 10);

struct Args {
  const int64_t* plan;
  unsigned words;           // of the plan, 64 bits each
  unsigned queue;           // events that a block has room for
  unsigned slots;           // groups of cells whose variables it has room for
  void* buffers[kBuffers];
};
static_assert(sizeof(Args) < 4'000);

// Records in shared memory, by their offset there: the compiler then knows what memory it is.
template <typename Record>
struct Records {
  unsigned offset;

  DEVICE Record* begin() const {
    return reinterpret_cast<Record*>(shared_memory<unsigned char>() + offset);
  }
  DEVICE Record& operator[](int64_t number) const { return begin()[number]; }
  DEVICE Record* operator->() const { return begin(); }
};

template <typename Record>
DEVICE unsigned after(const Records<Record>& records, int64_t count) {
  return records.offset + static_cast<unsigned>(count * sizeof(Record));
}

// The plan in shared memory.
struct Plan {
  Records<Header> header;
  Records<Population> populations;
  Records<Projection> projections;
  Records<int64_t> arrivals;  // numbers of projections, by target
  Records<Rule> rules;
  Records<Drive> drives;
  Records<Recorder> recorders;

  // Where its parts are, from an offset on.
  DEVICE void lay(unsigned offset) {
    header = {offset};
    populations = {header.offset + static_cast<unsigned>(sizeof(Header))};
    projections = {after(populations, header->populations)};
    arrivals = {after(projections, header->projections)};
    rules = {after(arrivals, header->arrivals)};
    drives = {after(rules, header->rules)};
    recorders = {after(drives, header->drives)};
  }
};

template <typename Record>
DEVICE void find_addresses(Records<Record> records, int64_t count, int addresses,
                           const Args& args) {
  constexpr int kFields = sizeof(Record) / 8;
  int64_t* fields = reinterpret_cast<int64_t*>(records.begin());
  for (int i = threadIdx.x; i < count * addresses; i += blockDim.x) {
    int64_t& field = fields[i / addresses * kFields + i % addresses];
    const int64_t buffer = field >> kOffsetBits;
    const int64_t offset = field & ((int64_t{1} << kOffsetBits) - 1);
    field = field < 0 ? 0 : reinterpret_cast<int64_t>(args.buffers[buffer]) + offset;
  }
}

// Copy the plan into shared memory, from an offset on, with addresses in place.
DEVICE void load(const Args& args, unsigned offset, Plan& plan) {
  int64_t* at = reinterpret_cast<int64_t*>(shared_memory<unsigned char>() + offset);
  for (unsigned i = threadIdx.x; i < args.words; i += blockDim.x) at[i] = args.plan[i];
  __syncthreads();
  if (threadIdx.x == 0) plan.lay(offset);
  __syncthreads();
  const Header counts = plan.header[0];
  __syncthreads();
  find_addresses(plan.header, 1, kHeaderAddresses, args);
  find_addresses(plan.populations, counts.populations, kPopulationAddresses, args);
  find_addresses(plan.projections, counts.projections, kProjectionAddresses, args);
  find_addresses(plan.rules, counts.rules, kRuleAddresses, args);
  find_addresses(plan.drives, counts.drives, kDriveAddresses, args);
  find_addresses(plan.recorders, counts.recorders, kRecorderAddresses, args);
  __syncthreads();
}

}  // namespace steps
