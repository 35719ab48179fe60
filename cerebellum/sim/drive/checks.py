"""Whether a drive fits a circuit and a run: keys, kinds of sources, shapes and values."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError, is_number
from cerebellum.model.delays import GRID
from cerebellum.model.spec import Spec
from cerebellum.sim.drive.currents import APART, LEVELS, Current, CurrentFunction, halvings
from cerebellum.sim.drive.draws import own_time
from cerebellum.sim.drive.sources import Drive, Poisson, RateFunction, SpikeTimes, Values
from cerebellum.sim.drive.steps import first_step
from cerebellum.sim.drive.targets import Target, chosen, slots, target_of

MAX_MS = 1e9
"""Latest time of a spike in `SpikeTimes`."""
MOST_COUNT = 10_000
"""Most spikes that a cell may receive in a step on average from a source at a receptor."""
LOOKS = 64
"""Number of times at which a function is looked at before a run."""

log = logging.getLogger(__name__)


def check(drive: Drive, spec: Spec, batch: int | None = None) -> None:
    """Raise UsageError if a drive does not fit a circuit, or a batch of `batch` copies of it."""
    for key in drive:
        target_of(key, spec)
    for slot, source in slots(drive).items():
        _check_source(source, target_of(slot, spec), spec.dt, batch, f"drive {slot!r}")


def _check_source(source: Any, target: Target, dt: float, batch: int | None, where: str) -> None:
    """Raise UsageError if a single source does not fit what its key stands for."""
    if isinstance(source, Array | np.ndarray):
        source = Values(source)
    if isinstance(source, Values):
        _check_array(source, target, batch, where)
    elif isinstance(source, Poisson | RateFunction | SpikeTimes):
        _check_emits(source, target, where)
        size, whose = _size(source, target, where)
        if isinstance(source, SpikeTimes):
            check_spikes(source, size, where)
            _check_resolution(source.time_ms, dt, f"{where}: time_ms")
        elif isinstance(source, Poisson):
            _check_poisson(source, target, size, dt, where)
        if source.weight is not None:
            one = "spike" if isinstance(source, SpikeTimes) else whose
            count = np.size(source.time_ms) if isinstance(source, SpikeTimes) else size
            _check_weight(source.weight, count, one, where)
    elif isinstance(source, Current | CurrentFunction):
        if target.repeats or target.receptor is not None:
            right = "cb.drive.poisson(Hz)" if target.repeats else f"its key is {target.name!r}"
            raise UsageError(f"{where}: a current; {right}")
        size, whose = _size(source, target, where)
        if isinstance(source, Current):
            _check_current(source, size, whose, dt, where)
    elif is_number(source) and not target.repeats and target.receptor is None:
        if not abs(source) <= np.finfo(np.float32).max:
            raise UsageError(f"{where}: {source}; finite, {target.unit}")
    else:
        given = "cb.drive.poisson(Hz), RateFunction(function), SpikeTimes(neuron, time_ms)"
        if target.receptor is not None:
            given = given.replace(")", ", weight=w)")
        elif not target.repeats:
            given = "a number, cb.drive.current(values), step_current, ramp, sine, noise"
        raise UsageError(
            f"{where}: {type(source).__name__}; {given} or an array [time, {target.size}]"
        )


def _check_emits(source: Any, target: Target, where: str) -> None:
    """Raise UsageError if cells take no spikes, or if a weight is missing or too many."""
    if target.repeats:
        if source.weight is not None:
            raise UsageError(f"{where}: weight {source.weight!r}; none: relays repeat spikes")
    elif target.receptor is None:
        keys = " or ".join(repr(f"{target.name}.{receptor}") for receptor in target.receptors)
        right = f"with a weight at {keys}, or a current in {target.unit} (cb.drive.CurrentFunction)"
        raise UsageError(f"{where}: spikes for {target.model} cells; {right}")
    elif source.weight is None:
        raise UsageError(f"{where}: without a weight; weight=w, of each spike at the receptor")


def _check_array(source: Values, target: Target, batch: int | None, where: str) -> None:
    """Raise UsageError if an array is not one of rows, one a step, or holds wrong values."""
    values = source.values
    if not isinstance(values, Array | np.ndarray):
        raise UsageError(f"{where}: {type(values).__name__}; an array [time, {target.size}]")
    size, _ = _size(source, target, where)
    if values.ndim == 1 and values.size == size > 1:
        raise UsageError(
            f"{where}: array {values.shape}; [time, {size}]"
            + ("" if target.repeats else ", or cb.drive.current(values), one value a cell")
        )
    shapes = f"[time, {size}]" if batch is None else f"[time, {size}] or [{batch}, ...]"
    fits = values.ndim == 1 or values.shape[-1] in (1, size)
    batched = values.ndim == 3 and batch is not None and values.shape[0] == batch
    if (values.ndim not in (1, 2) and not batched) or not fits or not values.size:
        raise UsageError(f"{where}: array {values.shape}; {shapes}")
    if values.dtype.kind not in "biuf" and values.dtype != jnp.bfloat16:
        raise UsageError(f"{where}: {values.dtype}; numbers")
    _check_values(values, target, where)


def _check_current(source: Current, size: int, whose: str, dt: float, where: str) -> None:
    """Raise UsageError if a current does not fit the `size` cells that it is for, or `dt`."""
    for name, values in source.values.items():
        if values.size not in (1, size):
            raise UsageError(
                f"{where}: {name} [{values.size}]; one value, or [{size}], one {whose}"
            )
    frequency, tau = source.numbers.get("frequency_hz", 0), source.numbers.get("tau_ms", dt)
    if frequency * dt > 500:
        raise UsageError(
            f"{where}: frequency_hz {frequency:g}; at most {500 / dt:g}, half a cycle a step"
        )
    if halvings(tau / dt) > LEVELS:
        most = 2.0**LEVELS / APART * dt
        raise UsageError(f"{where}: tau_ms {tau:g}; at most {most:.0f}")


def _check_weight(weight: Any, count: int, one: str, where: str) -> None:
    """Raise UsageError if a weight is no number, or not one each of `count` things called `one`."""
    right = f"one number, or [{count}], one a {one.removeprefix('a ')}"
    try:
        numbers = np.asarray(weight)
    except ValueError:
        raise UsageError(f"{where}: weight is ragged; {right}") from None
    if numbers.dtype.kind not in "iuf":
        raise UsageError(f"{where}: weight {weight!r}; {right}")
    if numbers.shape not in ((), (1,), (count,)):
        raise UsageError(f"{where}: weight {list(numbers.shape)}; {right}")
    wrong = ~((numbers >= 0) & (numbers <= np.finfo(np.float32).max))
    if wrong.any():
        value = np.atleast_1d(numbers)[np.atleast_1d(wrong)][0]
        raise UsageError(f"{where}: weight {value:g}; zero or more, receptors have the sign")


def _size(source: Any, target: Target, where: str) -> tuple[int, str]:
    """Number of cells that a source is for, and what one of them is called."""
    cells = chosen(source.cells, target.size, where)
    return (target.size, "a cell") if cells is None else (cells.size, "a chosen cell")


def _most_hz(target: Target, dt: float) -> float:
    """The highest rate, Hz: one spike a step for a relay, many at a receptor."""
    return (MOST_COUNT if target.receptor else 1) * 1e3 / dt


def check_spikes(spikes: SpikeTimes, size: int, where: str) -> None:
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


def _check_values(source: Array | np.ndarray, target: Target, where: str) -> None:
    """Raise UsageError if an array holds what is no current, no spikes, or no weights."""
    if isinstance(source, np.ma.MaskedArray):
        raise UsageError(f"{where}: a masked array; its `filled(0)`")
    most = np.finfo(np.float32).max
    if target.repeats:
        wrong, right = (source != 0) & (source != 1), "spikes, 0 or 1"
    elif target.receptor is None:
        wrong, right = ~(abs(source) <= most), f"finite, {target.unit}"
    else:
        wrong, right = ~((source >= 0) & (source <= most)), "weights, finite, zero or more"
    if wrong.any():
        value = np.asarray(source)[np.asarray(wrong)][0]
        raise UsageError(f"{where}: {value:g} in an array; {right}")


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


def _check_function(
    source: RateFunction | CurrentFunction, spec: Spec, slot: str, first: int, last: int
) -> None:
    """Raise UsageError if what a function returns has another shape than one a cell, or is wrong.

    It is looked at in some of the steps from `first` to `last` - 1.
    """
    dt, target, where = spec.dt, target_of(slot, spec), f"drive {slot!r}"
    size, _ = _size(source, target, where)
    rate = isinstance(source, RateFunction)
    steps = np.unique(np.linspace(first, last - 1, LOOKS).astype(np.int32))
    times = jax.vmap(lambda step: own_time(source, step, dt))(jnp.asarray(steps))
    values = np.asarray(
        jax.vmap(lambda t: jnp.asarray(source.function(t, *source.arguments)))(times)
    )
    what, kind = ("rates", "rate") if rate else ("currents", "current")
    if values.ndim > 2 or values[0].size not in (1, size):
        raise UsageError(f"{where}: {what} {list(values.shape[1:])}; one, or [{size}]")
    values = values.reshape(len(steps), -1)
    if not rate:
        wrong, right = ~(np.abs(values) <= np.finfo(np.float32).max), f"finite, {target.unit}"
    else:
        most = _most_hz(target, dt)
        wrong = ~((values >= 0) & (values <= most))
        right = f"Hz, from 0 to {most:g}" + ("" if target.receptor else ", one spike a step")
    if wrong.any():
        look = int(np.argmax(wrong.any(axis=1)))
        raise UsageError(
            f"{where}: a {kind} of {values[look][wrong[look]][0]:g} at {times[look]:g} ms; {right}"
        )


def check_span(drive: Drive, spec: Spec, first: int, last: int) -> None:
    """Check a drive against the steps of a run, from `first` to `last` - 1.

    Spikes before the run are those of an earlier call with the same drive. If there was none, they
    are lost, so the log says how many there are.

    Raises:
      UsageError: the time of a function cannot tell steps apart.
    """
    for slot, source in slots(drive).items():
        if isinstance(source, SpikeTimes):
            time = np.asarray(source.time_ms)
            past = int(np.sum(first_step(time, spec.dt, 0.01) - 1 < first)) if first else 0
            if past:
                log.warning(
                    "drive %r: %d of %d spikes are before %g ms, where this run begins, and are "
                    "not emitted; times count from step zero of the state",
                    *(slot, past, time.size, first * spec.dt),
                )
        if not isinstance(source, RateFunction | CurrentFunction):
            continue
        where = f"drive {slot!r}"
        for field in ("start_ms", "period_ms"):
            value = getattr(source, field)
            on_grid = value is None or abs(value / spec.dt - round(value / spec.dt)) < GRID
            if not on_grid or (field == "period_ms" and value is not None and value < spec.dt / 2):
                raise UsageError(f"{where}: {field} {value}; whole steps of {spec.dt:g} ms")
        latest = last * spec.dt - source.start_ms
        latest = latest if source.period_ms is None else min(latest, source.period_ms)
        if np.spacing(np.float32(latest)) > spec.dt:
            instead = ", or a Poisson" if isinstance(source, RateFunction) else ""
            raise UsageError(
                f"{where}: a float32 time cannot tell steps of {spec.dt:g} ms apart at "
                f"{latest:.0f} ms; period_ms or start_ms of the {type(source).__name__}{instead}"
            )
        _check_function(source, spec, slot, first, last)


def _check_poisson(source: Poisson, target: Target, size: int, dt: float, where: str) -> None:
    """Raise UsageError if a Poisson source does not fit its `size` cells, or `dt`."""
    if source.rates.shape[-1] not in (1, size):
        raise UsageError(f"{where}: rates for {source.rates.shape[-1]} cells; {size}")
    most, rates = _most_hz(target, dt), np.asarray(source.rates)
    if not ((rates >= 0) & (rates <= most)).all():
        raise UsageError(
            f"{where}: a rate is negative, not finite or above "
            + (f"{MOST_COUNT:,} spikes" if target.receptor else "one spike")
            + f" a step; Hz, from 0 to {most:g}"
        )
    starts = np.asarray(source.starts)
    rows = source.rates.shape[0]
    if not np.isfinite(starts).all() or (np.diff(starts) <= 0).any():
        raise UsageError(f"{where}: starts {starts}; ascending, ms")
    if starts.shape != (rows,):
        raise UsageError(f"{where}: starts {starts.shape}; [{rows}], one a row of rates")
    _check_resolution(starts, dt, f"{where}: starts")
