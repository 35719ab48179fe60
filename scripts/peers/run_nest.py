"""The common network in NEST, double precision: SIZE THREADS REPEATS."""

import json
import sys
import time

import nest
import numpy as np
import params

size, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
nest.set_verbosity("M_ERROR")
cells = params.cells(size)
began = time.perf_counter()
nest.ResetKernel()
nest.resolution, nest.local_num_threads, nest.rng_seed = params.DT, threads, 1234


def population(name: str):
    constants = {**params.nest_cell(name), "V_m": 0.0}
    group = nest.Create("iaf_psc_exp", cells[name], constants)
    if name != "granule":
        group.V_m = nest.random.uniform(0.0, params.THRESHOLD)
    return group


groups = {name: population(name) for name in params.TAU_M_AND_DRIVE}
mossy = nest.Create("parrot_neuron", cells["mossy_fiber"])
groups["mossy_fiber"] = mossy
background = nest.Create("poisson_generator", 1, {"rate": params.BACKGROUND_HZ})
burst = nest.Create("poisson_generator", 1)
nest.Connect(background, mossy, "all_to_all", {"delay": 1.0})
first = list(range(round(len(mossy) * params.BURST_SHARE)))
nest.Connect(burst, mossy[first], "all_to_all", {"delay": 1.0})
for source, target, _, weight, degree, own in params.projections(size):
    spread = params.SPREAD * weight
    drawn = nest.random.uniform(weight - spread, weight + spread) if own else weight
    synapse = {"synapse_model": "static_synapse", "weight": drawn, "delay": 1.0}
    a, b = groups[source], groups[target]
    if own and params.beams(size):
        each = len(b) // params.beams(size)
        for beam in range(params.beams(size)):
            ends = a[beam * degree : (beam + 1) * degree], b[beam * each : (beam + 1) * each]
            nest.Connect(*ends, "all_to_all", synapse)
    else:
        nest.Connect(a, b, {"rule": "fixed_indegree", "indegree": degree}, synapse)
build = time.perf_counter() - began
began = time.perf_counter()
nest.Prepare()
nest.Cleanup()
compiling = time.perf_counter() - began


def start_burst() -> float:
    now = nest.biological_time
    rate = params.BURST_HZ - params.BACKGROUND_HZ
    burst.set(rate=rate, start=now + params.BURST_START, stop=now + params.BURST_STOP)
    return now


seconds = []
for _ in range(repeats):
    start_burst()
    nest.Prepare()
    began = time.perf_counter()
    nest.Run(float(params.STEPS))
    seconds.append(time.perf_counter() - began)
    nest.Cleanup()

# Recorders cost time: rates are of one more second, which is not timed.
recorders = {name: nest.Create("spike_recorder") for name in groups}
for name, group in groups.items():
    nest.Connect(group, recorders[name])
now = start_burst()
nest.Simulate(float(params.STEPS))
counts = {}
for name, recorder in recorders.items():
    step = np.round(np.asarray(recorder.get("events", "times")) - now).astype(int) - 1
    counts[name] = np.bincount(step, minlength=params.STEPS)
result = {
    "simulator": f"NEST {nest.__version__}, float64",
    "build_s": build,
    "compile_s": compiling,
    "sim_s": seconds,
    "untimed_runs": 1,
    "rates": params.rates(counts, size),
}
print(json.dumps(result))
