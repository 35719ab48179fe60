"""Currents into cells, over time: pA, or mV for cells of the model `current`.

A current is constant during a step: it has the value of the time at which the step begins.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax
from numpy.typing import ArrayLike

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number
from cerebellum.model import noise as random
from cerebellum.model.noise import CellRange
from cerebellum.sim.drive.targets import Cells

APART = 16.2
"""Points of a noise that are so many of its time constants apart are drawn independently. Their
correlation would be exp(-16.2) = 1e-7, which float32 does not resolve."""
LEVELS = 30
"""Most halvings of the interval between such points: steps are int32."""


@documented
@dataclass(frozen=True)
class Current:
    """A current over time; `current`, `step_current`, `ramp`, `sine` and `noise` make one."""

    kind: str
    """one of "constant", "step", "ramp", "sine", "noise" """
    values: dict[str, Any]
    """what may differ from cell to cell: one value, or one a cell, [N]"""
    numbers: dict[str, float] = field(default_factory=dict)
    """what is the same for all cells: times in ms, or Hz"""
    cells: Cells = None
    """the cells that the current is for: a mask, their numbers or a slice; None: all cells"""


@documented
@struct.dataclass
class CurrentFunction:
    """The current that `function(t_ms, *arguments)` returns, one value or [N].

    The time is as in `RateFunction`, and values that change between runs belong into `arguments`.
    """

    PER_CELL = ("cells",)

    function: Callable[..., Array] = struct.field(pytree_node=False)
    arguments: tuple[Any, ...] = ()
    start_ms: float = struct.field(pytree_node=False, default=0.0)
    """the time since step zero of the state at which the function's own time is zero, ms"""
    period_ms: float | None = struct.field(pytree_node=False, default=None)
    """the function's own time begins anew after so many ms; None: never"""
    cells: Any = None
    """the cells that the current is for: a mask, their numbers or a slice; the function returns
    their values. None: all cells."""


@struct.dataclass
class Wave:
    """A `Current` of a circuit, as it is computed on the device: times are in steps."""

    PER_CELL = ("values",)

    kind: str = struct.field(pytree_node=False)
    values: dict[str, Array]
    """float32 [N] or [1]"""
    numbers: dict[str, Array]


def current(values: ArrayLike, *, cells: Cells = None) -> Current:
    """A constant current: one value for all cells, or [N], one for each.

    Args:
      values: pA; mV for `current` cells.
      cells: the cells that it is for: a mask, their numbers or a slice; `values` are then theirs.
    """
    return Current("constant", _values(values=values), cells=cells)


def step_current(
    amplitude: ArrayLike,
    start_ms: float,
    stop_ms: float | None = None,
    *,
    cells: Cells = None,
) -> Current:
    """A current from `start_ms` on, up to `stop_ms` (None: for ever); zero otherwise.

    Args:
      amplitude: pA; mV for `current` cells. One value, or one a cell.
      start_ms, stop_ms: since step zero of the state.
    """
    times = _times(start_ms, np.inf if stop_ms is None else stop_ms)
    return Current("step", _values(amplitude=amplitude), times, cells)


def ramp(
    start_value: ArrayLike,
    stop_value: ArrayLike,
    start_ms: float,
    stop_ms: float,
    *,
    cells: Cells = None,
) -> Current:
    """A current that goes from one value to another between two times, in a straight line.

    It has the first value before, and the last value afterwards.

    Args:
      start_value, stop_value: pA; mV for `current` cells. One value, or one a cell.
      start_ms, stop_ms: since step zero of the state.
    """
    values = _values(start_value=start_value, stop_value=stop_value)
    times = _times(start_ms, stop_ms)
    if times["stop_ms"] == np.inf:
        raise UsageError("stop_ms: inf; finite, ms")
    return Current("ramp", values, times, cells)


def sine(
    amplitude: ArrayLike,
    frequency_hz: float,
    phase: ArrayLike = 0.0,
    offset: ArrayLike = 0.0,
    *,
    cells: Cells = None,
) -> Current:
    """The current offset + amplitude sin(2 pi frequency t + phase), exact in a run of any length.

    Args:
      amplitude, offset: pA; mV for `current` cells. One value, or one a cell.
      frequency_hz: one number; at most half a cycle in a step.
      phase: in radians. One value, or one a cell.
    """
    if not is_number(frequency_hz) or not 0 <= frequency_hz < np.inf:
        raise UsageError(f"frequency_hz: {frequency_hz!r}; one number, Hz, zero or more")
    values = _values(amplitude=amplitude, phase=phase, offset=offset)
    return Current("sine", values, {"frequency_hz": float(frequency_hz)}, cells)


def noise(
    mean: ArrayLike,
    sd: ArrayLike,
    tau_ms: float,
    *,
    cells: Cells = None,
) -> Current:
    """Ornstein-Uhlenbeck noise, stationary from step zero on and independent between cells.

    Its values at the steps are normal, and their correlation is exp(-|t - s| / tau_ms) to 1e-7.
    They depend on the key of the run, the step and the cell alone, so they are the same however a
    run is divided. A step draws log2(16 tau_ms / dt) + 2 normal numbers a cell.

    Args:
      mean, sd: pA; mV for `current` cells. One value, or one a cell.
      tau_ms: correlation time.
    """
    values = _values(mean=mean, sd=sd)
    if (values["sd"] < 0).any():
        raise UsageError(f"sd: {values['sd'].min():g}; zero or more")
    if not is_number(tau_ms) or not 0 < tau_ms < np.inf:
        raise UsageError(f"tau_ms: {tau_ms!r}; one number, above zero")
    return Current("noise", values, {"tau_ms": float(tau_ms)}, cells)


def _values(**given: Any) -> dict[str, np.ndarray]:
    """Values that may differ from cell to cell, float32 [1] or [N].

    Raises:
      UsageError: some are no finite numbers, or have more than one axis.
    """
    values = {}
    for name, value in given.items():
        try:
            numbers = np.asarray(value)
        except ValueError:
            raise UsageError(f"{name}: ragged; one value, or one a cell") from None
        if numbers.dtype.kind not in "iuf" and numbers.dtype != jnp.bfloat16:
            raise UsageError(f"{name}: {value!r}; numbers, one value, or one a cell")
        if numbers.ndim > 1 or not numbers.size:
            raise UsageError(f"{name}: {list(numbers.shape)}; one value, or one a cell")
        wrong = ~(np.abs(numbers.astype(np.float64)) <= np.finfo(np.float32).max)
        if wrong.any():
            raise UsageError(f"{name}: {np.atleast_1d(numbers)[np.atleast_1d(wrong)][0]}; finite")
        values[name] = np.atleast_1d(numbers.astype(np.float32))
    return values


def _times(start_ms: float, stop_ms: float) -> dict[str, float]:
    """Two times, if they are in order."""
    given = start_ms, stop_ms
    if not all(map(is_number, given)) or not 0 <= start_ms < stop_ms or start_ms == np.inf:
        raise UsageError(f"start_ms, stop_ms: {start_ms!r}, {stop_ms!r}; ascending, ms, from 0 on")
    return {"start_ms": float(start_ms), "stop_ms": float(stop_ms)}


def halvings(tau_steps: float) -> int:
    """How often the interval between independent points of a noise is halved.

    Args:
      tau_steps: its time constant, in steps.
    """
    return max(0, int(np.ceil(np.log2(APART * tau_steps))))


def bridge(tau_steps: float) -> tuple[np.ndarray, np.ndarray]:
    """The midpoint of a noise between two known values, at each level of halving, [LEVELS].

    Given values a and b at the ends of an interval, the process in its middle is normal, with mean
    (a + b) pull and standard deviation width. Level k is for intervals of 2**(k + 1) steps.
    """
    half = 2.0 ** np.arange(LEVELS) / tau_steps
    pull = 0.5 / np.cosh(np.minimum(half, 700.0))
    return pull.astype(np.float32), np.sqrt(np.tanh(half)).astype(np.float32)


def value_of(wave: Wave, use: Array, step: Array, cells: CellRange) -> Array:
    """A current in a step, float32 [n] or [1]; it depends on the arguments alone.

    Args:
      use: key of what the current draws, uint32 [2].
      step: int32 scalar.
      cells: the cells, by their numbers in the whole circuit.
    """
    return KINDS[wave.kind](wave.values, wave.numbers, use, step, cells)


def _constant(values, numbers, use, step, cells):
    return values["values"]


def _step(values, numbers, use, step, cells):
    on = (step >= numbers["first"]) & (step < numbers["last"])
    return jnp.where(on, values["amplitude"], 0.0)


def _ramp(values, numbers, use, step, cells):
    done = (step - numbers["first"]).astype(jnp.float32)
    share = jnp.clip(done / (numbers["last"] - numbers["first"]).astype(jnp.float32), 0, 1)
    first, last = values["start_value"], values["stop_value"]
    # Its ends are exact.
    return jnp.where(share < 1, first + (last - first) * share, last)


def _sine(values, numbers, use, step, cells):
    cycles = _turned(step.astype(jnp.uint32), numbers["high"], numbers["low"])
    angle = cycles.astype(jnp.float32) * np.float32(2 * np.pi * 2.0**-32) + values["phase"]
    return values["offset"] + values["amplitude"] * jnp.sin(angle)


def _turned(step: Array, high: Array, low: Array) -> Array:
    """The upper word of step * (high, low) modulo 2**64, uint32: the part of a cycle that is done.

    Args:
      high, low: the part of a cycle that a step takes, in units of 2**-64: two words.
    """
    half = jnp.uint32(0xFFFF)
    a, b, c, d = step >> 16, step & half, low >> 16, low & half
    middle = ((b * d) >> 16) + ((a * d) & half) + ((b * c) & half)
    carried = a * c + ((a * d) >> 16) + ((b * c) >> 16) + (middle >> 16)
    return step * high + carried


def _noise(values, numbers, use, step, cells):
    """Halve the interval between two independent points until it is the step itself.

    Every step is the midpoint of one interval, so its normal number is that of its own number.
    """

    levels, now = numbers["levels"].astype(jnp.int32), step.astype(jnp.uint32)
    length = jnp.uint32(1) << numbers["levels"]
    first = (now >> numbers["levels"]) << numbers["levels"]

    def halve(index: Array, interval):
        # The first two rounds draw the ends.
        left, before, after = interval
        level = jnp.maximum(levels + 1 - index, 0)
        half = jnp.uint32(1) << level.astype(jnp.uint32)
        middle = left + jnp.where(index == 0, 0, jnp.where(index == 1, length, half))
        normal = random.normal(random.fold(use, middle), cells.numbers)
        between = (before + after) * numbers["pull"][level] + numbers["width"][level] * normal
        late = now >= middle
        value = jnp.where(index < 2, normal, between)
        return (
            jnp.where(late & (index > 1), middle, left),
            jnp.where((index == 0) | ((index > 1) & late), value, before),
            jnp.where((index == 1) | ((index > 1) & ~late), value, after),
        )

    none = jnp.zeros(cells.size)
    value = lax.fori_loop(jnp.int32(0), levels + 2, halve, (first, none, none))[1]
    return values["mean"] + values["sd"] * value


KINDS = {"constant": _constant, "step": _step, "ramp": _ramp, "sine": _sine, "noise": _noise}
"""How each kind of current is computed."""
