"""Spikes delivered when they arrive, and when they are emitted, by turns, in the microcircuit.

    OMP_NUM_THREADS=1 python scripts/experiments/arrivals.py [--scale 1] [--ms 300] [--repeats 5]

Both go on from the same state. It prints the wall time of a step of each, medians and the ratio of
each turn, and fails if states or spikes differ in a bit. See `backends.cpu.deferred`.
"""

import argparse
import statistics

import chex
import jax
import numpy as np

import cerebellum as cb
from cerebellum import xla
from cerebellum.backends.cpu import deferred
from cerebellum.reproduce import microcircuit

LEAST = {"emitted": 2**62, "arrived": 0}
"""The least size of rings for delivery at arrival, bytes: never, and always."""


def compare(network: microcircuit.Network, ms: float, repeats: int) -> None:
    """Run the network on from its state by turns, and print what a step takes."""
    state = jax.tree.map(np.asarray, network.state)
    seconds: dict[str, list[float]] = {name: [] for name in LEAST}
    for repeat in range(repeats + 1):
        results = {}
        for name, least in LEAST.items():
            deferred.LEAST_BYTES = least
            after, recording = cb.simulate(
                network.circuit, state, network.drive, duration_ms=ms, progress=False
            )
            results[name] = jax.tree.map(np.asarray, after), recording.spikes
            if repeat:
                seconds[name].append(recording.seconds["run"])
        chex.assert_trees_all_equal(*results.values())
    steps = ms / network.circuit.spec.dt
    for name, each in seconds.items():
        shown = ", ".join(f"{x / steps * 1e3:.3f}" for x in each)
        print(f"{name}: {statistics.median(each) / steps * 1e3:.3f} ms a step ({shown})")
    ratios = [a / b for a, b in zip(*seconds.values(), strict=True)]
    shown = ", ".join(f"{x:.2f}" for x in ratios)
    print(f"ratio {statistics.median(ratios):.2f} ({shown})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--ms", type=float, default=300.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    xla.one_thread()
    network, _ = microcircuit.network(asked.seed, asked.scale).advance(100.0)
    compare(network, asked.ms, asked.repeats)


if __name__ == "__main__":
    main()
