"""A circuit on many devices, of one process or several: divided into shards of beams.

A shard holds some beams of every population: their cells, parallel-fibre weights and pending weight
updates. It runs `step.step` as a circuit with its own numbers of cells, so the step needs no
second implementation. Its random draws depend on the numbers that its cells have in the whole
circuit; mossy-fibre spikes are drawn where they are needed and never sent. The shards have one
exchange per step: the packed spikes of the populations that cross beams. Sums are never split
between shards, so the spikes are those of the whole circuit, bit for bit.

Every array of a divided circuit or state has a leading axis of shards, which lies along the axis
"beam" of a mesh; the axis "batch" holds independent trials. Where the number of beams is not a
multiple of the number of shards, the last shards contain padding: cells that do not exist and never
fire.
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
from cerebellum.model import circuit, events, fit, target_lists, widths
from cerebellum.model.circuit import BEAM, Circuit, State
from cerebellum.model.part import Part
from cerebellum.model.plasticity.protocol import Rule
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.sim import recorders
from cerebellum.sim.chunk import BATCH
from cerebellum.sim.drive import Events, population_of
from cerebellum.sim.watches import Watch, on_host


def mesh(shards: int | None = None, batch: int = 1) -> Mesh:
    """Arrange devices as a mesh of shards by parts of a batch.

    Args:
      shards: number of shards; by default the number of all devices of all processes, divided by
        `batch`.

    Raises:
      UsageError: there are not enough devices, or the processes cannot have equally many.
    """
    devices, processes = jax.devices(), jax.process_count()
    shards = len(devices) // max(1, batch) if shards is None else shards
    count = shards * batch
    if not 0 < count <= len(devices):
        raise UsageError(f"devices: {count}; there are {len(devices)}")
    if count % processes:
        raise UsageError(f"devices: {count}; as many in each of {processes} processes")
    by_process = [[d for d in devices if d.process_index == p] for p in range(processes)]
    used = [device for local in by_process for device in local[: count // processes]]
    return Mesh(np.array(used).reshape(shards, batch), (BEAM, BATCH))


def mesh_of(cut: Circuit) -> Mesh:
    """The mesh for which a circuit is divided.

    Raises:
      UsageError: this is no circuit, or one that is not divided.
    """
    _check_circuit(cut)
    if cut.wiring.shard is None:
        raise UsageError("circuit: a whole one; a divided one, shard.split(circuit, shard.mesh())")
    sharding = cut.wiring.shard.sharding
    assert isinstance(sharding, NamedSharding)
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def _check_circuit(thing: Any) -> None:
    if not isinstance(thing, Circuit):
        raise UsageError(f"circuit: {type(thing).__name__}; a circuit that cb.build returned")


def _check_state(state: Any, axes: tuple[int, ...], shape: str) -> None:
    """Raise UsageError if this is no state, was given to a run, or its step has other axes.

    Args:
      axes: how many axes the step may have.
      shape: which state is wanted, for the message.
    """
    if not isinstance(state, State):
        raise UsageError(f"state: {type(state).__name__}; {shape}")
    if any(isinstance(x, Array) and x.is_deleted() for x in jax.tree.leaves(state)):
        raise UsageError("state: given to a run, which has used it up; the one that it returned")
    if state.step.ndim not in axes:
        raise UsageError(f"state: its step is {list(state.step.shape)}; {shape}")


def part_of(spec: Spec, shards: int) -> Part:
    """The sizes of each shard of a circuit that is divided into `shards` shards.

    Raises:
      UsageError: there are fewer beams than shards.
    """
    if spec.beams < shards:
        raise UsageError(
            f"devices: {shards}; a beam is not divided, and the circuit has {spec.beams}"
        )
    return Part(spec=spec, shards=shards)


def exchanged_bytes(part: Part, path: events.Path) -> int:
    """Number of bytes that each shard receives in the exchange of a step, from itself too."""
    sizes = [part.size(name) for name in part.spec.crossing()]
    words = sum(-(-size // events.BITS) for size in sizes)
    return part.count * 4 * (words if path == "event" else sum(sizes)) * (part.count > 1)


@dataclass(frozen=True)
class _Layout:
    """The axis of an array that belongs to the cells of a population."""

    name: str | None = None
    """the population; None if the array is the same in every shard"""
    axis: int = -1
    """the axis of the cells"""
    beams: bool = False
    """whether the last beam is as long as the others"""
    line: bool = False
    """whether the array holds spikes, as a delay line does; uint32 arrays are packed spikes"""


def _layouts_of_state(spec: Spec, state: State) -> State:
    """The `_Layout` of every array of a state."""
    ends = {p.name: (p.source, p.target) for p in spec.projections}
    rules = {p.name: p.rule for p in spec.projections if p.rule is not None}
    homeostatic = {name: population for name, population, _ in spec.homeostatic()}
    ring_targets = {circuit.ring_of(p): p.target for p in spec.projections}

    def by_name(trees: dict[str, Any], layout) -> dict[str, Any]:
        return {n: jax.tree.map(lambda _, n=n: layout(n), tree) for n, tree in trees.items()}

    return State(
        timing=state.timing,
        step=_Layout(),  # pyright: ignore[reportArgumentType]
        key=_Layout(),  # pyright: ignore[reportArgumentType]
        cells=by_name(state.cells, _Layout),
        delay_lines=by_name(state.delay_lines, lambda n: _Layout(n, line=True)),
        arrivals=by_name(state.arrivals, lambda n: _Layout(ring_targets[n])),
        weights=by_name(state.weights, lambda n: _Layout(ends[n][0], axis=-2)),
        rule_states={name: _layouts_of_rule(rules[name], ends[name]) for name in state.rule_states},
        terminals=by_name(state.terminals, lambda n: _Layout(ends[n][0])),
        homeostasis=by_name(state.homeostasis, lambda n: _Layout(homeostatic[n])),
    )


def _layouts_of_rule(rule: Rule, ends: tuple[str, str]) -> Any:
    """The `_Layout` of every array of a rule's state; `build` has checked its axes."""
    source, target = ends
    layouts = {
        "source": _Layout(source),
        "target": _Layout(target),
        "row": _Layout(target, beams=True),
        "synapse": _Layout(source, axis=-2),
        "none": _Layout(),
    }
    return jax.tree.map(lambda axis: layouts[axis], rule.axes())


def _cut(x: np.ndarray, layout: _Layout, part: Part, fill: Any = 0) -> np.ndarray:
    """Divide an array of the whole circuit into those of its shards, [shards, ...].

    Args:
      fill: value of the padding.
    """
    if layout.name is None:
        return np.broadcast_to(x, (part.count, *x.shape))
    size, axis = part.size(layout.name), layout.axis % x.ndim
    packed = layout.line and x.dtype == np.uint32
    if packed:
        x = recorders.unpack(x, part.spec.population(layout.name).size)
    if missing := part.count * size - x.shape[axis]:
        padding = [(0, missing if i == axis else 0) for i in range(x.ndim)]
        x = np.pad(x, padding, constant_values=fill)
    x = x.reshape(*x.shape[:axis], part.count, size, *x.shape[axis + 1 :])
    x = np.moveaxis(x, axis, 0)
    if packed:
        x = recorders.pack(x)
    if layout.line and layout.name in part.spec.crossing():
        all_shards = np.moveaxis(x, 0, -2)
        all_shards = all_shards.reshape(*all_shards.shape[:-2], -1)
        return np.broadcast_to(all_shards, (part.count, *all_shards.shape))
    return x


def _uncut(x: np.ndarray, layout: _Layout, part: Part) -> np.ndarray:
    """The inverse of `_cut`."""
    if layout.name is None:
        return x[0]
    size = part.spec.population(layout.name).size
    if layout.beams:
        size = part.spec.beams * part.spec.beam_size(layout.name)
    if layout.line and layout.name in part.spec.crossing():
        x = np.moveaxis(x[0].reshape(*x.shape[1:-1], part.count, -1), -2, 0)
    packed = layout.line and x.dtype == np.uint32
    if packed:
        x = recorders.unpack(x, part.size(layout.name))
    axis = layout.axis % (x.ndim - 1)
    x = np.moveaxis(x, 0, axis)
    x = x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])
    x = x[(slice(None),) * axis + (slice(size),)]
    return recorders.pack(x) if packed else x


def lay(x: np.ndarray, mesh: Mesh, axes: P) -> Array:
    """Place an array that every process has on the devices of a mesh."""
    sharding = NamedSharding(mesh, axes)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def _on_beams(x: np.ndarray, mesh: Mesh, *axes: str) -> Array:
    """Place an array on a mesh, with its first axis along "beam" and the next ones along `axes`."""
    return lay(x, mesh, P(BEAM, *axes))


def split(whole: Circuit, mesh: Mesh) -> Circuit:
    """Divide a circuit into the shards of a mesh; `simulate` accepts it like any other circuit.

    Raises:
      UsageError: there are fewer beams than shards, the circuit is divided already, or the mesh is
        not one of `mesh`.
    """
    _check_circuit(whole)
    if not isinstance(mesh, Mesh):
        raise UsageError(f"mesh: {mesh!r}; a mesh, such as shard.mesh(2) for 2 shards")
    if set(mesh.axis_names) != {BEAM, BATCH}:
        names = ", ".join(map(str, mesh.axis_names))
        raise UsageError(f"mesh: its axes are {names}; {BEAM} and {BATCH}, as shard.mesh has")
    if whole.wiring.shard is not None:
        raise UsageError("circuit: cut already; split takes a whole one")
    part = part_of(whole.spec, mesh.shape[BEAM])
    projections = {p.name: p for p in whole.spec.projections}

    def cut(x: Any, name: str, axis: int = -1) -> Array:
        x = np.asarray(x)
        layout = _Layout(name if x.ndim else None, axis)
        return _on_beams(_cut(x, layout, part, fill=x.flat[-1] if x.ndim == 1 else 0), mesh)

    cells = {
        name: jax.tree.map(lambda x, n=name: cut(x, n), cells)
        for name, cells in whole.params.cells.items()
    }
    weights = {n: cut(x, projections[n].source, -2) for n, x in whole.params.weights.items()}
    gains = {n: cut(x, n) for n, x in whole.params.learning_gain.items()}
    wiring = whole.wiring
    packed = wiring.path == "event"
    fans = {n: _cut_fan(fan, projections[n], part, mesh, packed) for n, fan in wiring.fans.items()}
    alive = {}
    for name, words in wiring.alive.items():
        emits = recorders.unpack(np.asarray(words), part.spec.population(name).size)
        alive[name] = _on_beams(recorders.pack(_cut(emits, _Layout(name), part)), mesh)
    junctions = {n: cut(x, n) for n, x in whole.params.gap_junctions.items()}
    partners = {n: _cut_partners(np.asarray(x), n, part, mesh) for n, x in wiring.partners.items()}
    wiring = replace(
        wiring,
        fans=fans,
        partners=partners,
        alive=alive,
        seed=_on_beams(_cut(np.asarray(wiring.seed), _Layout(), part), mesh),
        part=part,
        shard=_on_beams(np.arange(part.count, dtype=np.uint32), mesh),
    )
    params = replace(
        whole.params,
        cells=cells,
        weights=weights,
        learning_gain=gains,
        gap_junctions=junctions,
    )
    return replace(whole, params=params, wiring=wiring)


def _cut_partners(partners: np.ndarray, name: str, part: Part, mesh: Mesh) -> Array:
    """The partners of each cell in every shard, by the numbers that cells have in the shard."""
    size, none = part.size(name), np.int32(-1)
    cut = _cut(partners, _Layout(name), part, fill=none)
    itself = np.arange(size, dtype=np.int32)
    first = (np.arange(part.count, dtype=np.int32) * size)[:, None, None]
    return _on_beams(np.where(cut == none, itself, cut - first), mesh)


def _cut_fan(
    fan: events.Fan, projection: Projection, part: Part, mesh: Mesh, packed: bool
) -> events.Fan:
    """The wiring of a projection in every shard, by the numbers that cells have in the shard.

    Args:
      packed: whether spikes are delivered packed, so that the lists of the sources of a shard must
        fill whole words.
    """
    if isinstance(fan, events.AllToAll):
        return replace(fan, beams=part.beams)
    lists, shards = np.asarray(fan.targets), part.count
    size, dtype = part.size(projection.target), lists.dtype
    no_target = np.iinfo(dtype).max
    if not projection.crosses:
        cut = _cut(lists, _Layout(projection.source, axis=0), part, fill=no_target)
        cell_offset = (np.arange(shards) * size).astype(dtype)[:, None, None]
        cut = np.where(cut == no_target, no_target, cut - cell_offset)
    else:
        by_shard = [_targets_in_range(lists, shard * size, size) for shard in range(shards)]
        cut = np.stack(by_shard)
        longest = int((cut != no_target).sum(axis=-1).max())
        cut = cut[..., : max(widths.LIST_STEP, widths.rounded(longest))]
        layout = _Layout(projection.source, 0)
        cut = np.stack([_cut(shard_lists, layout, part, no_target) for shard_lists in cut])
        if packed and (missing := -cut.shape[2] % events.BITS):
            padding = [(0, 0), (0, 0), (0, missing), (0, 0)]
            cut = np.pad(cut, padding, constant_values=no_target)
        cut = cut.reshape(shards, -1, cut.shape[-1])
    narrow = target_lists.list_dtype(size)
    cut = np.where(cut == no_target, np.iinfo(narrow).max, cut).astype(narrow)
    delays = None
    if fan.delays is not None:
        steps = np.asarray(fan.delays)
        delays = _on_beams(_cut(steps, _Layout(projection.source, axis=0), part, fill=1), mesh)
    return replace(fan, targets=_on_beams(cut, mesh), delays=delays)


def _targets_in_range(lists: np.ndarray, cell_offset: int, size: int) -> np.ndarray:
    """Keep those targets of every list that are among `size` cells from `cell_offset` on.

    The targets are numbered from `cell_offset`.
    """
    no_target = np.iinfo(lists.dtype).max
    inside = (lists >= cell_offset) & (lists < cell_offset + size)
    order = np.argsort(~inside, axis=1, kind="stable")
    numbers = np.where(inside, lists - lists.dtype.type(cell_offset), no_target)
    return np.take_along_axis(numbers, order, axis=1)


def split_state(cut: Circuit, state: State) -> State:
    """Divide a state of the whole circuit, or a batch of states, as a divided circuit needs it.

    Raises:
      UsageError: the circuit is not divided, or this is no state of the whole circuit.
    """
    grid, part = mesh_of(cut), cut.wiring.part
    _check_state(state, (0, 1), "a state of the whole circuit, or a batch of them")
    _check_cells(state, cut, 1)
    axes = (BATCH,) if state.step.ndim else ()

    def place(x: Any, layout: _Layout) -> Array:
        return _on_beams(_cut(np.asarray(x), layout, part), grid, *axes)

    return jax.tree.map(place, state, _layouts_of_state(cut.spec, state))


def join_state(cut: Circuit, state: State) -> State:
    """The inverse of `split_state`, in NumPy; with several processes, each has the whole state.

    Raises:
      UsageError: the circuit is not divided, or the state is not divided like it.
    """
    mesh_of(cut)
    shards = cut.wiring.part.count
    _check_state(state, (1, 2), f"a state in {shards} shards, as shard.split_state returns")
    if state.step.shape[0] != shards:
        raise UsageError(f"state: in {state.step.shape[0]} shards; {shards}, as the circuit is")
    _check_cells(state, cut, shards)
    layouts = _layouts_of_state(cut.spec, state)
    return jax.tree.map(lambda x, at: _uncut(to_host(x), at, cut.wiring.part), state, layouts)


def _check_cells(state: State, cut: Circuit, shards: int) -> None:
    """Raise UsageError if a state in so many shards has other cells than the circuit."""
    part = cut.wiring.part
    known = [population.name for population in part.spec.populations]
    fit.check_names(state.cells, known, "state.cells", part.spec.name)
    for name in known:
        size = part.spec.population(name).size if shards == 1 else part.size(name)
        for leaf in jax.tree.leaves(state.cells[name]):
            if leaf.shape[-1] != size:
                raise UsageError(
                    f"state: {leaf.shape[-1]} cells in {name}; {size}, as the circuit has"
                )


def to_host(x: Array) -> np.ndarray:
    """Copy an array to NumPy, wherever its shards are; every process must call this."""
    if x.is_fully_addressable:
        return np.asarray(x)
    return multihost_utils.process_allgather(x, tiled=True)


def init(cut: Circuit, key: Array, *, spread: bool = False) -> State:
    """As `circuit.init`: the same state, computed on the devices that need it.

    Raises:
      UsageError: the circuit is not divided.
    """
    grid = mesh_of(cut)
    words = jax.random.key_data(key)

    def init_shard(shard: Circuit) -> State:
        shard = jax.tree.map(lambda x: x[0], shard)
        state = circuit.init(shard, jax.random.wrap_key_data(words), spread=spread)
        return jax.tree.map(lambda x: x[None], state)

    mapped = jax.shard_map(
        init_shard, mesh=grid, in_specs=P(BEAM), out_specs=P(BEAM), check_vma=False
    )
    return jax.jit(mapped)(cut)


def split_sources(cut: Circuit, sources: dict[str, Any]) -> dict[str, Any]:
    """Divide sources that are drawn on the device.

    A shard gets what belongs to its own cells. All other arrays are the same in every shard.
    """
    part, grid = cut.wiring.part, mesh_of(cut)
    placed = {}
    for slot, source in sources.items():
        layout = _Layout(population_of(slot))

        def cut_cells(x: Any, layout: _Layout = layout) -> Array:
            x = np.asarray(x)
            many = x.shape[-1] > 1
            return _on_beams(_cut(x, layout, part), grid) if many else replicate(cut, x)

        cells = {n: jax.tree.map(cut_cells, getattr(source, n)) for n in source.PER_CELL}
        whole = jax.tree.map(lambda x: replicate(cut, x), source)
        placed[slot] = replace(whole, **cells)
    return placed


def split_arrays(cut: Circuit, arrays: dict[str, Any], batched: tuple[str, ...]) -> dict[str, Any]:
    """Divide the arrays that drive a chunk, [steps, N] or packed, or lists of events.

    Args:
      batched: names of the arrays that have a batch axis, [B, steps, N].
    """
    part, grid = cut.wiring.part, mesh_of(cut)
    placed = {}
    for name, x in arrays.items():
        population = population_of(name)
        if isinstance(x, Events):
            placed[name] = _split_events(x, part.size(population), part.count, grid)
            continue
        x = np.asarray(x)
        same_for_all_cells = x.ndim == 1 or (x.shape[-1] == 1 and x.dtype != np.uint32)
        layout = _Layout(None if same_for_all_cells else population, line=x.dtype == np.uint32)
        axes = (BATCH,) if name in batched else ()
        placed[name] = _on_beams(_cut(x, layout, part), grid, *axes)
    return placed


def replicate(cut: Circuit, x: Any) -> Array:
    """Give every shard the same array, [shards, ...]."""
    return _on_beams(_cut(np.asarray(x), _Layout(), cut.wiring.part), mesh_of(cut))


def place(cut: Circuit, x: np.ndarray) -> Array:
    """Give each shard its row of an array, [shards, ...]."""
    return _on_beams(x, mesh_of(cut))


def _split_events(rows: Events, size: int, count: int, grid: Mesh) -> Events:
    """The events of each of `count` shards of `size` cells; those of other shards reach no cell."""
    cells = np.asarray(rows.cell)[None] - np.arange(count, dtype=np.int32)[:, None, None] * size
    cells = np.where((cells >= 0) & (cells < size), cells, size).astype(np.int32)
    weights = np.broadcast_to(rows.weight, cells.shape)
    return Events(cell=_on_beams(cells, grid), weight=_on_beams(weights, grid))


def join_records(
    cut: Circuit, watches: tuple[Watch, ...], totals: dict[str, Any], records: Any
) -> tuple[dict[str, np.ndarray], tuple[np.ndarray, ...]]:
    """Join the records of a chunk (see `recorders.observe`) from all shards.

    Returns:
      Spikes by population, and the records as `watches.on_host` returns them.
    """
    joined = [
        on_host(watch, list(by_shard)) for watch, by_shard in zip(watches, records, strict=True)
    ]
    return {name: x.sum(axis=0, dtype=x.dtype) for name, x in totals.items()}, tuple(joined)
