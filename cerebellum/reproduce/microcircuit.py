"""The cortical microcircuit of Potjans & Diesmann (2014): rates of its eight populations."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp

from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import State
from cerebellum.model.presets import potjans as preset
from cerebellum.reproduce.report import Report, close
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import simulate

SEEDS = 5
START_MS, RUN_MS = 500.0, 1_000.0
"""What is left out at the beginning, and what is counted, ms."""
TOLERANCE = 0.15
"""The reference implementation itself has published three sets of rates for this network, of three
of its versions, which differ by up to 11 % (L6E: 0.991, 1.096 and 1.105 Hz)."""


def started(circuit: circuits.Circuit, key: jax.Array) -> State:
    """A state with voltages near those of the network in activity."""
    state = circuits.init(circuit, key)
    cells = dict(state.cells)
    starts = zip(preset.SIZES, preset.START_MV, preset.START_SD_MV, strict=True)
    for name, mean, sd in starts:
        rng = anatomy.stream(key, f"start {name}")
        v = rng.normal(mean, sd, cells[name].v.shape)
        cells[name] = replace(cells[name], v=jnp.asarray(v, jnp.float32))
    return replace(state, cells=cells)


def run(seed: int, scale: float = 1.0, run_ms: float = RUN_MS) -> Recording:
    """The activity of one network, after its start.

    Args:
      scale: share of the cells and of the inputs of each (see `presets.microcircuit`).
    """
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(preset.microcircuit(scale), build_key, path="event")
    drive = {
        f"{name}.exc": drives.poisson(rate_hz, weight=weight)
        for name, (rate_hz, weight) in preset.background(scale).items()
    }
    state = started(circuit, run_key)
    state, _ = simulate(circuit, state, drive, duration_ms=START_MS, progress=False)
    return simulate(circuit, state, drive, duration_ms=run_ms, progress=False)[1]


def rates(seed: int | None, say: Callable[[str], None]) -> Report:
    """Mean rates of the populations at full scale, beside those of the reference."""
    seeds = list(range(seed or 0, (seed or 0) + SEEDS))
    by_seed = []
    for number in seeds:
        say(f"seed {number} of {seeds[-1]}: 77,169 cells, 0.3 billion synapses; minutes each")
        by_seed.append(record.rates(run(number)))
    rows = [
        close(name, "Hz", [rates[name] for rates in by_seed], wanted, rel=TOLERANCE)
        for name, wanted in zip(preset.SIZES, preset.RATES_HZ, strict=True)
    ]
    return Report(
        rows=rows,
        source="PyNEST microcircuit example, full_mean_rates (Potjans & Diesmann 2014)",
        seeds=seeds,
        note="Poisson input. Each seed draws another network; published sets of the reference "
        "implementation differ by up to 11 % among its versions.",
    )
