"""What sharding costs and gains: the same circuit on one device, as two shards on one core, on two.

    python scripts/experiments/shards.py [--granules 800000] [--rounds 5]

Each way is a process of its own that keeps to its cores; they take turns, a round each. Prints the
median time of a step of each, and the ratios of the rounds.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

WAYS = {"whole, one core": (0, 1), "two shards, one core": (2, 1), "two shards, two cores": (2, 2)}


def child(shards: int, cores: int, granules: int, steps: int) -> None:
    """Times a step whenever a line comes in; seconds out."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from cerebellum import xla

    xla.one_thread()
    import jax

    jax.config.update("jax_num_cpu_devices", max(1, shards))
    import cerebellum as cb

    spec = cb.presets.beams(granules, beams=4, learning_rate=2e-4)
    circuit, key = cb.build(spec, jax.random.key(0), path="event"), jax.random.key(1)
    if shards:
        circuit = cb.shard.split(circuit, cb.shard.mesh(shards))
        state = cb.shard.init(circuit, key, spread=True)
    else:
        state = cb.init(circuit, key, spread=True)
    drive = {"mossy_fiber": cb.drive.poisson(10.0)}
    for _ in sys.stdin:
        state, told = cb.simulate(circuit, state, drive, duration_ms=steps, progress=False)
        spikes = sum(int(each.sum()) for each in told.spikes.values())
        print(json.dumps([told.seconds["run"] / steps, spikes]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--granules", type=int, default=800_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        shards, cores = given.child
        child(shards, cores, given.granules, given.steps)
        return
    sizes = ["--granules", str(given.granules), "--steps", str(given.steps)]
    running = {
        name: subprocess.Popen(
            [sys.executable, __file__, *sizes, "--child", *map(str, way)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name, way in WAYS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(given.rounds + 1):
        spikes = set()
        for name, process in running.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            seconds, fired = json.loads(process.stdout.readline())
            spikes.add(fired)
            if turn:
                times[name].append(seconds)
        assert len(spikes) == 1, spikes
    for process in running.values():
        process.communicate()
    for name, each in times.items():
        print(f"{name:22} {np.median(each) * 1e6:8.0f} us a step")
    whole, shared, parallel = (np.array(each) for each in times.values())
    for name, ratio in (
        ("two shards on one core, beside the whole", shared / whole),
        ("two cores, beside one", whole / parallel),
    ):
        print(f"{name}: {np.median(ratio):.2f} (of {', '.join(f'{r:.2f}' for r in ratio)})")


if __name__ == "__main__":
    main()
