"""Ten networks of the cortical microcircuit: how far their statistics differ, and from whose.

    python scripts/race/ensemble.py [--seconds 10] [--seeds 10 19]

Each seed draws a network and its noise: full density, 0.1 ms, Poisson input, spikes of so many
seconds after 500 ms. The measures are those of the reference data of the model's authors. Spikes
and states are kept in results/ensemble, so that a run that was killed, or a longer one, goes on
where it was. What was measured goes to scripts/race/measured/, and tables of it beside published
numbers are printed.
"""

import argparse
import datetime
import itertools
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import measures
import numpy as np
import published
import race
from scipy import stats

from cerebellum import store, xla
from cerebellum.model.presets import potjans
from cerebellum.reproduce import microcircuit

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent.parent / "results" / "ensemble"
PIECE_MS = 2_000.0
"""Spikes and state are saved after pieces of this length."""
SUBSAMPLE = 250
"""Correlations are those of so many random cells of a population, as in the reference data."""
SHORT_MS = (2_000.0, 4_000.0)
"""The window of the one recording of NEST that there is, ms (see race.py)."""
KINDS = ("rate", "cv", "correlation")

Samples = dict[str, dict[str, np.ndarray]]
"""the samples of a network by population and kind"""


def simulate(seed: int, seconds: float, folder: Path) -> None:
    """Save the spikes of a network in pieces of 2 s, as far as they are not there."""
    pieces = round(seconds * 1e3 / PIECE_MS)
    saved = store.newest(folder / "state")
    done = 0 if saved is None else saved.about["pieces"]
    if done >= pieces:
        return
    network = microcircuit.network(seed)
    if saved is None:
        network, _ = network.advance(microcircuit.START_MS)
    else:
        state = store.unflatten(network.state, saved.arrays)
        network = replace(network, state=jax.tree.map(jnp.asarray, state))
    names = [f"raster:{name}" for name in potjans.SIZES]
    for piece in range(done, pieces):
        network, recording = network.advance(PIECE_MS, names)
        spikes = {}
        for name, raster in recording.rasters.items():
            step = (raster.time_ms - microcircuit.START_MS) / recording.dt
            spikes[f"{name} cell"] = raster.cell.astype(np.uint16)
            spikes[f"{name} step"] = np.rint(step).astype(np.uint32)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"spikes-{piece}.npz", **spikes)
        store.write(folder / "state", 0, network.state, {"pieces": piece + 1})
        print(f"seed {seed}: {(piece + 1) * PIECE_MS * 1e-3:.0f} of {seconds:.0f} s", flush=True)


def spikes_of(folder: Path, name: str, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells and times (ms) of the saved spikes of a population."""
    cells, steps = [], []
    for piece in range(round(seconds * 1e3 / PIECE_MS)):
        with np.load(folder / f"spikes-{piece}.npz") as saved:
            cells.append(saved[f"{name} cell"])
            steps.append(saved[f"{name} step"])
    # A spike is stamped with the end of its step; bins begin with the beginning of a step.
    return np.concatenate(cells).astype(np.int64), (np.concatenate(steps) - 0.5) * 0.1


def samples(folder: Path, seed: int, seconds: float) -> Samples:
    """Rates of cells, CVs and correlations of a network, by population."""
    window, result = seconds * 1e3, {}
    rng = np.random.default_rng(seed)
    for name, cells in potjans.SIZES.items():
        cell, at = spikes_of(folder, name, seconds)
        chosen = rng.choice(cells, SUBSAMPLE, replace=False)
        result[name] = {
            "rate": measures.rates(cell, cells, window),
            "cv": measures.irregularities(cell, at, cells),
            "correlation": measures.correlations(cell, at, chosen, window),
        }
    return result


def summary(folder: Path, seed: int, seconds: float, taken: Samples) -> dict[str, dict[str, Any]]:
    """What is kept of a network, by population.

    Mean, standard deviation and number of the samples of each kind; synchrony; and the measures of
    `race.activity` over the window of NEST's run.
    """
    result = {}
    for name, cells in potjans.SIZES.items():
        cell, at = spikes_of(folder, name, seconds)
        short = (at >= SHORT_MS[0]) & (at < SHORT_MS[1])
        result[name] = {
            **{
                kind: {"mean": float(x.mean()), "sd": float(x.std()), "number": x.size}
                for kind, x in taken[name].items()
            },
            "synchrony": measures.synchrony(cell, at, seconds * 1e3),
            "short": race.activity(cell[short], at[short] - SHORT_MS[0], cells),
        }
    return result


def distances(networks: list[Samples]) -> dict[str, dict[str, list[float]]]:
    """Distance of the samples of each pair of networks, by kind and population."""
    return {
        kind: {
            name: [
                measures.distance(one[name][kind], other[name][kind])
                for one, other in itertools.combinations(networks, 2)
            ]
            for name in potjans.SIZES
        }
        for kind in KINDS
    }


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of the numbers of some networks; NaN where there are too few."""
    mean = float(np.mean(values)) if values else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def reach(count: int) -> float:
    """How many standard deviations from the mean of so many networks another one is, at most, with
    a chance of 95 %, if it is of their kind."""
    return float(stats.t.ppf(0.975, max(1, count - 1))) * math.sqrt(1 + 1 / count)


def show(kept: dict[str, Any]) -> None:
    """Print what was measured beside what is published."""
    networks, seconds = list(kept["networks"].values()), kept["seconds"]
    within = reach(len(networks))
    print(f"{len(networks)} networks, {seconds:g} s; mean (SD over networks)")
    print(f"one other network of their kind lies within {within:.2f} SD with a chance of 95 %\n")
    print("rate, Hz; three published sets, and how many SD of 2 s they are from ours of 2 s")
    for k, name in enumerate(potjans.SIZES):
        mean, sd = spread([x[name]["rate"]["mean"] for x in networks])
        others = [published.RATES_HZ[version][k] for version in published.RATES_HZ]
        brief, wide = spread([x[name]["short"]["rate_hz"] for x in networks])
        away = "".join(f"{x:9.3f} ({(x - brief) / wide:+5.1f})" for x in others)
        inside = "inside" if min(others) <= mean <= max(others) else "outside"
        print(f"{name:6}{mean:8.3f} ({sd:.3f}){away}   {inside} their range")
    print("\nCV of intervals, and of ten networks in NetPyNE, 60 s; synchrony, and there")
    for k, name in enumerate(potjans.SIZES):
        mean, sd = spread([x[name]["cv"]["mean"] for x in networks])
        over = float(np.mean([x[name]["cv"]["sd"] for x in networks]))
        sync = spread([x[name]["synchrony"] for x in networks])
        print(
            f"{name:6}{mean:8.3f} ({sd:.4f}) SD of cells {over:.3f}{published.NETPYNE_CV[k]:9.3f}, "
            f"{published.NETPYNE_CV_SD[k]:.3f}{sync[0]:9.2f} ({sync[1]:.2f})"
            f"{published.NETPYNE_SYNCHRONY[k]:6.1f}"
        )
    print("\ndistance of two networks (SD of pairs), and the authors' of 900 s")
    for k, name in enumerate(potjans.SIZES):
        columns = ""
        for kind in KINDS:
            mean, sd = spread(kept["distances"][kind][name])
            columns += f"{kind:>13}{mean:7.3f} ({sd:.3f}){published.DISTANCES[kind][k]:6.2f}"
        print(f"{name:6}{columns}")
    print("\n2 s of these networks, and of one in NEST with its distance in SD")
    file = sorted((HERE / "measured").glob("microcircuit-*.json"))[-1]
    nest = json.loads(file.read_text())["nest"]["activity"]
    for name in potjans.SIZES:
        columns = ""
        for kind in ("rate_hz", "cv", "correlation"):
            mean, sd = spread([x[name]["short"][kind] for x in networks])
            away = (nest[name][kind] - mean) / sd
            flag = " " if abs(away) <= within else "*"
            columns += f"{kind:>13}{mean:8.4f} ({sd:.4f}){nest[name][kind]:8.4f} {away:+5.1f}{flag}"
        print(f"{name:6}{columns}")


def rounded(x: Any) -> Any:
    """Numbers with five digits, which is more than they are worth."""
    if isinstance(x, dict):
        return {str(key): rounded(value) for key, value in x.items()}
    if isinstance(x, list):
        return [rounded(value) for value in x]
    return float(f"{x:.5g}") if isinstance(x, float) else x


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="even, at least 4 (default 10)")
    parser.add_argument("--seeds", type=int, nargs=2, default=(10, 19), metavar=("FIRST", "LAST"))
    asked = parser.parse_args()
    if asked.seconds < SHORT_MS[1] * 1e-3 or asked.seconds * 1e3 % PIECE_MS:
        parser.error(f"--seconds: {asked.seconds:g}; a multiple of 2, at least 4")
    xla.one_thread()
    seeds = range(asked.seeds[0], asked.seeds[1] + 1)
    all_samples, networks = [], {}
    for seed in seeds:
        folder = RESULTS / f"seed-{seed}"
        simulate(seed, asked.seconds, folder)
        all_samples.append(samples(folder, seed, asked.seconds))
        networks[seed] = summary(folder, seed, asked.seconds, all_samples[-1])
    kept = {
        "date": datetime.date.today().isoformat(),
        "seconds": asked.seconds,
        "networks": networks,
        "distances": distances(all_samples),
    }
    show(kept)
    file = HERE / "measured" / f"ensemble-{asked.seconds:g}-s.json"
    file.write_text(json.dumps(rounded(kept), indent=1) + "\n")
    print(file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
