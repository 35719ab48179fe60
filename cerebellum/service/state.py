"""Builds an engine that goes on from where the last one was saved."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from cerebellum import configure, store
from cerebellum.config import Settings
from cerebellum.service import persistence
from cerebellum.service.counter import open_counter
from cerebellum.service.engine import Engine
from cerebellum.service.inference import Inference
from cerebellum.service.markets import Markets
from cerebellum.service.metrics import Metrics
from cerebellum.service.persistence import TICKS, Persistence
from cerebellum.service.requests_queue import RequestQueue
from cerebellum.service.served import Served
from cerebellum.service.statistics import Statistics

STATE = "service"
"""Folder below `storage.models`."""

log = logging.getLogger("cerebellum.service.state")


def build(
    settings: Settings,
    model: Served,
    metrics: Metrics,
    died: Callable[[BaseException], None] | None = None,
) -> Engine:
    """An engine with the state that was saved last.

    A state that another circuit left is set aside, and that of this one comes back if it was set
    aside before; otherwise every market starts fresh.

    Args:
      died: called when the engine's thread has ended by an error.
    """
    folder = Path(settings.storage.models) / STATE
    retention = store.Retention(newest=settings.training.max_checkpoints)
    opened = persistence.open_store(folder, retention, model)
    checkpoints, newest = opened.checkpoints, opened.newest
    markets = Markets(
        model,
        folder / "idle",
        settings.server.max_markets,
        allowed=configure.memory_allowed(settings.performance.memory_limit),
        threshold=settings.performance.garbage_collection_threshold,
        lost=lambda reason, count: metrics.resets.labels(reason=reason).inc(count),
    )
    markets.lost("model", opened.lost)
    damaged = (entry.name.startswith(store.DAMAGED) for entry in checkpoints.folder.iterdir())
    metrics.damaged.inc(sum(damaged))
    # Before the first save there is nothing to lose.
    metrics.saved.set(time.time())
    ticks = 0
    if newest is not None:
        model = persistence.restore(model, markets, newest)
        markets.shrink()
        ticks = newest.about["ticks"]
        checkpoints.last_step = ticks
        checkpoints.last_success = (newest.path / "manifest.json").stat().st_mtime
        fields = {"checkpoint": str(newest.path), "ticks": ticks}
        log.info("state restored", extra={"fields": fields})
    counter = open_counter(folder / TICKS, ticks)
    engine = Engine(
        settings=settings,
        requests=RequestQueue(settings.server.max_connections, metrics.refused),
        inference=Inference(model, settings.performance.batch_size),
        statistics=Statistics(metrics, ticks),
        persistence=Persistence(checkpoints, counter, begun_ticks=ticks),
        markets=markets,
        died=died,
    )
    engine.configure(settings)
    return engine
