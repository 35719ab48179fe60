"""The large circuit at every size: time, memory, learning off and on.

    python scripts/experiments/scale.py [--sizes N ...]

Each row is a process of its own, so that its peak memory is its own. Mossy fibres fire at the
rate that gives granule cells about 2 Hz; steps are timed over three runs after a first, which
compiles.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402

import cerebellum as cb  # noqa: E402
from cerebellum.sim import memory  # noqa: E402

MOSSY_HZ = 14.0
SIZES = [1_000, 10_000, 100_000, 1_000_000, 4_000_000]
PRODUCTION = cb.presets.Sizes(purkinje=15_000, golgi=400, nuclei=100)


def measure(granules: int, learning_rate: float) -> dict[str, float]:
    """One size: seconds, bytes and rate."""
    sizes = PRODUCTION if granules == 4_000_000 else cb.presets.Sizes()
    began = time.perf_counter()
    spec = cb.presets.beams(granules, sizes=sizes, learning_rate=learning_rate)
    circuit = cb.build(spec, jax.random.key(0), path="event")
    state = cb.init(circuit, jax.random.key(1), spread=True)
    jax.block_until_ready((circuit, state))
    build = time.perf_counter() - began
    drive = {"mossy_fiber": cb.drive.poisson(MOSSY_HZ)}
    steps = 60 if granules > 500_000 else 300
    compile_s, took, recording = 0.0, [], None
    for run in range(4):
        state, recording = cb.simulate(
            circuit, state, drive, duration_ms=steps, chunk_steps=steps, progress=False
        )
        if run == 0:
            compile_s = recording.seconds["compile"]
            # The first spikes are settled when the window of learning has passed.
            wait = 300 if learning_rate else steps
            state, _ = cb.simulate(
                circuit, state, drive, duration_ms=wait, chunk_steps=steps, progress=False
            )
        else:
            took.append(recording.seconds["run"] / steps)
    assert recording is not None
    return {
        "step_s": statistics.median(took),
        "build_s": build,
        "compile_s": compile_s,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "estimate": memory.peak(spec),
        "granule_hz": cb.record.rates(recording)["granule"],
        "synapses": spec.synapses,
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--one", nargs=2, metavar=("N", "RATE"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.one:
        print(json.dumps(measure(int(given.one[0]), float(given.one[1]))))
        return
    print(
        "| granules | synapses | learning | ms a step | times life | build | compile | peak "
        "| estimate |\n|---|---|---|---|---|---|---|---|---|"
    )
    for granules in given.sizes:
        for rate in (0.0, 2e-4):
            command = [sys.executable, __file__, "--one", str(granules), str(rate)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            got = json.loads(run.stdout)
            print(
                f"| {granules:,} | {got['synapses'] / 1e6:,.2f} M | {'on' if rate else 'off'} "
                f"| {got['step_s'] * 1e3:.3f} | {got['step_s'] * 1e3:.2f} "
                f"| {got['build_s']:.1f} s | {got['compile_s']:.1f} s "
                f"| {got['peak'] / 2**30:.2f} GiB | {got['estimate'] / 2**30:.2f} GiB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
