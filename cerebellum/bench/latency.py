"""One step of a circuit from drive to spikes, in process, and the time of each of its phases."""

import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

from cerebellum import backends
from cerebellum.bench.result import Options, Result, summary
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit
from cerebellum.model.step import step

GRANULES = (1_000, 10_000, 100_000)
TICKS = 2_000
WARM_UP = 50
"""Steps that are not timed."""


def run(options: Options) -> Iterator[Result]:
    """Seconds of a step and of its phases.

    The dispatch ends when the call returns, and the computation when its result is ready. Then the
    result is read back.
    """
    for granules in GRANULES:
        circuit = anatomy.build(presets.beams(granules), jax.random.key(0), path="event")
        phases, operations = _time_steps(circuit)
        for phase, seconds in phases.items():
            figures = summary(seconds)
            yield Result(
                name="latency",
                params={
                    "granules": granules,
                    "part": phase,
                    "path": backends.of(circuit).name,
                    "cores": options.cores,
                },
                **figures,
                per={"step_ns": figures["median_s"] * 1e9} if phase == "whole" else {},
                extra={
                    "p95_s": float(np.percentile(seconds, 95)),
                    "p99_s": float(np.percentile(seconds, 99)),
                    "operations": operations,
                },
            )


@partial(jax.jit, donate_argnames="state", static_argnames="primitives")
def _step(params, wiring, state, mossy, primitives):
    """The state after a step, and the spikes of the nuclei."""
    state, activity = step(params, wiring, state, {"mossy_fiber": mossy}, primitives)
    return state, activity.spikes["nuclei"]


def _time_steps(circuit: Circuit) -> tuple[dict[str, list[float]], float]:
    """Seconds of every step by phase, and the number of operations of the compiled step."""
    primitives = backends.primitives_of(circuit)
    state = circuits.init(circuit, jax.random.key(1), spread=True)
    fibres = circuit.spec.population("mossy_fiber").size
    rng = np.random.default_rng(0)
    drive = (rng.random((TICKS + WARM_UP, fibres)) < 0.014).astype(np.float32)
    phases = {"dispatch": [], "compute": [], "read_back": [], "whole": []}
    for tick, mossy in enumerate(drive):
        began = time.perf_counter()
        state, spikes = _step(circuit.params, circuit.wiring, state, mossy, primitives)
        called = time.perf_counter()
        jax.block_until_ready((state, spikes))
        done = time.perf_counter()
        np.asarray(spikes)
        read = time.perf_counter()
        if tick >= WARM_UP:
            spans = (called - began, done - called, read - done, read - began)
            for seconds, span in zip(phases.values(), spans, strict=True):
                seconds.append(span)
    lowered = _step.lower(circuit.params, circuit.wiring, state, drive[0], primitives)
    return phases, float(_operations(lowered.compile().as_text() or ""))


def _operations(text: str) -> int:
    """Number of operations of a compiled program that are calls, such as fusions."""
    entry = text[text.find("ENTRY") :]
    words = (" fusion(", " custom-call(", " while(", " copy(", " call(", " scatter(", " gather(")
    return sum(line.count(word) for line in entry.splitlines() for word in words)
