"""The synapses of a projection one by one, as a laboratory has them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model import events
from cerebellum.model.delays import GRID

Multapses = Literal["keep", "merge"]
"""What happens to several synapses of one pair of cells: each is kept, or those with the same delay
become one synapse with the sum of their weights."""

LONGEST = 65_000
"""Most steps of a delay; delays are kept in uint16."""
LONGEST_MS = 1_000.0
"""No conduction delay is longer; a longer one is a mistake of units."""


@dataclass(frozen=True, eq=False, repr=False)
class Edges:
    """The synapses of a projection: one entry each, in any order.

    Attributes:
      pre: source cells, integers [synapses].
      post: target cells, integers [synapses].
      weight: weight of each synapse [synapses], or one for all, in the unit of the projection's
        weight; None for that weight.
      delay: delay of each synapse [synapses], or one for all, ms, whole steps; None for the
        projection's delay.
      multapses: "keep" or "merge", see `Multapses`.
    """

    pre: Any
    post: Any
    weight: Any = None
    delay: Any = None
    multapses: Multapses = "keep"

    def __post_init__(self):
        for field in ("pre", "post"):
            object.__setattr__(self, field, _cells(field, getattr(self, field)))
        if self.pre.size != self.post.size:
            raise UsageError(f"edges: {self.pre.size} pre and {self.post.size} post; as many")
        for field in ("weight", "delay"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, _numbers(field, value, self.pre.size))
        if self.multapses not in get_args(Multapses):
            known = ", ".join(get_args(Multapses))
            raise UsageError(f"edges: multapses {self.multapses!r}; one of {known}")

    def __len__(self) -> int:
        return self.pre.size

    def __repr__(self) -> str:
        def shown(value: Any, unit: str) -> str:
            if value is None:
                return "that of the projection"
            if not np.ndim(value):
                return f"{float(value):g}{unit}"
            return f"{value.min():g} to {value.max():g}{unit}" if value.size else "none"

        return (
            f"Edges({len(self):,} synapses, weight {shown(self.weight, '')}, "
            f"delay {shown(self.delay, ' ms')})"
        )

    @classmethod
    def from_table(
        cls,
        table: Mapping[str, Any],
        *,
        pre: str = "pre",
        post: str = "post",
        weight: str | None = "weight",
        delay: str | None = "delay",
        multapses: Multapses = "keep",
    ) -> "Edges":
        """Edges from the columns of a table: a pandas or Polars frame, or a dictionary of arrays.

        Args:
          pre, post, weight, delay: names of the columns; None for no column of weights or delays.

        Raises:
          UsageError: there is no column of that name.
        """
        columns = {}
        for field, name in (("pre", pre), ("post", post), ("weight", weight), ("delay", delay)):
            if name is None:
                continue
            if name not in table:
                known = ", ".join(map(str, getattr(table, "columns", table)))
                raise UsageError(f"edges: column {name!r} for {field}; the table has {known}")
            columns[field] = np.asarray(table[name])
        return cls(**columns, multapses=multapses)

    def checked(self, where: str, sources: int, targets: int, dt: float) -> None:
        """Raise UsageError if these are no edges between so many cells, or delays are off the grid.

        Args:
          where: what they are the edges of, for the message.
          dt: time step, ms.
        """
        for cells, end, size in ((self.pre, "pre", sources), (self.post, "post", targets)):
            if cells.size and (cells.min() < 0 or cells.max() >= size):
                wrong = cells[(cells < 0) | (cells >= size)][0]
                raise UsageError(f"{where}: {end} {wrong}; numbered 0 to {size - 1}")
        if self.weight is not None:
            weight = np.atleast_1d(self.weight)
            wrong = ~((weight >= 0) & (weight <= np.finfo(np.float32).max))
            if wrong.any():
                raise UsageError(
                    f"{where}: weight {weight[wrong][0]:g}; finite, zero or more (the receptor has "
                    "the sign)"
                )
        if self.delay is not None:
            check_delays(np.atleast_1d(self.delay), where, dt)

    def steps(self, dt: float, otherwise: int) -> np.ndarray:
        """Delays in steps, int64 [synapses]; `otherwise` where no delay is given."""
        given = otherwise if self.delay is None else np.round(self.delay / dt).astype(np.int64)
        return np.broadcast_to(np.asarray(given, np.int64), self.pre.shape)


def check_delays(delay: np.ndarray, where: str, dt: float) -> None:
    """Raise UsageError if delays (ms) are not whole steps of `dt`, or out of range."""
    steps, most = delay / dt, min(LONGEST * dt, LONGEST_MS)
    wrong = ~((steps > 1 - GRID) & (delay <= most))
    if wrong.any():
        raise UsageError(
            f"{where}: delay {delay[wrong][0]:g} ms; from one step of {dt:g} ms to {most:g} ms"
        )
    off = np.abs(steps - np.round(steps)) > GRID
    if off.any():
        nearest = np.round(steps[off][0]) * dt
        raise UsageError(
            f"{where}: delay {delay[off][0]:g} ms; a multiple of the step of {dt:g} ms, such as "
            f"{nearest:g}"
        )


def merged(
    pre: np.ndarray, post: np.ndarray, weight: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Synapses after those of one pair with the same delay have become one, weights summed.

    Args:
      weight: float32 [synapses].
      steps: delays in steps, [synapses].
    """
    order = np.lexsort((steps, post, pre))
    pre, post, weight, steps = pre[order], post[order], weight[order], steps[order]
    new = np.ones(pre.size, bool)
    new[1:] = (np.diff(pre) != 0) | (np.diff(post) != 0) | (np.diff(steps) != 0)
    first = np.flatnonzero(new)
    summed = np.add.reduceat(weight.astype(np.float64), first) if first.size else weight
    return pre[first], post[first], summed.astype(np.float32), steps[first]


def of_fan(
    fan: events.Fan,
    weights: np.ndarray,
    sizes: tuple[int, int],
    dt: float,
    steps: int,
    built: np.ndarray | None = None,
) -> Edges:
    """The synapses of a projection, by source cell and then by target cell.

    Args:
      built: the weights with which rows were built: a contact exists where they are not zero, also
        if its weight has become so. None for the weights themselves.
      weights: weights of the projection: a scalar, [N, F] for lists or [N, R] for rows, in which
        zeros are contacts that do not exist; uint16 in units of the fan.
      sizes: numbers of source and target cells.
      dt: time step, ms.
      steps: delay of the projection in steps.
    """
    sources, targets = sizes
    if isinstance(fan, events.FanOut):
        lists = np.asarray(fan.targets)
        used = lists < targets
        pre, place = np.nonzero(used)
        weight = weights[pre, place] if weights.ndim else np.full(pre.size, weights)
        own = steps if fan.delays is None else np.asarray(fan.delays)[pre, place].astype(np.int64)
        delay = np.broadcast_to(np.asarray(own) * dt, pre.shape)
        return Edges(pre, lists[used].astype(np.int64), weight, delay)
    unit = fan.unit if weights.dtype == np.uint16 else 1.0
    rows = weights if weights.ndim else np.full((sources, -(-targets // fan.beams)), weights)
    pre, column = np.nonzero(rows if built is None else built)
    post = column + pre // -(-sources // fan.beams) * rows.shape[1]
    return Edges(pre, post, rows[pre, column] * np.float64(unit), np.full(pre.size, steps * dt))


def _cells(field: str, value: Any) -> np.ndarray:
    """Cell numbers, or UsageError."""
    cells = np.asarray(value)
    if cells.ndim != 1:
        raise UsageError(f"edges: {field} {list(cells.shape)}; one cell number a synapse")
    if cells.size and not np.issubdtype(cells.dtype, np.integer):
        raise UsageError(f"edges: {field} is {cells.dtype}; whole numbers of cells")
    return cells if cells.size else cells.astype(np.int64)


def _numbers(field: str, value: Any, size: int) -> np.ndarray:
    """Weights or delays, float64 [size] or a scalar, or UsageError."""
    try:
        numbers = np.asarray(value)
    except ValueError:
        numbers = np.empty(0, object)
    if numbers.dtype.kind not in "iuf":
        raise UsageError(f"edges: {field} {value!r}; numbers")
    if numbers.shape not in ((), (size,)):
        raise UsageError(f"edges: {field} {list(numbers.shape)}; [{size}], one a synapse")
    return numbers.astype(np.float64)
