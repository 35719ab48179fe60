"""The engine in this process: its reactions when the device, a request or its thread fails."""

import logging
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import serving

from cerebellum import config
from cerebellum.service import app, markets, metrics, persistence, served, state
from cerebellum.service import engine as engine_module
from cerebellum.service.markets import FullError, RefusedError
from cerebellum.service.requests import Tick
from cerebellum.service.requests_queue import (
    BusyError,
    LateError,
    Request,
    RequestQueue,
    UnsoundError,
)
from cerebellum.store import background

pytestmark = pytest.mark.usefixtures("broadcasting_everywhere")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.untrained(settings(tmp_path_factory.mktemp("model")))


def settings(folder, **flags):
    values = {
        "neural.granule_size": serving.GRANULES,
        "neural.purkinje_size": 12,
        "neural.dcn_size": 48,
        "performance.batch_size": 4,
        "storage.models": str(folder / "models"),
        **flags,
    }
    return config.load(None, values)


@pytest.fixture
def build(tmp_path, model):
    """A function that builds and starts engines; they are stopped afterwards."""
    made = []

    def build(died=None, **flags):
        measured = metrics.build(model.sizes, {"version": "0"})
        made.append(state.build(settings(tmp_path, **flags), model, measured, died))
        made[-1].start()
        return made[-1]

    yield build
    for engine in made:
        if engine.alive:
            engine.stop()


def ticks(*indices):
    return [Tick(**serving.tick(i)) for i in indices]


def ask(engine, market="a", index=0, timeout=10.0):
    return engine.submit(market, ticks(index), timeout).result(30)


def holding(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Two events: the engine sets the first when it has a batch, and waits for the second."""
    real, taken, hold = served.answer, threading.Event(), threading.Event()

    def slow(*arguments):
        taken.set()
        assert hold.wait(60)
        return real(*arguments)

    monkeypatch.setattr(served, "answer", slow)
    return taken, hold


def count(engine, name, **labels):
    return engine.statistics.metrics.registry.get_sample_value(name, labels)


def test_out_of_memory_fails_one_and_costs_nothing(build, monkeypatch, caplog):
    engine = build()
    answer = ask(engine, "a", 0)
    real, calls = served.answer, []

    def full(*arguments):
        calls.append(len(arguments[3]))
        if len(calls) == 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")
        return real(*arguments)

    monkeypatch.setattr(served, "answer", full)
    with caplog.at_level(logging.ERROR), pytest.raises(UnsoundError, match="OUT_OF_MEMORY"):
        ask(engine, "a", 1)
    line = next(record for record in caplog.records if record.levelno == logging.ERROR)
    assert line.getMessage().startswith("CUDA_ERROR_OUT_OF_MEMORY: allocation failed: ")
    assert "neural.granule_size" in line.fields["lower"]
    # The market is as it was: the same tick gives what it would have given.
    again = ask(engine, "a", 1)
    monkeypatch.setattr(served, "answer", real)
    assert ask(engine, "b", 0).chances.tolist() == answer.chances.tolist()
    assert ask(engine, "b", 1).chances.tolist() == again.chances.tolist()
    assert count(engine, "ticks_refused_total", reason="failed") == 1
    assert engine.ticks == 4


def test_one_that_is_poisoned_fails_alone(build, monkeypatch):
    engine = build()
    real = served.answer
    hold = threading.Event()

    def poisoned(form, arrays, learner, memories, inputs, number):
        hold.wait(10)
        if (inputs.tick.volume == 666).any():
            raise RuntimeError("INTERNAL: poisoned")
        return real(form, arrays, learner, memories, inputs, number)

    monkeypatch.setattr(served, "answer", poisoned)
    bad = Tick(**{**serving.tick(0), "volume": 666.0})
    futures = [engine.submit("first", ticks(0), 10)]
    futures += [engine.submit(f"m{i}", ticks(0), 10) for i in range(3)]
    poisonous = engine.submit("bad", [bad], 10)
    hold.set()
    chances = [future.result(30).chances.tolist() for future in futures]
    assert all(row == chances[0] for row in chances)
    with pytest.raises(UnsoundError):
        poisonous.result(30)


def test_requests_keep_their_order_after_a_call_that_failed(build, monkeypatch):
    """Ticks that are answered one by one, because their batch failed, go on in order of arrival."""
    engine = build()
    real, order, hold = served.answer, [], threading.Event()

    def fails_in_batches(form, arrays, learner, memories, inputs, number):
        assert hold.wait(60)
        order.append([float(volume) for volume in inputs.tick.volume])
        if len(memories) > 1:
            raise RuntimeError("INTERNAL: this batch")
        return real(form, arrays, learner, memories, inputs, number)

    monkeypatch.setattr(served, "answer", fails_in_batches)
    futures = [engine.submit("first", ticks(0), 60)]
    serving.until(lambda: engine.waiting == 0)
    for market in range(4):
        own = [Tick(**{**serving.tick(i), "volume": 10.0 + market}) for i in range(3)]
        futures.append(engine.submit(f"m{market}", own, 60))
    hold.set()
    for future in futures:
        assert future.result(60).chances.shape == (3,)
    batches = [volumes for volumes in order if len(volumes) == 4]
    assert batches == [[10.0, 11.0, 12.0, 13.0]] * 3


def test_an_error_while_a_batch_is_chosen_loses_no_request():
    refused = metrics.build((), {"version": "0"}).refused
    waiting = RequestQueue(8, refused)
    names = ("a", "b", "a", "c", "d")
    asked = [Request(name, ticks(0), time.monotonic() + 60, Future()) for name in names]
    for request in asked:
        waiting.put(request)

    def broken(request):
        if request.market == "c":
            raise SystemError("no")
        return True

    with pytest.raises(SystemError):
        waiting.take(4, broken)
    assert len(waiting) == 5
    batch = waiting.take(4, lambda request: True)
    assert batch == [asked[0], asked[1], asked[3], asked[4]]
    assert waiting.take(4, lambda request: True) == [asked[2]]


def test_a_state_that_is_not_finite_is_reset_and_counted(build):
    engine = build()
    fresh = ask(engine, "a", 0)
    ask(engine, "b", 0)
    market = engine.markets.states["a"]
    broken = tuple(
        jnp.full_like(x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for x in market.memory
    )
    engine.markets.states["a"] = replace(market, memory=broken)
    with pytest.raises(UnsoundError, match="reset"):
        ask(engine, "a", 1)
    assert count(engine, "markets_reset_total", reason="not_finite") == 1
    # The circuit starts afresh; other markets go on.
    again = ask(engine, "a", 2)
    assert np.isfinite(again.chances).all()
    assert np.isfinite(ask(engine, "b", 1).chances).all()
    assert np.isfinite(fresh.chances).all()


def test_back_pressure_and_deadlines(build, monkeypatch):
    engine = build(**{"server.max_connections": 4})
    taken, hold = holding(monkeypatch)
    futures = [engine.submit("a", ticks(0), 60)]
    assert taken.wait(30)
    late = engine.submit("late", ticks(0), 0.0)
    futures += [engine.submit(f"m{index}", ticks(0), 60) for index in range(3)]
    with pytest.raises(BusyError, match="wait already"):
        engine.submit("more", ticks(0), 60)
    hold.set()
    for future in futures:
        assert future.result(30).chances.shape == (3,)
    with pytest.raises(LateError):
        late.result(30)
    assert count(engine, "ticks_refused_total", reason="deadline") == 1
    assert count(engine, "ticks_refused_total", reason="busy") == 1


def test_a_request_that_was_given_up_is_not_answered(build, monkeypatch):
    engine = build()
    taken, hold = holding(monkeypatch)
    first = engine.submit("a", ticks(0), 60)
    assert taken.wait(30)
    second, third = (engine.submit(name, ticks(0), 60) for name in ("b", "c"))
    assert not first.cancel()
    assert third.cancel()
    hold.set()
    first.result(30), second.result(30)
    assert ask(engine, "a", 1).chances.shape == (3,)
    assert "c" not in engine.markets.states


def test_an_engine_that_died_is_unhealthy_and_says_so(build, monkeypatch, caplog):
    errors = []
    engine = build(died=errors.append)
    ask(engine, "a", 0)

    def broken(most, admit):
        raise SystemError("killed")

    monkeypatch.setattr(engine.requests, "take", broken)
    with caplog.at_level(logging.CRITICAL):
        serving.until(lambda: not engine.alive)
    assert "the engine ended: killed" in caplog.text
    assert [str(error) for error in errors] == ["killed"]
    service = app.Service(engine.settings, engine.statistics.metrics, trainer=None, engine=engine)  # type: ignore[arg-type]
    report = app.health_of(service)
    assert report["status"] == "unhealthy"
    assert "not running" in report["checks"][0]["message"]
    with pytest.raises(BusyError, match="not running"):
        engine.submit("a", ticks(1), 10)
    assert count(engine, "ticks_refused_total", reason="busy") == 1
    # What was answered can still be saved.
    engine.stop()
    assert engine.persistence.checkpoints.failures == 0


def test_an_engine_that_hangs_is_unhealthy_though_it_lives(build, monkeypatch):
    engine = build()
    taken, hold = holding(monkeypatch)
    first = engine.submit("a", ticks(0), 60)
    assert taken.wait(30)
    second = engine.submit("b", ticks(0), 60)
    assert not engine.stuck
    with monkeypatch.context() as impatient:
        impatient.setattr(engine_module, "PATIENCE_S", 0.0)
        assert engine.stuck
    hold.set()
    first.result(30), second.result(30)
    assert not engine.stuck


def test_a_disk_that_is_full_degrades_and_recovers(build, monkeypatch):
    engine = build(**{"training.checkpoint_interval": 0.2})
    from cerebellum.store import background

    real = background.write

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(background, "write", full)
    service = app.Service(engine.settings, engine.statistics.metrics, trainer=None, engine=engine)  # type: ignore[arg-type]
    ask(engine, "a", 0)
    serving.until(lambda: app.health_of(service)["status"] == "degraded")
    engine.publish()
    assert count(engine, "checkpoint_failures_total") >= 1
    assert ask(engine, "a", 1).chances.shape == (3,)
    monkeypatch.setattr(background, "write", real)
    ask(engine, "a", 2)
    serving.until(lambda: app.health_of(service)["status"] == "healthy")


def test_a_restart_without_a_tick_is_no_trouble(build):
    first = build()
    ask(first, "a", 0)
    first.stop()
    second = build()
    assert second.ticks == 1
    second.statistics.summarise(second.served, second.settings, time.monotonic())
    second.publish()
    assert second.alive
    second.stop()


def test_a_save_that_was_left_out_is_made_up_for(build, monkeypatch):
    engine = build(**{"training.checkpoint_interval": 0.2})
    real, refused = engine.persistence.checkpoints.save, []

    def busy(*arguments, **more):
        refused.append(arguments[0])
        return False

    monkeypatch.setattr(engine.persistence.checkpoints, "save", busy)
    ask(engine, "a", 0)
    serving.until(lambda: len(refused) >= 2)
    assert engine.persistence.saved_ticks == 0
    monkeypatch.setattr(engine.persistence.checkpoints, "save", real)
    engine.stop()
    assert engine.persistence.saved_ticks == 1


def test_what_is_being_written_is_not_saved_yet(build, monkeypatch, caplog):
    engine, go_on = build(**{"training.checkpoint_interval": 0.1}), threading.Event()
    real, begun = background.write, []

    def slow(*arguments, **more):
        begun.append(arguments[1])
        go_on.wait(60)
        return real(*arguments, **more)

    monkeypatch.setattr(background, "write", slow)
    ask(engine, "a", 0)
    serving.until(lambda: begun)
    assert (engine.persistence.saved_ticks, engine.persistence.unsaved(1)) == (0, True)
    time.sleep(0.5)  # Several intervals, in which there is nothing new to save.
    assert "left out" not in caplog.text
    go_on.set()
    serving.until(lambda: not engine.persistence.unsaved(1))
    assert engine.persistence.saved_ticks == 1
    engine.stop()
    assert begun == [1]


def test_what_was_put_away_and_damaged_starts_fresh(build, caplog):
    engine = build(**{"server.max_markets": 1})
    ask(engine, "a", 0)
    engine.markets.used["a"] -= 100
    ask(engine, "b", 0)
    path = engine.markets.path_of("a")
    path.write_bytes(b"")
    engine.markets.used["b"] -= 100
    with caplog.at_level(logging.ERROR):
        assert ask(engine, "a", 0).chances.shape == (3,)
    assert "the market starts fresh" in caplog.text


def test_memory_is_bounded_by_idle_markets_that_leave(build, model, tmp_path):
    """From the threshold on an idle market leaves for a new one; at the limit a new one waits."""
    each = markets.COPIES * sum(x.nbytes for x in model.fresh)
    limit = model.needs + 8 * each
    threshold = (model.needs + 4.5 * each) / limit
    memory = {
        "performance.memory_limit": limit,
        "performance.garbage_collection_threshold": threshold,
    }
    served._tick.clear_cache()
    served.untrained(settings(tmp_path))
    engine = build(**memory)
    assert served._tick._cache_size() > 0
    first = ask(engine, "m0", 0).chances.tolist()
    for index in range(1, 8):
        ask(engine, f"m{index}", 0)
    assert len(engine.markets.states) == 8
    assert served._tick._cache_size() == 0
    with pytest.raises(FullError, match=r"8 markets are active; performance.memory_limit"):
        ask(engine, "m8", 0)
    engine.markets.used = dict.fromkeys(engine.markets.used, -100.0)
    ask(engine, "m8", 0)
    assert "m0" not in engine.markets.states
    # It comes back as it was, and another idle one leaves.
    assert ask(engine, "m0", 1).chances.tolist() != first
    assert engine.markets.states["m0"].ticks == 2
    engine.stop()
    again = build(**memory)
    assert len(again.markets.states) == 4
    ask(again, "m0", 2)
    assert again.markets.states["m0"].ticks == 3


def test_a_clock_that_jumps_changes_nothing(build, monkeypatch):
    """A day on, and a day back: intervals go by the monotonic clock."""
    engine = build(**{"training.checkpoint_interval": 3600.0})
    chances = [ask(engine, "a", 0).chances.tolist()]
    real = time.time
    for index, jump in ((1, 86_400.0), (2, -86_400.0)):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        chances.append(ask(engine, "a", index).chances.tolist())
        # A turn of the engine's loop that began after the jump.
        turn = engine.progress
        serving.until(lambda turn=turn: engine.progress > turn)
        assert engine.alive
        assert not engine.stuck
    assert engine.persistence.saved_ticks == 0
    monkeypatch.setattr(time, "time", real)
    assert [ask(engine, "b", i).chances.tolist() for i in range(3)] == chances


def test_it_does_not_recompile(build):
    engine = build()
    before = served.compiled_answer._cache_size()
    for index in range(3):
        futures = [engine.submit(f"m{k}", ticks(index), 30) for k in range(5)]
        for future in futures:
            future.result(30)
    assert served.compiled_answer._cache_size() == before


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another model."""
    folder = tmp_path_factory.mktemp("other")
    return served.untrained(settings(folder, **{"neural.seed": 7}))


def test_another_model_takes_over_once_it_is_proven_and_the_first_comes_back(build, model, other):
    """Clocks go on with each; what markets remember of a model comes back with it."""
    engine = build(**{"performance.batch_size": 1})
    ask(engine, "a", 0), ask(engine, "a", 1)
    before = engine.markets.states["a"].memory
    engine.replace_by(other)
    serving.until(lambda: engine.served is other)
    assert np.isfinite(ask(engine, "a", 2).chances).all()
    with pytest.raises(RefusedError):
        ask(engine, "a", 1)
    ask(engine, "new", 2)
    assert count(engine, "markets_reset_total", reason="model") == 1
    engine.replace_by(model)
    serving.until(lambda: engine.served is model)
    # As if the ticks of the other model had not been; but time does not run backwards.
    with pytest.raises(RefusedError):
        ask(engine, "a", 1)
    for array, was in zip(engine.markets.states["a"].memory, before, strict=True):
        np.testing.assert_array_equal(array, was)
    assert ask(engine, "a", 2).chances.shape == (3,)
    assert count(engine, "markets_reset_total", reason="model") == 2
    assert ask(engine, "new", 2).chances.shape == (3,)
    engine.stop()
    again = build(**{"performance.batch_size": 1})
    assert again.markets.states["a"].ticks == 4
    assert again.ticks == engine.ticks


def test_a_model_does_not_take_over_where_the_state_of_the_old_one_cannot_be_saved(
    build, model, other, monkeypatch, caplog
):
    from cerebellum.store import background

    engine = build(**{"performance.batch_size": 1})
    ask(engine, "a", 0)

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(background, "write", full)
        engine.replace_by(other)
        serving.until(lambda: engine.model_problem is not None)
    assert "untrained has not taken over: the state was not saved" in str(engine.model_problem)
    assert engine.served is model
    assert ask(engine, "a", 1).chances.shape == (3,)
    monkeypatch.setattr(persistence.aside, "exchange", full)
    engine.model_problem = None
    engine.replace_by(other)
    serving.until(lambda: engine.model_problem is not None)
    assert engine.served is model
    assert ask(engine, "a", 2).chances.shape == (3,)
    service = app.Service(engine.settings, engine.statistics.metrics, trainer=None, engine=engine)  # type: ignore[arg-type]
    assert app.health_of(service)["status"] == "degraded"


def test_other_kernels_and_a_circuit_that_comes_back_find_their_markets(build, model, tmp_path):
    engine = build()
    ask(engine, "a", 0)
    engine.stop()
    for digests in ((model.digest,), model.digests[1:]):
        # As another version, or other kernels, would have saved it.
        assert set(digests) < set(model.digests)
    kernels = served.untrained(settings(tmp_path, **{"performance.kernels": "xla"}))
    assert kernels.digest == model.digest
    smaller = served.untrained(settings(tmp_path, **{"neural.granule_size": 150}))
    measured = metrics.build(model.sizes, {"version": "0"})
    fresh = state.build(settings(tmp_path), smaller, measured)
    assert fresh.markets.states == {}
    assert measured.registry.get_sample_value("markets_reset_total", {"reason": "model"}) == 1
    # It ends before it has saved anything.
    fresh.persistence.checkpoints.close()
    again = build()
    assert again.markets.states["a"].ticks == 1
    assert ask(again, "a", 1).chances.shape == (3,)


def test_a_reset_outlives_a_kill_and_leaves_others_alone(build, tmp_path, model):
    """Nothing is saved after it: the next engine has the checkpoint before, and what is on disk."""
    engine = build()
    fresh = [ask(engine, "a", i).chances.tolist() for i in range(2)]
    ask(engine, "b", 1)
    engine.persistence.save(engine.served, engine.markets, engine.ticks)
    engine.persistence.checkpoints.wait()
    assert engine.reset("a").result(30)
    assert not engine.reset("of nobody").result(30)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "models", copy / "models")
    after = state.build(settings(copy), model, metrics.build(model.sizes, {"version": "0"}))
    after.start()
    try:
        assert [ask(after, "a", i).chances.tolist() for i in range(2)] == fresh
        with pytest.raises(RefusedError):
            ask(after, "b", 0)
    finally:
        after.stop()
