"""The cortical microcircuit of Potjans & Diesmann (2014) beside NEST, on the same cores, in turn.

    bash scripts/race/setup          # once: NEST, in an environment of its own
    python scripts/race/race.py [--cores 2] [--repeats 2] [--seed 0]

Full density, 0.1 ms, Poisson input. Wall time of one biological second after a start that is not
counted, without recorders; then rates, irregularity and correlation of the spikes of some seconds.
Everything that was measured goes to scripts/race/measured/, with the machine and the date.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measures
import numpy as np

from cerebellum.bench import result
from cerebellum.model.connect import FixedTotal
from cerebellum.model.presets import potjans
from cerebellum.model.spec import Spec
from cerebellum.model.values import Normal
from cerebellum.reproduce import microcircuit

HERE = Path(__file__).resolve().parent
NEST = HERE.parent.parent / ".peers" / "nest" / "bin" / "python"
SPIKES_MS = 2_000.0
"""Spikes of so long are compared, ms."""
MOST_CELLS = 200
"""Correlations are those of so many cells of a population."""
CAPACITY = 250.0
"""Capacity of a cell, pF: 1 mV of ours is CAPACITY / tau_m pA."""


def network() -> dict:
    """The network in the units of NEST."""
    spec: Spec = potjans.microcircuit()
    unit = CAPACITY / potjans.TAU_M
    populations, background = {}, potjans.background()
    starts = zip(potjans.START_MV, potjans.START_SD_MV, strict=True)
    for population, (mean, sd) in zip(spec.populations, starts, strict=True):
        populations[population.name] = {
            "cells": population.size,
            "start_mv": mean,
            "start_sd_mv": sd,
            "drive_hz": background[population.name][0],
        }
    projections = []
    for projection in spec.projections:
        weight, delay = projection.weight, projection.delay
        assert isinstance(weight, Normal)
        assert isinstance(delay, Normal)
        assert isinstance(projection.connect, FixedTotal)
        sign = 1 if projection.receptor == "exc" else -1
        projections.append(
            {
                "source": projection.source,
                "target": projection.target,
                "synapses": projection.connect.number,
                "weight_pa": sign * weight.mean * unit,
                "delay_ms": delay.mean,
            }
        )
    cell = spec.populations[0].params
    return {
        "dt": spec.dt,
        "start_ms": microcircuit.START_MS,
        "spikes_ms": SPIKES_MS,
        "drive_pa": potjans.weight() * unit,
        "cell": {
            "C_m": CAPACITY,
            "tau_m": cell.tau_m,
            "tau_syn_ex": cell.tau_exc,
            "tau_syn_in": cell.tau_inh,
            "t_ref": cell.t_ref,
            "E_L": cell.v_leak,
            "V_reset": cell.v_reset,
            "V_th": cell.v_th,
            "I_e": 0.0,
        },
        "populations": populations,
        "projections": projections,
    }


def activity(cell: np.ndarray, time_ms: np.ndarray, cells: int) -> dict[str, float]:
    """Rate (Hz), mean CV of intervals, and mean correlation of pairs, of a population's spikes."""
    active = np.flatnonzero(np.bincount(cell, minlength=cells))[:MOST_CELLS]
    return {
        "rate_hz": float(measures.rates(cell, cells, SPIKES_MS).mean()),
        "cv": float(measures.irregularities(cell, time_ms, cells).mean()),
        "correlation": float(measures.correlations(cell, time_ms, active, SPIKES_MS).mean()),
    }


def run(command: list[str], cores: int) -> dict:
    """What a program prints, on so many cores, and the seconds that it took as a whole."""
    pinned = ["taskset", "-c", ",".join(map(str, range(cores)))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    began = time.perf_counter()
    done = subprocess.run([*pinned, *command], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "wall_s": time.perf_counter() - began}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if not NEST.exists():
        print(f"{NEST}: not there; bash {HERE / 'setup'}", file=sys.stderr)
        return 1
    of, results = network(), {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.json"
        file.write_text(json.dumps(of))
        for name, python in (("ours", sys.executable), ("nest", str(NEST))):
            spikes = Path(folder) / f"{name}.npz"
            options = [str(file), str(spikes), str(asked.cores), str(asked.repeats)]
            program = str(HERE / f"{name}_microcircuit.py")
            results[name] = run([python, program, *options, str(asked.seed)], asked.cores)
            with np.load(spikes) as read:
                results[name]["activity"] = {
                    population: activity(
                        read[f"{population} cell"], read[f"{population} ms"], own["cells"]
                    )
                    for population, own in of["populations"].items()
                }
    show(results)
    date = datetime.date.today().isoformat()
    machine = {"date": date, "seed": asked.seed, **result.machine(asked.cores)}
    kept = HERE / "measured" / f"microcircuit-{asked.cores}-cores-{date}.json"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps({"machine": machine, **results}, indent=1) + "\n")
    print(kept)
    return 0


def show(results: dict[str, dict]) -> None:
    """Print the table of times and that of activity."""
    middle = {name: statistics.median(of["sim_s"]) for name, of in results.items()}
    for name, of in results.items():
        each = ", ".join(f"{x:.2f}" for x in of["sim_s"])
        print(
            f"{of['simulator']}: {middle[name]:.2f} s a biological second ({each}), "
            f"{middle[name] / middle['ours']:.2f} of ours; built in {of['build_s']:.0f} s"
        )
    print(f"{'':6}{'rate, Hz':>20}{'CV':>20}{'correlation':>22}   ours, NEST")
    for population in results["ours"]["activity"]:
        pairs = [results[name]["activity"][population] for name in ("ours", "nest")]
        columns = (
            f"{pairs[0][what]:>12.{digits}f}{pairs[1][what]:>9.{digits}f}"
            for what, digits in (("rate_hz", 3), ("cv", 3), ("correlation", 4))
        )
        print(f"{population:6}" + "".join(columns))


if __name__ == "__main__":
    sys.exit(main())
