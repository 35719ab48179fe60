"""What outlives the process: checkpoints of what markets remember, and a count of ticks.

At the next start, the count tells how many ticks were answered after the last checkpoint.
"""

import logging
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum import store
from cerebellum.errors import FailedError
from cerebellum.service import aside, markets
from cerebellum.service.counter import Counter, open_counter
from cerebellum.service.markets import Markets
from cerebellum.service.metrics import Metrics
from cerebellum.service.packed import pack, unpack
from cerebellum.service.served import Served

TICKS = "ticks"
"""The file of the count, in the folder of the state."""

log = logging.getLogger("cerebellum.service.state")


@dataclass(frozen=True)
class Opened:
    """The state of a model, as it was found."""

    checkpoints: store.Store
    newest: store.Checkpoint | None
    lost: int = 0
    """markets whose state was set aside, because it is of another circuit or model"""


@dataclass
class Persistence:
    """Saves what markets remember. All methods but `publish` belong to the engine's thread."""

    checkpoints: store.Store
    counter: Counter
    """ticks that were answered, ever"""
    begun_ticks: int = 0
    """ticks that were answered before the last checkpoint that was begun"""
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
        self.counter.set(ticks)

    @property
    def saved_ticks(self) -> int:
        """Ticks that were answered before the last checkpoint that is on the disk."""
        return self.checkpoints.last_step or 0

    def unsaved(self, ticks: int) -> bool:
        """Whether the disk lacks something of what markets remember after `ticks` ticks."""
        return ticks > self.saved_ticks or self.failed is not None

    def changed(self, ticks: int) -> bool:
        """Whether a checkpoint after `ticks` ticks would hold more than the last that was begun."""
        return ticks > self.begun_ticks or self.failed is not None

    def due(self, now: float, interval_s: float) -> bool:
        """Whether the last checkpoint is older than an interval; `now` in monotonic s."""
        return now - self._saved_at >= interval_s

    def save(self, model: Served, current: Markets, ticks: int) -> None:
        """Begin a checkpoint; it is left out while the one before is being written."""
        self._saved_at = time.monotonic()
        # `_tree` stacks the arrays of markets, which copies them; arrays of JAX do not change.
        tree, about = _tree(model, current, ticks), _about(model, current, ticks)
        if self.checkpoints.save(ticks, tree, about, copied=True):
            self.begun_ticks = ticks

    def close(self, model: Served, current: Markets, ticks: int) -> None:
        """Save what is not saved yet, and end.

        Raises:
          FailedError: the last checkpoint could not be written.
        """
        self.checkpoints.wait()
        if self.changed(ticks) or self.checkpoints.last_success is None:
            self.save(model, current, ticks)
        try:
            self.checkpoints.close()
        except OSError as error:
            raise FailedError(f"{self.folder}: not saved: {error}") from None

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.checkpoints.writing

    def change(self, model: Served, ticks: int) -> store.Checkpoint | None:
        """Set the state that was saved aside, for another model; nothing may be being written.

        Args:
          model: the one that takes over.
          ticks: answered, ever.

        Returns:
          The newest checkpoint of the other model, if it was served before.

        Raises:
          UsageError, FailedError, OSError: the disk refused; the state is where it was.
        """
        before, state = self.checkpoints, self.folder.parent
        before.close()
        reopened = partial(store.Store, before.folder, before.retention, failures=before.failures)
        try:
            aside.exchange(state, model.digests)
        except OSError:
            self.checkpoints = reopened(
                last_success=before.last_success, last_step=before.last_step
            )
            raise
        self.checkpoints = reopened()
        old, self.counter = self.counter, open_counter(state / TICKS, ticks)
        old.close()
        newest = store.newest(self.folder)
        self.checkpoints.last_step = None if newest is None else newest.step
        return newest

    def publish(self, metrics: Metrics) -> None:
        """Set the gauge and the counter that follow the checkpoints."""
        if self.checkpoints.last_success is not None:
            metrics.saved.set(self.checkpoints.last_success)
        failures, self._failures = (
            self.checkpoints.failures - self._failures,
            self.checkpoints.failures,
        )
        metrics.failures.inc(failures)


def open_store(folder: Path, retention: store.Retention, model: Served) -> Opened:
    """The checkpoints in a folder, locked, and the newest of them if there is one.

    If another circuit or model left them, the folder is set aside. The state of this one, if it was
    set aside before, takes its place; otherwise a new folder is made.

    Args:
      model: the one that is served.

    Raises:
      UsageError: another process has the folder, or it cannot be written.
      OSError: the disk refused.
    """
    # The folder is locked before it is read: another service may be using it.
    checkpoints = store.Store(folder / store.FOLDER, retention)
    newest = store.newest(checkpoints.folder)
    if newest is None:
        empty = not _has_checkpoints(checkpoints.folder)
        if not (empty and aside.has(folder, model.digests)):
            return Opened(checkpoints, None)
    elif newest.about.get("digest") in model.digests:
        return Opened(checkpoints, newest)
    checkpoints.close()
    aside.exchange(folder, model.digests)
    checkpoints = store.Store(folder / store.FOLDER, retention)
    back = store.newest(checkpoints.folder)
    lost = len(newest.about.get("markets", ())) if newest is not None and back is None else 0
    return Opened(checkpoints, back, lost)


def _has_checkpoints(folder: Path) -> bool:
    """Whether a folder has checkpoints, damaged ones included."""
    return any(not entry.name.startswith(".") for entry in folder.iterdir())


def restore(model: Served, current: Markets, checkpoint: store.Checkpoint) -> Served:
    """Give markets what a checkpoint holds of them; returns the model with what it has learned."""
    prefix = "markets/"
    arrays = {
        name.removeprefix(prefix): array
        for name, array in checkpoint.arrays.items()
        if name.startswith(prefix)
    }
    for name, about, row in _rows(checkpoint.about["markets"]):
        if row is None:
            saved = markets.from_json(about, model.fresh)
            saved = replace(saved, open=markets.NO_QUESTIONS)
            current.lost("damaged", 1)
            log.warning(
                "%s: %s starts fresh: this checkpoint does not say which memory is whose",
                checkpoint.path.name,
                name,
            )
        else:
            saved = markets.from_json(about, current.row(arrays, row))
        current.restore(name, saved)
    if not model.learns:
        return model
    template = unpack(model.form.learner, [np.asarray(x) for x in model.learner])
    learner = store.unflatten(template, checkpoint.arrays, "learner")
    return replace(model, learner=pack(learner))


def _rows(told: dict[str, Any]) -> list[tuple[str, dict[str, Any], int | None]]:
    """The markets of a checkpoint in the order of their rows, each with its row.

    JSON sorts names, so that rows are not in their order. Earlier versions did not write the row:
    there it is known of a single market only, and None of others.
    """
    only = 0 if len(told) == 1 else None
    rows = [(name, about, about.get("row", only)) for name, about in told.items()]
    return sorted(rows, key=lambda each: -1 if each[2] is None else each[2])


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
        "markets": {
            name: {**markets.about(market), "row": row}
            for row, (name, market) in enumerate(current.states.items())
        },
    }
