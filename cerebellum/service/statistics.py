"""Statistics of the engine: latencies, frames of spikes, totals, gauges and log summaries."""

import logging
import time
from collections import deque
from dataclasses import dataclass, field

import jax
import numpy as np

from cerebellum.config import Settings
from cerebellum.service.metrics import QUANTILES_OF, Metrics
from cerebellum.service.served import Served

SUMMARY_S = 10.0
RECENT_S = 10.0
"""The span over which the ticks a second are counted."""
FRAMES = 20
"""Ticks of the raster."""

log = logging.getLogger("cerebellum.service.engine")


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
    answered_at: deque[float] = field(default_factory=lambda: deque(maxlen=QUANTILES_OF))
    """when the latest ticks were answered, monotonic s"""
    frames: deque[list[list[int]]] = field(default_factory=lambda: deque(maxlen=FRAMES))
    """spikes of each population's first 32 cells in the latest ticks, a word a step"""
    total: dict[str, int] = field(default_factory=dict)
    """spikes since the start, by population"""
    last_counts: dict[str, int] = field(default_factory=dict)
    """spikes in the last tick, by population"""
    _summary_at: float = field(default_factory=time.monotonic)
    _summary_ticks: int = field(init=False)
    """`ticks` at the last summary"""

    def __post_init__(self) -> None:
        self._summary_ticks = self.ticks

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
        self.answered_at.append(time.monotonic())
        metrics = self.metrics
        metrics.processing.observe(processing_ns * 1e-9 / served.form.design.steps)
        metrics.simulated.inc(served.tick_s)
        for name, count in counts.items():
            self.total[name] = self.total.get(name, 0) + count
            metrics.spikes.labels(population=name).inc(count)
        self.last_counts = counts
        if waited_s is not None:
            metrics.tick.observe(waited_s)
        log.debug("tick", extra={"fields": {"processing_time_ns": processing_ns}})

    def ticks_per_second(self, now: float) -> float:
        """How many ticks a second were answered lately: in RECENT_S, or as far back as is known.

        Args:
          now: monotonic s.
        """
        times = list(self.answered_at)
        span_s = RECENT_S
        if len(times) == QUANTILES_OF:
            span_s = min(span_s, max(now - times[0], 1e-9))
        return sum(now - at <= span_s for at in times) / span_s

    def forget_spikes(self) -> None:
        """Start anew with the spikes of another model."""
        self.last_counts, self.total = {}, {}
        self.frames.clear()

    def summary_due(self, now: float) -> bool:
        """Whether the log is due a summary; `now` in monotonic s."""
        return now - self._summary_at >= SUMMARY_S

    def summarise(self, served: Served, settings: Settings, now: float) -> None:
        """Log how many ticks were answered since the last summary, and how fast."""
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
        if self.latencies:
            metrics.realtime.set(self.latencies[-1] * 1e-9 / served.tick_s)
        metrics.queue.set(waiting)
        metrics.markets.set(markets)


def slo_of(settings: Settings) -> float:
    """The longest good step, s."""
    slo = settings.server.latency_slo
    return slo if slo is not None else 1e-3 if jax.default_backend() == "cpu" else 1e-5
