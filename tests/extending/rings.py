"""Rules of connection, as a user would write them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ring:
    """Each cell contacts so many neighbours on both sides of a ring, one of them at random more."""

    reach: int
    label: str = "both sides"
    steps: tuple[float, ...] = (1.0, 2.0)

    def mean_in_degree(self, ends):
        return 2 * self.reach + 1

    def problem(self, ends):
        most = (ends.targets - 1) // 2
        return None if 0 < self.reach <= most else f"reach {self.reach}; from 1 to {most}"

    def pairs(self, ends, rng):
        lags = np.r_[-self.reach : 0, 1 : self.reach + 1]
        target = np.repeat(np.arange(ends.targets), lags.size)
        source = (target + np.tile(lags, ends.targets)) % ends.sources
        more = rng.integers(0, ends.sources, ends.targets)
        return np.concatenate([source, more]), np.concatenate([target, np.arange(ends.targets)])


@dataclass(frozen=True)
class Near(Ring):
    """A ring that only cells with positions can have."""

    def pairs(self, ends, rng):
        if ends.source_um is None:
            raise ValueError("without positions")
        return super().pairs(ends, rng)


@dataclass
class Mutable:
    """No frozen dataclass."""

    def mean_in_degree(self, ends):
        return 1

    problem = pairs = mean_in_degree
