"""The policy that decides which checkpoints of a run stay on the disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.store import manifest
from cerebellum.store.manifest import DamagedError


@documented
@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay; a checkpoint that no rule names is removed.

    Raises:
      UsageError: a number is not a whole number from 1 on, or `best` is not a name.
    """

    newest: int = 5
    """how many of the newest checkpoints stay"""
    best: str | None = None
    """The checkpoint with the lowest value of this metric stays; with a minus before the name, the
    one with the highest value. Checkpoints where it is not a finite number are not compared."""
    every: int | None = None
    """Checkpoints whose step is a multiple of this number of steps stay."""

    def __post_init__(self):
        _check_count("newest", self.newest)
        if self.every is not None:
            _check_count("every", self.every)
        if self.best is not None and not (isinstance(self.best, str) and self.metric):
            raise UsageError(
                f"best: {self.best!r}; the name of a metric, with a minus before it for the highest"
            )

    @property
    def metric(self) -> str | None:
        """The name of the metric that `best` compares."""
        return None if self.best is None else self.best.removeprefix("-")

    def misses(self, metrics: Mapping[str, Any]) -> bool:
        """Whether there are metrics, but not the one that `best` compares."""
        return bool(metrics) and self.metric is not None and self.metric not in metrics

    def select(self, checkpoints: list[tuple[int, Path]]) -> set[Path]:
        """The folders of the checkpoints that stay.

        Args:
          checkpoints: (step, folder) of each, newest first.
        """
        retained = {path for _, path in checkpoints[: self.newest]}
        if self.every:
            retained |= {path for step, path in checkpoints if step % self.every == 0}
        if self.best is not None and self.metric is not None:
            sign = -1 if self.best.startswith("-") else 1
            values = [(_metric(path, self.metric), path) for _, path in checkpoints]
            scores = [(sign * value, path) for value, path in values if value is not None]
            retained |= {min(scores)[1]} if scores else set()
        return retained


def _metric(path: Path, name: str) -> float | None:
    """The value of a metric in a checkpoint.

    None where the checkpoint is damaged, or where the metric is missing or not a finite number.
    """
    try:
        value = manifest.read(path)["metrics"].get(name)
    except DamagedError:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number and math.isfinite(value) else None


def _check_count(name: str, value: Any) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise UsageError(f"{name}: {value!r}; a whole number, at least 1")
