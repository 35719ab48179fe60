"""A run that is interrupted keeps what it has computed; one that cannot end is not begun."""

import os
import signal

import jax
import numpy as np
import pytest
from circuits import feed_forward

import cerebellum as cb
from cerebellum.sim import loop, memory, record
from cerebellum.sim.watches import watches_of

KEY = jax.random.key(7)
DRIVE = {"input": cb.drive.poisson(80.0)}
RECORDED = "raster:cells", "v:cells:0:3", "counts:cells"


@pytest.fixture(scope="module")
def circuit():
    return cb.build(feed_forward(60, 40, 20, weight=3.0), KEY, path="event")


def run(circuit, state, duration_ms=40, **more):
    given = {"duration_ms": duration_ms, "record": RECORDED, "chunk_steps": 10, **more}
    return cb.simulate(circuit, state, DRIVE, **given)


@pytest.fixture(scope="module")
def whole(circuit):
    return run(circuit, cb.init(circuit, KEY))


def hit_in(monkeypatch, number: int, times: int = 1, what=signal.SIGINT) -> None:
    """SIGINT reaches this process while chunk `number` runs."""
    advance, calls = loop.advance, []

    def hit(*operands):
        calls.append(1)
        result = advance(*operands)
        if len(calls) == number:
            for _ in range(times):
                os.kill(os.getpid(), what)
        return result

    monkeypatch.setattr(loop, "advance", hit)


def same(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_ctrl_c_keeps_the_state_and_the_recording(circuit, whole, monkeypatch, number):
    with monkeypatch.context() as patch:
        hit_in(patch, number)
        with pytest.raises(cb.Interrupted, match=f"after {10 * number} of 40 ms") as caught:
            run(circuit, cb.init(circuit, KEY))
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    state, first = caught.value.state, caught.value.recording
    assert first.steps == 10 * number == int(state.step)
    parts = [first]
    if number < 4:
        state, rest = run(circuit, state, 40 - 10 * number)
        parts.append(rest)
    same(state, whole[0])
    joined = record.join(parts)
    same(joined.spikes, whole[1].spikes)
    same(joined.counts, whole[1].counts)
    same(joined.traces["v:cells"].values, whole[1].traces["v:cells"].values)
    same(joined.rasters["cells"].time_ms, whole[1].rasters["cells"].time_ms)


def test_an_interrupt_from_the_progress_bar_keeps_them_too(circuit, whole, monkeypatch):
    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def __call__(self, done, steps, dt):
            if done == 20:
                raise KeyboardInterrupt

    monkeypatch.setattr(loop, "bar_of_steps", lambda enabled: Bar())
    with pytest.raises(cb.Interrupted) as caught:
        run(circuit, cb.init(circuit, KEY))
    state, _ = run(circuit, caught.value.state, 10, progress=False)
    assert int(state.step) == 40
    same(state, whole[0])


def test_a_batch_keeps_all_of_its_recordings(circuit, monkeypatch):
    states = jax.vmap(cb.init, (None, 0))(circuit, jax.random.split(KEY, 2))
    hit_in(monkeypatch, 1)
    with pytest.raises(cb.Interrupted) as caught:
        cb.simulate_batch(circuit, states, DRIVE, duration_ms=20, chunk_steps=10)
    assert [each.steps for each in caught.value.recordings] == [10, 10]
    assert caught.value.state.step.tolist() == [10, 10]


def test_a_second_ctrl_c_stops_at_once(circuit, monkeypatch):
    hit_in(monkeypatch, 2, times=2)
    state = cb.init(circuit, KEY)
    with pytest.raises(KeyboardInterrupt) as caught:
        run(circuit, state)
    assert not isinstance(caught.value, cb.Interrupted)
    with pytest.raises(cb.UsageError, match=r"or with that of its exception \(Interrupted.state\)"):
        run(circuit, state)


def test_a_handler_of_the_user_is_left_alone(circuit, monkeypatch):
    received = []
    before = signal.signal(signal.SIGINT, lambda *_: received.append(1))
    try:
        hit_in(monkeypatch, 1)
        run(circuit, cb.init(circuit, KEY))
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [1]


def test_arrays_of_numpy_are_run_and_stay_as_they_are(circuit, whole):
    loaded = jax.tree.map(np.array, cb.init(circuit, KEY))
    for _ in range(2):
        same(run(circuit, loaded)[0], whole[0])


def test_a_recording_without_room_is_refused_before_the_run(circuit, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**9)
    state = cb.init(circuit, KEY)
    # 40 cells and two populations, 4 bytes each.
    message = r"record: a recording of 1,680,000,000 bytes, .*; 1,000,000,000 bytes of memory are"
    with pytest.raises(cb.UsageError, match=message):
        cb.simulate(circuit, state, DRIVE, duration_ms=1e7, record="v:cells")
    assert not state.step.is_deleted()


def test_the_estimate_of_a_recording_is_its_size(circuit, whole):
    requests = record.parse(("v:cells:0:3",), circuit.spec)
    watches = watches_of(requests, circuit.wiring, {}, {})
    size, most = memory.recording(watches, circuit.spec, 40, 10)
    arrays = [*whole[1].spikes.values(), whole[1].traces["v:cells"].values]
    assert size == sum(array.nbytes for array in arrays)
    assert size < most < 2 * size
    assert memory.available() > 0


def test_a_recording_names_its_path_and_backend(circuit, whole):
    assert (whole[1].path, whole[1].backend) == ("event", whole[1].backend)
    assert whole[1].backend in ("native", "xla")


def test_ctrl_c_keeps_the_folder_of_a_recording(circuit, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        hit_in(patch, 2)
        with pytest.raises(cb.Interrupted):
            run(circuit, cb.init(circuit, KEY), to=tmp_path / "run")
    assert cb.io.load(tmp_path / "run").steps == 20
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
