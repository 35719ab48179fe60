"""Cost of a step of the large circuit against its size, its rate, and the batch."""

from collections.abc import Iterator

import jax
import numpy as np

import cerebellum as cb
from cerebellum import backends
from cerebellum.bench.network import MOSSY_HZ, PRODUCTION
from cerebellum.bench.result import Options, Result, summary

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RATES = (0.5, 1.0, 2.0, 5.0)
BATCHES = (1, 4, 16)
RATE_HZ = 2.0


def run(options: Options) -> Iterator[Result]:
    """Sizes at 2 Hz, learning off and on; rates at 100,000; batches of 1,000.

    4,000,000 cells where production is among the sizes asked for.
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
    sizes = PRODUCTION if granules == 4_000_000 else cb.presets.Sizes()
    learned = 2e-4 if learning else 0.0
    spec = cb.presets.beams(granules, sizes=sizes, learning_rate=learned)
    circuit = cb.build(spec, jax.random.key(0), path="event")
    drive = {"mossy_fiber": cb.drive.poisson(MOSSY_HZ[rate])}
    steps = int(np.clip(100_000_000 // granules, 100, 2_000))
    if batch == 1:
        state = cb.init(circuit, jax.random.key(1), spread=True)
    else:
        keys = jax.random.split(jax.random.key(1), batch)
        state = jax.vmap(lambda key: cb.init(circuit, key, spread=True))(keys)
    seconds, hertz = [], 0.0
    for repeat in range(min(options.repeats, 3) + 1):
        jax.block_until_ready(state)
        if batch == 1:
            state, one = cb.simulate(circuit, state, drive, duration_ms=steps, progress=False)
        else:
            state, many = cb.simulate_batch(
                circuit, state, drive, duration_ms=steps, progress=False
            )
            one = many[0]
        hertz = cb.record.rates(one)["granule"]
        if repeat:
            seconds.append(one.seconds["run"] / steps)
    found = summary(seconds)
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
        **found,
        per={
            "step_ns": found["median_s"] * 1e9,
            "cell_ns": found["median_s"] / granules / batch * 1e9,
        },
        rates_hz={"granule": hertz},
    )
