"""Both models at a time step of 1 ms, compared with 0.1 ms."""

from collections.abc import Callable

import jax
import numpy as np

from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.presets.eglif import Condition
from cerebellum.reproduce.eglif import CONDITIONS, at_rest, mean_of_active
from cerebellum.reproduce.report import Report, close
from cerebellum.reproduce.workers import spread
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.simulate import simulate

STEPS = (0.1, 1.0)
"""Time steps, ms."""
CIRCUITS = 2
TOLERANCE = 0.1
WIDER = {("basket", "Model A"): 0.25, ("nuclei", "Model A"): 0.25}
"""Tolerances of the populations for which 1 ms is too long. On seeds 0 to 9 basket cells of Model A
fire 6 to 18 % (mean 12 %) faster than at 0.1 ms, and nuclear cells 2 to 15 % (mean 8 %). Every
other population is within 7.1 %."""


def _casali(seed: int, dt: float) -> dict[str, float]:
    """Background rates of Model A, Hz."""
    spec = presets.mouse(dt=dt)
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(spec, build_key, path="event")
    drive = {"glomerulus": drives.poisson(1.0)}
    state = circuits.init(circuit, run_key)
    _, recording = simulate(circuit, state, drive, duration_ms=1_000, progress=False)
    return record.rates(recording, 50, 1_000)


def _eglif(item: tuple[Condition, int], dt: float) -> dict[str, float]:
    """Background rates of Model B in a condition, Hz."""
    recording = at_rest(item, dt)
    return {name: mean_of_active(recording, name) for name in recording.sizes}


def _rates(job: tuple) -> dict[str, float]:
    """Background rates of a job (model, seed, dt), Hz."""
    model, seed, dt = job
    return _casali(seed, dt) if model == "Model A" else _eglif((model, seed), dt)


def compare(seed: int | None, say: Callable[[str], None]) -> Report:
    """Background rates of the same circuits at both time steps."""
    seeds = list(range(seed or 0, (seed or 0) + CIRCUITS))
    jobs = [(m, s, dt) for m in ("Model A", *CONDITIONS) for s in seeds for dt in STEPS]
    say(f"{len(jobs)} runs: some minutes")
    rates = dict(zip(jobs, spread(_rates, jobs), strict=True))
    rows = []
    for model in ("Model A", *CONDITIONS):
        fine, coarse = ([rates[model, s, dt] for s in seeds] for dt in STEPS)
        label = model if model == "Model A" else f"Model B {model}"
        for name in fine[0]:
            reference = float(np.mean([run[name] for run in fine]))
            if reference and name not in ("mossy_fiber", "glomerulus"):
                measured = [run[name] for run in coarse]
                rel = WIDER.get((name, label), TOLERANCE)
                quantity = f"{name}, {label}"
                rows.append(close(quantity, "Hz", measured, reference, rel=rel, published=False))
    return Report(
        rows=rows,
        source="reference: ours, the same circuits at 0.1 ms",
        seeds=seeds,
        note="At rest. Two populations of Model A do not hold to 10 % at 1 ms: on seeds 0 to 9 "
        "basket cells fire 6 to 18 % faster than at 0.1 ms, nuclear cells 2 to 15 %. In bursts "
        "Model A needs 0.1 ms: its granule synapse of 0.5 ms is averaged away at 1 ms.",
    )
