"""What the service counts, for Prometheus. One registry for a process's one engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

STEP_BUCKETS = tuple(float(f"{m}e{e}") for e in range(-6, 0) for m in (1, 2.5, 5))
TICK_BUCKETS = tuple(float(f"{m}e{e}") for e in range(-5, 1) for m in (1, 2.5, 5))
QUANTILES_OF = 4_096
"""Latest ticks from which /neural/metrics takes quantiles."""


@dataclass(frozen=True)
class Metrics:
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
    simulated: Counter
    realtime: Gauge
    saved: Gauge
    interval: Gauge
    failures: Counter
    damaged: Counter
    resets: Counter
    refused: Counter
    queue: Gauge
    markets: Gauge


class Devices(Collector):
    """Memory of the computing devices, asked for when it is scraped."""

    def collect(self):
        found = []
        for device in jax.devices():
            stats = device.memory_stats() if device.platform != "cpu" else None
            if stats:
                found.append((device, stats.get("bytes_in_use"), stats.get("bytes_limit")))
        for prefix, kind in (("cuda_memory", ("gpu", "cuda")), ("device_memory", None)):
            for part, place in (("used", 1), ("total", 2)):
                text = f"Memory of the device, {part}, bytes."
                family = GaugeMetricFamily(f"{prefix}_{part}_bytes", text, labels=["device"])
                for each in found:
                    if each[place] is not None and (kind is None or each[0].platform in kind):
                        family.add_metric([str(each[0].id)], each[place])
                yield family


def build(populations: Iterable[str], info: dict[str, str]) -> Metrics:
    """Counters at zero, gauges at what is known.

    Args:
      populations: whose spikes are counted.
      info: of build_info.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(Devices())

    def made(kind: Any, name: str, text: str, labels: tuple[str, ...] = (), **more: Any) -> Any:
        return kind(name, text, labels, registry=registry, **more)

    built = made(Gauge, "build_info", "What runs.", tuple(info))
    built.labels(**info).set(1)
    metrics = Metrics(
        registry=registry,
        processing=made(
            Histogram,
            "processing_duration_seconds",
            "Engine time per simulated step.",
            buckets=STEP_BUCKETS,
        ),
        tick=made(
            Histogram,
            "tick_duration_seconds",
            "One tick, from queue to answer.",
            buckets=TICK_BUCKETS,
        ),
        slo=made(Gauge, "processing_latency_slo_seconds", "server.latency_slo."),
        http=made(
            Histogram,
            "http_request_duration_seconds",
            "One request.",
            ("path",),
            buckets=TICK_BUCKETS,
        ),
        requests=made(Counter, "http_requests_total", "Requests.", ("method", "path", "status")),
        spikes=made(Counter, "spikes_total", "Spikes.", ("population",)),
        rates=made(Gauge, "firing_rate_hertz", "Rate in the last tick.", ("population",)),
        loss=made(Gauge, "training_loss", "Of the latest training run."),
        epoch=made(Gauge, "training_epoch", "Of the latest training run."),
        accuracy=made(Gauge, "validation_accuracy", "Of the latest training run."),
        simulated=made(Counter, "simulated_seconds_total", "Biological time."),
        realtime=made(Gauge, "realtime_factor", "Wall over biological time, last tick."),
        saved=made(
            Gauge, "checkpoint_last_success_timestamp_seconds", "When state was last saved."
        ),
        interval=made(Gauge, "checkpoint_interval_seconds", "training.checkpoint_interval."),
        failures=made(Counter, "checkpoint_failures_total", "Saves that failed."),
        damaged=made(Counter, "checkpoints_damaged_total", "Checkpoints that were set aside."),
        resets=made(Counter, "market_resets_total", "Markets whose state was not finite."),
        refused=made(Counter, "ticks_refused_total", "Ticks not answered.", ("reason",)),
        queue=made(Gauge, "queue_length", "Requests that wait."),
        markets=made(Gauge, "markets", "Markets with a state."),
    )
    for name in populations:
        metrics.spikes.labels(population=name)
        metrics.rates.labels(population=name)
    for reason in ("busy", "deadline", "failed", "markets", "refused"):
        metrics.refused.labels(reason=reason)
    return metrics
