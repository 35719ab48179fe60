"""The store of a run: it saves checkpoints in the background and removes old ones."""

import copy
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cerebellum import files, system
from cerebellum.errors import UsageError
from cerebellum.store.checkpoint import SAVING, check, recover, steps, write
from cerebellum.store.retention import Retention

REMOVING, LOCK = ".removing-", ".lock"

log = logging.getLogger(__name__)


def _lock(folder: Path) -> int:
    """Make a folder of checkpoints if it is missing, and lock it; returns the lock's handle.

    Raises:
      UsageError: another process has the lock, or the folder cannot be written.
    """
    handle = -1
    try:
        files.make_folder(folder)
        flags = system.descriptor_flags("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_CREAT | flags, 0o644)
        system.lock(handle)
        files.keep_owner(folder / LOCK)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(f"{folder}: another process saves there; one at a time") from None
    except OSError as error:
        if handle != -1:
            os.close(handle)
        raise UsageError(f"{folder}: {error.strerror}; a writable directory") from None
    return handle


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A folder of checkpoints into which no other process saves while the block lasts.

    Raises:
      UsageError: another process saves there, or the folder cannot be written.
    """
    handle = _lock(folder)
    try:
        yield
    finally:
        os.close(handle)


@dataclass
class Store:
    """The checkpoints of a running program, saved in the background and limited in number.

    The disk may fail. The store then logs the failure and the run goes on. `close` raises an error
    if the last attempt failed. The folder is locked: one process saves there at a time.
    """

    folder: Path
    retention: Retention = field(default_factory=Retention)
    beside: bool = True
    """If true, `save` copies the arrays and returns while a thread writes them. Otherwise `save`
    takes no copy and returns when everything is on the disk."""
    failures: int = 0
    """how many attempts to save have failed"""
    last_success: float | None = None
    """when a checkpoint was last saved, seconds since the epoch"""
    last_step: int | None = None
    """the step of that checkpoint"""
    blocked_s: float = 0.0
    """total time that `save` has delayed the run, s"""
    _failure: BaseException | None = None
    _pending: Future | None = None
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _lock: int = -1
    _warned: bool = False
    """whether the log says that `retention.best` names a metric that checkpoints do not have"""

    def __post_init__(self):
        self.folder = Path(self.folder)
        self._lock = _lock(self.folder)
        recover(self.folder)
        for entry in self.folder.iterdir():
            if entry.name.startswith((SAVING, REMOVING)):
                shutil.rmtree(entry, ignore_errors=True)

    def save(
        self,
        step: int,
        tree: Any,
        about: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        copied: bool = False,
    ) -> bool:
        """Save a checkpoint; the arguments are those of `write`.

        A failure of the disk raises no error here; see `failures` and `failed`.

        Args:
          copied: whether nobody will change the arrays, so that no copy is needed.

        Returns:
          False where nothing is saved because the previous checkpoint is still being written.

        Raises:
          UsageError: the step or the tree is not one that `write` accepts; nothing is saved.
        """
        step, _ = check(step, tree)
        if self.writing:
            log.warning("checkpoint %d: left out, the one before is still being written", step)
            return False
        start = time.perf_counter()
        if self.beside:
            about, metrics = copy.deepcopy((about, metrics))
            if not copied:
                tree = jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
            self._pending = self._pool.submit(self._write, step, tree, about, metrics)
        else:
            self._write(step, tree, about, metrics)
        self.blocked_s += time.perf_counter() - start
        return True

    def save_last(self, step: int, tree: Any, about: Mapping[str, Any] | None = None) -> None:
        """Save the last checkpoint of a run and `close`; the arguments are those of `write`.

        Raises:
          UsageError: the step or the tree is not one that `write` accepts; nothing is saved, and
            the store stays open.
          OSError: the disk refused.
        """
        step, _ = check(step, tree)
        self.wait()
        try:
            write(self.folder, step, tree, about)
            self._failure = None
            self._remove_old()
        finally:
            self.close()

    @property
    def failed(self) -> BaseException | None:
        """The error of the last attempt to save, or None if it succeeded."""
        return self._failure

    @property
    def writing(self) -> bool:
        """Whether a checkpoint is being written."""
        return self._pending is not None and not self._pending.done()

    def wait(self) -> None:
        """Wait until no checkpoint is being written."""
        if self._pending is not None:
            self._pending.result()

    def close(self) -> None:
        """Finish the checkpoint that is being written, and unlock the folder.

        Raises:
          OSError: the last attempt failed, so the run is about to end with something not saved.
        """
        self.wait()
        self._pool.shutdown()
        os.close(self._lock)
        if self._failure is not None:
            raise OSError(f"{self.folder}: {self._failure}") from self._failure

    def _write(self, step: int, tree: Any, about, metrics) -> None:
        try:
            write(self.folder, step, tree, about, metrics)
        except Exception as error:
            self.failures, self._failure = self.failures + 1, error
            log.error("checkpoint %d: not saved (%s); the run goes on", step, error)
            return
        self._failure, self.last_success, self.last_step = None, time.time(), step
        if not self._warned and self.retention.misses(metrics or {}):
            self._warned = True
            log.warning(
                "checkpoint %d: no metric %r, by which the best one is to stay; it has %s",
                *(step, self.retention.metric, ", ".join(metrics)),
            )
        self._remove_old()

    def _remove_old(self) -> None:
        """Remove the checkpoints that are not retained.

        A checkpoint is renamed before its files are deleted, so that a folder named after a step
        is always whole.
        """
        checkpoints = steps(self.folder)
        retained = self.retention.select(checkpoints)
        for _, path in checkpoints:
            if path in retained:
                continue
            removed = path.with_name(REMOVING + path.name)
            try:
                path.rename(removed)
            except OSError as error:
                log.warning("checkpoint %s cannot be removed (%s)", path, error.strerror)
                continue
            shutil.rmtree(removed, ignore_errors=True)
