"""What the page shows: the pace, the last answers, and what is wrong."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebellum import config
from cerebellum.service import metrics
from cerebellum.service.overview import problems
from cerebellum.service.recent import WINDOW_S, Pace, Refusals
from cerebellum.service.statistics import LATEST, Statistics

HEALTHY = {"status": "healthy", "checks": [{"name": "engine", "status": "healthy", "message": ""}]}


@pytest.fixture
def statistics():
    return Statistics(metrics.build(["granule"], {"version": "0"}))


def engine(statistics: Statistics, **parts: Any) -> Any:
    """What `problems` reads of an engine: by default one at rest that has just saved."""
    state: dict[str, Any] = {"ticks": 10, "saved_ticks": 10, "last_success": time.time(), **parts}
    return SimpleNamespace(
        served=SimpleNamespace(form=SimpleNamespace(design=SimpleNamespace(steps=10))),
        statistics=statistics,
        settings=config.load(None, {"training.checkpoint_interval": 60}),
        ticks=state["ticks"],
        persistence=SimpleNamespace(
            saved_ticks=state["saved_ticks"],
            checkpoints=SimpleNamespace(last_success=state["last_success"]),
        ),
    )


@given(st.lists(st.floats(0, 2 * WINDOW_S), max_size=200))
def test_the_history_has_every_tick_of_its_window_in_its_second(times):
    now, pace = 1_000.5, Pace()
    for at in sorted(now - x for x in times):
        pace.add(at)
    seconds = [int(now - x) for x in times]
    wanted = [seconds.count(second) for second in range(1_000 - WINDOW_S, 1_000)]
    assert pace.history(now) == wanted


def test_the_rate_is_that_of_the_last_seconds_and_of_the_one_that_runs():
    pace = Pace()
    for tick in range(100):
        pace.add(100.0 + 0.1 * tick)
    assert pace.per_second(110.0) == 10.0
    assert pace.per_second(115.0) == 5.0
    assert pace.per_second(109.9) == pytest.approx(100 / 10.9)
    assert pace.per_second(200.0) == 0.0


def test_refusals_of_the_last_minute_are_those_since_the_oldest_sample(statistics):
    refusals = Refusals(statistics.metrics.refused)
    for minute in range(3):
        refused = statistics.metrics.refused.labels(reason="busy")
        refused.inc(10 * (minute + 1))
        for _ in range(7):
            refusals.sample()
        assert refusals.lately()["busy"] == 0
    statistics.metrics.refused.labels(reason="deadline").inc(4)
    assert refusals.lately() | {"deadline": 4, "busy": 0} == refusals.lately()


def test_the_markets_that_asked_last_are_remembered(statistics):
    for index in range(LATEST + 5):
        statistics.said(f"m{index}", np.array([0.2, 0.3, 0.5], np.float32))
    statistics.said("m10", np.array([0.5, 0.3, 0.2], np.float32))
    assert len(statistics.latest) == LATEST
    assert "m0" not in statistics.latest
    assert list(statistics.latest)[-1] == "m10"
    assert statistics.latest["m10"].chances[0] == 0.5


def test_nothing_is_wrong_with_an_engine_at_rest(statistics):
    assert list(problems(engine(statistics), HEALTHY, None)) == []
    # An engine that has nothing to save need not save.
    old = engine(statistics, last_success=time.time() - 1_000)
    assert list(problems(old, HEALTHY, {"id": "a", "state": "finished"})) == []


def test_each_problem_is_said_the_worst_first(statistics):
    checks = [
        {"name": "model", "status": "healthy", "message": "untrained"},
        {"name": "checkpoints", "status": "degraded", "message": "not saved: no space"},
        {"name": "engine", "status": "unhealthy", "message": "no progress"},
    ]
    statistics.latencies.extend([25_000_000] * 10)
    statistics.metrics.refused.labels(reason="markets").inc(3)
    statistics.metrics.refused.labels(reason="refused").inc(3)
    ill = engine(statistics, ticks=25, last_success=time.time() - 600)
    training = {"id": "run-1", "state": "failed", "message": "ticks.csv:1: no column"}
    said = list(problems(ill, {"status": "unhealthy", "checks": checks}, training))
    assert [(each["severity"], each["what"]) for each in said] == [
        ("critical", "engine: no progress"),
        ("critical", "A simulated step takes 2.5 ms (95 %), above server.latency_slo (1 ms)."),
        ("major", "checkpoints: not saved: no space"),
        ("major", "3 requests were refused in a minute because too many markets are active."),
        ("major", "State was last saved 10 minutes ago; 15 ticks are not saved."),
        ("warning", "Training run run-1 failed: ticks.csv:1: no column"),
    ]
    assert all(each["remedy"] for each in said)


def test_a_service_at_work_shows_what_it_does(service):
    for index in range(3):
        service.tick("overview-a", index)
    status, signals = service.tick("overview-b", 4)
    assert status == 200
    status, told = service.get("/overview")
    assert status == 200
    newest, before = told["answers"][:2]
    assert (newest["market_id"], before["market_id"]) == ("overview-b", "overview-a")
    assert newest["trading_signals"] == pytest.approx(signals["trading_signals"], abs=1e-6)
    assert 0 <= newest["age_seconds"] <= before["age_seconds"]
    assert told["ticks"] >= 4
    assert len(told["ticks_by_second"]) == WINDOW_S
    assert told["markets"]["active"] >= 2
    assert told["requests"]["200"] >= 4
    cells = {each["name"]: each["cells"] for each in told["circuit"]["populations"]}
    assert cells == service.get("/neural/metrics")[1]["neural_metrics"]["cells"]
    assert told["latency"]["p50_seconds"] <= told["latency"]["p99_seconds"]
