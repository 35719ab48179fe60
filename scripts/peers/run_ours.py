"""The common network in cerebellum: SIZE THREADS REPEATS KERNELS."""

import json
import sys
import time

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402
import params  # noqa: E402

import cerebellum as cb  # noqa: E402
from cerebellum.model.presets.common import PROTOCOL, common  # noqa: E402

size, repeats, kernels = sys.argv[1], int(sys.argv[3]), sys.argv[4]
key = jax.random.key(0)
began = time.perf_counter()
wiring = "anatomical" if params.beams(size) else "random"
spec = common(size.removesuffix(params.ANATOMICAL), wiring=wiring)
circuit = cb.build(spec, key, path="event", backend=kernels)
drive = cb.drive.standard(PROTOCOL, spec, key)
jax.block_until_ready(circuit)
build = time.perf_counter() - began
seconds, compiling, recording = [], 0.0, None
for repeat in range(repeats + 1):
    state = cb.init(circuit, jax.random.key(repeat), spread=True)
    jax.block_until_ready(state)
    _, recording = cb.simulate(circuit, state, drive, duration_ms=params.STEPS, progress=False)
    if repeat:
        seconds.append(recording.seconds["run"])
    else:
        compiling = recording.seconds["compile"]
assert recording is not None
result = {
    "simulator": f"this project, {kernels} kernels",
    "build_s": build,
    "compile_s": compiling,
    "sim_s": seconds,
    "untimed_runs": 1,
    "rates": params.rates(recording.spikes, size),
}
print(json.dumps(result))
