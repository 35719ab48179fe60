"""A sweep beside loops over `simulate`: 20 thresholds of Golgi cells in a small mouse circuit.

Each way runs in a process of its own, so that compiling counts:

    python scripts/experiments/sweep.py [--ms 100] [--values 20]

"processes" starts one for each value, as a script of a cluster does; "specs" builds a circuit for
each value; "loop" gives one circuit other parameters. "specs" and "loop" also run with an older
tree, whose folder is PYTHONPATH.
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np

import cerebellum as cb

WAYS = {
    "processes": {},
    "specs": {},
    "loop": {},
    "sweep": {},
    "sweep, one thread": {"threads": 1},
    "sweep, in two batches": {"at_once": 10},
}
"""Ways to run the values, with the arguments of those that are sweeps."""


def run(way: str, ms: float, values: np.ndarray) -> None:
    """Print the seconds of one way, and a number that all ways must share."""
    start = time.perf_counter()
    drive = {"glomerulus": cb.drive.poisson(4.0)}
    spec = cb.presets.mouse(scale=0.05)
    circuit = cb.build(spec, jax.random.key(0))
    if way.startswith("sweep"):
        table = cb.sweep(circuit, {"golgi.v_th": values}, drive, duration_ms=ms, **WAYS[way])
        rates = list(table["rate.golgi"])
    else:
        rates = []
        for value in values:
            if way == "specs":
                member = cb.build(_spec(spec, value), jax.random.key(0))
            else:
                golgi = replace(circuit.params.cells["golgi"], v_th=np.float32(value))
                cells = {**circuit.params.cells, "golgi": golgi}
                member = replace(circuit, params=replace(circuit.params, cells=cells))
            state = cb.init(member, jax.random.key(0))
            recording = cb.simulate(member, state, drive, duration_ms=ms)[1]
            rates.append(cb.record.rates(recording)["golgi"])
    print(f"{way:22} {time.perf_counter() - start:7.2f} s   sum of rates {sum(rates):.6f} Hz")


def _spec(spec: cb.Spec, v_th: float) -> cb.Spec:
    """A mouse circuit with another threshold of Golgi cells."""
    populations = tuple(
        replace(p, params=replace(p.params, v_th=float(v_th))) if p.name == "golgi" else p
        for p in spec.populations
    )
    return replace(spec, populations=populations)


def _command(way: str, ms: float, values: np.ndarray) -> list[str]:
    numbers = ",".join(f"{value:g}" for value in values)
    return [sys.executable, __file__, "--way", way, "--ms", str(ms), f"--these={numbers}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ms", type=float, default=100.0)
    parser.add_argument("--values", type=int, default=20, help="how many")
    parser.add_argument("--these", help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS)
    arguments = parser.parse_args()
    values = np.linspace(-60.0, -50.0, arguments.values)
    if arguments.these:
        values = np.array([float(value) for value in arguments.these.split(",")])
    if arguments.way and arguments.way != "processes":
        run(arguments.way, arguments.ms, values)
        return
    for way in [arguments.way] if arguments.way else WAYS:
        parts = [[value] for value in values] if way == "processes" else [values]
        start = time.perf_counter()
        for part in parts:
            inner = "loop" if way == "processes" else way
            quiet = subprocess.DEVNULL if way == "processes" else None
            subprocess.run(_command(inner, arguments.ms, np.array(part)), check=True, stdout=quiet)
        print(f"{way:22} {time.perf_counter() - start:7.2f} s with the start of Python", flush=True)


if __name__ == "__main__":
    main()
