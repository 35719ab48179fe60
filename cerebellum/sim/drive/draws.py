"""What sources give in a step. It depends on the key of the run, the step and the cell alone."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.model import events, noise
from cerebellum.model.circuit import Wiring
from cerebellum.model.delays import GRID
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.noise import CellRange
from cerebellum.model.ordering import materialize_once
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.sim.drive.counts import Counts, tails_of
from cerebellum.sim.drive.currents import CurrentFunction, Wave, value_of
from cerebellum.sim.drive.sources import Moment, Poisson, RateFunction
from cerebellum.sim.drive.steps import Events
from cerebellum.sim.drive.targets import key_of, population_of

Drawn = Poisson | Counts | RateFunction | CurrentFunction | Wave
"""What is computed on the device, in every step."""


def own_time(source: RateFunction | CurrentFunction, step: Array, dt: float) -> Array:
    """The time that a function gets in a step, float32 scalar, ms."""
    since = step - round(source.start_ms / dt)
    if source.period_ms is not None:
        since = jnp.remainder(since, round(source.period_ms / dt))
    return since.astype(jnp.float32) * dt


def draw(
    source: Drawn,
    name: str,
    moment: Moment,
    cells: CellRange,
    primitives: Primitives = REFERENCE,
) -> Array:
    """What a source gives in one step; it depends only on the arguments.

    Args:
      source: the source, as `plan` prepares it. Values that differ from cell to cell are those of
        `cells` alone, while a function returns the values of the whole population, or of the
        chosen cells. The `starts` of a `Poisson` are steps if they are integers (see `in_steps`),
        which is exact in a long run.
      name: the slot of the source.
      cells: the cells, by their numbers in the whole circuit.

    Returns:
      The packed spikes of relays, uint32 [W]; or currents, or summed weights at a receptor, float32
      [n] or [1].
    """
    use = f"drive {name}"
    if isinstance(source, Wave):
        key = noise.named(moment.key, use)
        return value_of(source, key, moment.step, cells)
    if isinstance(source, CurrentFunction):
        values = jnp.asarray(_returned(source, moment), jnp.float32)
        return _of_cells(values, source, cells)
    if isinstance(source, Counts):
        row = _row(source.starts, moment)
        tails = source.tails[:, source.index[jnp.maximum(row, 0)]]
        count = primitives.count(moment.key, use, moment.step, tails, source.draws, cells)
        return jnp.where(row < 0, 0.0, count.astype(jnp.float32) * source.weight)
    if isinstance(source, Poisson):
        starts = source.starts
        if not jnp.issubdtype(starts.dtype, jnp.integer):
            starts = jnp.ceil(starts / moment.dt - GRID)
        row = _row(starts, moment)
        rate = jnp.where(row < 0, 0.0, source.rates[jnp.maximum(row, 0)])
    else:
        rate = _returned(source, moment)
        if source.weight is not None:
            tails, draws = tails_of(rate.astype(jnp.float32) * (moment.dt * 1e-3))
            tails = _of_cells(tails, source, cells)
            count = primitives.count(moment.key, use, moment.step, tails, draws, cells)
            return count.astype(jnp.float32) * source.weight
        rate = _of_cells(rate, source, cells)
    chance = jnp.atleast_1d(rate) * (moment.dt * 1e-3)
    if chance.size > 1:
        chance = jnp.broadcast_to(chance, (cells.size,))
    return primitives.draw(moment.key, use, moment.step, chance, cells)


@struct.dataclass(kw_only=True)
class Relayed:
    """A source of spikes for the relays of a population, without a loop over steps.

    It has chances, which change at some steps, or packed spikes.
    """

    use: str = struct.field(pytree_node=False)
    """the name of its draws"""
    packed: bool = struct.field(pytree_node=False)
    """whether `draw`, or the array, gives packed spikes"""
    chances: Array | None = None
    """chance of a spike in a step, float32 [K, N] or [K, 1]"""
    starts: Array | None = None
    """the step from which on each row applies, int32 [K]"""
    words: Array | None = None
    """packed spikes, uint32 [steps, W]"""


def relayed(
    sources: dict[str, Any], arrays: dict[str, Any], wiring: Wiring
) -> dict[str, list[Relayed]] | str:
    """The drive of a circuit by population, if all of it is spikes of relays.

    Returns:
      What `combine` would give in each step; or, in one line, the slot that is something else.
    """
    found: dict[str, list[Relayed]] = {}
    for slot, source in (*sources.items(), *arrays.items()):
        key = key_of(slot)
        population = wiring.spec.population(population_of(slot))
        if "." in key or not CIRCUIT_MODELS[population.model].TAKES_SPIKES:
            return f"drive {slot!r}: not spikes of relays"
        use, size = f"drive {slot}", wiring.cells(key).size
        if isinstance(source, Array):
            words = source
            if source.dtype != jnp.uint32:
                each = jnp.broadcast_to(
                    source.reshape(source.shape[0], -1), (source.shape[0], size)
                )
                words = events.pack(each)
            drive = Relayed(use=use, packed=source.dtype == jnp.uint32, words=words)
        elif isinstance(source, Poisson) and source.cells is None:
            starts = jnp.asarray(source.starts)
            if not jnp.issubdtype(starts.dtype, jnp.integer):
                starts = jnp.ceil(starts / wiring.spec.dt - GRID).astype(jnp.int32)
            chances = source.rates * (wiring.spec.dt * 1e-3)
            drive = Relayed(use=use, packed=True, chances=chances, starts=starts)
        else:
            return f"drive {slot!r}: {type(source).__name__}, not Poisson or an array"
        found.setdefault(key, []).append(drive)
    return found


def _row(starts: Any, moment: Moment) -> Array:
    """The row that applies in a step, int32 scalar; -1 before the first."""
    return jnp.sum(starts <= moment.step, dtype=jnp.int32) - 1


def _returned(source: RateFunction | CurrentFunction, moment: Moment) -> Array:
    """What a function returns in a step, [k] or [1]."""
    t_ms = own_time(source, moment.step, moment.dt)
    return jnp.atleast_1d(source.function(t_ms, *source.arguments))


def _of_cells(values: Array, source: RateFunction | CurrentFunction, cells: CellRange) -> Array:
    """Values of the population, or of the chosen cells, as those of `cells`: [..., n] or [..., 1].

    Cells that are not chosen have zero.
    """
    if source.cells is not None:
        one = jnp.zeros_like(source.cells) if values.shape[-1] == 1 else source.cells
        return jnp.where(source.cells >= 0, values[..., jnp.maximum(one, 0)], 0)
    if values.shape[-1] > 1 and not (isinstance(cells.offset, int) and cells.offset == 0):
        padded = jnp.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, cells.size)])
        return lax.dynamic_slice_in_dim(padded, cells.offset, cells.size, axis=-1)
    return values


def combine(
    sources: dict[str, Any],
    arrays: dict[str, Any],
    moment: Moment,
    wiring: Wiring,
    primitives: Primitives = REFERENCE,
) -> dict[str, Array]:
    """The drive of a step, by key, as `step` takes it: what the sources of each key add up to.

    Args:
      sources: what is drawn, by slot.
      arrays: the rows of the step of what is not, by slot.
    """
    drawn: dict[str, Array] = {}
    for slot, source in sources.items():
        cells = wiring.cells(population_of(slot))
        drawn[slot] = draw(source, slot, moment, cells, primitives)
    listed = {slot: row for slot, row in arrays.items() if isinstance(row, Events)}
    for slot, row in listed.items():
        drawn[slot] = _arriving(row, wiring.cells(population_of(slot)).size)
    # What is computed is rounded here, so that sums are the same in every program.
    floats = {slot: value for slot, value in drawn.items() if value.dtype != jnp.uint32}
    drawn |= materialize_once(floats) if floats else {}
    given: dict[str, list[Array]] = {}
    for slot, value in ({**arrays, **drawn}).items():
        given.setdefault(key_of(slot), []).append(value)
    return {
        key: _total(values, wiring.cells(population_of(key)).size) for key, values in given.items()
    }


def _total(values: Sequence[Array], size: int) -> Array:
    """What several sources of a key add up to; spikes are one where any of them has one."""
    if len(values) == 1:
        return values[0]
    packed = [value for value in values if value.dtype == jnp.uint32]
    others = [jnp.broadcast_to(v, (size,)) for v in values if v.dtype != jnp.uint32]
    if not packed:
        return reduce(jnp.add, others)
    words = reduce(jnp.bitwise_or, packed)
    return reduce(jnp.maximum, others, events.unpack(words, size)) if others else words


def _arriving(rows: Events, size: int) -> Array:
    """Summed weights that arrive at each cell, float32 [size]; a cell is in a row once at most."""
    return jnp.zeros(size).at[rows.cell].add(rows.weight, mode="drop")
