"""What outlives the process: checkpoints of what markets remember, and a count of ticks.

The count lies in a mapped file, which the kernel writes to the disk also when the process is
killed. At the next start it tells how many ticks were answered after the last checkpoint.
"""

import logging
import mmap
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum import store
from cerebellum.errors import FailedError
from cerebellum.service import markets
from cerebellum.service.markets import Markets
from cerebellum.service.metrics import Metrics
from cerebellum.service.packed import pack, unpack
from cerebellum.service.served import Served

COUNTER_BYTES = 8

log = logging.getLogger("cerebellum.service.state")


@dataclass
class Persistence:
    """Saves what markets remember. All methods but `publish` belong to the engine's thread."""

    checkpoints: store.Store
    counter: mmap.mmap
    """ticks that were answered, ever: a little-endian integer of 8 bytes"""
    saved_ticks: int = 0
    """ticks that were answered before the last checkpoint"""
    _saved_at: float = field(default_factory=time.monotonic)
    _failures: int = 0
    """failures that metrics know of"""

    @property
    def folder(self) -> Path:
        """Where the checkpoints lie."""
        return self.checkpoints.folder

    @property
    def failed(self) -> BaseException | None:
        """Why the last save failed, if it did."""
        return self.checkpoints.failed

    def count(self, ticks: int) -> None:
        """Note how many ticks were answered, ever."""
        self.counter[:COUNTER_BYTES] = ticks.to_bytes(COUNTER_BYTES, "little")

    def unsaved(self, ticks: int) -> bool:
        """Whether a checkpoint after `ticks` ticks would hold something new."""
        return ticks > self.saved_ticks or self.failed is not None

    def due(self, now: float, interval_s: float) -> bool:
        """Whether the last checkpoint is older than an interval; `now` in monotonic s."""
        return now - self._saved_at >= interval_s

    def save(self, model: Served, current: Markets, ticks: int) -> None:
        """Begin a checkpoint; it is left out while the one before is being written."""
        self._saved_at = time.monotonic()
        if self.checkpoints.save(
            ticks, _tree(model, current, ticks), _about(model, current, ticks)
        ):
            self.saved_ticks = ticks

    def close(self, model: Served, current: Markets, ticks: int) -> None:
        """Save what is not saved yet, and end.

        Raises:
          FailedError: the last checkpoint could not be written.
        """
        self.checkpoints.wait()
        if self.unsaved(ticks) or self.checkpoints.last_success is None:
            self.save(model, current, ticks)
        try:
            self.checkpoints.close()
        except OSError as error:
            raise FailedError(f"{self.folder}: not saved: {error}") from None

    def publish(self, metrics: Metrics) -> None:
        """Set the gauge and the counter that follow the checkpoints."""
        if self.checkpoints.last_success is not None:
            metrics.saved.set(self.checkpoints.last_success)
        failures, self._failures = (
            self.checkpoints.failures - self._failures,
            self.checkpoints.failures,
        )
        metrics.failures.inc(failures)


def open_store(
    folder: Path, retention: store.Retention, digest: str
) -> tuple[store.Store, store.Checkpoint | None]:
    """The checkpoints in a folder, locked, and the newest of them if there is one.

    If another circuit or model left them, the folder is set aside and a new one is made.

    Args:
      digest: of the model that is served.
    """
    # The folder is locked before it is read: another service may be using it.
    checkpoints = store.Store(folder / store.FOLDER, retention)
    newest = store.newest(checkpoints.folder)
    if newest is not None and newest.about.get("digest") != digest:
        _set_aside(folder, newest)
        checkpoints.close()
        checkpoints, newest = store.Store(folder / store.FOLDER, retention), None
    return checkpoints, newest


def _set_aside(folder: Path, checkpoint: store.Checkpoint) -> None:
    """Rename the folder that another circuit or model left; nothing is deleted."""
    aside = folder.with_name(f"{folder.name}-of-another-{int(time.time())}")
    folder.rename(aside)
    log.warning(
        "the state that was saved is of another circuit or model (%s): it is set aside as %s, and "
        "every market starts fresh",
        checkpoint.about.get("service"),
        aside,
    )


def restore(model: Served, current: Markets, checkpoint: store.Checkpoint) -> Served:
    """Give markets what a checkpoint holds of them; returns the model with what it has learned."""
    prefix = "markets/"
    arrays = {
        name.removeprefix(prefix): array
        for name, array in checkpoint.arrays.items()
        if name.startswith(prefix)
    }
    for index, (name, about) in enumerate(checkpoint.about["markets"].items()):
        current.restore(name, markets.from_json(about, current.row(arrays, index)))
    if not model.learns:
        return model
    template = unpack(model.form.learner, [np.asarray(x) for x in model.learner])
    learner = store.unflatten(template, checkpoint.arrays, "learner")
    return replace(model, learner=pack(learner))


def open_counter(path: Path, ticks: int) -> mmap.mmap:
    """The mapped count of ticks, set to `ticks`; the log says how many ticks were lost.

    Args:
      ticks: answered before the last checkpoint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if path.stat().st_size < COUNTER_BYTES:
            file.truncate(COUNTER_BYTES)
        counter = mmap.mmap(file.fileno(), COUNTER_BYTES)
    lost = int.from_bytes(counter[:COUNTER_BYTES], "little") - ticks
    if lost > 0:
        log.warning(
            "%d ticks were answered after the last checkpoint: markets have forgotten them",
            lost,
            extra={"fields": {"ticks_lost": lost}},
        )
    counter[:COUNTER_BYTES] = ticks.to_bytes(COUNTER_BYTES, "little")
    return counter


def _tree(model: Served, current: Markets, ticks: int) -> dict[str, Any]:
    """The arrays of a checkpoint."""
    memories = [market.memory for market in current.states.values()]
    tree: dict[str, Any] = {"markets": current.stacked(memories)}
    if model.learns:
        tree["learner"] = unpack(model.form.learner, model.learner)
    return {**tree, "ticks": np.int64(ticks)}


def _about(model: Served, current: Markets, ticks: int) -> dict[str, Any]:
    """What a checkpoint holds beside its arrays, JSON."""
    return {
        "service": model.name,
        "digest": model.digest,
        "ticks": ticks,
        "markets": {name: markets.about(market) for name, market in current.states.items()},
    }
