"""One step of every neuron model that a circuit can contain, with spikes packed."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from cerebellum import backends
from cerebellum.backends.cpu import operations
from cerebellum.bench.result import Options, Result, bandwidth, clock, scanned, summary
from cerebellum.model import events, noise
from cerebellum.model.neurons import conductance, current, eglif
from cerebellum.model.presets.casali import CELLS as CASALI
from cerebellum.model.presets.eglif import CELLS as EGLIF

SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)

WORK = 20_000_000
"""Cells times steps of a run."""


def _models(n: int):
    """For each model: name, path, a step (state, step index) -> (state, words), initial state."""

    def reference(model, params, input, dt):
        def step(state, index):
            state, spikes = model.step(params, state, input(index), dt)
            return state, events.pack(spikes)

        return step, model.init(params, (n,))

    def scalars(params):
        return jax.tree.map(jnp.float32, params)

    driven = scalars(current.Params(drive=16.0))
    yield "current", "xla", *reference(current, driven, lambda _: current.Input(), 1.0)
    if "native" in backends.usable():

        def compiled(state, index):
            operands: Any = (current, driven, state, current.Input(), 1.0, None)
            state, _, words = operations.integrate(*operands)
            return state, words

        yield "current", "native", compiled, current.init(driven, (n,))
    for name, cell in (("conductance", CASALI["golgi"]), ("conductance rk4", CASALI["granule"])):
        params = conductance.Params(**{**vars(cell), "i_e": jnp.float32(40.0)})
        yield name, "xla", *reference(conductance, params, lambda _: conductance.Input(), 0.1)

    def drawing(index):
        key = noise.fold(jnp.zeros(2, jnp.uint32), index)
        return eglif.Input(uniform=noise.uniform(key, noise.CellRange(size=n).numbers))

    yield "eglif", "xla", *reference(eglif, scalars(EGLIF["vitro"]["golgi"]), drawing, 1.0)


def run(options: Options) -> Iterator[Result]:
    """Seconds of a step, and bytes a second, next to the machine's bandwidth."""
    for n in SIZES:
        for name, path, step, initial_state in _models(n):
            steps = max(5, min(2_000, WORK // n))

            def advance(carry, step=step):
                state, index, total = carry
                state, words = step(state, index)
                return state, index + 1, total + events.count(words)

            run_all = scanned(advance, steps)
            carry = (initial_state, jnp.int32(0), jnp.int32(0))
            seconds = [s / steps for s in clock(run_all, (carry,), options.repeats)]
            moved = 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(initial_state))
            figures = summary(seconds)
            speed = bandwidth(int(moved // 2), options.cores)
            yield Result(
                name="neuron_step",
                params={"model": name, "cells": n, "path": path, "cores": options.cores},
                **figures,
                per={
                    "cell_ns": figures["median_s"] / n * 1e9,
                    "step_ns": figures["median_s"] * 1e9,
                },
                floor_s=moved / speed,
                extra={"bytes_s": moved / figures["median_s"], "machine_bytes_s": speed},
            )
