"""Lesions and other manipulations of a built circuit: before a run, or between two runs.

Each function returns a changed copy and leaves what it was given as it was, so that the way back
is to go on with the circuit from before. Arrays keep their shapes, and a program that was compiled
for the one circuit runs the other.
"""

import dataclasses
import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding

from cerebellum.errors import UsageError, perhaps
from cerebellum.model import circuit as circuits
from cerebellum.model import events, fit, gap_junctions, noise, streams, values
from cerebellum.model.circuit import Circuit, State, Wiring
from cerebellum.model.fixed import LEVELS

Cells = Any
"""Cells of a population: a number, a slice or range, a list of numbers, or a mask, bool [N]."""

Thing = TypeVar("Thing", Circuit, State)


def silence(circuit: Circuit, population: str, cells: Cells = None) -> Circuit:
    """Let cells emit no spikes.

    Their membranes go on as before and are still reset at threshold, but no synapse, learning rule
    or recording receives a spike. Spikes that are on their way when a run goes on still arrive.
    What a population is driven with from outside does not reach its targets either.

    Args:
      circuit: a whole circuit, or one that is divided into shards.
      population: its name.
      cells: which cells: a number, a slice, a list or array of numbers, or a mask, bool [N];
        by default all. Cells that were silenced before stay silent.

    Raises:
      UsageError: there is no such population or cell.
    """
    _check_kind(circuit)
    size = _size(circuit, population)
    emits = np.ones(size, bool)
    emits[_indices(cells, size, f"silence {population!r}")] = False
    wiring = circuit.wiring
    before = wiring.alive[population]
    alive = before & _laid(_by_shard(emits, circuit, population, pack=True), before)
    return replace(circuit, wiring=replace(wiring, alive={**wiring.alive, population: alive}))


@overload
def scale_weights(
    thing: Circuit, projection: str, factor: float, *, circuit: Circuit | None = None
) -> Circuit: ...
@overload
def scale_weights(
    thing: State, projection: str, factor: float, *, circuit: Circuit | None = None
) -> State: ...
def scale_weights(thing, projection, factor, *, circuit=None):
    """Multiply the weights of a projection, or the gap junctions of a population, by a factor.

    0 blocks them.

    Args:
      thing: a circuit; for a plastic projection, whose present weights are in the state, a state.
        The arrays that the new state shares with the given one are used up by the next run.
      projection: its name; the name of a population for its gap junctions, which only a circuit
        has.
      factor: a number, zero or more.
      circuit: the circuit of the state, whose `w_max` bounds float32 weights that grow.

    Raises:
      UsageError: there is no such projection; it is plastic, and `thing` is a circuit, or it is
        not, and `thing` is a state; the factor is no number, or is negative.
    """
    if not isinstance(thing, (Circuit, State)):
        raise UsageError(f"scale_weights: {type(thing).__name__}; a Circuit, or a State")
    most = float(np.finfo(np.float32).max)
    if not values.is_number(factor := values.hashable(factor)) or not 0 <= factor <= most:
        raise UsageError(f"factor: {factor!r}; a finite number of float32, zero or more")
    if isinstance(thing, State):
        return _scale_state(thing, projection, factor, circuit)
    if projection in thing.wiring.partners:
        return _scale_junctions(thing, projection, factor)
    _check_name("projection", projection, [p.name for p in thing.spec.projections])
    if next(p for p in thing.spec.projections if p.name == projection).plastic:
        raise UsageError(
            f"projection {projection!r}: plastic, its weights are in the state; "
            f"scale_weights(state, {projection!r}, {factor:g}, circuit=circuit)"
        )
    weights = thing.params.weights
    scaled = {**weights, projection: _scaled(weights[projection], factor, math.inf)}
    changed = replace(thing, params=replace(thing.params, weights=scaled))
    return replace(changed, wiring=_with_weight(thing, projection, factor))


def _scale_junctions(circuit: Circuit, population: str, factor: float) -> Circuit:
    """The circuit with stronger or weaker gap junctions, in its spec too."""
    part = circuit.wiring.part
    junctions = part.spec.population(population).gap_junctions
    assert junctions is not None  # It has partners.
    after = gap_junctions.scaled(junctions, factor)
    spec = part.spec.with_population(population, gap_junctions=after)
    before = circuit.params.gap_junctions
    scaled = {**before, population: _scaled(before[population], factor, math.inf)}
    return replace(
        circuit,
        params=replace(circuit.params, gap_junctions=scaled),
        wiring=replace(circuit.wiring, part=replace(part, spec=spec)),
    )


def _with_weight(circuit: Circuit, projection: str, factor: float) -> Wiring:
    """The wiring with the scaled weight in its spec, from which sweeps and fits count."""
    part = circuit.wiring.part
    before = next(p for p in part.spec.projections if p.name == projection).weight
    if not isinstance(before, values.Distribution):
        after = before * factor
    elif factor:
        after = values.scaled(before, factor)
    else:
        return circuit.wiring  # No distribution has zeros alone.
    spec = part.spec.with_projection(projection, weight=after)
    return replace(circuit.wiring, part=replace(part, spec=spec))


def _scale_state(state: State, projection: str, factor: float, circuit: Circuit | None) -> State:
    timing = state.timing
    names = list(state.weights) if timing is None else [name for name, _ in timing.delays]
    _check_name("projection", projection, names)
    if projection not in state.weights:
        raise UsageError(
            f"projection {projection!r}: not plastic, its weights are in the circuit; "
            f"scale_weights(circuit, {projection!r}, {factor:g})"
        )
    weights, most = state.weights[projection], math.inf
    if weights.dtype == jnp.uint16:
        most = LEVELS
    elif circuit is not None:
        _check_kind(circuit)
        by_name = {p.name: p for p in circuit.spec.projections}
        w_max = by_name[projection].w_max
        most = math.inf if w_max is None else w_max
    elif factor > 1:
        raise UsageError(
            f"factor: {factor:g}, of float32 weights; circuit=circuit too, whose w_max bounds them"
        )
    scaled = {**state.weights, projection: _scaled(weights, factor, most)}
    return replace(state, weights=scaled)


@jax.jit
def _scaled(weights: Array, factor: float, most: float) -> Array:
    """Weights times a factor, at most `most`; fixed-point ones are rounded to the nearest."""
    scaled = jnp.minimum(weights * jnp.asarray(factor, jnp.float32), most)
    if weights.dtype == jnp.uint16:
        scaled = jnp.round(scaled)
    return scaled.astype(weights.dtype)


def with_params(
    circuit: Circuit, population: str, *, key: Array | int | None = None, **fields: Any
) -> Circuit:
    """Change parameters of the cells of a population.

    A parameter that has one value for all cells is compiled anew when it gets one for each; a
    number for a parameter that has one for each sets them all.

    Args:
      circuit: a whole circuit, or one that is divided into shards.
      population: its name.
      key: the random key, or seed, from which distributions are drawn; another one gives other
        values.
      fields: new values of fields of the model's `Params`, each in the unit of the field: a
        number, a list or array with one number a cell, or a distribution.

    Raises:
      UsageError: there is no such population or field, a list has another length, a value is
        impossible, or a distribution is without a key.
    """
    _check_kind(circuit)
    size = _size(circuit, population)
    params = circuit.params.cells[population]
    kinds = {field.name: field for field in dataclasses.fields(params)}
    changed = {}
    for name, given in fields.items():
        where = f"{population}.params.{name}"
        _check_name(f"{population}.params", name, list(kinds))
        if not kinds[name].metadata.get("pytree_node", True):
            raise UsageError(f"{where}: part of the spec; change it there, and build again")
        value = values.hashable(list(given) if isinstance(given, tuple) else given, where)
        drawn = isinstance(value, values.Distribution)
        if not drawn and not values.is_number(value) and not isinstance(value, values.PerCell):
            raise UsageError(f"{where}: {given!r}; a number, a list or array, or a distribution")
        if isinstance(value, values.Distribution) and key is None:
            raise UsageError(f"{where}: {given!r}, without a key; key=seed")
        if isinstance(value, values.PerCell) and len(value) != size:
            raise UsageError(f"{where}: {len(value)} values; {size}, one a cell")
        before = getattr(params, name)
        if values.is_number(value):
            changed[name] = _laid(np.full(np.shape(before), value), before)
        else:
            # Only a distribution draws, and it has a key.
            start = noise.key_of(0 if key is None else key)
            each = values.draw(value, streams.stream(start, f"{population}.{name}"), (size,))
            changed[name] = _laid(_by_shard(each, circuit, population), before)
    params = replace(params, **changed)
    longest = circuits.longest_refractory(circuit.spec)
    fit.check_values({population: params}, {}, longest, circuit.spec.dt)
    cells = {**circuit.params.cells, population: params}
    return replace(circuit, params=replace(circuit.params, cells=cells))


def _check_kind(circuit: Any) -> None:
    if not isinstance(circuit, Circuit):
        raise UsageError(f"circuit: {type(circuit).__name__}; what cb.build(spec, key) returns")


def _check_name(what: str, name: Any, known: Collection[str]) -> None:
    """Raise UsageError, with the nearest name, if a name is not a known one."""
    if name in known:
        return
    right = perhaps(name, known) or f"one of {', '.join(known)}"
    raise UsageError(f"{what} {name!r}: unknown; {right}")


def _size(circuit: Circuit, population: str) -> int:
    """Number of cells of a population, by a name that is checked."""
    _check_name("population", population, [p.name for p in circuit.spec.populations])
    return circuit.spec.population(population).size


def _indices(cells: Cells, size: int, where: str) -> np.ndarray:
    """The numbers of some cells of a population of `size` cells, int64."""
    if cells is None:
        return np.arange(size)
    if isinstance(cells, slice):
        return np.arange(size)[cells]
    try:
        given = np.atleast_1d(np.asarray(list(cells) if isinstance(cells, range) else cells))
    except (TypeError, ValueError):
        raise UsageError(f"{where}: cells {cells!r}; a slice, numbers, or a mask") from None
    if given.dtype == bool:
        if given.shape != (size,):
            raise UsageError(f"{where}: a mask of {list(given.shape)}; [{size}]")
        return np.flatnonzero(given)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        shown = f"{given.dtype} {list(given.shape)}"
        raise UsageError(f"{where}: cells {shown}; a slice, whole numbers, or a mask")
    given = given.astype(np.int64)
    outside = (given < 0) | (given >= size)
    if outside.any():
        raise UsageError(f"{where}: cell {given[outside][0]}; numbered 0 to {size - 1}")
    return given


def _by_shard(each: np.ndarray, circuit: Circuit, population: str, pack: bool = False) -> Any:
    """One value a cell, [N], as the circuit has them: [N], or [shards, n] of a divided one.

    Padding of the last shards gets the last value, and of packed ones 0.

    Args:
      pack: whether the values are packed (see `events.pack`), [W] or [shards, W].
    """
    part = circuit.wiring.part
    if circuit.wiring.shard is not None:
        n = part.size(population)
        fill = False if pack else each[-1]
        padding = np.full(part.count * n - each.size, fill, each.dtype)
        each = np.concatenate([each, padding]).reshape(part.count, n)
    return np.asarray(events.pack(jnp.asarray(each))) if pack else each


def _laid(x: np.ndarray, like: Any) -> Array:
    """An array on the device, or on the shards' devices, and of the type of another one."""
    x = x.astype(jnp.result_type(like))
    sharding = getattr(like, "sharding", None)
    if isinstance(sharding, NamedSharding):
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])
    return jnp.asarray(x)
