"""The cortical microcircuit in this project: NETWORK SPIKES THREADS REPEATS SEED.

As nest_microcircuit.py, with the same arguments. The number of threads is OMP_NUM_THREADS.
"""

import json
import sys
import time
from pathlib import Path

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402
import numpy as np  # noqa: E402

from cerebellum.reproduce import microcircuit  # noqa: E402

asked = json.loads(Path(sys.argv[1]).read_text())
repeats, seed = int(sys.argv[4]), int(sys.argv[5])
began = time.perf_counter()
network = microcircuit.network(seed)
jax.block_until_ready(network.state)
build = time.perf_counter() - began
began = time.perf_counter()
network, _ = network.advance(asked["start_ms"])
start = time.perf_counter() - began
seconds = []
for _ in range(repeats):
    network, recording = network.advance(1_000.0)
    seconds.append(recording.seconds["run"])
rasters = [f"raster:{name}" for name in asked["populations"]]
_, recording = network.advance(asked["spikes_ms"], rasters)
spikes = {}
for name, raster in recording.rasters.items():
    spikes[f"{name} cell"] = raster.cell
    spikes[f"{name} ms"] = raster.time_ms - recording.start_ms
np.savez(sys.argv[2], **spikes)
result = {
    "simulator": f"this project, {recording.backend} kernels, float32",
    "build_s": build,
    "start_s": start,
    "sim_s": seconds,
}
print(json.dumps(result))
