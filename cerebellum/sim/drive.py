"""The drive of a circuit from outside, over time.

A drive maps population names to sources. A source for a relay emits spikes; a source for other
cells is an array of injected currents in pA. Sources are

    Poisson         independent spikes at piecewise constant rates, drawn during the run
    RateFunction    independent spikes at rates that are a function of time
    SpikeTimes      a list of spikes
    an array        [time, N], one row per step: spikes (0 or 1), or a current

Times count from step zero of the state, so that a run may be divided into several calls with the
same drive. Arrays alone begin with the call.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.model import events
from cerebellum.model.delays import GRID
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.noise import CellRange
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.spec import Spec


@struct.dataclass(kw_only=True)
class Moment:
    """One step of a run."""

    key: Array
    """random key of the run, uint32 [2]"""
    step: Array
    """number of the step, int32 scalar"""
    dt: float = struct.field(pytree_node=False)
    """time step, ms"""


@struct.dataclass
class Poisson:
    """Independent spikes at rates that change at given times."""

    rates: Array
    """Hz, [K, N] or [K, 1]"""
    starts: Array | np.ndarray
    """times in ms since step zero of the state, ascending, [K]; row k applies from starts[k] on.
    As float64 of NumPy they are exact at any time; float32 is refused where it cannot tell steps
    apart."""


@struct.dataclass
class RateFunction:
    """Independent spikes at the rates that `function(t_ms, *arguments)` returns, Hz, [N].

    The function gets a float32 time, which cannot tell steps apart in a long run: that is refused,
    unless the time begins anew by `start_ms` or `period_ms`.

    Every new function compiles a new program, so values that change between runs belong into
    `arguments`.
    """

    function: Callable[..., Array] = struct.field(pytree_node=False)
    arguments: tuple[Any, ...] = ()
    start_ms: float = struct.field(pytree_node=False, default=0.0)
    """the time since step zero of the state at which the function's own time is zero, ms"""
    period_ms: float | None = struct.field(pytree_node=False, default=None)
    """the function's own time begins anew after so many ms; None: never"""


@dataclass(frozen=True)
class SpikeTimes:
    """A list of spikes, in any order. A spike at time t is emitted by the step that ends at t."""

    neuron: np.ndarray
    """number of the cell that fires, int [spikes]"""
    time_ms: np.ndarray
    """time in ms since step zero of the state, [spikes]"""


MAX_MS = 1e9
"""Latest time of a spike in `SpikeTimes`."""
LAST_STEP = 2**31 - 1
"""Steps are int32."""

log = logging.getLogger(__name__)

Source = Poisson | RateFunction | SpikeTimes | Array | np.ndarray
Drive = Mapping[str, Source]


def poisson(rate_hz: float | np.ndarray) -> Poisson:
    """A source with constant rates, Hz: one rate for all cells, or [N].

    Raises:
      UsageError: the rates have more than one axis.
    """
    if np.asarray(rate_hz).dtype.kind not in "iuf":
        raise UsageError(f"rate_hz: {rate_hz!r}; Hz, one rate, or one a cell")
    if np.ndim(rate_hz) > 1:
        raise UsageError(f"rate_hz: {np.shape(rate_hz)}; one rate, or one a cell")
    rates = jnp.atleast_2d(jnp.asarray(rate_hz, jnp.float32))
    return Poisson(rates=rates, starts=np.zeros(1))


def burst(
    size: int,
    background_hz: float,
    burst_hz: float,
    start_ms: float,
    stop_ms: float,
    cells: int | np.ndarray,
    *,
    beams: int = 1,
) -> Poisson:
    """A background rate in all cells, and a higher rate in some of them between two times.

    Args:
      cells: the cells that burst: a mask (bool [N]), or their number. A number is divided evenly
        among the beams (see `Spec.beams`), and the first cells of each beam burst.

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
        bursting = jnp.asarray(cells)
    elif not is_whole(cells) or not 0 <= cells <= size:
        raise UsageError(f"cells: {cells!r}; a mask, or a whole number from 0 to {size}")
    else:
        beam = -(-size // beams)
        bursting = jnp.arange(size) % beam < cells * beam / size
    high = jnp.where(bursting, burst_hz, background_hz)
    low = jnp.full(size, background_hz)
    if start_ms == 0:
        rates = jnp.stack([high, low]).astype(jnp.float32)
        return Poisson(rates=rates, starts=np.array([0.0, stop_ms]))
    return Poisson(
        rates=jnp.stack([low, high, low]).astype(jnp.float32),
        starts=np.array([0.0, start_ms, stop_ms]),
    )


def standard(
    protocol: Protocol, spec: Spec, key: Array, *, with_burst: bool = True
) -> dict[str, Source]:
    """The standard stimulus of a preset for a circuit that was built from it.

    Args:
      protocol: `presets.PRESETS[name].protocol`.
      key: the key with which the circuit is built; a burst may depend on the positions of cells.

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
            cells=bursting(key) if callable(bursting) else round(bursting * size),
            beams=spec.beams,
        )
    }


def read_spike_times(path: str | Path, size: int) -> SpikeTimes:
    """Read spikes from an npz with `neuron` (int) and `time_ms`, for a population of `size` cells.

    Raises:
      UsageError: the file does not exist or is not an npz, arrays are missing or differ in length,
        cells are out of range, or times are negative or not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("neuron", "time_ms")}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; an npz with neuron and time_ms") from None
    except KeyError as missing:
        raise UsageError(f"{path}: {missing.args[0]}; expected neuron and time_ms") from None
    except Exception:
        raise UsageError(f"{path}: not an npz; expected arrays neuron and time_ms") from None
    neuron, time_ms = arrays["neuron"], arrays["time_ms"]
    spikes = SpikeTimes(neuron, time_ms)
    _check_spikes(spikes, size, str(path))
    return spikes


def _check_spikes(spikes: SpikeTimes, size: int, where: str) -> None:
    """Raise UsageError if a list of spikes does not fit a population of `size` cells."""
    for name, array, kind, requirement in (
        ("neuron", spikes.neuron, np.integer, "cell numbers are integers"),
        ("time_ms", spikes.time_ms, np.number, "times are numbers"),
    ):
        if not isinstance(array, (np.ndarray, Array)) or array.ndim != 1:
            raise UsageError(f"{where}: {name} is not a flat array; one entry each a spike")
        if not np.issubdtype(array.dtype, kind):
            raise UsageError(f"{where}: {name} is {array.dtype}; {requirement}")
    if spikes.neuron.size != spikes.time_ms.size:
        raise UsageError(
            f"{where}: {spikes.neuron.size} cells and {spikes.time_ms.size} times; "
            "one entry each a spike"
        )
    outside = (spikes.neuron < 0) | (spikes.neuron >= size)
    if outside.any():
        raise UsageError(
            f"{where}: neuron {spikes.neuron[outside][0]}; cells are numbered 0 to {size - 1}"
        )
    time = np.asarray(spikes.time_ms)
    wrong = ~(np.isfinite(time) & (time >= 0) & (time < MAX_MS))
    if wrong.any():
        raise UsageError(f"{where}: time_ms {time[wrong][0]}; from 0 to 1e9 ms")


def _check_values(source: Array | np.ndarray, spikes: bool, where: str) -> None:
    """Raise UsageError if an array holds what is no current, or no spikes."""
    if isinstance(source, np.ma.MaskedArray):
        raise UsageError(f"{where}: a masked array; its `filled(0)`")
    most = np.finfo(np.float32).max
    wrong = (source != 0) & (source != 1) if spikes else ~(abs(source) <= most)
    if wrong.any():
        value = np.asarray(source)[np.asarray(wrong)][0]
        right = "spikes, 0 or 1" if spikes else "finite, pA"
        raise UsageError(f"{where}: {value:g} in an array; {right}")


def spike_steps(spikes: SpikeTimes, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The step and cell of each spike, int64 [spikes] each, ordered by step.

    A fibre fires at most once per step. If two of its spikes fall into the same step, the later one
    moves to the next free step of the fibre, so that every spike is delivered.
    """
    step = _first_step(np.asarray(spikes.time_ms), dt, 0.01) - 1
    step, cell = np.maximum(step, 0), np.asarray(spikes.neuron).astype(np.int64)
    order = np.lexsort((step, cell))
    cell, step = cell[order], step[order]
    earliest, index = step, np.arange(step.size)
    fibre = np.cumsum(np.diff(cell, prepend=cell[:1]) != 0)
    # This is a running maximum for each fibre: offsets larger than any step separate the fibres.
    offset = fibre * (int(step.max(initial=0)) + step.size + 1)
    step = np.maximum.accumulate(step - index + offset) - offset + index
    moved = step - earliest
    if moved.any():
        log.warning(
            "%d of %d spikes fell into a step that has one of their cell; they are up to %d steps "
            "late, because a cell fires once a step",
            *(np.count_nonzero(moved), step.size, moved.max()),
        )
    order = np.argsort(step, kind="stable")
    return step[order], cell[order]


def _first_step(time_ms: np.ndarray, dt: float, share: float) -> np.ndarray:
    """The first step that does not begin before each time, int64 [...].

    Args:
      share: the share of a step by which a time may be late. A float32 time may also be late by
        what float32 cannot tell.
    """
    late = np.spacing(np.abs(time_ms)).astype(np.float64) if time_ms.dtype == np.float32 else 0.0
    return np.ceil(time_ms.astype(np.float64) / dt - np.minimum(share + late / dt, 0.5)).astype(int)


def _check_resolution(time_ms: Array | np.ndarray, dt: float, where: str) -> None:
    """Raise UsageError if times are float32 and so late that float32 cannot tell steps apart."""
    time = np.asarray(time_ms)
    if time.dtype.itemsize < 8 and time.dtype.kind == "f" and time.size:
        latest = np.max(time)
        if np.spacing(latest) > dt:
            raise UsageError(
                f"{where}: {latest:.0f} ms as {time.dtype}, which has steps of "
                f"{np.spacing(latest):g} ms there; float64 of NumPy"
            )


def in_steps(source: Poisson, dt: float) -> Poisson:
    """A Poisson source whose `starts` are steps, int32, which are exact however long a run is."""
    starts = np.clip(_first_step(np.asarray(source.starts), dt, GRID), 0, LAST_STEP)
    return Poisson(rates=source.rates, starts=jnp.asarray(starts, jnp.int32))


LOOKS = 64
"""Number of times at which the rates of a function are looked at before a run."""


def _check_rates(source: RateFunction, spec: Spec, name: str, first: int, last: int) -> None:
    """Raise UsageError if a function's rates have no shape of rates, or are out of range.

    They are looked at in some of the steps from `first` to `last` - 1.
    """
    dt, size, where = spec.dt, spec.population(name).size, f"drive {name!r}"
    steps = np.unique(np.linspace(first, last - 1, LOOKS).astype(np.int32))
    times = jax.vmap(lambda step: _own_time(source, step, dt))(jnp.asarray(steps))
    rates = np.asarray(
        jax.vmap(lambda t: jnp.asarray(source.function(t, *source.arguments)))(times)
    )
    if rates.ndim > 2 or rates[0].size not in (1, size):
        raise UsageError(f"{where}: rates {list(rates.shape[1:])}; one, or [{size}]")
    rates, most = rates.reshape(len(steps), -1), 1e3 / dt
    wrong = ~((rates >= 0) & (rates <= most))
    if wrong.any():
        look = int(np.argmax(wrong.any(axis=1)))
        raise UsageError(
            f"{where}: a rate of {rates[look][wrong[look]][0]:g} at {times[look]:g} ms; Hz, from 0 "
            f"to {most:g}, one spike a step"
        )


def _own_time(source: RateFunction, step: Array, dt: float) -> Array:
    """The time that a function gets in a step, float32 scalar, ms."""
    since = step - round(source.start_ms / dt)
    if source.period_ms is not None:
        since = jnp.remainder(since, round(source.period_ms / dt))
    return since.astype(jnp.float32) * dt


def check_span(drive: Drive, spec: Spec, first: int, last: int) -> None:
    """Check a drive against the steps of a run, from `first` to `last` - 1.

    Spikes before the run are those of an earlier call with the same drive. If there was none, they
    are lost, so the log says how many there are.

    Raises:
      UsageError: the time of a rate function cannot tell steps apart.
    """
    for name, source in drive.items():
        if isinstance(source, SpikeTimes):
            time = np.asarray(source.time_ms)
            past = int(np.sum(_first_step(time, spec.dt, 0.01) - 1 < first)) if first else 0
            if past:
                log.warning(
                    "drive %r: %d of %d spikes are before %g ms, where this run begins, and are "
                    "not emitted; times count from step zero of the state",
                    *(name, past, time.size, first * spec.dt),
                )
        if not isinstance(source, RateFunction):
            continue
        where = f"drive {name!r}"
        for field in ("start_ms", "period_ms"):
            value = getattr(source, field)
            on_grid = value is None or abs(value / spec.dt - round(value / spec.dt)) < GRID
            if not on_grid or (field == "period_ms" and value is not None and value < spec.dt / 2):
                raise UsageError(f"{where}: {field} {value}; whole steps of {spec.dt:g} ms")
        latest = last * spec.dt - source.start_ms
        latest = latest if source.period_ms is None else min(latest, source.period_ms)
        if np.spacing(np.float32(latest)) > spec.dt:
            raise UsageError(
                f"{where}: a float32 time cannot tell steps of {spec.dt:g} ms apart at "
                f"{latest:.0f} ms; period_ms or start_ms of the RateFunction, or a Poisson"
            )
        _check_rates(source, spec, name, first, last)


def _check_poisson(source: Poisson, size: int, dt: float, where: str) -> None:
    """Raise UsageError if a Poisson source does not fit a population of `size` cells, or `dt`."""
    if source.rates.shape[-1] not in (1, size):
        raise UsageError(f"{where}: rates for {source.rates.shape[-1]} cells; {size}")
    most = 1e3 / dt
    if not bool(jnp.all((source.rates >= 0) & (source.rates <= most))):
        raise UsageError(
            f"{where}: a rate is negative, not finite or above one spike a step; "
            f"Hz, from 0 to {most:g}"
        )
    starts = np.asarray(source.starts)
    rows = source.rates.shape[0]
    if not np.isfinite(starts).all() or (np.diff(starts) <= 0).any():
        raise UsageError(f"{where}: starts {starts}; ascending, ms")
    if starts.shape != (rows,):
        raise UsageError(f"{where}: starts {starts.shape}; [{rows}], one a row of rates")
    _check_resolution(starts, dt, f"{where}: starts")


def check(drive: Drive, spec: Spec, batch: int | None = None) -> None:
    """Raise UsageError if a drive does not fit a circuit, or a batch of `batch` copies of it."""
    known = {population.name: population for population in spec.populations}
    for name, source in drive.items():
        where = f"drive {name!r}"
        if name not in known:
            raise UsageError(f"{where}: {spec.name} has {', '.join(known)}")
        size, model = known[name].size, known[name].model
        if isinstance(source, (Array, np.ndarray)):
            shapes = f"[time, {size}]" if batch is None else f"[time, {size}] or [{batch}, ...]"
            fits = source.ndim == 1 or source.shape[-1] in (1, size)
            batched = source.ndim == 3 and batch is not None and source.shape[0] == batch
            if (source.ndim not in (1, 2) and not batched) or not fits or not source.size:
                raise UsageError(f"{where}: array {source.shape}; {shapes}")
            if source.dtype.kind not in "biuf" and source.dtype != jnp.bfloat16:
                raise UsageError(f"{where}: {source.dtype}; numbers")
            _check_values(source, CIRCUIT_MODELS[model].TAKES_SPIKES, where)
            continue
        emits_spikes = isinstance(source, (Poisson, RateFunction, SpikeTimes))
        if emits_spikes and not CIRCUIT_MODELS[model].TAKES_SPIKES:
            raise UsageError(
                f"{where}: spikes for {model} cells; they take a current in pA, as an array"
            )
        if isinstance(source, SpikeTimes):
            _check_spikes(source, size, where)
            _check_resolution(source.time_ms, spec.dt, f"{where}: time_ms")
        elif isinstance(source, Poisson):
            _check_poisson(source, size, spec.dt, where)
        elif not isinstance(source, RateFunction):
            raise UsageError(
                f"{where}: {type(source).__name__}; cb.drive.poisson(Hz), RateFunction(function), "
                "SpikeTimes(neuron, time_ms) or an array [time, N]"
            )


def draw(
    source: Poisson | RateFunction,
    name: str,
    moment: Moment,
    cells: CellRange,
    primitives: Primitives = REFERENCE,
) -> Array:
    """Draw the packed spikes of one step, uint32 [W]; they depend only on the arguments.

    Args:
      source: the source. The rates of a `Poisson` are those of `cells` alone, while the function
        of a `RateFunction` returns the rates of the whole population. The `starts` of a `Poisson`
        are steps if they are integers (see `in_steps`), which is exact in a long run.
      cells: the cells, by their numbers in the whole circuit.
    """
    if isinstance(source, Poisson):
        starts = source.starts
        if not jnp.issubdtype(starts.dtype, jnp.integer):
            starts = jnp.ceil(starts / moment.dt - GRID)
        row = jnp.sum(starts <= moment.step, dtype=jnp.int32) - 1
        rate = jnp.where(row < 0, 0.0, source.rates[jnp.maximum(row, 0)])
    else:
        t_ms = _own_time(source, moment.step, moment.dt)
        rate = jnp.atleast_1d(source.function(t_ms, *source.arguments))
        if rate.size > 1 and not (isinstance(cells.offset, int) and cells.offset == 0):
            padded = jnp.pad(rate, (0, cells.size))
            rate = lax.dynamic_slice(padded, (cells.offset,), (cells.size,))
    chance = jnp.atleast_1d(rate) * (moment.dt * 1e-3)
    if chance.size > 1:
        chance = jnp.broadcast_to(chance, (cells.size,))
    return primitives.draw(moment.key, f"drive {name}", moment.step, chance, cells)


def words_of(spikes: tuple[np.ndarray, np.ndarray], size: int, start: int, stop: int) -> np.ndarray:
    """The packed spikes of the steps from `start` to `stop` - 1: uint32 [stop - start, W].

    Args:
      spikes: step and cell of each spike, as `spike_steps` returns them.
      size: number of cells.
    """
    step, cell = spikes
    first, last = np.searchsorted(step, [start, stop])
    step, cell = step[first:last] - start, cell[first:last]
    words = np.zeros((stop - start, -(-size // events.BITS)), np.uint32)
    bit = np.uint32(1) << (cell % events.BITS).astype(np.uint32)
    np.bitwise_or.at(words, (step, cell // events.BITS), bit)
    return words
