"""The cortical microcircuit of Potjans & Diesmann (2014): rates of its eight populations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from cerebellum.model import anatomy, streams
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, State
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


def started(circuit: Circuit, key: jax.Array) -> State:
    """A state with voltages near those of the network in activity."""
    state = circuits.init(circuit, key)
    cells = dict(state.cells)
    starts = zip(preset.SIZES, preset.START_MV, preset.START_SD_MV, strict=True)
    for name, mean, sd in starts:
        rng = streams.stream(key, f"start {name}")
        v = rng.normal(mean, sd, cells[name].v.shape)
        cells[name] = replace(cells[name], v=jnp.asarray(v, jnp.float32))
    return replace(state, cells=cells)


@dataclass(frozen=True)
class Network:
    """One network, its input and its state."""

    circuit: Circuit
    drive: Mapping[str, drives.Poisson]
    state: State

    def advance(self, run_ms: float, record: Sequence[str] = ()) -> tuple["Network", Recording]:
        """The network after so many ms, and what it did meanwhile."""
        state, recording = simulate(
            self.circuit, self.state, self.drive, duration_ms=run_ms, record=record, progress=False
        )
        return replace(self, state=state), recording


def network(seed: int, scale: float = 1.0) -> Network:
    """A network at its start.

    Args:
      scale: share of the cells and of the inputs of each (see `presets.microcircuit`).
    """
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(preset.microcircuit(scale), build_key, path="event")
    drive = {
        f"{name}.exc": drives.poisson(rate_hz, weight=weight)
        for name, (rate_hz, weight) in preset.background(scale).items()
    }
    return Network(circuit, drive, started(circuit, run_key))


def run(seed: int, scale: float = 1.0, run_ms: float = RUN_MS) -> Recording:
    """The activity of one network, after its start; see `network`."""
    began, _ = network(seed, scale).advance(START_MS)
    return began.advance(run_ms)[1]


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
