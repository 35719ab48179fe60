"""A run's checkpoints as it goes on: saved beside it, and only as many as wanted."""

import copy
import fcntl
import logging
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.store import manifest
from cerebellum.store.checkpoint import SAVING, steps, write
from cerebellum.store.manifest import DamagedError

REMOVING, LOCK = ".removing-", ".lock"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints stay."""

    newest: int = 5
    best: str | None = None
    """metric whose lowest value stays; with a minus before it, whose highest"""
    every: int | None = None
    """steps: multiples of it stay"""


def _kept(found: list[tuple[int, Path]], keep: Keep) -> set[Path]:
    """Checkpoints that stay."""
    stay = {path for _, path in found[: keep.newest]}
    if keep.every:
        stay |= {path for step, path in found if step % keep.every == 0}
    if keep.best:
        name, sign = keep.best.lstrip("-"), -1 if keep.best.startswith("-") else 1
        values = [(_metric(path, name), path) for _, path in found]
        scored = [(sign * value, path) for value, path in values if value is not None]
        stay |= {min(scored)[1]} if scored else set()
    return stay


def _metric(path: Path, name: str) -> float | None:
    try:
        return manifest.read(path)["metrics"].get(name)
    except DamagedError:
        return None


@dataclass
class Store:
    """Checkpoints of a run that goes on: saved beside it, and only as many as wanted.

    The disk may fail: the run is told by the log, and goes on. `close` raises where the last try
    failed.
    """

    folder: Path
    keep: Keep = Keep()
    beside: bool = True
    """whether `save` copies what it is given and returns; otherwise it returns when all is on
    the disk, and takes no copy"""
    failures: int = 0
    last_success: float | None = None
    """seconds since the epoch"""
    blocked_s: float = 0.0
    """how long `save` has held the run up, together"""
    _failed: BaseException | None = None
    _under_way: Future | None = None
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _lock: int = -1

    def __post_init__(self):
        self.folder = Path(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.folder / LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(f"{self.folder}: another process saves there; one at a time") from None
        except OSError as error:
            raise UsageError(f"{self.folder}: {error.strerror}; a writable directory") from None
        for entry in self.folder.iterdir():
            if entry.name.startswith((SAVING, REMOVING)):
                shutil.rmtree(entry, ignore_errors=True)

    def save(
        self,
        step: int,
        tree: Any,
        about: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Save what `write` saves; False where the one before is still being written.

        Never raises for the disk: see `failures`.
        """
        if self._under_way is not None and not self._under_way.done():
            log.warning("checkpoint %d: left out, the one before is still being written", step)
            return False
        began = time.perf_counter()
        if self.beside:
            about, metrics = copy.deepcopy((about, metrics))
            tree = jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
            self._under_way = self._pool.submit(self._write, step, tree, about, metrics)
        else:
            self._write(step, tree, about, metrics)
        self.blocked_s += time.perf_counter() - began
        return True

    @property
    def failed(self) -> BaseException | None:
        """Why the last try failed, if it did."""
        return self._failed

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        """Finish what is being written.

        Raises:
          OSError: the last try failed: the run is about to end with something not saved.
        """
        self.wait()
        self._pool.shutdown()
        os.close(self._lock)
        if self._failed is not None:
            raise OSError(f"{self.folder}: {self._failed}") from self._failed

    def _write(self, step: int, tree: Any, about, metrics) -> None:
        try:
            write(self.folder, step, tree, about, metrics)
        except Exception as error:
            self.failures, self._failed = self.failures + 1, error
            log.error("checkpoint %d: not saved (%s); the run goes on", step, error)
            return
        self._failed, self.last_success = None, time.time()
        self._remove()

    def _remove(self) -> None:
        """What is not to be kept; a name first goes, then its files."""
        found = steps(self.folder)
        stay = _kept(found, self.keep)
        for _, path in found:
            if path in stay:
                continue
            doomed = path.with_name(REMOVING + path.name)
            try:
                path.rename(doomed)
            except OSError as error:
                log.warning("checkpoint %s cannot be removed (%s)", path, error.strerror)
                continue
            shutil.rmtree(doomed, ignore_errors=True)
