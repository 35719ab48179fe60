"""On every backend the result is bit for bit the same, however a run is cut or restarted."""

import chex
import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import backends

SPEC = cb.presets.beams(1_200, beams=2, learning_rate=2e-3)
DRIVE = {"mossy_fiber": cb.drive.poisson(40.0)}


@pytest.mark.parametrize("backend", backends.usable())
def test_cuts_and_restarts_change_no_bit(backend):
    circuit = cb.build(SPEC, 0, path="event", backend=backend)

    def run(spans_ms, chunk_steps):
        state, spikes = cb.init(circuit, 1, spread=True), []
        for span in spans_ms:
            state = jax.tree.map(np.asarray, state)  # as from a checkpoint
            state, recording = cb.simulate(
                circuit, state, DRIVE, duration_ms=span, chunk_steps=chunk_steps, progress=False
            )
            spikes.append(recording.spikes)
        return state, {name: np.concatenate([x[name] for x in spikes]) for name in spikes[0]}

    whole, cut = run([250], 1_000), run([7, 243], 64)
    assert whole[1]["granule"].sum() > 100
    chex.assert_trees_all_equal(whole, cut)
    before = cb.init(circuit, 1, spread=True).weights["granule_purkinje"]
    assert (whole[0].weights["granule_purkinje"] != before).any()
