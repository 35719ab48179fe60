"""What the page shows of a service at work, and what is wrong with it, as one JSON document."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cerebellum.service.engine import Engine
from cerebellum.service.recent import totals
from cerebellum.service.statistics import Statistics, slo_of

QUANTILES = (50, 95, 99)
GUIDE = "docs/operations.md"
SEVERITIES = ("critical", "major", "warning")
"""As in the guide's table, the worst first."""

REFUSALS = {
    "busy": (
        "because it was starting, stopping, or out of connections",
        f"{GUIDE}, procedure 2",
    ),
    "deadline": ("because they had waited for too long", f"{GUIDE}, procedure 2"),
    "failed": ("because a computation failed", f"{GUIDE}, procedure 4"),
    "markets": ("because too many markets are active", "raise server.max_markets"),
}
"""Why requests are refused that are not wrong in themselves, and what to do."""


def overview(
    engine: Engine, health: Mapping[str, Any], training: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What is happening.

    Args:
      health: the report of /health.
      training: the status of the latest training run; None if there is none.
    """
    served, statistics = engine.served, engine.statistics
    return {
        "problems": list(problems(engine, health, training)),
        "ticks_per_second": statistics.pace.per_second(),
        "ticks_by_second": statistics.pace.history(),
        "ticks": statistics.answered,
        "latency": _latency(engine),
        "realtime_factor": statistics.realtime(served),
        "waiting": engine.waiting,
        "markets": {"active": len(engine.markets.states), "most": engine.markets.most},
        "saved": {
            "age_seconds": _age(engine),
            "interval_seconds": engine.settings.training.checkpoint_interval,
            "unsaved_ticks": _unsaved(engine),
        },
        "requests": totals(statistics.metrics.requests, "status"),
        "refused": totals(statistics.metrics.refused, "reason"),
        "answers": _answers(statistics),
        "circuit": {
            "step_ms": served.form.design.dt,
            "steps_per_tick": served.form.design.steps,
            "populations": [
                {
                    "name": name,
                    "cells": cells,
                    "rate_hz": served.rate(name, statistics.last_counts.get(name, 0)),
                    "spikes": statistics.total.get(name, 0),
                }
                for name, cells in served.sizes.items()
            ],
            "frames": list(statistics.frames),
        },
        "training": training,
    }


def problems(
    engine: Engine, health: Mapping[str, Any], training: Mapping[str, Any] | None
) -> Iterator[dict[str, str]]:
    """What is wrong, the worst first: a severity, a sentence, and what to do."""
    found = _problems(engine, health, training)
    yield from sorted(found, key=lambda each: SEVERITIES.index(each["severity"]))


def _problems(
    engine: Engine, health: Mapping[str, Any], training: Mapping[str, Any] | None
) -> Iterator[dict[str, str]]:
    for check in health["checks"]:
        if check["status"] != "healthy":
            severity = "critical" if check["status"] == "unhealthy" else "major"
            what = f"{check['name']}: {check['message']}"
            yield _problem(severity, what, f"{GUIDE}, procedure 1")
    step_s = engine.statistics.step_p95(engine.served)
    slo_s = slo_of(engine.settings)
    if step_s is not None and step_s > slo_s:
        what = f"A simulated step takes {_span(step_s)} (95 %), above server.latency_slo"
        yield _problem("critical", f"{what} ({_span(slo_s)}).", f"{GUIDE}, procedure 2")
    for reason, count in engine.statistics.refusals.lately().items():
        if count and reason in REFUSALS:
            why, remedy = REFUSALS[reason]
            yield _problem("major", f"{count} requests were refused in a minute {why}.", remedy)
    age_s, interval_s = _age(engine), engine.settings.training.checkpoint_interval
    unsaved = _unsaved(engine)
    if age_s is not None and unsaved and age_s > 2 * interval_s:
        what = f"State was last saved {_span(age_s)} ago; {unsaved} ticks are not saved."
        yield _problem("major", what, f"{GUIDE}, procedure 8")
    if training is not None and training.get("state") == "failed":
        what = f"Training run {training['id']} failed: {training.get('message') or 'no message'}"
        yield _problem("warning", what, f"{GUIDE}, procedure 3")


def _problem(severity: str, what: str, remedy: str) -> dict[str, str]:
    return {"severity": severity, "what": what, "remedy": remedy}


def _latency(engine: Engine) -> dict[str, float | None]:
    """Quantiles of the engine time of a tick and of a step, s; None before the first tick."""
    latest = list(engine.statistics.latencies)
    values = np.percentile(latest, QUANTILES) * 1e-9 if latest else [None] * len(QUANTILES)
    named = {f"p{q}_seconds": value for q, value in zip(QUANTILES, values, strict=True)}
    return {
        **named,
        "step_p95_seconds": engine.statistics.step_p95(engine.served),
        "slo_seconds": slo_of(engine.settings),
    }


def _age(engine: Engine) -> float | None:
    """For how long state has not been saved, s; None if it never was."""
    saved = engine.persistence.checkpoints.last_success
    return None if saved is None else max(0.0, time.time() - saved)


def _unsaved(engine: Engine) -> int:
    """Ticks that were answered after the last checkpoint."""
    return max(0, engine.ticks - engine.persistence.saved_ticks)


def _answers(statistics: Statistics) -> list[dict[str, Any]]:
    """The last answer to each of the markets that asked last, the newest first."""
    now = time.monotonic()
    return [
        {
            "market_id": market,
            "trading_signals": [float(x) for x in answer.chances],
            "age_seconds": now - answer.at,
        }
        for market, answer in reversed(list(statistics.latest.items()))
    ]


def _span(seconds: float) -> str:
    """A duration in a unit that fits it."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
