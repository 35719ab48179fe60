"""Model A (Casali et al. 2019) under its published stimulus."""

from collections.abc import Callable

import jax
import numpy as np

from cerebellum import plot
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.presets.casali import PROTOCOL, PUBLISHED_LOW_HZ
from cerebellum.reproduce.report import Report, Row, close, picture
from cerebellum.reproduce.workers import spread
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import simulate

CIRCUITS = 3
"""Circuits, each of a seed of its own."""

SOURCE = (
    "background and burst of Bogdan et al. 2021 (SpiNNCer) on the network of Casali et al. 2019; "
    "reference: an independent NumPy run of the same network with random wiring, mean of three "
    "seeds (the published rates, of a spatially wired scaffold, are in the note)"
)


def _record(seed: int) -> Recording:
    """400 ms of a circuit under the published stimulus."""
    spec = presets.mouse()
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(spec, build_key)
    drive = drives.standard(PROTOCOL, spec, build_key)
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        drive,
        duration_ms=400,
        record=[f"raster:{p.name}:::{-(-p.size // 600)}" for p in spec.populations],
        progress=False,
    )
    return recording


def _report(window: str, seed: int | None, say: Callable[[str], None]) -> Report:
    """Rates in a window of the protocol, next to the reference rates."""
    seeds = range(seed or 0, (seed or 0) + CIRCUITS)
    say(f"{CIRCUITS} circuits, 400 ms each at 0.1 ms")
    recordings = spread(_record, seeds)
    span = PROTOCOL.windows[window]
    rates = [record.rates(recording, *span) for recording in recordings]
    rows: list[Row] = []
    for name, reference in PROTOCOL.reference_hz[window].items():
        least = 3.0 if name == "nuclei" else 0.0
        measured = np.array([rate[name] for rate in rates])
        rows.append(
            close(
                f"{name}, {window}",
                "Hz",
                measured,
                reference,
                rel=0.1,
                least=least,
                published=False,
            )
        )
    scaffold = ", ".join(f"{name} {hz:g}" for name, hz in PROTOCOL.published_hz.items())
    spans = {"burst": PROTOCOL.windows["burst"]}
    return Report(
        rows=rows,
        source=SOURCE,
        seeds=list(seeds),
        note=f"Bogdan et al. 2021, background, Hz: {scaffold}. There Purkinje cells, driven mostly "
        "by 250 strong ascending-axon synapses, are slower, and nuclei faster. Nuclei: 3 Hz.",
        figures={
            "raster.png": picture(plot.raster, recordings[0], spans),
            "rates.png": picture(plot.rates, recordings[0], windows=spans),
        },
    )


def background(seed: int | None, say: Callable[[str], None]) -> Report:
    """Rates from 50 to 300 ms."""
    return _report("background", seed, say)


def burst(seed: int | None, say: Callable[[str], None]) -> Report:
    """Rates from 300 to 350 ms."""
    return _report("burst", seed, say)


SPACE_MS = 50.0, 1_000.0
"""Window in which the rates of the circuit in space are measured, ms."""

GRANULAR_LAYER = ("granule", "golgi")
"""Populations that the circuit in space does not match to 15 % (see docs/reproductions.md)."""


def _record_in_space(seed: int) -> Recording:
    """1 s of a circuit in space, whose glomeruli fire at the published rate."""
    spec = presets.mouse(wiring="space")
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(spec, build_key)
    _, recording = simulate(
        circuit,
        circuits.init(circuit, run_key),
        {"glomerulus": drives.poisson(PUBLISHED_LOW_HZ["glomerulus"])},
        duration_ms=SPACE_MS[1],
        progress=False,
    )
    return recording


def space(seed: int | None, say: Callable[[str], None]) -> Report:
    """Rates at rest of the circuit in space, next to the published ones."""
    seeds = range(seed or 0, (seed or 0) + CIRCUITS)
    say(f"{CIRCUITS} circuits in space, 1 s each at 0.1 ms")
    rates = [record.rates(each, *SPACE_MS) for each in spread(_record_in_space, seeds)]
    rows = [
        close(
            f"{name}, in space",
            "Hz",
            [rate[name] for rate in rates],
            published,
            rel=0.25 if name in GRANULAR_LAYER else 0.15,
        )
        for name, published in PUBLISHED_LOW_HZ.items()
    ]
    return Report(
        rows=rows,
        source="Bogdan et al. 2021 (SpiNNCer), background, the spatially wired scaffold of Casali "
        "et al. 2019",
        seeds=list(seeds),
        note="Glomeruli are driven at the published 0.92 Hz.",
    )
