"""The cortical microcircuit in NEST: NETWORK SPIKES THREADS REPEATS SEED.

NETWORK is the file that race.py writes. Prints one line of JSON with the seconds of each repeat of
one biological second. Spikes of `spikes_ms` more, which are not timed because recorders cost time,
go to the file SPIKES.
"""

import json
import sys
import time
from pathlib import Path

import nest
import numpy as np

network = json.loads(Path(sys.argv[1]).read_text())
threads, repeats, seed = (int(argument) for argument in sys.argv[3:6])
nest.set_verbosity("M_ERROR")
began = time.perf_counter()
nest.ResetKernel()
nest.resolution, nest.local_num_threads, nest.rng_seed = network["dt"], threads, 1 + seed
groups = {}
for name, of in network["populations"].items():
    groups[name] = nest.Create("iaf_psc_exp", of["cells"], network["cell"])
    groups[name].V_m = nest.random.normal(of["start_mv"], of["start_sd_mv"])
    source = nest.Create("poisson_generator", params={"rate": of["drive_hz"]})
    synapse = {"weight": network["drive_pa"], "delay": 1.5}
    nest.Connect(source, groups[name], "all_to_all", synapse)
# A synapse model holds at most 2**27 synapses of a thread: each source has one of its own.
for name in groups:
    nest.CopyModel("static_synapse", f"synapse_of_{name}")
for of in network["projections"]:
    weight, delay = of["weight_pa"], of["delay_ms"]
    drawn = nest.random.normal(mean=weight, std=0.1 * abs(weight))
    limits = {"min": 0.0, "max": np.inf} if weight > 0 else {"min": -np.inf, "max": 0.0}
    late = nest.random.normal(mean=delay, std=delay / 2)
    synapse = {
        "synapse_model": f"synapse_of_{of['source']}",
        "weight": nest.math.redraw(drawn, **limits),
        "delay": nest.math.redraw(late, min=network["dt"], max=np.inf),
    }
    rule = {"rule": "fixed_total_number", "N": of["synapses"]}
    nest.Connect(groups[of["source"]], groups[of["target"]], rule, synapse)
build = time.perf_counter() - began
began = time.perf_counter()
nest.Simulate(network["start_ms"])
start = time.perf_counter() - began
seconds = []
for _ in range(repeats):
    nest.Prepare()
    began = time.perf_counter()
    nest.Run(1_000.0)
    seconds.append(time.perf_counter() - began)
    nest.Cleanup()
recorders = {name: nest.Create("spike_recorder") for name in groups}
for name, group in groups.items():
    nest.Connect(group, recorders[name])
now = nest.biological_time
nest.Simulate(network["spikes_ms"])
spikes = {}
for name, group in groups.items():
    events = recorders[name].events
    spikes[f"{name} cell"] = events["senders"] - group[0].global_id
    spikes[f"{name} ms"] = events["times"] - now
np.savez(sys.argv[2], **spikes)
result = {
    "simulator": f"NEST {nest.__version__}, float64",
    "build_s": build,
    "start_s": start,
    "sim_s": seconds,
}
print(json.dumps(result))
