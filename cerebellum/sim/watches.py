"""The recorders of a run, and which cells and synapses of its circuit each of them records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.model import circuit as circuits
from cerebellum.model import events, fixed
from cerebellum.model.circuit import Wiring
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.sim.recorders import SPIKES, WEIGHTS, Recorder, unpack
from cerebellum.sim.requests import Request, cells_of, interval, pairs_of, projection_of

ROOM = 4
"""The least number of cells for which a program that records a list of cells has room."""


@dataclass(frozen=True, eq=False)
class Watch:
    """A recorder and the cells or synapses that it records in this run."""

    recorder: Recorder
    cells: np.ndarray
    """numbers of the recorded cells, int64 [n]; of synapses, (source, target), int64 [n, 2]; for
    the mean of all weights, no row"""
    unit: str = ""
    index: np.ndarray | None = None
    """What the program gets, int32: the first cell of a range [1], cells [room], or the places of
    synapses in the weights [room, 2]. In a circuit of several shards, the same for each shard."""
    places: tuple[np.ndarray, ...] = field(default=())
    """of a circuit in shards: the places of the entries of each shard among `cells`"""
    scale: float = 1.0
    """factor of what the program records"""

    @property
    def columns(self) -> int:
        """Number of values of a sample."""
        return 1 if self.recorder.choice == "sum" else len(self.cells)


def room_for(count: int) -> int:
    """The room for `count` entries, at most an eighth above it or `ROOM`, so that programs that
    record a few more or fewer cells are one program."""
    if count <= ROOM:
        return ROOM
    unit = max(ROOM, 2 ** (count.bit_length() - 4))
    return -(-count // unit) * unit


def watches_of(
    requests: Sequence[Request],
    wiring: Wiring,
    fans: Mapping[str, np.ndarray],
    built: Mapping[str, Any],
) -> tuple[Watch, ...]:
    """What a run of a circuit records.

    Args:
      fans: the lists of targets of the projections of which single weights are requested, on the
        host: [N, F], or [shards, N, F].
      built: the weights of projections as they were built (see `Params.weights`).

    Raises:
      UsageError: two cells of a pair have no synapse.
    """
    return tuple(
        _weights_watch(r, wiring, fans, built) if r.kind == WEIGHTS else _cells_watch(r, wiring)
        for r in requests
    )


def _cells_watch(request: Request, wiring: Wiring) -> Watch:
    """The watch of some cells of a population."""
    spec, part = wiring.spec, wiring.part
    population, cells = spec.population(request.owner), cells_of(request, spec)
    every, size = interval(request, spec.dt), part.size(request.owner)
    unit = CIRCUIT_MODELS[population.model].unit(request.kind) if request.kind not in SPIKES else ""

    def recorder(choice: str, room: int) -> Recorder:
        return Recorder(request.kind, request.owner, choice, room, every)

    contiguous = bool((np.diff(cells) == 1).all())
    if contiguous and len(cells) == population.size:
        places = ()
        if part.shards is not None:
            edges = [min(shard * size, population.size) for shard in range(part.count + 1)]
            places = tuple(np.arange(a, b) for a, b in pairwise(edges))
        return Watch(recorder("all", size), cells, unit, places=places)
    if part.shards is None and contiguous and len(cells) > ROOM:
        room = room_for(len(cells))
        # A range with room must not end after the last cell.
        if cells[0] + room <= population.size:
            return Watch(recorder("range", room), cells, unit, np.array([cells[0]], np.int32))
    shards = cells // size
    return _listed(recorder, cells, cells - shards * size, shards, wiring, unit)


def _listed(recorder, cells: np.ndarray, local: np.ndarray, shards: np.ndarray, wiring, unit: str):
    """A watch of a list of entries.

    Args:
      recorder: a function (choice, room) that gives the recorder.
      cells: the recorded cells, [n] or [n, 2].
      local: the entries' places in their shard, [n] or [n, 2].
      shards: the shard of each, [n].
    """
    if wiring.part.shards is None:
        room = room_for(len(cells))
        return Watch(recorder("list", room), cells, unit, _padded(local, room))
    places = tuple(np.flatnonzero(shards == shard) for shard in range(wiring.part.count))
    room = room_for(max(map(len, places)))
    index = np.stack([_padded(local[place], room) for place in places])
    return Watch(recorder("list", room), cells, unit, index, places)


def _padded(entries: np.ndarray, room: int) -> np.ndarray:
    """Entries as int32, with zeros up to `room`."""
    padding = [(0, room - len(entries)), *[(0, 0)] * (entries.ndim - 1)]
    return np.pad(entries.astype(np.int32), padding)


def _weights_watch(
    request: Request,
    wiring: Wiring,
    fans: Mapping[str, np.ndarray],
    built: Mapping[str, Any],
) -> Watch:
    """The watch of weights: of some synapses, or of their sum."""
    spec, part = wiring.spec, wiring.part
    projection = projection_of(request, spec)
    fan, every = wiring.fans[projection.name], interval(request, spec.dt)
    rows = isinstance(fan, events.AllToAll)
    unit = getattr(fan, "unit", 1.0) if projection.dtype == "uint16" else 1.0
    target_model = CIRCUIT_MODELS[spec.population(projection.target).model]
    measure = "mV" if target_model is CIRCUIT_MODELS["current"] else "nS"

    def recorder(choice: str, room: int) -> Recorder:
        return Recorder(WEIGHTS, projection.name, choice, room, every)

    if request.chosen is None:
        number = _synapses(projection, spec, fans.get(projection.name))
        none, places = np.zeros((0, 2), np.int64), ()
        if part.shards is not None:
            places = tuple(np.zeros(1, np.int64) for _ in range(part.count))
        scale = unit / max(1, number)
        return Watch(recorder("sum", 1), none, measure, places=places, scale=scale)
    pairs = pairs_of(request, projection, spec)
    source, target = pairs.T
    sources, targets = part.size(projection.source), part.size(projection.target)
    shards = source // sources
    row, aim = source - shards * sources, target - shards * targets
    if rows:
        width = spec.beam_size(projection.target)
        beam = source // spec.beam_size(projection.source)
        exists, column = beam == target // width, target % width
        if exists.all():
            places = (shards, row, column) if part.shards is not None else (row, column)
            weights = built[projection.name]
            exists = _contacts(projection, wiring, source, column, lambda: weights[places] != 0)
    else:
        lists = fans[projection.name]
        mine = (lists[shards, row] if lists.ndim == 3 else lists[row]) == aim[:, None]
        exists, column = mine.any(axis=1), mine.argmax(axis=1)
    if not exists.all():
        pre, post = pairs[~exists][0]
        raise UsageError(f"{request.where}: {pre} to {post}, no synapse; pairs that have one")
    local = np.stack([row, column], axis=1)
    watch = _listed(recorder, pairs, local, shards, wiring, measure)
    return Watch(watch.recorder, pairs, measure, watch.index, watch.places, unit)


def _contacts(
    projection: Projection,
    wiring: Wiring,
    source: np.ndarray,
    column: np.ndarray,
    built: Callable[[], Any],
) -> np.ndarray:
    """Which places of rows are contacts, bool [pairs]; rows have a place for every target.

    Args:
      built: whether the weight with which each was built is not zero, which tells it of rows whose
        contacts were drawn one by one. Of others, a key tells it.
    """
    spec, share = wiring.spec, wiring.spec.share(projection)
    if share == 1:
        return np.ones(source.shape, bool)
    if projection.rule is None and projection.dtype == "float32":
        return np.asarray(built())
    seed = jnp.asarray(np.asarray(wiring.seed.addressable_data(0)).reshape(-1, 2)[0])
    key, width = circuits.contacts_key(seed, projection), spec.beam_size(projection.target)
    found = [
        np.asarray(fixed.exists(key, jnp.asarray(part, jnp.uint32), width, share))
        for part in np.array_split(source, -(-source.size // 64))
    ]
    return np.concatenate(found)[np.arange(source.size), column]


def _synapses(projection: Projection, spec: Spec, lists: np.ndarray | None) -> int:
    """Number of synapses of a projection; where they are drawn one by one, the expected one."""
    if lists is not None:
        return int(np.sum(lists < spec.population(projection.target).size))
    return round(projection.in_degree * spec.population(projection.target).size)


def on_host(watch: Watch, values: Sequence[np.ndarray]) -> np.ndarray:
    """What was recorded, by cell: from arrays [..., room] of each shard, or of the whole circuit.

    Returns:
      Spikes, bool [..., n], or numbers, float32 [..., n].
    """
    r, columns = watch.recorder, watch.columns
    if not r.traced:
        values = [unpack(x, r.room) for x in values]
    if len(values) == 1 and not watch.places:
        joined = values[0][..., :columns]
    elif r.choice == "sum":
        joined = np.sum(values, axis=0)
    else:
        joined = np.empty((*values[0].shape[:-1], columns), values[0].dtype)
        for place, each in zip(watch.places, values, strict=True):
            joined[..., place] = each[..., : len(place)]
    return joined if watch.scale == 1 else joined * np.float32(watch.scale)
