"""The sources of a drive, prepared for the steps of a circuit: what is drawn, and what is fed."""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import is_number
from cerebellum.model.delays import GRID
from cerebellum.model.functions import known_now
from cerebellum.model.spec import Spec
from cerebellum.sim.drive.counts import counts_of
from cerebellum.sim.drive.currents import (
    Current,
    CurrentFunction,
    Wave,
    bridge,
    current,
    halvings,
)
from cerebellum.sim.drive.draws import Drawn
from cerebellum.sim.drive.sources import Drive, Poisson, RateFunction, SpikeTimes, Values
from cerebellum.sim.drive.steps import (
    LAST_STEP,
    EventList,
    event_list,
    first_step,
    in_steps,
    spike_steps,
    words_of,
)
from cerebellum.sim.drive.targets import Target, chosen, slots, spread, target_of


@dataclass(frozen=True)
class Plan:
    """The sources of a drive, each by its slot (see `targets.slots`)."""

    drawn: dict[str, Drawn]
    """what is computed on the device"""
    spikes: dict[str, tuple[np.ndarray, np.ndarray]]
    """step and cell of the spikes of lists"""
    events: dict[str, EventList]
    """lists of weights that arrive"""
    arrays: dict[str, Values]
    """arrays, [time, N] or [copies, time, N]"""
    sizes: dict[str, int]
    """number of cells of the population of each slot"""
    chosen: dict[str, np.ndarray | None]
    """the cells that each array is for"""

    def lengths(self, batched: bool) -> dict[str, int]:
        """Number of steps of each array."""
        copies = self.batched(batched)
        return {s: v.values.shape[1 if s in copies else 0] for s, v in self.arrays.items()}

    def batched(self, batched: bool) -> tuple[str, ...]:
        """The arrays of a batch of copies that have an axis of copies."""
        return tuple(slot for slot, v in self.arrays.items() if batched and v.values.ndim == 3)

    def rows(self, first: int, last: int, start_step: int) -> dict[str, Any]:
        """What is not drawn, for the steps from `first` to `last` - 1 of a run, by slot.

        Args:
          start_step: number of steps before the run.
        """
        start, stop = start_step + first, start_step + last
        rows: dict[str, Any] = {
            slot: words_of(spikes, self.sizes[slot], start, stop)
            for slot, spikes in self.spikes.items()
        }
        for slot, listed in self.events.items():
            rows[slot] = listed.rows(self.sizes[slot], start, stop)
        for slot, source in self.arrays.items():
            array = source.values
            cut = array[:, first:last] if array.ndim == 3 else array[first:last]
            cut = cut.astype(np.float32) if cut.dtype.kind != "f" else cut
            cells = self.chosen[slot]
            rows[slot] = cut if cells is None else _spread_rows(cut, cells, self.sizes[slot])
        return rows


def _spread_rows(rows: Any, cells: np.ndarray, size: int) -> np.ndarray:
    """Rows of chosen cells, or one value a row, as rows of all cells."""
    rows = np.asarray(rows)
    rows = rows[:, None] if rows.ndim == 1 else rows
    return spread(np.broadcast_to(rows, (*rows.shape[:-1], cells.size)), cells, size)


def plan(drive: Drive, spec: Spec) -> Plan:
    """Prepare a drive that `check` has found right."""
    made = Plan({}, {}, {}, {}, {}, {})
    for slot, source in slots(drive).items():
        target = target_of(slot, spec)
        made.sizes[slot] = target.size
        if isinstance(source, Array | np.ndarray):
            source = Values(source)
        if is_number(source):
            source = current(float(source))  # pyright: ignore[reportArgumentType]
        cells = chosen(source.cells, target.size, f"drive {slot!r}")
        if isinstance(source, Values):
            made.arrays[slot], made.chosen[slot] = source, cells
        elif isinstance(source, SpikeTimes):
            if cells is not None:
                places = cells[np.asarray(source.neuron, np.int64)]
                source = SpikeTimes(places, source.time_ms, source.weight)
            if target.receptor is None:
                made.spikes[slot] = spike_steps(source, spec.dt)
            else:
                made.events[slot] = event_list(source, target.size, spec.dt)
        else:
            made.drawn[slot] = _on_device(source, target, cells, spec.dt)
    return made


def _on_device(source: Any, target: Target, cells: np.ndarray | None, dt: float) -> Drawn:
    """A source with its times in steps, and with values of all cells instead of chosen ones."""
    size = target.size
    if isinstance(source, Poisson):
        whole = in_steps(source, dt)
        if cells is not None:
            rates = jnp.asarray(_each(source.rates, cells, size))
            whole = replace(whole, rates=rates, cells=None)
        if target.receptor is None:
            return whole
        weight = _weight(source.weight, cells, size)
        return counts_of(whole.rates, jnp.asarray(whole.starts), weight, dt)
    if isinstance(source, RateFunction | CurrentFunction):
        changes: dict[str, Any] = {"function": known_now(source.function)}
        if cells is not None:
            places = np.full(size, -1, np.int32)
            places[cells] = np.arange(cells.size)
            changes["cells"] = jnp.asarray(places)
        if isinstance(source, RateFunction) and source.weight is not None:
            changes["weight"] = jnp.asarray(_weight(source.weight, cells, size))
        return replace(source, **changes)
    assert isinstance(source, Current)
    values = {
        name: jnp.asarray(value if cells is None else _each(value, cells, size))
        for name, value in source.values.items()
    }
    return Wave(kind=source.kind, values=values, numbers=_numbers(source.numbers, dt))


def _each(values: Any, cells: np.ndarray, size: int) -> np.ndarray:
    """Values of chosen cells, or one for all of these, as values of all cells: [..., size]."""
    values = np.asarray(values)
    return spread(np.broadcast_to(values, (*values.shape[:-1], cells.size)), cells, size)


def _weight(weight: Any, cells: np.ndarray | None, size: int) -> np.ndarray:
    """A weight as values of all cells or one for all, float32 [1] or [size]."""
    weight = np.atleast_1d(np.asarray(weight, np.float32))
    return weight if cells is None else _each(weight, cells, size)


def _numbers(numbers: dict[str, float], dt: float) -> dict[str, Array]:
    """The numbers of a current in steps of `dt` ms, as arrays, so that programs are used again."""
    made: dict[str, Any] = {}
    if "start_ms" in numbers:
        times = np.array([numbers["start_ms"], numbers["stop_ms"]])
        steps = [
            first_step(time, dt, GRID) if time / dt < LAST_STEP else LAST_STEP for time in times
        ]
        made["first"], made["last"] = np.int32(steps[0]), np.int32(steps[1])
    if "frequency_hz" in numbers:
        cycle = round(numbers["frequency_hz"] * dt * 1e-3 * 2.0**64)
        made["high"], made["low"] = np.uint32(cycle >> 32), np.uint32(cycle & 0xFFFFFFFF)
    if "tau_ms" in numbers:
        tau_steps = numbers["tau_ms"] / dt
        made["pull"], made["width"] = bridge(tau_steps)
        made["levels"] = np.uint32(halvings(tau_steps))
    return {name: jnp.asarray(value) for name, value in made.items()}
