"""What markets remember, from one start of the service to the next."""

import logging
import mmap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from cerebellum import store
from cerebellum.config import Settings
from cerebellum.service import markets
from cerebellum.service.engine import Engine, slo_of
from cerebellum.service.markets import Markets
from cerebellum.service.metrics import Metrics
from cerebellum.service.packed import pack, unpack
from cerebellum.service.served import Served

STATE = "service"
"""Below `storage.models`."""

log = logging.getLogger("cerebellum.service.state")


def build(settings: Settings, model: Served, metrics: Metrics) -> Engine:
    """An engine that goes on from where the last one was saved.

    A state that another circuit left is set aside, and it starts fresh.
    """
    folder = Path(settings.storage.models) / STATE
    retention = store.Retention(newest=settings.training.max_checkpoints)
    # Locked before it is looked at: another service may be at home there.
    keep = store.Store(folder / store.FOLDER, retention)
    found = store.newest(keep.folder)
    if found is not None and found.about.get("digest") != model.digest:
        _set_aside(folder, found)
        keep.close()
        keep, found = store.Store(folder / store.FOLDER, retention), None
    engine = Engine(
        settings=settings,
        served=model,
        metrics=metrics,
        markets=Markets(model, folder / "idle", settings.server.max_markets),
        keep=keep,
    )
    engine.metrics.slo.set(slo_of(settings))
    engine.metrics.interval.set(settings.training.checkpoint_interval)
    damaged = (entry.name.startswith(store.DAMAGED) for entry in keep.folder.iterdir())
    engine.metrics.damaged.inc(sum(damaged))
    # Before the first save there is nothing to lose.
    engine.metrics.saved.set(time.time())
    if found is not None:
        _resume(engine, found)
    engine.counter = _counter(folder / "ticks")
    _say_what_was_lost(engine)
    return engine


def _set_aside(folder: Path, found: store.Checkpoint) -> None:
    """What another circuit or model left; it is not deleted."""
    aside = folder.with_name(f"{folder.name}-of-another-{int(time.time())}")
    folder.rename(aside)
    log.warning(
        "the state that was saved is of another circuit or model (%s): it is set aside as %s, and "
        "every market starts fresh",
        found.about.get("service"),
        aside,
    )


def _resume(engine: Engine, found: store.Checkpoint) -> None:
    start = "markets/"
    arrays = {k.removeprefix(start): v for k, v in found.arrays.items() if k.startswith(start)}
    for index, (name, told) in enumerate(found.about["markets"].items()):
        memory = engine.markets.row(arrays, index)
        saved = markets.from_json(told, memory)
        engine.markets.known[name] = engine.markets.newer(name, saved)
        engine.markets.used[name] = -markets.IDLE_S
    model = engine.served
    if model.learns:
        template = unpack(model.form.learner, [np.asarray(x) for x in model.learner])
        learner = store.unflatten(template, found.arrays, "learner")
        engine.served = replace(model, learner=pack(learner))
    engine.ticks = engine.saved_ticks = engine.said_ticks = found.about["ticks"]
    engine.keep.last_success = (found.path / "manifest.json").stat().st_mtime
    log.info(
        "state restored",
        extra={"fields": {"checkpoint": str(found.path), "ticks": engine.ticks}},
    )


def _say_what_was_lost(engine: Engine) -> None:
    lost = int.from_bytes(engine.counter[:8], "little") - engine.ticks
    if lost > 0:
        log.warning(
            "%d ticks were answered after the last checkpoint: markets have forgotten them",
            lost,
            extra={"fields": {"ticks_lost": lost}},
        )
    engine.counter[:8] = engine.ticks.to_bytes(8, "little")


def _counter(path: Path) -> mmap.mmap:
    """Eight bytes that the kernel writes to the disk, also when the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if path.stat().st_size < 8:
            file.truncate(8)
        return mmap.mmap(file.fileno(), 8)
