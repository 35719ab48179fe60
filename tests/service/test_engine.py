"""The engine, in this process: what it does when the device, a request or its thread fails."""

import logging
import threading
import time
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import serving

from cerebellum import config
from cerebellum.service import app, engine, metrics, served, state
from cerebellum.service.markets import RefusedError
from cerebellum.service.requests import Tick
from cerebellum.service.requests_queue import BusyError, LateError, UnsoundError

pytestmark = pytest.mark.usefixtures("broadcasting_everywhere")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return served.untrained(settings(tmp_path_factory.mktemp("model")))


def settings(folder, **flags):
    given = {
        "neural.granule_size": serving.GRANULES,
        "neural.purkinje_size": 12,
        "neural.dcn_size": 48,
        "performance.batch_size": 4,
        "storage.models": str(folder / "models"),
        **flags,
    }
    return config.load(None, given)


@pytest.fixture
def build(tmp_path, model):
    """Engines that are stopped afterwards."""
    made = []

    def build(died=None, **flags):
        given = settings(tmp_path, **flags)
        measured = metrics.build(model.sizes, {"version": "0"})
        made.append(state.build(given, model, measured, died))
        made[-1].start()
        return made[-1]

    yield build
    for each in made:
        if each.alive:
            each.stop()


def ticks(*indices):
    return [Tick(**serving.tick(i)) for i in indices]


def ask(held, market="a", index=0, timeout=10.0):
    return held.submit(market, ticks(index), timeout).result(30)


def holding(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Events: the engine has taken a batch, and it may answer."""
    real, taken, hold = served.answer, threading.Event(), threading.Event()

    def slow(*arguments):
        taken.set()
        assert hold.wait(60)
        return real(*arguments)

    monkeypatch.setattr(served, "answer", slow)
    return taken, hold


def count(held, name, **labels):
    return held.statistics.metrics.registry.get_sample_value(name, labels)


def test_out_of_memory_fails_one_and_costs_nothing(build, monkeypatch, caplog):
    held = build()
    first = ask(held, "a", 0)
    real, calls = served.answer, []

    def full(*arguments):
        calls.append(len(arguments[3]))
        if len(calls) == 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes")
        return real(*arguments)

    monkeypatch.setattr(served, "answer", full)
    with caplog.at_level(logging.ERROR), pytest.raises(UnsoundError, match="OUT_OF_MEMORY"):
        ask(held, "a", 1)
    line = caplog.records[0]
    assert line.getMessage().startswith("CUDA_ERROR_OUT_OF_MEMORY: allocation failed: ")
    assert "neural.granule_size" in line.fields["lower"]
    # The market is as it was: the same tick gives what it would have given.
    again = ask(held, "a", 1)
    monkeypatch.setattr(served, "answer", real)
    assert ask(held, "b", 0).chances.tolist() == first.chances.tolist()
    assert ask(held, "b", 1).chances.tolist() == again.chances.tolist()
    assert count(held, "ticks_refused_total", reason="failed") == 1
    assert held.ticks == 4


def test_one_that_is_poisoned_fails_alone(build, monkeypatch):
    held = build()
    real = served.answer
    hold = threading.Event()

    def poisoned(form, arrays, learner, memories, inputs, number):
        hold.wait(10)
        if (inputs.tick.volume == 666).any():
            raise RuntimeError("INTERNAL: poisoned")
        return real(form, arrays, learner, memories, inputs, number)

    monkeypatch.setattr(served, "answer", poisoned)
    bad = Tick(**{**serving.tick(0), "volume": 666.0})
    futures = [held.submit("first", ticks(0), 10)]
    futures += [held.submit(f"m{i}", ticks(0), 10) for i in range(3)]
    wrong = held.submit("bad", [bad], 10)
    hold.set()
    said = [each.result(30).chances.tolist() for each in futures]
    assert all(each == said[0] for each in said)
    with pytest.raises(UnsoundError):
        wrong.result(30)


def test_a_state_that_is_not_finite_is_reset_and_counted(build):
    held = build()
    fresh = ask(held, "a", 0)
    ask(held, "b", 0)
    known = held.markets.states["a"]
    broken = tuple(
        jnp.full_like(x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for x in known.memory
    )
    held.markets.states["a"] = replace(known, memory=broken)
    with pytest.raises(UnsoundError, match="reset"):
        ask(held, "a", 1)
    assert count(held, "market_resets_total") == 1
    # The circuit starts afresh; other markets go on.
    again = ask(held, "a", 2)
    assert np.isfinite(again.chances).all()
    assert np.isfinite(ask(held, "b", 1).chances).all()
    assert np.isfinite(fresh.chances).all()


def test_back_pressure_and_deadlines(build, monkeypatch):
    held = build(**{"server.max_connections": 4})
    taken, hold = holding(monkeypatch)
    futures = [held.submit("a", ticks(0), 60)]
    assert taken.wait(30)
    late = held.submit("late", ticks(0), 0.0)
    futures += [held.submit(f"m{index}", ticks(0), 60) for index in range(3)]
    with pytest.raises(BusyError, match="wait already"):
        held.submit("more", ticks(0), 60)
    hold.set()
    for each in futures:
        assert each.result(30).chances.shape == (3,)
    with pytest.raises(LateError):
        late.result(30)
    assert count(held, "ticks_refused_total", reason="deadline") == 1


def test_a_request_that_was_given_up_is_not_answered(build, monkeypatch):
    held = build()
    taken, hold = holding(monkeypatch)
    first = held.submit("a", ticks(0), 60)
    assert taken.wait(30)
    second, third = (held.submit(name, ticks(0), 60) for name in ("b", "c"))
    assert not first.cancel()
    assert third.cancel()
    hold.set()
    first.result(30), second.result(30)
    assert ask(held, "a", 1).chances.shape == (3,)
    assert "c" not in held.markets.states


def test_an_engine_that_died_is_unhealthy_and_says_so(build, monkeypatch, caplog):
    errors = []
    held = build(died=errors.append)
    ask(held, "a", 0)

    def broken(most, admit):
        raise SystemError("killed")

    monkeypatch.setattr(held.requests, "take", broken)
    with caplog.at_level(logging.CRITICAL):
        serving.until(lambda: not held.alive)
    assert "the engine ended: killed" in caplog.text
    assert [str(each) for each in errors] == ["killed"]
    service = app.Service(held.settings, held.statistics.metrics, trainer=None, engine=held)  # type: ignore[arg-type]
    told = app.health_of(service)
    assert told["status"] == "unhealthy"
    assert "not running" in told["checks"][0]["message"]
    with pytest.raises(BusyError, match="not running"):
        held.submit("a", ticks(1), 10)
    # What was answered can still be saved.
    held.stop()
    assert held.persistence.checkpoints.failures == 0


def test_an_engine_that_hangs_is_unhealthy_though_it_lives(build, monkeypatch):
    held = build()
    taken, hold = holding(monkeypatch)
    first = held.submit("a", ticks(0), 60)
    assert taken.wait(30)
    second = held.submit("b", ticks(0), 60)
    assert not held.stuck
    with monkeypatch.context() as impatient:
        impatient.setattr(engine, "PATIENCE_S", 0.0)
        assert held.stuck
    hold.set()
    first.result(30), second.result(30)
    assert not held.stuck


def test_a_disk_that_is_full_degrades_and_recovers(build, monkeypatch):
    held = build(**{"training.checkpoint_interval": 0.2})
    from cerebellum.store import keep

    real = keep.write

    def full(*arguments, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keep, "write", full)
    service = app.Service(held.settings, held.statistics.metrics, trainer=None, engine=held)  # type: ignore[arg-type]
    ask(held, "a", 0)
    serving.until(lambda: app.health_of(service)["status"] == "degraded")
    held.publish()
    assert count(held, "checkpoint_failures_total") >= 1
    assert ask(held, "a", 1).chances.shape == (3,)
    monkeypatch.setattr(keep, "write", real)
    ask(held, "a", 2)
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
    held = build(**{"training.checkpoint_interval": 0.2})
    real, refused = held.persistence.checkpoints.save, []

    def busy(*arguments):
        refused.append(arguments[0])
        return False

    monkeypatch.setattr(held.persistence.checkpoints, "save", busy)
    ask(held, "a", 0)
    serving.until(lambda: len(refused) >= 2)
    assert held.persistence.saved_ticks == 0
    monkeypatch.setattr(held.persistence.checkpoints, "save", real)
    held.stop()
    assert held.persistence.saved_ticks == 1


def test_what_was_put_away_and_damaged_starts_fresh(build, caplog):
    held = build(**{"server.max_markets": 1})
    ask(held, "a", 0)
    held.markets.used["a"] -= 100
    ask(held, "b", 0)
    path = held.markets.path_of("a")
    path.write_bytes(b"")
    held.markets.used["b"] -= 100
    with caplog.at_level(logging.ERROR):
        assert ask(held, "a", 0).chances.shape == (3,)
    assert "the market starts fresh" in caplog.text


def test_a_clock_that_jumps_changes_nothing(build, monkeypatch):
    """A day on, and a day back: intervals go by the monotonic clock."""
    held = build(**{"training.checkpoint_interval": 3600.0})
    said = [ask(held, "a", 0).chances.tolist()]
    real = time.time
    for index, jump in ((1, 86_400.0), (2, -86_400.0)):
        monkeypatch.setattr(time, "time", lambda jump=jump: real() + jump)
        said.append(ask(held, "a", index).chances.tolist())
        # A turn of the engine's loop that began after the jump.
        turn = held.progress
        serving.until(lambda turn=turn: held.progress > turn)
        assert held.alive
        assert not held.stuck
    assert held.persistence.saved_ticks == 0
    monkeypatch.setattr(time, "time", real)
    assert [ask(held, "b", i).chances.tolist() for i in range(3)] == said


def test_it_does_not_recompile(build):
    held = build()
    before = served.compiled_answer._cache_size()
    for index in range(3):
        futures = [held.submit(f"m{k}", ticks(index), 30) for k in range(5)]
        for each in futures:
            each.result(30)
    assert served.compiled_answer._cache_size() == before


def test_another_model_takes_over_once_it_is_proven(build, tmp_path, model):
    held = build(**{"performance.batch_size": 1})
    ask(held, "a", 0)
    other = served.untrained(settings(tmp_path, **{"neural.seed": 7}))
    held.replace_by(other)
    serving.until(lambda: held.served is other)
    # The circuit is another; the market's clock goes on.
    assert np.isfinite(ask(held, "a", 1).chances).all()
    with pytest.raises(RefusedError):
        ask(held, "a", 0)
