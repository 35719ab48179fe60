"""Cost of a step of the large circuit for several sizes, rates and batches."""

from collections.abc import Iterator

import jax
import numpy as np

from cerebellum import backends
from cerebellum.bench.network import MOSSY_HZ, PRODUCTION
from cerebellum.bench.result import Options, Result, summary
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.simulate import simulate, simulate_batch

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RATES = (0.5, 1.0, 2.0, 5.0)
BATCHES = (1, 4, 16)
RATE_HZ = 2.0
"""Rate of the granule cells where sizes and batches are compared."""


def run(options: Options) -> Iterator[Result]:
    """Sizes at 2 Hz with learning off and on, rates at 100,000 cells, batches of 1,000 cells.

    4,000,000 cells are run only where the options include the size production.
    """
    sizes = (*SIZES, 4_000_000) if "production" in options.sizes else SIZES
    for learning in (False, True):
        for granules in sizes:
            yield _step(granules, RATE_HZ, learning, 1, options)
    for rate in RATES:
        yield _step(100_000, rate, False, 1, options)
    for batch in BATCHES:
        yield _step(1_000, RATE_HZ, False, batch, options)


def _step(granules: int, rate: float, learning: bool, batch: int, options: Options) -> Result:
    """The cost of a step at a granule rate, Hz, with so many circuits in the batch."""
    sizes = PRODUCTION if granules == 4_000_000 else presets.Sizes()
    learning_rate = 2e-4 if learning else 0.0
    spec = presets.beams(granules, sizes=sizes, learning_rate=learning_rate)
    circuit = anatomy.build(spec, jax.random.key(0), path="event")
    drive = {"mossy_fiber": drives.poisson(MOSSY_HZ[rate])}
    steps = int(np.clip(100_000_000 // granules, 100, 2_000))
    if batch == 1:
        state = circuits.init(circuit, jax.random.key(1), spread=True)
    else:
        keys = jax.random.split(jax.random.key(1), batch)
        state = jax.vmap(lambda key: circuits.init(circuit, key, spread=True))(keys)
    seconds, hertz = [], 0.0
    for repeat in range(min(options.repeats, 3) + 1):
        jax.block_until_ready(state)
        if batch == 1:
            state, recording = simulate(circuit, state, drive, duration_ms=steps, progress=False)
        else:
            state, recordings = simulate_batch(
                circuit, state, drive, duration_ms=steps, progress=False
            )
            recording = recordings[0]
        hertz = record.rates(recording)["granule"]
        if repeat:
            seconds.append(recording.seconds["run"] / steps)
    figures = summary(seconds)
    return Result(
        name="scaling",
        params={
            "granules": granules,
            "rate_hz": rate,
            "plasticity": "on" if learning else "off",
            "batch": batch,
            "path": backends.of(circuit).name,
            "cores": options.cores,
        },
        **figures,
        per={
            "step_ns": figures["median_s"] * 1e9,
            "cell_ns": figures["median_s"] / granules / batch * 1e9,
        },
        rates_hz={"granule": hertz},
    )
