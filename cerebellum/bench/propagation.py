"""Delivery of spikes by one projection, for several kinds, source rates and paths."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import backends
from cerebellum.bench.result import Options, Result, clock, summary
from cerebellum.model import anatomy, events
from cerebellum.model.presets import common

SOURCES = 100_000
SHARES = (0.001, 0.005, 0.02)
"""Shares of the sources that fire in a step."""
STEPS = 100


def _kinds(rng: np.random.Generator):
    """For each kind: name, fan, weights, number of targets, synapses to an event."""
    for name, fan_out, targets, individual_weights in (
        ("list of 4 cells", 4, 2_000, True),
        ("list of 40 cells", 40, 400, True),
        ("list of 80 cells, one weight", 80, SOURCES, False),
    ):
        dtype = np.uint16 if targets < 65_535 else np.uint32
        table = np.sort(rng.integers(0, targets, (SOURCES, fan_out)), axis=1).astype(dtype)
        weights = (
            rng.random((SOURCES, fan_out), np.float32) if individual_weights else np.float32(0.5)
        )
        fan = events.FanOut(targets=jnp.asarray(table))
        yield name, fan, jnp.asarray(weights), targets, fan_out
    rows = rng.integers(0, 65_536, (SOURCES, 750), np.uint16)
    yield "row of 750, uint16", events.AllToAll(unit=1e-5), jnp.asarray(rows), 750, 750


def run(options: Options) -> Iterator[Result]:
    """Seconds of a step, and nanoseconds of a synaptic event."""
    rng = np.random.default_rng(0)
    circuit = anatomy.build(common.common("S"), jax.random.key(0), path="event")
    sweeps = {name: backends.BACKENDS[name].primitives(circuit).sweep for name in backends.usable()}
    paths = [*sweeps, "dense"]
    for name, fan, weights, targets, synapses in _kinds(rng):
        for share in SHARES:
            fired = jnp.asarray(rng.random((STEPS, SOURCES)) < share)
            words = events.pack(fired)
            for path in paths:
                if path == "dense" and share != SHARES[0]:
                    continue  # Its cost does not depend on the spikes.
                steps = 5 if path == "dense" else STEPS

                @jax.jit
                def send(words, fan, weights, path=path, targets=targets):
                    def body(out, now):
                        if path == "dense":
                            spikes = events.unpack(now, SOURCES)
                            return events.dense(spikes, fan, weights, out), None
                        operands = now, (fan,), (weights,), (out,)
                        return events.push(*operands, sweep=sweeps[path])[0], None

                    return jax.lax.scan(body, jnp.zeros(targets), words)[0]

                run_words = words[:steps]
                seconds = clock(send, (run_words, fan, weights), options.repeats)
                figures = summary([run_seconds / steps for run_seconds in seconds])
                event_count = float(events.count(run_words).sum()) / steps * synapses
                yield Result(
                    name="propagation",
                    params={"kind": name, "share": share, "path": path, "cores": options.cores},
                    **figures,
                    per={
                        "step_ns": figures["median_s"] * 1e9,
                        "event_ns": figures["median_s"] / event_count * 1e9,
                    },
                )
