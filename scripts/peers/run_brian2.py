"""The common network in Brian2, C++ standalone, single precision: SIZE THREADS REPEATS."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import brian2
import numpy as np
import params
from brian2 import Network, NeuronGroup, PopulationRateMonitor, Synapses, ms

size, threads, repeats = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
folder = Path(tempfile.gettempdir()) / f"brian2-{size}-{threads}"
shutil.rmtree(folder, ignore_errors=True)
brian2.prefs.core.default_float_dtype = np.float32
standalone = brian2.prefs.devices.cpp_standalone
standalone.extra_make_args_unix = ["-j2"]
standalone.openmp_threads = threads if threads > 1 else 0
brian2.prefs.codegen.cpp.extra_compile_args_gcc = [
    *("-w", "-O3", "-ffast-math", "-fno-finite-math-only", "-march=native", "-std=c++11"),
]
brian2.set_device("cpp_standalone", build_on_run=False, directory=str(folder))
brian2.defaultclock.dt = params.DT * ms
began = time.perf_counter()
rng = np.random.default_rng(0)
cells = params.cells(size)

EQUATIONS = """
dv/dt = (drive - v + exc + inh) / tau_m : 1 (unless refractory)
dexc/dt = -exc / tau_e : 1
dinh/dt = -inh / tau_i : 1
"""


def population(name: str) -> NeuronGroup:
    tau_m, drive = params.TAU_M_AND_DRIVE[name]
    if tau_m == params.TAU_I:
        tau_m *= 1.01  # where the two are equal its exact solution divides by zero
    group = NeuronGroup(
        cells[name],
        EQUATIONS,
        threshold=f"v >= {params.THRESHOLD}",
        reset="v = 0",
        refractory=params.T_REF * ms,
        method="exact",
        namespace={
            "tau_m": tau_m * ms,
            "tau_e": params.TAU_E * ms,
            "tau_i": params.TAU_I * ms,
            "drive": drive,
        },
        name=name,
    )
    if name != "granule":
        group.v = f"{params.THRESHOLD} * rand()"
    return group


low, high = params.BACKGROUND_HZ * 1e-3, params.BURST_HZ * 1e-3
bursting = (
    f"bursts * {high - low} * int(t >= {params.BURST_START}*ms and t < {params.BURST_STOP}*ms)"
)
mossy = NeuronGroup(
    cells["mossy_fiber"],
    "bursts : 1 (constant)",
    threshold=f"rand() < {low} + {bursting}",
    name="mossy_fiber",
)
mossy.bursts = (np.arange(len(mossy)) < len(mossy) * params.BURST_SHARE).astype(float)
groups = {"mossy_fiber": mossy, **{name: population(name) for name in params.TAU_M_AND_DRIVE}}

synapses = []
for source, target, receptor, weight, degree, own in params.projections(size):
    a, b = groups[source], groups[target]
    variable = "exc" if receptor == "E" else "inh"
    options = {"delay": 1 * ms, "name": f"{source}_{target}"}
    if own:
        new = Synapses(a, b, "w : 1", on_pre=f"{variable}_post += w", **options)
    else:
        new = Synapses(
            a, b, on_pre=f"{variable}_post += weight", namespace={"weight": weight}, **options
        )
    i = params.sources(rng, size, source, target, degree, own)
    new.connect(i=i, j=np.repeat(np.arange(len(b), dtype=np.int32), degree))
    if own:
        new.w = f"{weight} * (1 + {params.SPREAD} * (2 * rand() - 1))"
    synapses.append(new)

monitors = {name: PopulationRateMonitor(group) for name, group in groups.items()}
network = Network([*groups.values(), *synapses, *monitors.values()])
network.run(params.STEPS * ms)
build = time.perf_counter() - began
began = time.perf_counter()
brian2.device.build(directory=str(folder), compile=True, run=False, clean=False)
compiling = time.perf_counter() - began
seconds = []
for _ in range(repeats):
    subprocess.run(["./main"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds.append(float((folder / "results" / "last_run_info.txt").read_text().split()[0]))
counts = {}
for name, monitor in monitors.items():
    values = monitor.variables["rate"]
    file = folder / "results" / Path(brian2.device.get_array_filename(values)).name
    # A rate of a step in Hz; a spike of Brian2's first step is one of ours of the step before.
    counts[name] = np.fromfile(file, values.dtype) * cells[name] * 1e-3
result = {
    "simulator": f"Brian2 {brian2.__version__}, C++ standalone, float32",
    "build_s": build,
    "compile_s": compiling,
    "sim_s": seconds,
    "rates": params.rates(counts, size),
}
print(json.dumps(result))
