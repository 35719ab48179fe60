"""One step of a circuit from drive in to spikes out, in process, and where the time goes."""

import time
from collections.abc import Iterator
from functools import partial

import jax
import numpy as np

import cerebellum as cb
from cerebellum import backends
from cerebellum.bench.result import Options, Result, summary

GRANULES = (1_000, 10_000, 100_000)
TICKS = 2_000


def run(options: Options) -> Iterator[Result]:
    """Dispatch ends when the call returns, compute when its result is ready, then it is read."""
    for granules in GRANULES:
        spec = cb.presets.beams(granules)
        circuit = cb.build(spec, jax.random.key(0), path="event")
        fibres = spec.population("mossy_fiber").size

        backend, primitives = backends.of(circuit), backends.primitives_of(circuit)

        @partial(jax.jit, donate_argnames="state", static_argnames="primitives")
        def step(params, wiring, state, fired, primitives):
            drive = {"mossy_fiber": fired}
            state, activity = cb.step(params, wiring, state, drive, primitives)
            return state, activity.spikes["nuclei"]

        state = cb.init(circuit, jax.random.key(1), spread=True)
        rng = np.random.default_rng(0)
        given = (rng.random((TICKS + 50, fibres)) < 0.014).astype(np.float32)
        parts = {"dispatch": [], "compute": [], "read_back": [], "whole": []}
        for tick, fired in enumerate(given):
            began = time.perf_counter()
            state, spikes = step(circuit.params, circuit.wiring, state, fired, primitives)
            called = time.perf_counter()
            jax.block_until_ready((state, spikes))
            done = time.perf_counter()
            np.asarray(spikes)
            read = time.perf_counter()
            if tick >= 50:
                spans = (called - began, done - called, read - done, read - began)
                for part, span in zip(parts.values(), spans, strict=True):
                    part.append(span)
        compiled = step.lower(circuit.params, circuit.wiring, state, given[0], primitives).compile()
        operations = float(_kernels(compiled.as_text() or ""))
        for part, spans in parts.items():
            found = summary(spans)
            yield Result(
                name="latency",
                params={
                    "granules": granules,
                    "part": part,
                    "path": backend.name,
                    "cores": options.cores,
                },
                **found,
                per={"step_ns": found["median_s"] * 1e9} if part == "whole" else {},
                extra={
                    "p95_s": float(np.percentile(spans, 95)),
                    "p99_s": float(np.percentile(spans, 99)),
                    "operations": operations,
                },
            )


def _kernels(text: str) -> int:
    """Operations of the compiled program that are a call of something: fusions and the like."""
    entry = text[text.find("ENTRY") :]
    words = (" fusion(", " custom-call(", " while(", " copy(", " call(", " scatter(", " gather(")
    return sum(line.count(word) for line in entry.splitlines() for word in words)
