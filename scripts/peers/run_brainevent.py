"""The common network in brainevent and brainstate, numba kernels: SIZE THREADS REPEATS."""

import json
import os
import sys
import time

size, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if threads == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import brainevent  # noqa: E402
import brainevent.config  # noqa: E402
import brainstate  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import params  # noqa: E402

if threads > 1:
    brainevent.config.set_numba_parallel(True, num_threads=threads)
cells = params.cells(size)
began = time.perf_counter()
rng = np.random.default_rng(0)


def matrix(source: str, target: str, weight: float, degree: int, own: bool) -> brainevent.CSR:
    sources, synapses = cells[source], cells[target] * degree
    drawn = params.sources(rng, size, source, target, degree, own)
    order = np.argsort(drawn, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(drawn, minlength=sources))])
    weights = np.asarray([weight], np.float32)
    if own:
        even = 2 * rng.random(synapses, dtype=np.float32) - 1
        weights = (weight * (1 + params.SPREAD * even)).astype(np.float32)
    parts = (weights, (order // degree).astype(np.int32), starts.astype(np.int32))
    return brainevent.CSR(tuple(map(jnp.asarray, parts)), shape=(sources, cells[target]))


matrices = {}
for source, target, receptor, weight, degree, own in params.projections(size):
    made = matrix(source, target, weight, degree, own)
    # Its first use must not be inside jit: it keeps a workspace, which would be a tracer.
    (brainevent.BinaryArray(jnp.zeros(made.shape[0], bool)) @ made).block_until_ready()
    matrices[source, target] = receptor, made

NAMES = ("mossy_fiber", *params.TAU_M_AND_DRIVE)
first = {
    name: jnp.asarray(
        rng.random(cells[name], dtype=np.float32) * params.THRESHOLD * (name != "granule")
    )
    for name in params.TAU_M_AND_DRIVE
}


class Population(brainstate.nn.Module):
    def __init__(self, name: str):
        super().__init__()
        self.factors = {k: np.float32(v) for k, v in params.propagators(name).items()}
        number = cells[name]
        self.v = brainstate.HiddenState(first[name])
        self.exc = brainstate.ShortTermState(jnp.zeros(number, jnp.float32))
        self.inh = brainstate.ShortTermState(jnp.zeros(number, jnp.float32))
        self.left = brainstate.ShortTermState(jnp.zeros(number, jnp.int8))
        self.fired = brainstate.ShortTermState(jnp.zeros(number, bool))

    def update(self, exc, inh):
        f, left = self.factors, self.left.value
        reached = f["held"] * self.v.value + f["from_exc"] * self.exc.value
        reached = reached + f["from_inh"] * self.inh.value + f["drive"]
        reached = jnp.where(left > 0, 0.0, reached)
        fired = reached >= params.THRESHOLD
        self.v.value = jnp.where(fired, 0.0, reached)
        self.exc.value = self.exc.value * f["keep_exc"] + exc
        self.inh.value = self.inh.value * f["keep_inh"] + inh
        rest = jnp.where(fired, params.T_REF, jnp.maximum(left - 1, 0))
        self.left.value, self.fired.value = rest.astype(jnp.int8), fired
        return fired


class Network(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = {name: Population(name) for name in params.TAU_M_AND_DRIVE}
        number = cells["mossy_fiber"]
        self.mossy = brainstate.ShortTermState(jnp.zeros(number, bool))
        self.bursts = jnp.asarray(np.arange(number) < number * params.BURST_SHARE)

    def update(self, t):
        events = {name: brainevent.BinaryArray(p.fired.value) for name, p in self.cells.items()}
        events["mossy_fiber"] = brainevent.BinaryArray(self.mossy.value)
        sums = {(name, receptor): 0.0 for name in self.cells for receptor in "EI"}
        for (source, target), (receptor, made) in matrices.items():
            sums[target, receptor] = sums[target, receptor] + events[source] @ made
        fired = {n: p.update(sums[n, "E"], sums[n, "I"]) for n, p in self.cells.items()}
        now = (t >= params.BURST_START) & (t < params.BURST_STOP)
        rate = jnp.where(self.bursts & now, params.BURST_HZ, params.BACKGROUND_HZ)
        self.mossy.value = brainstate.random.rand(self.bursts.size) < rate * 1e-3
        fired["mossy_fiber"] = self.mossy.value
        return jnp.stack([jnp.sum(fired[name], dtype=jnp.int32) for name in NAMES])


network = Network()


@brainstate.transform.jit
def run(steps):
    return brainstate.transform.for_loop(network.update, steps)


def reset():
    for name, population in network.cells.items():
        population.v.value = first[name]
        for state in (population.exc, population.inh, population.left, population.fired):
            state.value = jnp.zeros_like(state.value)
    jax.block_until_ready([population.v.value for population in network.cells.values()])


steps = jnp.arange(params.STEPS)
build = time.perf_counter() - began
began = time.perf_counter()
run(steps).block_until_ready()
opening, seconds, counted = time.perf_counter() - began, [], None
for _ in range(repeats):
    reset()
    began = time.perf_counter()
    counted = run(steps).block_until_ready()
    seconds.append(time.perf_counter() - began)
counts = dict(zip(NAMES, np.asarray(counted).T, strict=True))
result = {
    "simulator": f"brainevent {brainevent.__version__}, numba",
    "build_s": build,
    "compile_s": opening - min(seconds),
    "sim_s": seconds,
    "untimed_runs": 1,
    "rates": params.rates(counts, size),
}
print(json.dumps(result))
