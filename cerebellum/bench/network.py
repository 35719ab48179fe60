"""A biological second of a whole circuit, on every backend that this machine can use."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax

from cerebellum import backends
from cerebellum.bench.result import Options, Result, bandwidth, summary
from cerebellum.model import anatomy, events, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.presets import common
from cerebellum.model.spec import Spec
from cerebellum.sim import drive as drives
from cerebellum.sim import record
from cerebellum.sim.drive import Drive
from cerebellum.sim.simulate import simulate

PRODUCTION = presets.Sizes(purkinje=15_000, golgi=400, nuclei=100)

MOSSY_HZ = {0.5: 8.4, 1.0: 10.9, 2.0: 14.0, 5.0: 19.9}
"""Mossy-fibre rate, Hz, by the granule rate that it causes in the large circuit, Hz. Measured with
100,000 granule cells; other sizes agree to within a tenth."""


def run(options: Options) -> Iterator[Result]:
    """The common networks of each size; production at 1, 2 and 5 Hz, with learning off and on."""
    for backend in [options.backend] if options.backend else backends.usable():
        for size in options.sizes:
            if size == "production":
                for learning in (False, True):
                    yield from _production(learning, backend, options)
                continue
            networks = [options.network] if options.network else ["common", "anatomical"]
            for network in networks:
                wiring = "random" if network == "common" else "anatomical"
                spec = common.common(size, wiring=wiring)  # pyright: ignore
                drive = drives.standard(common.PROTOCOL, spec, jax.random.key(0))
                params = {"network": network, "size": size, "path": backend, "plasticity": "off"}
                circuit = anatomy.build(spec, jax.random.key(0), path="event", backend=backend)
                yield _second(circuit, drive, params, options, 1_000.0)


def _production(learning: bool, backend: str, options: Options) -> Iterator[Result]:
    """200 ms of the circuit of production size, at each rate."""
    learning_rate = 2e-4 if learning else 0.0
    spec = presets.beams(4_000_000, sizes=PRODUCTION, learning_rate=learning_rate)
    circuit = anatomy.build(spec, jax.random.key(0), path="event", backend=backend)
    for rate in (1.0, 2.0, 5.0):
        params = {"network": "beams", "size": "production", "path": backend}
        params |= {"plasticity": "on" if learning else "off", "rate_hz": rate}
        drive = {"mossy_fiber": drives.poisson(MOSSY_HZ[rate])}
        yield _second(circuit, drive, params, replace(options, repeats=3), 200.0, fresh=False)


def _second(
    circuit: Circuit,
    drive: Drive,
    params: dict[str, Any],
    options: Options,
    duration_ms: float,
    *,
    fresh: bool = True,
) -> Result:
    """The time of a biological second, measured on several runs of `duration_ms`.

    Args:
      fresh: whether each run starts from an initial state, instead of going on from the last run.
    """
    spec = circuit.spec
    seconds, recording = [], None
    state = circuits.init(circuit, jax.random.key(0), spread=True)
    for repeat in range(options.repeats + 1):
        if fresh and repeat:
            state = circuits.init(circuit, jax.random.key(repeat), spread=True)
        jax.block_until_ready(state)
        state, recording = simulate(circuit, state, drive, duration_ms=duration_ms, progress=False)
        if repeat:
            seconds.append(recording.seconds["run"] * 1e3 / duration_ms)
    assert recording is not None
    rates = record.rates(recording)
    events_per_second = synaptic_events(spec, rates)
    figures = summary(seconds)
    steps = 1e3 / spec.dt
    moved = step_bytes(circuit, rates)
    return Result(
        name="network",
        params={**params, "cores": options.cores},
        **figures,
        per={
            "step_ns": figures["median_s"] / steps * 1e9,
            "event_ns": figures["median_s"] / max(events_per_second, 1.0) * 1e9,
        },
        floor_s=moved * steps / bandwidth(int(min(moved, 2**28)), options.cores),
        rates_hz=rates,
        extra=device_memory(),
    )


def device_memory() -> dict[str, float]:
    """Peak use of an accelerator's memory so far, bytes; empty on a CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {} if peak is None else {"peak_bytes": float(peak)}


def synaptic_events(spec: Spec, rates: dict[str, float]) -> float:
    """Synaptic events in a second at these rates (Hz by population): synapses times source rate."""
    return sum(
        rates[p.source] * p.in_degree * spec.population(p.target).size for p in spec.projections
    )


def step_bytes(circuit: Circuit, rates: dict[str, float]) -> float:
    """Bytes that a step must at least read and write, with every cell and every event once.

    A cell of three floats and a counter moves 26 bytes. An event reads its row; or it reads its
    target and its weight, and reads and writes the input of the target.
    """
    spec = circuit.spec
    total = 26.0 * sum(p.size for p in spec.populations if not CIRCUIT_MODELS[p.model].TAKES_SPIKES)
    dense = circuit.wiring.path == "dense"
    for p in spec.projections:
        size = spec.population(p.target).size
        fired = 1.0 if dense else rates[p.source] * spec.dt * 1e-3
        if isinstance(circuit.wiring.fans[p.name], events.AllToAll):
            event_bytes = 2 if p.dtype == "uint16" else 4
        else:
            event_bytes = 2 + 8 + 4 * bool(p.spread)
        total += fired * p.in_degree * size * event_bytes
    return total
