"""Runs: chunks, batches, repetition, records."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import feed_forward, spikes
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.sim import chunk, loop, program, progress
from cerebellum.sim import record as records
from cerebellum.sim.drive import RateFunction, SpikeTimes

KEY = jax.random.key(7)
EVERYTHING = ("raster:cells", "raster:input:1:9:2", "counts:cells", "v:cells:0:3", "g_exc:cells")


@pytest.fixture(scope="module")
def circuit():
    return cb.build(
        feed_forward(60, 40, 20, delays=(1.0, 3.0), weight=3.0, dt=0.5), KEY, path="event"
    )


def drives(kind: str):
    rng = np.random.default_rng(0)
    return {
        "poisson": lambda: cb.drive.poisson(80.0),
        "function": lambda: RateFunction(lambda t: jnp.full(60, 50.0 + t)),
        "times": lambda: SpikeTimes(rng.integers(0, 60, 400), rng.random(400) * 60),
        "array": lambda: spikes(120, 60, 0.1, 0),
    }[kind]()


def same(a: records.Recording, b: records.Recording) -> None:
    assert (a.dt, a.start_ms, a.steps, a.sizes) == (b.dt, b.start_ms, b.steps, b.sizes)
    for field in ("spikes", "rasters", "counts", "traces"):
        one, other = getattr(a, field), getattr(b, field)
        assert one.keys() == other.keys()
        for name in one:
            left, right = one[name], other[name]
            if isinstance(left, np.ndarray):
                np.testing.assert_array_equal(left, right)
            else:
                for key, value in vars(left).items():
                    np.testing.assert_array_equal(value, getattr(right, key))


@examples(8)
@given(
    size=st.sampled_from([1, 7, 40, 120]),
    kind=st.sampled_from(["poisson", "function", "times", "array"]),
)
def test_chunked_is_whole(circuit, size, kind):
    drive = {"input": drives(kind)}

    def run(steps):
        state = cb.init(circuit, KEY)
        return cb.simulate(
            circuit, state, drive, duration_ms=60, record=EVERYTHING, chunk_steps=steps
        )

    (whole_state, whole), (state, recording) = run(1_000), run(size)
    same(whole, recording)
    chex.assert_trees_all_equal(whole_state, state)
    assert whole.spikes["cells"].sum() > 20


def test_a_run_without_a_state_starts_from_seed_0(circuit):
    drive = {"input": cb.drive.poisson(80.0)}
    one = cb.simulate(circuit, drive=drive, duration_ms=60)
    other = cb.simulate(circuit, cb.init(circuit, 0), drive, duration_ms=60)
    same(one[1], other[1])
    chex.assert_trees_all_equal(one[0], other[0])


def test_two_calls_are_one(circuit):
    drive = {"input": cb.drive.poisson(80.0)}
    state, first = cb.simulate(circuit, cb.init(circuit, KEY), drive, duration_ms=20)
    state, second = cb.simulate(circuit, state, drive, duration_ms=40)
    whole_state, whole = cb.simulate(circuit, cb.init(circuit, KEY), drive, duration_ms=60)
    chex.assert_trees_all_equal(whole_state, state)
    both = np.concatenate([first.spikes["cells"], second.spikes["cells"]])
    np.testing.assert_array_equal(both, whole.spikes["cells"])
    assert second.start_ms == 20.0


def test_same_seed_same_spikes_other_seed_others(circuit):
    drive = {"input": cb.drive.poisson(80.0)}

    def run(seed):
        state = cb.init(circuit, jax.random.key(seed))
        return cb.simulate(circuit, state, drive, duration_ms=40, record=("raster:cells",))[1]

    same(run(1), run(1))
    assert (run(1).spikes["input"] != run(2).spikes["input"]).any()


@pytest.mark.parametrize("kind", ["poisson", "array"])
def test_a_batch_is_its_runs(circuit, kind):
    keys = jax.random.split(KEY, 3)
    arrays = np.stack([spikes(80, 60, 0.1, seed) for seed in range(3)])
    states = jax.vmap(cb.init, in_axes=(None, 0))(circuit, keys)
    drive = {"input": arrays if kind == "array" else drives(kind)}
    states, batch = cb.simulate_batch(circuit, states, drive, duration_ms=40, record=EVERYTHING)
    for index, key in enumerate(keys):
        alone = {"input": arrays[index]} if kind == "array" else drive
        state, recording = cb.simulate(
            circuit, cb.init(circuit, key), alone, duration_ms=40, record=EVERYTHING
        )
        same(batch[index], recording)
        chex.assert_trees_all_equal(jax.tree.map(lambda x, i=index: x[i], states), state)
    assert (batch[0].spikes["input"] != batch[1].spikes["input"]).any()


def test_one_program_for_a_whole_run(circuit):
    """However many chunks, rates and seeds: one compiled program."""
    before = chunk.advance._cache_size()
    for rate in (10.0, 90.0):
        for seed in (0, 1):
            state = cb.init(circuit, jax.random.key(seed))
            drive = {"input": cb.drive.poisson(rate)}
            cb.simulate(circuit, state, drive, duration_ms=49.5, chunk_steps=33)
    assert chunk.advance._cache_size() == before + 1


@pytest.mark.parametrize("counts", [True, False])
def test_chunks_cover_a_run_once(counts):
    for steps in (1, 7, 97, 350, 1_000, 3_500, 9_973):
        cuts = list(program.cuts(steps, 100, counts))
        assert cuts[0].first == 0
        assert cuts[-1].last == steps
        assert all(a.last == b.first for a, b in itertools.pairwise(cuts))
        assert all(0 < cut.size <= cut.room <= 100 for cut in cuts)
    assert {cut.size for cut in program.cuts(3_500, 1_000, False)} == {875}


def test_records_agree_with_each_other(circuit):
    state, recording = cb.simulate(
        circuit,
        cb.init(circuit, KEY),
        {"input": drives("array")},
        duration_ms=60,
        record=("raster:cells", "counts:cells", "v:cells"),
    )
    raster, counts = recording.rasters["cells"], recording.counts["cells"]
    np.testing.assert_array_equal(np.bincount(raster.cell, minlength=40), counts)
    step = np.round(raster.time_ms / 0.5).astype(int) - 1
    np.testing.assert_array_equal(np.bincount(step, minlength=120), recording.spikes["cells"])
    assert (recording.traces["v:cells"].values[step, raster.cell] == -84.0).all()
    np.testing.assert_array_equal(recording.traces["v:cells"].values[-1], state.cells["cells"].v)
    assert cb.record.rates(recording)["cells"] == pytest.approx(counts.sum() / 40 / 0.06)
    _, courses = cb.record.rate_course(recording, 5.0)
    assert courses["cells"].mean() == pytest.approx(cb.record.rates(recording)["cells"])
    half = [cb.record.rates(recording, a, b)["cells"] for a, b in ((0, 30), (30, 60))]
    assert np.mean(half) == pytest.approx(cb.record.rates(recording)["cells"])
    assert np.isnan(cb.record.rates(recording, 70, 80)["cells"])


def test_spikes_given_are_spikes_recorded(circuit):
    source = drives("times")
    _, recording = cb.simulate(
        circuit, cb.init(circuit, KEY), {"input": source}, duration_ms=70, record=("counts:input",)
    )
    np.testing.assert_array_equal(
        recording.counts["input"], np.bincount(source.neuron, minlength=60)
    )


def test_saved_is_loaded(circuit, tmp_path):
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, KEY),
        {"input": drives("array")},
        duration_ms=30,
        record=EVERYTHING,
    )
    cb.io.save(recording, tmp_path / "r.npz")
    loaded = cb.io.load(tmp_path / "r.npz")
    same(recording, loaded)
    assert loaded.seconds == recording.seconds


def test_the_state_is_donated(circuit):
    state = cb.init(circuit, KEY)
    cb.simulate(circuit, state, duration_ms=5)
    assert state.cells["cells"].v.is_deleted()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raster", "record 'raster': rates, counts:POPULATION"),
        ("raster:granula", "populations are input, cells"),
        ("w:cells", "cells has v, g_exc, g_inh"),
        ("v:input", "input has no variables"),
        ("raster:cells:a:b", "cells as CELL, START:STOP"),
        ("raster:cells:1:2:3:4", "cells as CELL, START:STOP"),
        ("raster:cells:40", "no cells of the 40 there are"),
        ("raster:cells:50:", "no cells of the 40 there are"),
        ("raster:cells::0", "no cells of the 40 there are"),
    ],
)
def test_what_cannot_be_recorded_is_refused(circuit, text, message):
    with pytest.raises(UsageError, match=message):
        cb.simulate(circuit, cb.init(circuit, KEY), duration_ms=5, record=(text,))


@pytest.mark.parametrize(
    ("duration", "message"),
    [
        (None, "duration_ms: missing"),
        (-1.0, "duration_ms: -1.0"),
        ("30", "duration_ms: '30'; a number, ms"),
        (0.0, "at least one step"),
        (float("nan"), "duration_ms: nan"),
        (1e308, "at most 2,000,000,000 steps of 0.5 ms"),
    ],
)
def test_impossible_durations_are_refused(circuit, duration, message):
    with pytest.raises(ValueError, match=message):
        cb.simulate(circuit, cb.init(circuit, KEY), duration_ms=duration)


def test_a_drive_that_is_too_short_is_refused(circuit):
    with pytest.raises(UsageError, match="drive 'input': 4 steps; 5 ms are 10"):
        cb.simulate(circuit, cb.init(circuit, KEY), {"input": spikes(4, 60, 0.1, 0)}, duration_ms=5)


def test_one_cell_one_text_and_nothing_twice(circuit):
    state = cb.init(circuit, KEY)
    _, recording = cb.simulate(circuit, state, duration_ms=5, record="v:cells:3")
    assert recording.traces["v:cells"].cells.tolist() == [3]
    state = cb.init(circuit, KEY)
    with pytest.raises(UsageError, match="v:cells twice; once, with all its cells"):
        cb.simulate(circuit, state, duration_ms=5, record=("v:cells:0:2", "v:cells:2:4"))


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.bool_, np.float64])
def test_spikes_of_any_type_are_spikes(circuit, dtype):
    array = spikes(40, 60, 0.3, 0)
    state = cb.init(circuit, KEY)
    _, recording = cb.simulate(circuit, state, {"input": array.astype(dtype)})
    np.testing.assert_array_equal(recording.spikes["input"], array.sum(axis=1))


def test_states_that_do_not_fit_are_refused(circuit):
    single = cb.init(circuit, KEY)
    states = jax.vmap(cb.init, in_axes=(None, 0))(circuit, jax.random.split(KEY, 2))
    with pytest.raises(UsageError, match="state: a batch of them; simulate_batch"):
        cb.simulate(circuit, states, duration_ms=5)
    with pytest.raises(UsageError, match="state: a single one"):
        cb.simulate_batch(circuit, single, duration_ms=5)
    other = cb.build(feed_forward(61, 40, 20, dt=0.5), KEY, path="event")
    with pytest.raises(UsageError, match="state: 60 cells in input; the circuit has 61"):
        cb.simulate(other, single, duration_ms=5)
    cb.simulate(circuit, single, duration_ms=5)
    with pytest.raises(UsageError, match="state: given to an earlier run"):
        cb.simulate(circuit, single, duration_ms=5)


def test_only_the_first_call_counts_as_compilation(circuit, monkeypatch):
    """A last chunk that is shorter is of the same program: by a clock that a call moves."""
    calls, real = [], chunk.advance

    def advance(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(loop, "advance", advance)
    monkeypatch.setattr(progress.time, "perf_counter", lambda: len(calls))
    state = cb.init(circuit, KEY)
    _, recording = cb.simulate(circuit, state, duration_ms=48.5, chunk_steps=40)
    assert recording.steps == 97
    # Chunks of 40, 40 and 17 steps.
    assert recording.seconds == {"compile": 1, "run": 2}


def test_progress_is_shown_when_asked(circuit, capsys):
    state = cb.init(circuit, KEY)
    cb.simulate(circuit, state, duration_ms=50, chunk_steps=20, progress=True)
    assert "50 of 50 ms" in capsys.readouterr().err


def test_no_progress_where_there_is_no_terminal(circuit, capsys):
    cb.simulate(circuit, cb.init(circuit, KEY), duration_ms=50, chunk_steps=20)
    assert capsys.readouterr().err == ""
