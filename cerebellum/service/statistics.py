"""Statistics of the engine: latencies, frames of spikes, totals, gauges and log summaries."""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from cerebellum.config import Settings
from cerebellum.service.metrics import QUANTILES_OF, Metrics, children
from cerebellum.service.recent import Pace, Refusals
from cerebellum.service.served import Served

SUMMARY_S = 10.0
FRAMES = 20
"""Ticks of the raster."""
LATEST = 12
"""Markets whose last answers are kept for the page."""

log = logging.getLogger("cerebellum.service.engine")


@dataclass(frozen=True)
class Said:
    """An answer to a market."""

    chances: np.ndarray
    """of buy, hold and sell, float32 [3]"""
    at: float
    """monotonic s"""


@dataclass
class Statistics:
    """What the engine counts. The engine's thread writes; any thread reads."""

    metrics: Metrics
    ticks: int = 0
    """answered, ever"""
    answered: int = 0
    """ticks since the start"""
    failed: int = 0
    """ticks since the start"""
    latencies: deque[int] = field(default_factory=lambda: deque(maxlen=QUANTILES_OF))
    """engine time of the latest ticks, ns"""
    frames: deque[list[list[int]]] = field(default_factory=lambda: deque(maxlen=FRAMES))
    """spikes of each population's first 32 cells in the latest ticks, a word a step"""
    total: dict[str, int] = field(default_factory=dict)
    """spikes since the start, by population"""
    last_counts: dict[str, int] = field(default_factory=dict)
    """spikes in the last tick, by population"""
    latest: dict[str, Said] = field(default_factory=dict)
    """the last answer to each of the markets that asked last, the newest at the end"""
    pace: Pace = field(default_factory=Pace)
    refusals: Refusals = field(init=False)
    _spikes: Callable[..., Any] = field(init=False)
    """the counter of a population"""
    _summary_at: float = field(default_factory=time.monotonic)
    _summary_ticks: int = field(init=False)
    """`ticks` at the last summary"""

    def __post_init__(self) -> None:
        self._summary_ticks = self.ticks
        self.refusals = Refusals(self.metrics.refused)
        self._spikes = children(self.metrics.spikes)

    def record(
        self, served: Served, counts: dict[str, int], processing_ns: int, waited_s: float | None
    ) -> None:
        """Count a tick that was answered.

        Args:
          counts: spikes, by population.
          processing_ns: engine time.
          waited_s: from the queue to the answer; None: its request has more ticks.
        """
        self.ticks += 1
        self.answered += 1
        self.latencies.append(processing_ns)
        self.pace.add()
        metrics = self.metrics
        metrics.processing.observe(processing_ns * 1e-9 / served.form.design.steps)
        metrics.simulated.inc(served.tick_s)
        for name, count in counts.items():
            self.total[name] = self.total.get(name, 0) + count
            self._spikes(name).inc(count)
        self.last_counts = counts
        if waited_s is not None:
            metrics.tick.observe(waited_s)
        log.debug("tick", extra={"fields": {"processing_time_ns": processing_ns}})

    def said(self, market: str, chances: np.ndarray) -> None:
        """Note the answer to a request of a market."""
        self.latest.pop(market, None)
        self.latest[market] = Said(chances, time.monotonic())
        if len(self.latest) > LATEST:
            del self.latest[next(iter(self.latest))]

    def realtime(self, served: Served) -> float | None:
        """Engine time over biological time in the latest tick; None before the first."""
        return self.latencies[-1] * 1e-9 / served.tick_s if self.latencies else None

    def step_p95(self, served: Served) -> float | None:
        """Engine time of a step that 95 % of the latest keep within, s; None before the first."""
        if not self.latencies:
            return None
        return float(np.percentile(list(self.latencies), 95)) * 1e-9 / served.form.design.steps

    def forget_spikes(self) -> None:
        """Start anew with the spikes of another model."""
        self.last_counts, self.total = {}, {}
        self.frames.clear()

    def summary_due(self, now: float) -> bool:
        """Whether the log is due a summary; `now` in monotonic s."""
        return now - self._summary_at >= SUMMARY_S

    def summarise(self, served: Served, settings: Settings, now: float) -> None:
        """Log how many ticks were answered since the last summary, and how fast."""
        self.refusals.sample()
        count, self._summary_ticks = self.ticks - self._summary_ticks, self.ticks
        elapsed_s, self._summary_at = now - self._summary_at, now
        if count <= 0 or not self.latencies:
            return
        p95 = int(np.percentile(list(self.latencies)[-count:], 95))
        fields = {"processing_time_ns": p95, "ticks": count, "ticks_per_second": count / elapsed_s}
        log.info("ticks answered", extra={"fields": fields})
        slo = slo_of(settings)
        if p95 * 1e-9 / served.form.design.steps > slo:
            fields = {"processing_time_ns": p95, "slo_seconds": slo}
            log.warning("processing latency exceeded", extra={"fields": fields})

    def publish(self, served: Served, waiting: int, markets: int) -> None:
        """Set the gauges that follow the engine.

        Args:
          waiting: requests in the queue.
          markets: markets with a state.
        """
        metrics = self.metrics
        for name, count in self.last_counts.items():
            metrics.rates.labels(population=name).set(served.rate(name, count))
        realtime = self.realtime(served)
        if realtime is not None:
            metrics.realtime.set(realtime)
        metrics.queue.set(waiting)
        metrics.markets.set(markets)


def slo_of(settings: Settings) -> float:
    """The longest good step, s."""
    slo = settings.server.latency_slo
    return slo if slo is not None else 1e-3 if jax.default_backend() == "cpu" else 1e-5
