"""Numbers that differ from cell to cell, or from synapse to synapse: given ones, or drawn ones.

A field of a spec that takes such values holds a number, a `PerCell` array, or a distribution. All
three are frozen and hashable, because a spec is static. `anatomy.build` draws the distributions.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import registry

LEAST_SHARE = 1e-3
"""The least share of a distribution that its bounds may keep: values beyond them are drawn again,
which would take long where hardly any is kept."""


class Distribution(ABC):
    """What gives one number per cell or synapse; `Normal`, `LogNormal`, `Uniform` or a user's own.

    Subclasses are frozen dataclasses of plain numbers.
    """

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw so many numbers, float64 [count], in the unit of the field."""

    @property
    @abstractmethod
    def typical(self) -> float:
        """One number that stands for all, such as the mean."""

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the largest number that may be drawn; infinite where there is none."""
        return -math.inf, math.inf


class _Bounded(Distribution):
    """A distribution by its mean, whose values outside its bounds are drawn again."""

    mean: float
    sd: float
    low: float
    high: float

    @abstractmethod
    def unbounded(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw numbers of which some may be outside the bounds."""

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = self.unbounded(rng, count)
        outside = np.flatnonzero((drawn < self.low) | (drawn > self.high))
        while outside.size:
            again = self.unbounded(rng, outside.size)
            drawn[outside] = again
            outside = outside[(again < self.low) | (again > self.high)]
        return drawn

    @property
    def typical(self) -> float:
        return min(max(self.mean, self.low), self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        return (self.mean, self.mean) if self.sd == 0 else (self.low, self.high)


@documented
@dataclass(frozen=True)
class Normal(_Bounded):
    """Normal about `mean`; values outside `low` to `high` are drawn again, not clipped."""

    mean: float
    """mean before values are drawn again, in the unit of the field"""
    sd: float
    """standard deviation before values are drawn again, zero or more"""
    low: float = -math.inf
    """least value"""
    high: float = math.inf
    """largest value"""

    def __post_init__(self):
        _check_bounds(self)

    def unbounded(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.normal(self.mean, self.sd, count)


@documented
@dataclass(frozen=True)
class LogNormal(_Bounded):
    """Log-normal, by the mean and standard deviation of the values themselves.

    Values outside `low` to `high` are drawn again, not clipped.
    """

    mean: float
    """mean of the values (not of their logarithms) before values are drawn again, above zero"""
    sd: float
    """standard deviation of the values before values are drawn again, zero or more"""
    low: float = 0.0
    """least value"""
    high: float = math.inf
    """largest value"""

    def __post_init__(self):
        _check_bounds(self)

    @property
    def of_logarithm(self) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of the values."""
        variance = math.log1p((self.sd / self.mean) ** 2)
        return math.log(self.mean) - variance / 2, math.sqrt(variance)

    def unbounded(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.lognormal(*self.of_logarithm, count)


@documented
@dataclass(frozen=True)
class Uniform(Distribution):
    """Uniform between `low` and `high`."""

    low: float
    """least value, in the unit of the field"""
    high: float
    """largest value"""

    def __post_init__(self):
        _take_numbers(self)
        if not -math.inf < self.low <= self.high < math.inf:
            raise UsageError(f"Uniform: from {self.low} to {self.high}; finite, low to high")

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.uniform(self.low, self.high, count)

    @property
    def typical(self) -> float:
        return (self.low + self.high) / 2

    @property
    def bounds(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass(frozen=True)
class Scaled(Distribution):
    """What another distribution draws, times a factor above zero."""

    distribution: Distribution
    factor: float

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return self.factor * np.asarray(self.distribution.draw(rng, count))

    @property
    def typical(self) -> float:
        return self.factor * self.distribution.typical

    @property
    def bounds(self) -> tuple[float, float]:
        low, high = self.distribution.bounds
        return self.factor * low, self.factor * high


OWN = (Normal, LogNormal, Uniform)
"""The distributions of the package whose fields are all in the unit of what they draw."""

DISTRIBUTIONS: dict[str, type] = {each.__name__: each for each in (*OWN, Scaled)}
"""Classes of distributions by name; `cerebellum.register("distribution", name, class)` adds one."""


def wrong(thing: Any) -> str | None:
    """What a class lacks to be a distribution, or None."""
    problem = registry.no_record(thing)
    if problem is None and not issubclass(thing, Distribution):
        return f"{thing.__name__}; a subclass of cb.Distribution"
    return problem


registry.table("distribution", DISTRIBUTIONS, wrong)


class PerCell:
    """An array of one number per cell (or per synapse), hashable because it cannot change."""

    __slots__ = ("_hash", "values")

    values: np.ndarray
    """float64 [N], read-only"""

    def __init__(self, values: Any, where: str = "values"):
        """Keep a copy of the values.

        Args:
          values: numbers [N]: a list, tuple, NumPy array or JAX array.
          where: what the values are of, for messages.

        Raises:
          UsageError: they are no list of finite numbers.
        """
        try:
            given = np.asarray(values)
        except (TypeError, ValueError):
            raise UsageError(f"{where}: {_short(values)}; one number a cell") from None
        if given.ndim != 1 or given.dtype.kind not in "iuf":
            raise UsageError(f"{where}: {given.dtype} {list(given.shape)}; one number a cell, [N]")
        kept = given.astype(np.float64)
        if not np.isfinite(kept).all():
            wrong = int(np.flatnonzero(~np.isfinite(kept))[0])
            raise UsageError(f"{where}: number {wrong} is {kept[wrong]}; finite numbers")
        kept.flags.writeable = False
        object.__setattr__(self, "values", kept)
        object.__setattr__(self, "_hash", hash(kept.tobytes()))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"PerCell.{name} cannot be changed")

    def __len__(self) -> int:
        return self.values.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=True if copy is None else copy)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, PerCell) or self._hash != other._hash:
            return False
        return np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self):
        return PerCell, (self.values,)

    def __repr__(self) -> str:
        if not len(self):
            return "PerCell([])"
        low, high = self.values.min(), self.values.max()
        return f"PerCell({len(self)} values, {low:g} to {high:g})"


Value = float | Distribution | PerCell
"""One number, or what gives one number per cell or synapse."""


def plain(record: Any) -> None:
    """Turn the NumPy numbers in the fields of a record into numbers of Python, which are hashable
    and can be stored."""
    for field, value in vars(record).items():
        if isinstance(value, (np.integer, np.floating)):
            object.__setattr__(record, field, value.item())


def is_number(value: Any) -> bool:
    """Whether a value is one number of Python; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def hashable(value: Any, where: str = "values") -> Any:
    """A value as a static record can hold it: NumPy's numbers as Python's, arrays as `PerCell`.

    Args:
      value: a number, a distribution, a list or an array. Whatever else it is, it is returned
        as it is, for the caller to refuse by name.
      where: what the value is of, for messages.

    Raises:
      UsageError: a list or an array is not one of finite numbers.
    """
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if isinstance(value, (np.ndarray, Array)):
        if not value.ndim and value.dtype.kind in "iuf":
            return value.item()
        return PerCell(value, where)
    return PerCell(value, where) if isinstance(value, list) else value


def draw(value: Any, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw the numbers that a value stands for: float64 [*shape].

    Args:
      value: a number, a distribution, or an array that can be broadcast to `shape`.
      rng: what a distribution draws from; a number and an array draw nothing.

    Raises:
      UsageError: the value is none of these, or an array has another shape; or a distribution drew
        what are no finite numbers, too few or too many, or outside its bounds.
    """
    if isinstance(value, Distribution):
        count, (low, high) = math.prod(shape), value.bounds
        drawn = np.asarray(value.draw(rng, count))
        if drawn.shape != (count,) or drawn.dtype.kind not in "iuf":
            raise UsageError(
                f"{_short(value)}: drew {drawn.dtype} {list(drawn.shape)}; numbers, [{count}]"
            )
        wrong = drawn[~(np.isfinite(drawn) & (drawn >= low) & (drawn <= high))]
        if wrong.size and type(value) not in OWN:
            raise UsageError(
                f"{_short(value)}: drew {wrong[0]:g}; finite numbers from {low:g} to {high:g}"
            )
        return drawn.astype(np.float64).reshape(shape)
    value = hashable(value)
    if is_number(value):
        return np.full(shape, value, np.float64)
    if not isinstance(value, PerCell):
        raise UsageError(f"values: {_short(value)}; a number, a distribution or an array")
    try:
        return np.broadcast_to(value.values, shape).copy()
    except ValueError:
        raise UsageError(f"values: {len(value)} of them; {math.prod(shape)}") from None


def in_fields(record: Any, where: str) -> Any:
    """The parameters of a model as a static record can hold them (see `hashable`).

    Args:
      record: the Params of a model.
      where: what they are of, for messages.
    """

    def listed(path: Any, value: Any) -> bool:
        # A tuple is a list of values, but where the model itself has a tuple of parameters.
        own = len(path) == 1 and is_number(getattr(type(record), _field(path), None))
        return isinstance(value, list) or (isinstance(value, tuple) and own)

    return jax.tree_util.tree_map_with_path(
        lambda path, value: hashable(
            list(value) if listed(path, value) else value, f"{where}.{_field(path)}"
        ),
        record,
        is_leaf=listed,
        is_leaf_takes_path=True,
    )


def fields(record: Any) -> dict[str, Value]:
    """The numbers, arrays and distributions among the parameters of a model, by field."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(record)
    return {_field(path): leaf for path, leaf in leaves}


def typical_fields(record: Any) -> Any:
    """The parameters of a model with one plain number in each field (see `typical`)."""
    return jax.tree.map(typical, record)


def _field(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def typical(value: Value) -> float:
    """One number that stands for all: the number itself, or the mean of the array or distribution.

    The mean of a distribution is that before values are drawn again, moved into its bounds.
    """
    if isinstance(value, PerCell):
        return float(value.values.mean())
    return value.typical if isinstance(value, Distribution) else value


def scaled(value: Distribution, factor: float) -> Distribution:
    """The distribution of what a distribution draws, times a factor above zero."""
    if isinstance(value, Normal | LogNormal | Uniform):
        return replace(value, **{field: factor * number for field, number in vars(value).items()})
    if isinstance(value, Scaled):
        return Scaled(value.distribution, value.factor * factor)
    return Scaled(value, factor)


def largest(value: Value) -> float:
    """The largest number that a value can stand for; infinite for a distribution without bound."""
    if isinstance(value, PerCell):
        return float(value.values.max())
    return value.bounds[1] if isinstance(value, Distribution) else value


def least(value: Value) -> float:
    """The least number that a value can stand for; minus infinity where there is no bound."""
    if isinstance(value, PerCell):
        return float(value.values.min())
    return value.bounds[0] if isinstance(value, Distribution) else value


def _take_numbers(record: Any) -> None:
    """Check that the fields of a distribution are numbers, and keep them as numbers of Python."""
    for field, value in vars(record).items():
        value = value.item() if isinstance(value, (np.integer, np.floating)) else value
        if not is_number(value) or math.isnan(value):
            raise UsageError(f"{type(record).__name__}.{field}: {_short(value)}; a number")
        object.__setattr__(record, field, float(value))


def _check_bounds(value: Normal | LogNormal) -> None:
    _take_numbers(value)
    name = type(value).__name__
    positive = isinstance(value, LogNormal)
    if not math.isfinite(value.mean) or (positive and value.mean <= 0):
        raise UsageError(f"{name}.mean: {value.mean:g}; finite" + ", above zero" * positive)
    if not 0 <= value.sd < math.inf:
        raise UsageError(f"{name}.sd: {value.sd:g}; finite, zero or more")
    if not value.low <= value.high:
        raise UsageError(f"{name}: low {value.low:g}, high {value.high:g}; low to high")
    if value.sd == 0:
        share = float(value.low <= value.mean <= value.high)
    elif isinstance(value, LogNormal):
        mean, sd = value.of_logarithm
        ends = [math.log(end) if end > 0 else -math.inf for end in (value.low, value.high)]
        share = _share(ends[0], ends[1], mean, sd)
    else:
        share = _share(value.low, value.high, value.mean, value.sd)
    if share < LEAST_SHARE:
        raise UsageError(
            f"{name}: {share:.2g} of the values lie between {value.low:g} and {value.high:g}; at "
            f"least {LEAST_SHARE:g}"
        )


def _share(low: float, high: float, mean: float, sd: float) -> float:
    """The share of a normal distribution between two bounds."""
    below = [math.erf((end - mean) / (sd * math.sqrt(2))) / 2 for end in (low, high)]
    return below[1] - below[0]


def _short(value: Any) -> str:
    """The start of a value's representation, for a message of one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
