"""The policy that decides which checkpoints of a run stay on the disk."""

from dataclasses import dataclass
from pathlib import Path

from cerebellum.store import manifest
from cerebellum.store.manifest import DamagedError


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which checkpoints stay; a checkpoint that no rule names is removed."""

    newest: int = 5
    """how many of the newest checkpoints stay"""
    best: str | None = None
    """The checkpoint with the lowest value of this metric stays; with a minus before the name, the
    one with the highest value."""
    every: int | None = None
    """Checkpoints whose step is a multiple of this number of steps stay."""

    def select(self, checkpoints: list[tuple[int, Path]]) -> set[Path]:
        """The folders of the checkpoints that stay.

        Args:
          checkpoints: (step, folder) of each, newest first.
        """
        retained = {path for _, path in checkpoints[: self.newest]}
        if self.every:
            retained |= {path for step, path in checkpoints if step % self.every == 0}
        if self.best:
            name, sign = self.best.lstrip("-"), -1 if self.best.startswith("-") else 1
            values = [(_metric(path, name), path) for _, path in checkpoints]
            scores = [(sign * value, path) for value, path in values if value is not None]
            retained |= {min(scores)[1]} if scores else set()
        return retained


def _metric(path: Path, name: str) -> float | None:
    """The value of a metric in a checkpoint, or None where it has none or is damaged."""
    try:
        return manifest.read(path)["metrics"].get(name)
    except DamagedError:
        return None
