"""The metrics of the service, for Prometheus. A process has one engine and one registry."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

STEP_BUCKETS = tuple(float(f"{m}e{e}") for e in range(-6, 0) for m in (1, 2.5, 5))
TICK_BUCKETS = tuple(float(f"{m}e{e}") for e in range(-5, 1) for m in (1, 2.5, 5))
CHECKS = ("engine", "model", "checkpoints", "configuration", "log")
"""The checks of /health."""
QUANTILES_OF = 4_096
"""The number of latest ticks from which /neural/metrics takes quantiles."""


@dataclass(frozen=True)
class Metrics:
    """The registry and its metrics; their names and meanings are in `_metrics`."""

    registry: CollectorRegistry
    processing: Histogram
    tick: Histogram
    slo: Gauge
    http: Histogram
    requests: Counter
    spikes: Counter
    rates: Gauge
    loss: Gauge
    epoch: Gauge
    accuracy: Gauge
    ready: Gauge
    status: Gauge
    unsaved: Gauge
    trainings: Counter
    lines_lost: Counter
    simulated: Counter
    realtime: Gauge
    saved: Gauge
    interval: Gauge
    failures: Counter
    damaged: Counter
    resets: Counter
    model: Info
    model_missing: Gauge
    model_loaded: Gauge
    refused: Counter
    queue: Gauge
    markets: Gauge
    connections: Gauge
    closed: Counter


class Devices(Collector):
    """The memory of the computing devices, read when the metrics are scraped."""

    def collect(self):
        memories = []
        for device in jax.devices():
            stats = device.memory_stats() if device.platform != "cpu" else None
            if stats:
                used, total = stats.get("bytes_in_use"), stats.get("bytes_limit")
                memories.append((device, {"used": used, "total": total}))
        for prefix, platforms in (("cuda_memory", ("gpu", "cuda")), ("device_memory", None)):
            for amount in ("used", "total"):
                text = f"Memory of the device, {amount}, bytes."
                family = GaugeMetricFamily(f"{prefix}_{amount}_bytes", text, labels=["device"])
                for device, memory in memories:
                    size = memory[amount]
                    if size is not None and (platforms is None or device.platform in platforms):
                        family.add_metric([str(device.id)], size)
                yield family


@dataclass(frozen=True)
class _Maker:
    """Makes metrics that a registry knows."""

    registry: CollectorRegistry

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def info(self, name: str, text: str) -> Info:
        return Info(name, text, registry=self.registry)

    def histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)


def build(populations: Iterable[str], info: dict[str, str]) -> Metrics:
    """Metrics in a registry of their own. Every label value that is known is there from the start.

    Args:
      populations: names of the populations whose spikes are counted.
      info: the labels of build_info.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Devices())
    make = _Maker(registry)
    make.gauge("build_info", "What runs.", *info).labels(**info).set(1)
    metrics = _metrics(make)
    for name in CHECKS:
        metrics.status.labels(check=name)
    for state in ("completed", "failed", "stopped"):
        metrics.trainings.labels(state=state)
    for name in populations:
        metrics.spikes.labels(population=name)
        metrics.rates.labels(population=name)
    for reason in ("busy", "deadline", "failed", "markets", "refused"):
        metrics.refused.labels(reason=reason)
    for reason in ("damaged", "forgotten", "model", "not_finite"):
        metrics.resets.labels(reason=reason)
    for reason in ("bad", "made room", "refused", "timeout"):
        metrics.closed.labels(reason=reason)
    return metrics


def children(metric: MetricWrapperBase) -> Callable[..., Any]:
    """`metric.labels` for values in the order of the labels; what it gave is remembered.

    The library takes a lock and makes text of every value at each call.
    """
    return lru_cache(maxsize=1024)(metric.labels)


def _metrics(make: _Maker) -> Metrics:
    run = "Of the latest training run."
    request = "http_request_duration_seconds"
    saved = "checkpoint_last_success_timestamp_seconds"
    return Metrics(
        registry=make.registry,
        processing=make.histogram(
            "processing_duration_seconds", "Engine time per simulated step.", STEP_BUCKETS
        ),
        tick=make.histogram(
            "tick_duration_seconds",
            "A request's ticks, queue to answer.",
            TICK_BUCKETS,
        ),
        slo=make.gauge("processing_latency_slo_seconds", "server.latency_slo."),
        http=make.histogram(request, "One request.", TICK_BUCKETS, "path"),
        requests=make.counter("http_requests_total", "Requests.", "method", "path", "status"),
        spikes=make.counter("spikes_total", "Spikes.", "population"),
        rates=make.gauge("firing_rate_hertz", "Rate in the last tick.", "population"),
        loss=make.gauge("training_loss", run),
        epoch=make.gauge("training_epoch", run),
        accuracy=make.gauge("validation_accuracy", run),
        ready=make.gauge("ready", "1: /ready answers 200."),
        status=make.gauge("check_status", "0 healthy, 1 degraded, 2 unhealthy.", "check"),
        unsaved=make.gauge(
            "state_unsaved",
            "1: markets changed since the last checkpoint on the disk.",
        ),
        trainings=make.counter("training_runs_total", "Training runs that ended.", "state"),
        lines_lost=make.counter("log_lines_lost_total", "Lines of the log not written."),
        simulated=make.counter("simulated_seconds_total", "Biological time."),
        realtime=make.gauge("realtime_factor", "Wall over biological time, last tick."),
        saved=make.gauge(saved, "When state was last saved."),
        interval=make.gauge("checkpoint_interval_seconds", "training.checkpoint_interval."),
        failures=make.counter("checkpoint_failures_total", "Saves that failed."),
        damaged=make.counter("checkpoints_damaged_total", "Checkpoints that were set aside."),
        resets=make.counter("markets_reset_total", "Markets that lost their memory.", "reason"),
        model=make.info("model", "The model that answers."),
        model_missing=make.gauge("model_missing", "1: the model to be served is not there."),
        model_loaded=make.gauge("model_loaded_timestamp_seconds", "When the model took over."),
        refused=make.counter("ticks_refused_total", "Requests for ticks not answered.", "reason"),
        queue=make.gauge("queue_length", "Requests that wait."),
        markets=make.gauge("markets", "Markets with a state."),
        connections=make.gauge("connections", "Open connections."),
        closed=make.counter("connections_closed_total", "Connections cut off.", "reason"),
    )
