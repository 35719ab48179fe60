"""Distributions of the numbers of many cells or synapses.

A parameter of cells, a weight or a delay may be a distribution instead of a number: then each cell
or synapse has a value of its own, drawn from the counter-based stream of its name when the circuit
is built. A distribution is hashable, as a spec must be.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from cerebellum.errors import UsageError, is_number


@dataclass(frozen=True)
class Normal:
    """A normal distribution between two bounds; values outside are drawn again.

    Attributes:
      mean, sd: of the distribution without bounds.
      low, high: the bounds.
    """

    mean: float
    sd: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self):
        _check(self, "mean", "sd")
        if self.sd < 0:
            raise UsageError(f"Normal.sd: {self.sd}; zero or more")
        _check_bounds(self)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return _within(self, lambda size: rng.normal(self.mean, self.sd, size), shape)


@dataclass(frozen=True)
class LogNormal:
    """A lognormal distribution between two bounds; values outside are drawn again.

    Attributes:
      mean, sd: of the variable itself, not of its logarithm, without bounds; the mean is above
        zero.
      low, high: the bounds.
    """

    mean: float
    sd: float
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self):
        _check(self, "mean", "sd")
        if not self.mean > 0 or self.sd < 0:
            raise UsageError(f"LogNormal: mean {self.mean}, sd {self.sd}; a mean above zero")
        _check_bounds(self)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        spread = math.log1p((self.sd / self.mean) ** 2)
        centre = math.log(self.mean) - spread / 2
        return _within(self, lambda size: rng.lognormal(centre, math.sqrt(spread), size), shape)


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self):
        _check(self, "low", "high")
        if self.low > self.high:
            raise UsageError(f"Uniform: from {self.low} to {self.high}; ascending")

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(self.low, self.high, shape)


Distribution = Normal | LogNormal | Uniform

_TRIES = 1_000
"""Values that are outside the bounds are drawn again so many times."""


def mean(value: float | Distribution) -> float:
    """A number itself, or the mean of a distribution without its bounds, kept within them."""
    if isinstance(value, Distribution):
        return min(max(value.mean, value.low), value.high)
    return value


def draw(value: Any, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of a number, an array or a distribution, float64 in this shape."""
    if isinstance(value, Distribution):
        return value.draw(rng, shape)
    return np.broadcast_to(np.asarray(value, np.float64), shape)


def _check(value: Distribution, *fields: str) -> None:
    for field in fields:
        number = getattr(value, field)
        if not is_number(number) or not math.isfinite(number):
            raise UsageError(f"{type(value).__name__}.{field}: {number!r}; a finite number")


def _check_bounds(value: Normal | LogNormal) -> None:
    low, high = value.low, value.high
    if not (is_number(low) and is_number(high) and low < high):
        raise UsageError(f"{type(value).__name__}: from {low!r} to {high!r}; ascending bounds")


def _within(value: Normal | LogNormal, sample: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Samples of which those outside the bounds have been drawn again.

    Raises:
      UsageError: hardly any value is within the bounds.
    """
    drawn = sample(math.prod(shape))
    outside = np.flatnonzero((drawn < value.low) | (drawn > value.high))
    for _ in range(_TRIES):
        if not outside.size:
            return drawn.reshape(shape)
        drawn[outside] = sample(outside.size)
        again = drawn[outside]
        outside = outside[(again < value.low) | (again > value.high)]
    raise UsageError(f"{value}: hardly any value is between its bounds; wider ones")
