"""What would give wrong numbers without a word is refused, or gives the right ones."""

from dataclasses import replace

import circuits
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.model.neurons import conductance
from cerebellum.sim import drive as drives

KEY = jax.random.key(0)


def circuit(path="event", dt=0.5, delay=1.0):
    spec = circuits.feed_forward(8, 4, 4, delays=(delay,), dt=dt)
    return cb.build(spec, KEY, path=path)


def run(held, state=None, drive=None, **more):
    state = cb.init(held, KEY) if state is None else state
    return cb.simulate(held, state, drive or {}, **{"duration_ms": 5, **more})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dt": 0.25}, r"the delay line of input has 2 steps; 4 at .* dt of 0\.25 ms"),
        ({"delay": 3.0}, "the delay line of input has 2 steps; 6 at the circuit's delays"),
        ({"path": "dense"}, "of a circuit on the event path; this one is on dense"),
    ],
)
def test_a_state_of_another_circuit_is_refused(other, message):
    with pytest.raises(cb.UsageError, match=message):
        run(circuit(**other), cb.init(circuit(), KEY))


@pytest.mark.parametrize("duration", [0.3, 5.2, 0.25, 1e-9])
def test_a_duration_off_the_grid_is_refused(duration):
    with pytest.raises(cb.UsageError, match=f"duration_ms: {duration}"):
        run(circuit(), duration_ms=duration)


@given(steps=st.integers(1, 40), dt=st.sampled_from([0.1, 0.25, 1 / 3]))
def test_a_duration_on_the_grid_is_taken_however_it_is_rounded(steps, dt):
    from cerebellum.sim.simulate import _steps

    assert _steps({}, dt, float(np.float32(steps * dt))) == steps


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tau_m": 0.0}, r"cells\.params\.tau_m: 0; above zero"),
        ({"tau_m": float("nan")}, "cells.params: nan; plain finite numbers"),
        ({"c_m": -3.0}, r"cells\.params\.c_m: -3; above zero"),
        ({"t_ref": -1.0}, r"cells\.params\.t_ref: -1 ms; zero or more"),
    ],
)
def test_parameters_that_cannot_be_are_refused(params, message):
    with pytest.raises(cb.UsageError, match=message):
        circuits.feed_forward(8, 4, 4, cell=conductance.Params(**params))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cells", np.nan, "drive 'cells': nan in an array; finite, pA"),
        ("cells", -np.inf, "drive 'cells': -inf in an array; finite, pA"),
        ("input", 3.0, "drive 'input': 3 in an array; spikes, 0 or 1"),
        ("input", 0.5, "drive 'input': 0.5 in an array; spikes, 0 or 1"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_drive_that_is_no_current_or_no_spikes_is_refused(name, value, message, kind):
    given = np.zeros((10, 8 if name == "input" else 4), np.float32)
    given[3, 1] = value
    with pytest.raises(cb.UsageError, match=message):
        run(circuit(), drive={name: kind(given)})


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 0, -3]], "-3 contacts of a pair; at least 1"),
        ([[0, 0, 0]], "0 contacts of a pair; at least 1"),
        ([[0, 1, 1], [2, 1, 1], [0, 1, 2]], r"the pair \[0, 1\] twice; each pair once"),
    ],
)
def test_edges_that_cannot_be_are_refused(edges, message):
    spec = circuits.feed_forward(8, 4, 4)
    with pytest.raises(cb.UsageError, match=message):
        cb.build(spec, KEY, {"input_p0_cells": np.array(edges)})


@given(step=st.integers(0, 3_600_000), dt=st.sampled_from([0.1, 0.5, 1.0]))
def test_a_time_falls_into_its_step_as_long_as_its_type_can_tell_steps_apart(step, dt):
    for kind in (np.float64, np.float32):
        time = np.array([(step + 1) * dt]).astype(kind)
        spikes = cb.drive.SpikeTimes(np.zeros(1, int), time)
        # With float32: 17 minutes at 0.1 ms.
        if np.spacing(time[0]) < 0.65 * dt:
            assert drives.spike_steps(spikes, dt)[0] == step


def test_spike_times_may_be_arrays_of_jax():
    times = cb.drive.SpikeTimes(jnp.array([0, 3]), jnp.array([1.0, 2.0]))
    _, recording = run(circuit(), drive={"input": times}, record="raster:input")
    assert recording.rasters["input"].cell.tolist() == [0, 3]
    np.testing.assert_allclose(recording.rasters["input"].time_ms, [1.0, 2.0])


def test_a_burst_may_begin_at_once():
    held = circuit()
    drive = {"input": cb.drive.burst(8, 0.0, 2_000.0, 0.0, 2.0, 2)}
    _, recording = run(held, drive=drive, record="raster:input")
    raster = recording.rasters["input"]
    assert raster.time_ms.max() <= 2.0
    assert set(raster.cell) == {0, 1}
    assert raster.cell.size == 8


def test_states_of_a_batch_at_different_steps_are_refused():
    held = circuit()
    states = jax.vmap(lambda key: cb.init(held, key))(jax.random.split(KEY, 2))
    apart = replace(states, step=states.step + jnp.arange(2))
    with pytest.raises(cb.UsageError, match=r"state: members at steps 0 to 1; all at one"):
        cb.simulate_batch(held, apart, {}, duration_ms=5)
