"""Sources: the right spikes at the right steps, and none lost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import feed_forward
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebellum.errors import UsageError
from cerebellum.model import events
from cerebellum.model.noise import CellRange
from cerebellum.sim import drive
from cerebellum.sim.drive import RateFunction, SpikeTimes


@settings(max_examples=60)
@given(
    dt=st.sampled_from([0.1, 1.0]),
    count=st.integers(0, 300),
    cells=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_every_spike_gets_a_step_of_its_own(dt, count, cells, seed):
    rng = np.random.default_rng(seed)
    spikes = SpikeTimes(rng.integers(0, cells, count), rng.random(count) * 40)
    step, cell = drive.spike_steps(spikes, dt)
    assert len(set(zip(step.tolist(), cell.tolist(), strict=True))) == count
    assert (np.diff(step) >= 0).all()
    np.testing.assert_array_equal(
        np.bincount(cell, minlength=cells), np.bincount(spikes.neuron, minlength=cells)
    )
    for c in range(cells):
        earliest = np.sort(np.ceil(spikes.time_ms[spikes.neuron == c] / dt - 0.01) - 1)
        assert (np.sort(step[cell == c]) >= np.maximum(earliest, 0)).all()


def test_a_spike_belongs_to_the_step_that_ends_at_it():
    spikes = SpikeTimes(np.arange(5), np.array([0.0, 0.05, 0.1, 0.11, 0.3]))
    step, cell = drive.spike_steps(spikes, 0.1)
    assert dict(zip(cell.tolist(), step.tolist(), strict=True)) == {0: 0, 1: 0, 2: 0, 3: 1, 4: 2}


def test_times_in_single_precision_keep_their_step():
    steps = np.arange(20_000)
    times = ((steps + 1) * 0.1).astype(np.float32)
    step, _ = drive.spike_steps(SpikeTimes(np.zeros(20_000, int), times), 0.1)
    np.testing.assert_array_equal(step, steps)


def test_words_of_a_chunk():
    spikes = drive.spike_steps(SpikeTimes(np.array([0, 33, 33]), np.array([1.0, 2.0, 5.0])), 1.0)
    words = drive.words_of(spikes, 40, 1, 5)
    got = np.asarray(events.unpack(jnp.asarray(words), 40))
    assert np.argwhere(got).tolist() == [[0, 33], [3, 33]]


def draw(source, name, size, key, step, dt):
    """Packed spikes of so many cells in a step."""
    now = drive.Moment(key=key, step=step, dt=dt)
    return drive.draw(source, name, now, CellRange(size=size))


@pytest.mark.parametrize("dt", [0.1, 1.0])
def test_poisson_rates_by_segment(dt):
    source = drive.burst(400, 5.0, 150.0, start_ms=100.0, stop_ms=200.0, cells=100)
    key = jax.random.key_data(jax.random.key(0))
    steps = jnp.arange(round(300 / dt))
    words = jax.lax.map(lambda step: draw(source, "glomerulus", 400, key, step, dt), steps)
    fired = np.asarray(events.unpack(words, 400))
    third = len(fired) // 3
    rate = fired.reshape(3, third, 400).sum(axis=1) / 0.1
    assert rate[0].mean() == pytest.approx(5.0, rel=0.2)
    assert rate[1, :100].mean() == pytest.approx(150.0, rel=0.05)
    assert rate[1, 100:].mean() == pytest.approx(5.0, rel=0.2)
    assert rate[2].mean() == pytest.approx(5.0, rel=0.2)
    counts = fired[:third].sum(axis=0)
    assert counts.var() == pytest.approx(counts.mean(), rel=0.3)


def test_draws_depend_on_key_step_and_population_alone():
    source = drive.poisson(300.0)

    def spikes(seed, step, name):
        key = jax.random.key_data(jax.random.key(seed))
        return np.asarray(draw(source, name, 500, key, jnp.int32(step), 1.0))

    reference = spikes(0, 7, "a")
    np.testing.assert_array_equal(reference, spikes(0, 7, "a"))
    for other in (spikes(1, 7, "a"), spikes(0, 8, "a"), spikes(0, 7, "b")):
        assert (reference != other).any()


def test_a_rate_function_of_time():
    source = RateFunction(lambda t, top: jnp.full(200, jnp.where(t < 50, 0.0, top)), (500.0,))
    key = jax.random.key_data(jax.random.key(0))
    early, late = (draw(source, "x", 200, key, jnp.int32(s), 1.0) for s in (10, 60))
    assert events.count(early) == 0
    assert 60 < events.count(late) < 140


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"not an npz", "not an npz; expected arrays neuron and time_ms"),
        ({"neuron": [0]}, "time_ms.*expected neuron and time_ms"),
        ({"neuron": [0, 1], "time_ms": [1.0]}, "2 cells and 1 times; one entry each a spike"),
        ({"neuron": [0.5], "time_ms": [1.0]}, "neuron is float64; cell numbers are integers"),
        ({"neuron": [9], "time_ms": [1.0]}, "neuron 9; cells are numbered 0 to 8"),
        ({"neuron": [-1], "time_ms": [1.0]}, "neuron -1; cells are numbered 0 to 8"),
        ({"neuron": [0], "time_ms": [-1.0]}, "time_ms -1.0; from 0 to 1e9 ms"),
        ({"neuron": [0], "time_ms": [np.nan]}, "time_ms nan; from 0 to 1e9 ms"),
        ({"neuron": [0], "time_ms": [1e300]}, r"time_ms 1e\+300; from 0 to 1e9 ms"),
        ({"neuron": [0], "time_ms": ["soon"]}, "time_ms is <U4; times are numbers"),
        ({"neuron": [[0]], "time_ms": [[1.0]]}, "neuron is not a flat array"),
        ({"neuron": np.array([{}], object), "time_ms": [1.0]}, "not an npz"),
    ],
)
def test_bad_spike_files_are_refused(tmp_path, content, message):
    path = tmp_path / "spikes.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.savez(path, **content)
    with pytest.raises(UsageError, match=message) as error:
        drive.read_spike_times(path, 9)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_good_spike_files_are_read(tmp_path):
    np.savez(tmp_path / "s.npz", neuron=np.uint16([3, 1]), time_ms=np.float32([2.5, 0.5]))
    spikes = drive.read_spike_times(tmp_path / "s.npz", 9)
    assert spikes.neuron.tolist() == [3, 1]
    assert spikes.time_ms.tolist() == [2.5, 0.5]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"outside": drive.poisson(1.0)}, "drive 'outside': feed_forward has input, cells"),
        ({"input": drive.poisson(np.ones(5))}, "drive 'input': rates for 5 cells; 9"),
        ({"input": drive.poisson(-1.0)}, "drive 'input': a rate is negative"),
        ({"input": drive.poisson(1_500.0)}, "above one spike a step; Hz, from 0 to 1000"),
        ({"input": drive.poisson(5.0).replace(starts=jnp.array([3.0, 1.0]))}, "starts .*ascending"),
        ({"input": 500.0}, r"drive 'input': float; cb.drive.poisson\(Hz\)"),
        ({"input": lambda t: 5.0}, "drive 'input': function; cb.drive.poisson"),
        ({"input": np.ones((0, 9))}, r"drive 'input': array \(0, 9\)"),
        ({"input": np.ones((2, 4, 9))}, r"drive 'input': array \(2, 4, 9\)"),
        ({"input": SpikeTimes([[0]], [[1.0]])}, "neuron is not a flat array"),
        ({"input": np.ones((4, 5))}, r"drive 'input': array \(4, 5\); \[time, 9\]"),
        ({"cells": drive.poisson(1.0)}, "drive 'cells': spikes for conductance cells"),
        ({"input": SpikeTimes(np.array([9]), np.array([1.0]))}, "neuron 9"),
    ],
)
def test_drives_that_do_not_fit_are_refused(source, message):
    with pytest.raises(UsageError, match=message):
        drive.check(source, feed_forward(9, 7, 3))


def test_rates_of_two_axes_are_refused():
    with pytest.raises(UsageError, match=r"rate_hz: \(3, 9\); one rate, or one a cell"):
        drive.poisson(np.ones((3, 9)))
