"""A circuit on many devices, of one process or of many: cut into shards of beams.

A shard holds some beams of every population: their cells, parallel-fibre weights and debts. It
runs `circuit.step` as a circuit of its own, with its own numbers of cells, so nothing is written
twice. What it draws depends on the numbers that its cells have in the whole circuit; mossy-fibre
spikes are drawn where they are needed and never sent. In each step the shards exchange once: the
packed spikes of the populations that cross beams. Sums are never split, so spikes are those of the
whole circuit, bit for bit.

Every array of a circuit or a state that is cut has a leading axis of shards, laid out along the
axis "beam" of a mesh; the axis "batch" holds independent trials. Where beams do not divide, the
last shards have room for cells that do not exist and never fire.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cerebellum.errors import UsageError
from cerebellum.model import anatomy, circuit, events
from cerebellum.model.circuit import BEAM, Circuit, State
from cerebellum.model.part import Part
from cerebellum.model.plasticity.protocol import Rule
from cerebellum.model.spec import Projection, Spec
from cerebellum.sim import record
from cerebellum.sim.chunk import BATCH
from cerebellum.sim.drive import Poisson


def mesh(shards: int | None = None, batch: int = 1) -> Mesh:
    """Devices as a grid of shards by parts of a batch.

    Args:
      shards: default all devices there are, of all processes, divided by `batch`.

    Raises:
      UsageError: more than there are.
    """
    there, processes = jax.devices(), jax.process_count()
    shards = len(there) // max(1, batch) if shards is None else shards
    wanted = shards * batch
    if not 0 < wanted <= len(there):
        raise UsageError(f"devices: {wanted}; there are {len(there)}")
    if wanted % processes:
        raise UsageError(f"devices: {wanted}; as many in each of {processes} processes")
    each = [[d for d in there if d.process_index == process] for process in range(processes)]
    used = [device for own in each for device in own[: wanted // processes]]
    return Mesh(np.array(used).reshape(shards, batch), (BEAM, BATCH))


def mesh_of(cut: Circuit) -> Mesh:
    """The mesh that a circuit is cut for."""
    assert cut.wiring.shard is not None
    sharding = cut.wiring.shard.sharding
    assert isinstance(sharding, NamedSharding)
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def part_of(spec: Spec, shards: int) -> Part:
    """Each of so many shards of a circuit.

    Raises:
      UsageError: fewer beams than shards.
    """
    if spec.beams < shards:
        raise UsageError(
            f"devices: {shards}; a beam is not divided, and the circuit has {spec.beams}"
        )
    return Part(spec=spec, shards=shards)


def exchanged_bytes(part: Part, path: events.Path) -> int:
    """Bytes that each shard receives in a step, its own included, in one exchange."""
    sizes = [part.size(name) for name in part.spec.crossing()]
    words = sum(-(-size // events.BITS) for size in sizes)
    return part.count * 4 * (words if path == "event" else sum(sizes)) * (part.count > 1)


@dataclass(frozen=True)
class _Place:
    """Where an array's cells lie in it."""

    name: str | None = None
    """population; None where every shard has the same"""
    axis: int = -1
    beams: bool = False
    """the last beam is as long as the others"""
    line: bool = False


def _places_of_state(spec: Spec, state: State) -> State:
    """For every array of a state, its `_Place`."""
    ends = {p.name: (p.source, p.target) for p in spec.projections}
    rules = {p.name: p.rule for p in spec.projections if p.rule is not None}
    watched = {name: population for name, population, _ in spec.watched()}

    def each(trees: dict[str, Any], place) -> dict[str, Any]:
        return {n: jax.tree.map(lambda _, n=n: place(n), tree) for n, tree in trees.items()}

    return State(
        step=_Place(),  # pyright: ignore[reportArgumentType]
        key=_Place(),  # pyright: ignore[reportArgumentType]
        cells=each(state.cells, _Place),
        lines=each(state.lines, lambda n: _Place(n, line=True)),
        weights=each(state.weights, lambda n: _Place(ends[n][0], axis=-2)),
        debts={n: _places_of_rule(n, tree, rules[n], ends[n]) for n, tree in state.debts.items()},
        terminals=each(state.terminals, lambda n: _Place(ends[n][0])),
        watches=each(state.watches, lambda n: _Place(watched[n])),
    )


def _places_of_rule(name: str, tree: Any, rule: Rule, ends: tuple[str, str]) -> Any:
    """For every array of a rule's state, its `_Place`."""
    source, target = ends
    places = {
        "source": _Place(source),
        "target": _Place(target),
        "row": _Place(target, beams=True),
        "synapse": _Place(source, axis=-2),
        "none": _Place(),
    }
    axes = rule.axes()
    if jax.tree.structure(axes) != jax.tree.structure(tree):
        raise UsageError(f"{name}.rule.axes: not a tree like the rule's state")
    return jax.tree.map(lambda axis: places[axis], axes)


def _cut(x: np.ndarray, place: _Place, part: Part, fill: Any = 0) -> np.ndarray:
    """An array of the whole circuit as those of its shards, [shards, ...]."""
    if place.name is None:
        return np.broadcast_to(x, (part.count, *x.shape))
    size, axis = part.size(place.name), place.axis % x.ndim
    packed = place.line and x.dtype == np.uint32
    if packed:
        x = record.unpack(x, part.spec.population(place.name).size)
    if missing := part.count * size - x.shape[axis]:
        padding = [(0, missing if each == axis else 0) for each in range(x.ndim)]
        x = np.pad(x, padding, constant_values=fill)
    x = x.reshape(*x.shape[:axis], part.count, size, *x.shape[axis + 1 :])
    x = np.moveaxis(x, axis, 0)
    if packed:
        x = record.pack(x)
    if place.line and place.name in part.spec.crossing():
        everyone = np.moveaxis(x, 0, -2)
        everyone = everyone.reshape(*everyone.shape[:-2], -1)
        return np.broadcast_to(everyone, (part.count, *everyone.shape))
    return x


def _uncut(x: np.ndarray, place: _Place, part: Part) -> np.ndarray:
    """The inverse of `_cut`."""
    if place.name is None:
        return x[0]
    size = part.spec.population(place.name).size
    if place.beams:
        size = part.spec.beams * part.spec.beam_size(place.name)
    if place.line and place.name in part.spec.crossing():
        x = np.moveaxis(x[0].reshape(*x.shape[1:-1], part.count, -1), -2, 0)
    packed = place.line and x.dtype == np.uint32
    if packed:
        x = record.unpack(x, part.size(place.name))
    axis = place.axis % (x.ndim - 1)
    x = np.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    x = x[(slice(None),) * axis + (slice(size),)]
    return record.pack(x) if packed else x


def lay(x: np.ndarray, mesh: Mesh, axes: P) -> Array:
    """An array that every process has, on the mesh."""
    sharding = NamedSharding(mesh, axes)
    return jax.make_array_from_callback(x.shape, sharding, lambda where: x[where])


def _laid(x: np.ndarray, mesh: Mesh, *axes: str) -> Array:
    """The same along "beam", and the axes given."""
    return lay(x, mesh, P(BEAM, *axes))


def split(whole: Circuit, mesh: Mesh) -> Circuit:
    """Cut a circuit for the shards of a mesh. `simulate` takes it as it takes any.

    Raises:
      UsageError: fewer beams than shards, or a circuit that is cut already.
    """
    if whole.wiring.shard is not None:
        raise UsageError("circuit: cut already; split takes a whole one")
    part = part_of(whole.spec, mesh.shape[BEAM])
    projections = {p.name: p for p in whole.spec.projections}

    def cut(x: Any, name: str, axis: int = -1) -> Array:
        x = np.asarray(x)
        place = _Place(name if x.ndim else None, axis)
        return _laid(_cut(x, place, part, fill=x.flat[-1] if x.ndim == 1 else 0), mesh)

    cells = {
        name: jax.tree.map(lambda x, n=name: cut(x, n), cells)
        for name, cells in whole.params.cells.items()
    }
    weights = {n: cut(x, projections[n].source, -2) for n, x in whole.params.weights.items()}
    rates = {n: cut(x, n) for n, x in whole.params.rates.items()}
    wiring = whole.wiring
    packed = wiring.path == "event"
    fans = {n: _cut_fan(fan, projections[n], part, mesh, packed) for n, fan in wiring.fans.items()}
    wiring = replace(
        wiring,
        fans=fans,
        seed=_laid(_cut(np.asarray(wiring.seed), _Place(), part), mesh),
        part=part,
        shard=_laid(np.arange(part.count, dtype=np.uint32), mesh),
    )
    params = replace(whole.params, cells=cells, weights=weights, rates=rates)
    return replace(whole, params=params, wiring=wiring)


def _cut_fan(
    fan: events.Fan, projection: Projection, part: Part, mesh: Mesh, packed: bool
) -> events.Fan:
    """A projection's wiring in every shard, in the numbers that its cells have there.

    Args:
      packed: whether spikes are sent packed, so that lists of sources fill words.
    """
    if isinstance(fan, events.AllToAll):
        return replace(fan, beams=part.beams)
    lists, shards = np.asarray(fan.targets), part.count
    size, dtype = part.size(projection.target), lists.dtype
    nowhere = np.iinfo(dtype).max
    if not projection.crosses:
        cut = _cut(lists, _Place(projection.source, axis=0), part, fill=nowhere)
        first = (np.arange(shards) * size).astype(dtype)[:, None, None]
        cut = np.where(cut == nowhere, nowhere, cut - first)
    else:
        cut = np.stack([_own(lists, shard * size, size) for shard in range(shards)])
        longest = int((cut != nowhere).sum(axis=-1).max())
        cut = cut[..., : max(1, -(-longest // anatomy.LIST_STEP)) * anatomy.LIST_STEP]
        cut = np.stack([_cut(own, _Place(projection.source, 0), part, nowhere) for own in cut])
        if packed and (missing := -cut.shape[2] % events.BITS):
            padding = [(0, 0), (0, 0), (0, missing), (0, 0)]
            cut = np.pad(cut, padding, constant_values=nowhere)
        cut = cut.reshape(shards, -1, cut.shape[-1])
    narrow = anatomy.list_dtype(size)
    cut = np.where(cut == nowhere, np.iinfo(narrow).max, cut).astype(narrow)
    return replace(fan, targets=_laid(cut, mesh))


def _own(lists: np.ndarray, first: int, size: int) -> np.ndarray:
    """Of every list the targets from `first` on, `size` cells, in their numbers there."""
    nowhere = np.iinfo(lists.dtype).max
    here = (lists >= first) & (lists < first + size)
    order = np.argsort(~here, axis=1, kind="stable")
    own = np.where(here, lists - lists.dtype.type(first), nowhere)
    return np.take_along_axis(own, order, axis=1)


def split_state(cut: Circuit, state: State) -> State:
    """A state of the whole circuit, or a batch of them, for the circuit that is cut."""
    part, grid = cut.wiring.part, mesh_of(cut)
    axes = (BATCH,) if state.step.ndim else ()

    def laid(x: Any, place: _Place) -> Array:
        return _laid(_cut(np.asarray(x), place, part), grid, *axes)

    return jax.tree.map(laid, state, _places_of_state(cut.spec, state))


def join_state(cut: Circuit, state: State) -> State:
    """The inverse of `split_state`, as NumPy; where there are several processes, in each."""
    places = _places_of_state(cut.spec, state)
    return jax.tree.map(lambda x, at: _uncut(to_host(x), at, cut.wiring.part), state, places)


def to_host(x: Array) -> np.ndarray:
    """An array as NumPy, wherever its parts lie; every process must ask."""
    if x.is_fully_addressable:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)


def init(cut: Circuit, key: Array, *, spread: bool = False) -> State:
    """As `circuit.init`: the same state, made where its parts are needed."""
    words = jax.random.key_data(key)

    def begin(own: Circuit) -> State:
        own = jax.tree.map(lambda x: x[0], own)
        state = circuit.init(own, jax.random.wrap_key_data(words), spread=spread)
        return jax.tree.map(lambda x: x[None], state)

    mapped = jax.shard_map(
        begin, mesh=mesh_of(cut), in_specs=P(BEAM), out_specs=P(BEAM), check_vma=False
    )
    return jax.jit(mapped)(cut)


def split_drawn(cut: Circuit, drawn: dict[str, Any]) -> dict[str, Any]:
    """Sources that are drawn on the device: rates of a shard's own cells, the rest in every one."""
    part, grid = cut.wiring.part, mesh_of(cut)

    def every(x: Any) -> Array:
        return _laid(_cut(np.asarray(x), _Place(), part), grid)

    placed = {name: jax.tree.map(every, source) for name, source in drawn.items()}
    for name, source in drawn.items():
        if isinstance(source, Poisson) and source.rates.shape[-1] > 1:
            rates = _laid(_cut(np.asarray(source.rates), _Place(name), part), grid)
            placed[name] = replace(placed[name], rates=rates)
    return placed


def split_given(cut: Circuit, given: dict[str, Any], own: tuple[str, ...]) -> dict[str, Array]:
    """Arrays of a chunk's drive, [steps, N] or packed, or [B, steps, N] if in `own`."""
    part, grid = cut.wiring.part, mesh_of(cut)
    sent = {}
    for name, x in given.items():
        x = np.asarray(x)
        one = x.ndim == 1 or (x.shape[-1] == 1 and x.dtype != np.uint32)
        place = _Place(None if one else name, line=x.dtype == np.uint32)
        axes = (BATCH,) if name in own else ()
        sent[name] = _laid(_cut(x, place, part), grid, *axes)
    return sent


def join_left(
    cut: Circuit, recorders: tuple[record.Recorder, ...], totals: dict[str, Any], seen: Any
) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """What the steps of a chunk left (see `record.observe`), of the whole circuit."""
    joined = []
    for r, values in zip(recorders, seen, strict=True):
        size = cut.wiring.part.size(r.population)
        spikes = r.kind in ("counts", "raster")
        shards = []
        for index, own in enumerate(values):
            wanted = record.watched_by(r, size, index)
            shards.append(record.unpack(own, wanted) if spikes else own[..., :wanted])
        whole = np.concatenate(shards, axis=-1)
        joined.append(record.pack(whole) if spikes else whole)
    return {name: x.sum(axis=0, dtype=x.dtype) for name, x in totals.items()}, tuple(joined)
