"""A biological second of a whole circuit, by every path that this machine has."""

from collections.abc import Iterator
from dataclasses import replace

import jax

import cerebellum as cb
from cerebellum import backends
from cerebellum.bench.result import Options, Result, bandwidth, summary
from cerebellum.model import events
from cerebellum.model.circuit import Circuit
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.presets import common
from cerebellum.model.spec import Spec

PRODUCTION = cb.presets.Sizes(purkinje=15_000, golgi=400, nuclei=100)

MOSSY_HZ = {0.5: 8.4, 1.0: 10.9, 2.0: 14.0, 5.0: 19.9}
"""By granule rate in the large circuit, Hz, the mossy-fibre rate that gives it (measured at 100,000
granule cells; the same within a tenth at other sizes)."""


def run(options: Options) -> Iterator[Result]:
    """The common networks at each size, then production at 1, 2 and 5 Hz, learning off and on."""
    for each in [options.kernels] if options.kernels else backends.usable():
        for size in options.sizes:
            if size == "production":
                for learning in (False, True):
                    yield from _production(learning, each, options)
                continue
            networks = [options.network] if options.network else ["common", "anatomical"]
            for network in networks:
                wiring = "random" if network == "common" else "anatomical"
                spec = common.common(size, wiring=wiring)  # pyright: ignore
                drive = cb.drive.standard(common.PROTOCOL, spec, jax.random.key(0))
                params = {"network": network, "size": size, "path": each, "plasticity": "off"}
                circuit = cb.build(spec, jax.random.key(0), path="event", backend=each)
                yield _second(circuit, drive, params, options, 1_000.0)


def _production(learning: bool, kernels: str, options: Options) -> Iterator[Result]:
    learned = 2e-4 if learning else 0.0
    spec = cb.presets.beams(4_000_000, sizes=PRODUCTION, learning_rate=learned)
    circuit = cb.build(spec, jax.random.key(0), path="event", backend=kernels)
    for rate in (1.0, 2.0, 5.0):
        params = {"network": "beams", "size": "production", "path": kernels}
        params |= {"plasticity": "on" if learning else "off", "rate_hz": rate}
        drive = {"mossy_fiber": cb.drive.poisson(MOSSY_HZ[rate])}
        yield _second(circuit, drive, params, replace(options, repeats=3), 200.0, fresh=False)


def _second(
    circuit: Circuit,
    drive,
    params: dict,
    options: Options,
    duration_ms: float,
    *,
    fresh: bool = True,
) -> Result:
    """`duration_ms` again and again, reported for a second; each from a first state, or on."""
    spec = circuit.spec
    seconds, recording = [], None
    state = cb.init(circuit, jax.random.key(0), spread=True)
    for repeat in range(options.repeats + 1):
        if fresh and repeat:
            state = cb.init(circuit, jax.random.key(repeat), spread=True)
        jax.block_until_ready(state)
        state, recording = cb.simulate(
            circuit, state, drive, duration_ms=duration_ms, progress=False
        )
        if repeat:
            seconds.append(recording.seconds["run"] * 1e3 / duration_ms)
    assert recording is not None
    rates = cb.record.rates(recording)
    events = synaptic_events(spec, rates)
    found = summary(seconds)
    steps = 1e3 / spec.dt
    moved = step_bytes(circuit, rates)
    return Result(
        name="network",
        params={**params, "cores": options.cores},
        **found,
        per={
            "step_ns": found["median_s"] / steps * 1e9,
            "event_ns": found["median_s"] / max(events, 1.0) * 1e9,
        },
        floor_s=moved * steps / bandwidth(int(min(moved, 2**28)), options.cores),
        rates_hz=rates,
        extra=_device_memory(),
    )


def _device_memory() -> dict[str, float]:
    """Most bytes of an accelerator's memory that were in use so far; nothing on a CPU."""
    stats = jax.devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return {} if peak is None else {"peak_bytes": float(peak)}


def synaptic_events(spec: Spec, rates: dict[str, float]) -> float:
    """Synaptic events in a second at these rates: a source's synapses times how often it fires."""
    return sum(
        rates[p.source] * p.in_degree * spec.population(p.target).size for p in spec.projections
    )


def step_bytes(circuit: Circuit, rates: dict[str, float]) -> float:
    """Bytes that a step must at least read and write: every cell once, every event once.

    A cell of three floats and a counter moves 26 bytes; an event reads its row, or its target and
    weight and reads and writes where it goes.
    """
    spec = circuit.spec
    total = 26.0 * sum(p.size for p in spec.populations if not CIRCUIT_MODELS[p.model].TAKES_SPIKES)
    dense = circuit.wiring.path == "dense"
    for p in spec.projections:
        size = spec.population(p.target).size
        fired = 1.0 if dense else rates[p.source] * spec.dt * 1e-3
        if isinstance(circuit.wiring.fans[p.name], events.AllToAll):
            each = 2 if p.dtype == "uint16" else 4
        else:
            each = 2 + 8 + 4 * bool(p.spread)
        total += fired * p.in_degree * size * each
    return total
