"""Sources: spikes at rates, spikes in a list, arrays, and the standard stimuli."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array
from numpy.typing import ArrayLike

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.model import noise as draws
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.spec import Spec
from cerebellum.sim.drive.currents import Current, CurrentFunction
from cerebellum.sim.drive.targets import Cells


@struct.dataclass(kw_only=True)
class Moment:
    """One step of a run."""

    key: Array
    """random key of the run, uint32 [2]"""
    step: Array
    """number of the step, int32 scalar"""
    dt: float = struct.field(pytree_node=False)
    """time step, ms"""


@documented
@struct.dataclass
class Poisson:
    """Independent spikes at rates that change at given times."""

    PER_CELL = ("rates", "weight")
    """fields whose last axis is the cells, or one value for all"""

    rates: Array
    """Hz, [K, N] or [K, 1]"""
    starts: Array | np.ndarray
    """times in ms since step zero of the state, ascending, [K]; row k applies from starts[k] on.
    As float64 of NumPy they are exact at any time; float32 is refused where it cannot tell steps
    apart."""
    weight: Any = None
    """weight of a spike at a receptor, in the unit of the model's weights: a number, or one a cell,
    [N]; None for relays"""
    cells: Cells = struct.field(pytree_node=False, default=None)
    """the cells that the source is for: a mask, their numbers or a slice; `rates` and `weight` are
    theirs. None: all cells."""


@documented
@struct.dataclass
class RateFunction:
    """Independent spikes at the rates that `function(t_ms, *arguments)` returns, Hz, [N].

    The function gets a float32 time, which cannot tell steps apart in a long run: that is refused,
    unless the time begins anew by `start_ms` or `period_ms`.

    A function with other code, or that reads other values, compiles a new program, so values that
    change between runs belong into `arguments`.
    """

    PER_CELL = ("weight", "cells")

    function: Callable[..., Array] = struct.field(pytree_node=False)
    arguments: tuple[Any, ...] = ()
    start_ms: float = struct.field(pytree_node=False, default=0.0)
    """the time since step zero of the state at which the function's own time is zero, ms"""
    period_ms: float | None = struct.field(pytree_node=False, default=None)
    """the function's own time begins anew after so many ms; None: never"""
    weight: Any = None
    """weight of a spike at a receptor, as of `Poisson`"""
    cells: Any = None
    """the cells that the source is for, as of `Poisson`; the function returns their rates"""


@documented
@dataclass(frozen=True)
class SpikeTimes:
    """A list of spikes, in any order. A spike at time t is emitted by the step in which t lies, or
    that ends at t.

    Lists, arrays of NumPy and arrays of JAX are taken.
    """

    neuron: Any
    """number of the cell that fires, int [spikes]; with `cells`, the place among these"""
    time_ms: Any
    """time in ms since step zero of the state, [spikes]"""
    weight: Any = None
    """weight at a receptor, in the unit of the model's weights: a number, or one a spike, [spikes];
    None for relays"""
    cells: Cells = None
    """the cells that the source is for, as of `Poisson`"""

    def __post_init__(self):
        """Turn lists into arrays."""
        for field, empty in (("neuron", np.int64), ("time_ms", np.float64)):
            given = getattr(self, field)
            if isinstance(given, list | tuple | range):
                try:
                    array = np.asarray(given) if len(given) else np.zeros(0, empty)
                except ValueError:
                    raise UsageError(f"SpikeTimes: {field} is ragged; a flat list") from None
                object.__setattr__(self, field, array)


@documented
@dataclass(frozen=True)
class Values:
    """An array of spikes, currents or weights, one row a step from the call on."""

    values: Any
    """[time, k], [time, 1], or with an axis of copies in front"""
    cells: Cells = None
    """the cells that the source is for, as of `Poisson`"""


Source = Poisson | RateFunction | SpikeTimes | Current | CurrentFunction | Values
Single = Source | Array | np.ndarray | float
Drive = Mapping[str, Single | Sequence[Single]]


def poisson(rate_hz: ArrayLike, *, weight: ArrayLike | None = None, cells: Cells = None) -> Poisson:
    """A source with constant rates, Hz: one rate for all cells, or [N].

    Args:
      weight: weight of each spike, for a receptor ("golgi.r1"): a number, or one a cell, [N]. A
        cell may then receive several spikes in a step.
      cells: the cells that the source is for: a mask, their numbers or a slice.

    Raises:
      UsageError: the rates have more than one axis.
    """
    if np.asarray(rate_hz).dtype.kind not in "iuf":
        raise UsageError(f"rate_hz: {rate_hz!r}; Hz, one rate, or one a cell")
    if np.ndim(rate_hz) > 1:
        raise UsageError(f"rate_hz: {np.shape(rate_hz)}; one rate, or one a cell")
    rates = jnp.atleast_2d(jnp.asarray(rate_hz, jnp.float32))
    return Poisson(rates=rates, starts=np.zeros(1), weight=weight, cells=cells)


def array(values: Array | np.ndarray, *, cells: Cells = None) -> Values:
    """An array [time, k] for some cells: spikes (0 or 1), a current, or weights at a receptor.

    Args:
      values: one row a step from the call on; one column for each chosen cell, or one for all.
      cells: the cells that the source is for: a mask, their numbers or a slice.
    """
    return Values(values, cells)


def burst(
    size: int,
    background_hz: float,
    burst_hz: float,
    start_ms: float,
    stop_ms: float,
    cells: int | np.ndarray,
    *,
    beams: int = 1,
    weight: Any = None,
) -> Poisson:
    """A background rate in all cells, and a higher rate in some of them between two times.

    Args:
      cells: the cells that burst: a mask (bool [N]), or their number. A number is divided evenly
        among the beams (see `Spec.beams`), and the first cells of each beam burst.
      weight: the weight of a spike at a receptor, as of `Poisson`; None for relays.

    Raises:
      UsageError: a rate is negative, the times are not in order, or the cells do not fit the size.
    """
    for name, value in (("size", size), ("beams", beams)):
        if not is_whole(value) or value < 1:
            raise UsageError(f"{name}: {value!r}; a whole number, at least 1")
    for name, value in (("background_hz", background_hz), ("burst_hz", burst_hz)):
        if not is_number(value) or not 0 <= value < float("inf"):
            raise UsageError(f"{name}: {value!r}; Hz, zero or more")
    times = start_ms, stop_ms
    if not all(map(is_number, times)) or not 0 <= start_ms < stop_ms < float("inf"):
        raise UsageError(f"burst: from {start_ms!r} to {stop_ms!r} ms; ascending, from 0 on")
    if isinstance(cells, (np.ndarray, Array)) and np.ndim(cells):
        if cells.shape != (size,) or cells.dtype != bool:
            raise UsageError(f"cells: {cells.dtype} {list(cells.shape)}; a mask, bool [{size}]")
        bursting = np.asarray(cells)
    elif not is_whole(cells) or not 0 <= cells <= size:
        raise UsageError(f"cells: {cells!r}; a mask, or a whole number from 0 to {size}")
    else:
        beam = -(-size // beams)
        bursting = np.arange(size) % beam < cells * beam / size
    # In NumPy, because JAX would compile a program for each operation.
    low = np.full(size, background_hz, np.float32)
    high = np.where(bursting, np.float32(burst_hz), low)
    rows, starts = [low, high, low], [0.0, start_ms, stop_ms]
    if start_ms == 0:
        rows, starts = rows[1:], starts[1:]
    return Poisson(rates=jax.device_put(np.stack(rows)), starts=np.array(starts), weight=weight)


def standard(
    protocol: Protocol, spec: Spec, key: Array | int, *, with_burst: bool = True
) -> dict[str, Source]:
    """The standard stimulus of a preset for a circuit that was built from it.

    Args:
      protocol: `presets.PRESETS[name].protocol`.
      key: the key, or seed, with which the circuit is built; a burst may depend on the positions
        of cells.

    Raises:
      UsageError: `protocol` is none, or the circuit lacks the population that it drives.
    """
    if not isinstance(protocol, Protocol):
        kind = type(protocol).__name__
        right = "its .protocol" if hasattr(protocol, "protocol") else "a presets.Protocol"
        raise UsageError(f"protocol: {kind}; {right}")
    if not with_burst:
        return {protocol.input: poisson(protocol.background_hz)}
    size, bursting = spec.population(protocol.input).size, protocol.bursting
    return {
        protocol.input: burst(
            size,
            protocol.background_hz,
            protocol.burst_hz,
            *protocol.burst_ms,
            cells=bursting(draws.key_of(key)) if callable(bursting) else round(bursting * size),
            beams=spec.beams,
        )
    }
