// The common network in plain C, the practical limit of a CPU: GRANULE PURKINJE FIBRES REPEATS.
// Event driven: lists by source; each thread owns a part of every population's cells.
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "params.h"

enum { BLOCK = 32, MOST_THREADS = 16, AHEAD = 4 };

typedef struct { float held, from_exc, from_inh, drive, keep_exc, keep_inh; } Factors;

typedef struct {
  const char* name;
  int n, low[MOST_THREADS + 1];
  float *v, *exc, *inh, *first;
  uint8_t* left;
  int *fired[2][MOST_THREADS], count[2][MOST_THREADS];  // by parity of the step
  long total[3];
  Factors factors;
} Cells;

typedef struct { int64_t* start; int* target; float *own, shared; } Lists;

static int threads = 1;
static uint64_t random_state = 88172645463325252ull;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static uint32_t draw(void) {
  random_state ^= random_state << 13, random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (uint32_t)(random_state >> 32);
}

static float draw_even(void) { return (draw() >> 8) * 0x1p-24f; }

static void* zeros(size_t bytes) {
  size_t padded = (bytes + 127) / 64 * 64;
  return memset(aligned_alloc(64, padded), 0, padded);
}

static Cells make(const char* name, int n, Factors factors, int spread) {
  Cells c = {.name = name, .n = n, .factors = factors};
  int padded = (n + BLOCK - 1) / BLOCK * BLOCK, blocks = padded / BLOCK;
  c.v = zeros(padded * 4), c.exc = zeros(padded * 4), c.inh = zeros(padded * 4);
  c.first = zeros(padded * 4), c.left = zeros(padded);
  for (int i = 0; i < padded; i++)
    c.first[i] = i >= n ? -1e30f : spread ? THRESHOLD * draw_even() : 0.0f;
  for (int t = 0; t <= threads; t++) c.low[t] = blocks * t / threads * BLOCK;
  for (int t = 0; t < threads; t++)
    for (int p = 0; p < 2; p++) c.fired[p][t] = zeros((size_t)(c.low[t + 1] - c.low[t] + 1) * 4);
  return c;
}

static void reset(Cells* c) {
  int padded = c->low[threads];
  memcpy(c->v, c->first, padded * 4);
  memset(c->exc, 0, padded * 4), memset(c->inh, 0, padded * 4), memset(c->left, 0, padded);
  memset(c->count, 0, sizeof c->count), memset(c->total, 0, sizeof c->total);
}

// Lists of the targets that each thread owns, in the order of their sources.
static void connect(Lists* by_thread, const Cells* a, const Cells* b, int degree, float weight,
                    int own) {
  int64_t all = (int64_t)b->n * degree;
  int* source = malloc(all * 4);
  for (int64_t k = 0; k < all; k++) source[k] = (int)(((uint64_t)draw() * a->n) >> 32);
  for (int t = 0; t < threads; t++) {
    Lists* l = &by_thread[t];
    int low = b->low[t] < b->n ? b->low[t] : b->n, high = b->low[t + 1] < b->n ? b->low[t + 1] : b->n;
    int64_t first = (int64_t)low * degree, last = (int64_t)high * degree;
    l->start = calloc(a->n + 2, 8), l->target = zeros((last - first) * 4 + 64), l->shared = weight;
    l->own = own ? zeros((last - first) * 4 + 64) : NULL;
    for (int64_t k = first; k < last; k++) l->start[source[k] + 2]++;
    for (int i = 0; i < a->n; i++) l->start[i + 2] += l->start[i + 1];
    for (int64_t k = first; k < last; k++) {
      int64_t place = l->start[source[k] + 1]++;
      l->target[place] = (int)(k / degree);
      if (own) l->own[place] = weight * (0.5f + draw_even());
    }
  }
  free(source);
}

static void note(Cells* c, int thread, int parity, int first, const uint32_t* spike, int* count) {
  uint32_t word = 0;
  for (int k = 0; k < BLOCK; k++) word |= spike[k] << k;
  for (; word; word &= word - 1) c->fired[parity][thread][(*count)++] = first + __builtin_ctz(word);
}

static void update(Cells* c, int thread, int parity) {
  const Factors f = c->factors;
  int count = 0;
  for (int i = c->low[thread]; i < c->low[thread + 1]; i += BLOCK) {
    float *restrict v = c->v + i, *restrict exc = c->exc + i, *restrict inh = c->inh + i;
    uint8_t* restrict left = c->left + i;
    int32_t wait[BLOCK];
    uint32_t spike[BLOCK];
    for (int k = 0; k < BLOCK; k++) wait[k] = left[k];
    for (int k = 0; k < BLOCK; k++) {
      float reached = f.held * v[k] + f.from_exc * exc[k] + f.from_inh * inh[k] + f.drive;
      int silent = wait[k] != 0;
      spike[k] = (reached >= THRESHOLD) & !silent;
      v[k] = silent | spike[k] ? 0.0f : reached;
      exc[k] *= f.keep_exc, inh[k] *= f.keep_inh;
    }
    for (int k = 0; k < BLOCK; k++) wait[k] = spike[k] ? T_REF : wait[k] - (wait[k] != 0);
    for (int k = 0; k < BLOCK; k++) left[k] = (uint8_t)wait[k];
    note(c, thread, parity, i, spike, &count);
  }
  c->count[parity][thread] = count;
}

static inline uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85EBCA6Bu, x = (x ^ x >> 13) * 0xC2B2AE35u;
  return x ^ x >> 16;
}

static void mossy_step(Cells* c, int thread, int parity, int step, uint32_t seed) {
  uint32_t low = (uint32_t)(BACKGROUND_HZ * 1e-3 * 4294967296.0);
  uint32_t high = (uint32_t)(BURST_HZ * 1e-3 * 4294967296.0), now_ = mix(seed + step * 2654435761u);
  int bursting = step >= BURST_START && step < BURST_STOP ? (int)(c->n * BURST_SHARE) : 0, count = 0;
  for (int i = c->low[thread]; i < c->low[thread + 1]; i += BLOCK) {
    uint32_t spike[BLOCK];
    for (int k = 0; k < BLOCK; k++) {
      uint32_t limit = i + k < bursting ? high : i + k < c->n ? low : 0;
      spike[k] = mix((uint32_t)(i + k) * 0x9E3779B1u + now_) < limit;
    }
    note(c, thread, parity, i, spike, &count);
  }
  c->count[parity][thread] = count;
}

static void deliver(const Cells* a, int parity, const Lists* l, float* restrict out) {
  for (int t = 0; t < threads; t++) {
    const int *fired = a->fired[parity][t], count = a->count[parity][t];
    for (int j = 0; j < count; j++) {
      if (j + AHEAD < count)
        for (int64_t k = l->start[fired[j + AHEAD]]; k < l->start[fired[j + AHEAD] + 1]; k += 16) {
          __builtin_prefetch(l->target + k);
          if (l->own) __builtin_prefetch(l->own + k);
        }
      int64_t last = l->start[fired[j] + 1];
      for (int64_t k = l->start[fired[j]]; k < last; k++)
        out[l->target[k]] += l->own ? l->own[k] : l->shared;
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 5) return fprintf(stderr, "net: GRANULE PURKINJE FIBRES REPEATS\n"), 2;
  int granules = atoi(argv[1]), purkinje = atoi(argv[2]), fibres = atoi(argv[3]), repeats = atoi(argv[4]);
  threads = omp_get_max_threads();
  double began = now();
  Factors none = {0};
  int fibre_count = granules / 20 < 200 ? 200 : granules / 20;
  Cells all[] = {make("mossy_fiber", fibre_count, none, 0),
                 make("granule", granules, (Factors)CELLS_granule, 0),
                 make("golgi", granules / 400, (Factors)CELLS_golgi, 1),
                 make("purkinje", purkinje, (Factors)CELLS_purkinje, 1),
                 make("interneuron", purkinje * 5, (Factors)CELLS_interneuron, 1),
                 make("nuclei", purkinje / 10, (Factors)CELLS_nuclei, 1)};
  Cells *mf = all, *gr = all + 1, *go = all + 2, *pc = all + 3, *in = all + 4, *dn = all + 5;
  static Lists lists[9][MOST_THREADS];
  struct { Cells *a, *b; float* out; int degree; float weight; int own; } table[9] = {
      {mf, gr, gr->exc, IN_mossy_fiber_granule, W_mossy_fiber_granule, 0},
      {go, gr, gr->inh, IN_golgi_granule, W_golgi_granule, 0},
      {gr, go, go->exc, IN_granule_golgi, W_granule_golgi, 0},
      {mf, go, go->exc, IN_mossy_fiber_golgi, W_mossy_fiber_golgi, 0},
      {gr, pc, pc->exc, fibres, PARALLEL_MV / fibres, 1},
      {gr, in, in->exc, IN_granule_interneuron, W_granule_interneuron, 1},
      {in, pc, pc->inh, IN_interneuron_purkinje, W_interneuron_purkinje, 0},
      {pc, dn, dn->inh, IN_purkinje_nuclei, W_purkinje_nuclei, 0},
      {mf, dn, dn->exc, IN_mossy_fiber_nuclei, W_mossy_fiber_nuclei, 0}};
  for (int p = 0; p < 9; p++)
    connect(lists[p], table[p].a, table[p].b, table[p].degree, table[p].weight, table[p].own);
  printf("{\"simulator\": \"plain C\", \"build_s\": %.4f, \"compile_s\": 0, \"sim_s\": [", now() - began);
  for (int rep = 0; rep < repeats; rep++) {
    for (int p = 0; p < 6; p++) reset(all + p);
    began = now();
#pragma omp parallel num_threads(threads)
    for (int step = 0, t = omp_get_thread_num(); step < STEPS; step++) {
      int new = step & 1, old = new ^ 1;
      for (int p = 1; p < 6; p++) update(all + p, t, new);
      mossy_step(mf, t, new, step, rep * 7919u + 1);
      for (int p = 0; p < 9; p++) deliver(table[p].a, old, &lists[p][t], table[p].out);
#pragma omp barrier
      if (t == 0)
        for (int p = 0; p < 6; p++)
          for (int u = 0; u < threads; u++) {
            int n = all[p].count[new][u];
            all[p].total[0] += n;
            all[p].total[1] += step >= 100 && step < BURST_START ? n : 0;
            all[p].total[2] += step >= BURST_START && step < BURST_STOP ? n : 0;
          }
    }
    printf("%s%.6f", rep ? ", " : "", now() - began);
  }
  printf("], \"rates\": {");
  for (int p = 0; p < 6; p++)
    printf("%s\"%s\": [%.3f, %.3f, %.3f]", p ? ", " : "", all[p].name,
           all[p].total[0] * 1e3 / STEPS / all[p].n, all[p].total[1] * 5.0 / all[p].n,
           all[p].total[2] * 5.0 / all[p].n);
  printf("}}\n");
}
