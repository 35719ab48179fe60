"""A sweep beside a loop over `simulate`: 20 thresholds of Golgi cells in a small mouse circuit.

Each way runs in a process of its own, so that compiling counts:

    python scripts/experiments/sweep.py [--ms 100] [--values 20]
"""

import argparse
import subprocess
import sys
import time
from dataclasses import replace

import jax
import numpy as np

import cerebellum as cb

WAYS = ("loop", "sweep, one at once", "sweep, all at once", "sweep")


def run(way: str, ms: float, count: int) -> None:
    """Print the seconds of one way, and a number that all ways must share."""
    circuit = cb.build(cb.presets.mouse(scale=0.05), jax.random.key(0))
    drive = {"glomerulus": cb.drive.poisson(4.0)}
    values = np.linspace(-60.0, -50.0, count)
    start = time.perf_counter()
    if way == "loop":
        rates = []
        for value in values:
            golgi = replace(circuit.params.cells["golgi"], v_th=np.float32(value))
            cells = {**circuit.params.cells, "golgi": golgi}
            member = replace(circuit, params=replace(circuit.params, cells=cells))
            state = cb.init(member, jax.random.key(0))
            recording = cb.simulate(member, state, drive, duration_ms=ms)[1]
            rates.append(cb.record.rates(recording)["golgi"])
    else:
        at_once = {"sweep, one at once": 1, "sweep, all at once": count}.get(way)
        table = cb.sweep(circuit, {"golgi.v_th": values}, drive, duration_ms=ms, at_once=at_once)
        rates = table["rate.golgi"]
    print(f"{way:20} {time.perf_counter() - start:6.2f} s   sum of rates {sum(rates):.6f} Hz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ms", type=float, default=100.0)
    parser.add_argument("--values", type=int, default=20)
    parser.add_argument("--way", choices=WAYS)
    arguments = parser.parse_args()
    if arguments.way:
        run(arguments.way, arguments.ms, arguments.values)
        return
    for way in WAYS:
        given = ["--ms", str(arguments.ms), "--values", str(arguments.values), "--way", way]
        subprocess.run([sys.executable, __file__, *given], check=True)


if __name__ == "__main__":
    main()
