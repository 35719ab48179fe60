"""What a run records: what the caller asks for, and what a step records on the device.

A `Recorder` is the static part, which belongs to the compiled program. Which cells it records are
numbers that the program gets as an array, so that other cells need no other program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.errors import UsageError, is_number, is_whole, nearest
from cerebellum.model import circuit as circuits
from cerebellum.model import events, fixed
from cerebellum.model.circuit import Activity, State, Wiring
from cerebellum.model.delays import GRID
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

KINDS = "rates, counts:POPULATION, raster:POPULATION, v:POPULATION, g_exc:..., g_inh:..."
SPIKES = ("counts", "raster")
WEIGHTS = "weights"

ROOM = 4
"""The least number of cells for which a program that records a list of cells has room."""


@dataclass(frozen=True)
class Recorder:
    """One quantity of some cells or synapses, as the compiled program records it: hashable."""

    kind: str
    """"counts", "raster", "weights", or the name of a variable such as "v" """
    owner: str
    """the population, or for weights the projection"""
    choice: str
    """which are recorded: "all", a "range" or a "list" of them, or their "sum" """
    room: int
    """number of entries that are recorded, at least that of the cells or synapses"""
    every: int = 1
    """steps from one sample to the next; the sample is of the last of them"""

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.owner}"

    @property
    def traced(self) -> bool:
        """Whether it records a number for each cell and sample, rather than spikes."""
        return self.kind not in SPIKES


@dataclass(frozen=True, eq=False)
class Request:
    """A quantity to record: what `of` and `weights` return, and what text stands for."""

    kind: str
    owner: str
    chosen: Any = None
    """cells or synapses; None for all cells, or for the mean of the weights"""
    every_ms: float | None = None
    """time from one sample to the next, ms; None for every step"""
    text: str = ""
    """the text that it was made from, for messages"""

    @property
    def where(self) -> str:
        return f"record {(self.text or f'{self.kind}:{self.owner}')!r}"


def of(kind: str, population: str, cells: Any = None, *, every_ms: float | None = None) -> Request:
    """A quantity of a population to record, for the argument `record` of a run.

    Args:
      kind: "raster" or "counts" for spikes, or a variable of the population's model, such as "v".
      population: its name.
      cells: numbers of cells in any order, a mask (bool [N]), a slice, or one number; by default
        all cells.
      every_ms: for variables, the time from one sample to the next, whole steps. The first sample
        is at the end of the first such time. By default every step is a sample.

    Raises:
      UsageError: the kind or the population is no text. Whether they fit the circuit is checked
        when it runs.
    """
    for name, value in (("kind", kind), ("population", population)):
        if not isinstance(value, str):
            raise UsageError(f"{name}: {value!r}; text, such as 'v' and 'golgi'")
    return Request(kind, population, cells, every_ms)


def weights(projection: str, synapses: Any = None, *, every_ms: float | None = None) -> Request:
    """Weights of a plastic projection to record, nS or mV.

    They are those of the state: what a rule has not yet applied to a row, because its source cell
    has not fired since, is not in them.

    Args:
      projection: its name.
      synapses: pairs of cells (source, target), integers [n, 2]; by default the mean over all
        synapses of the projection, which is one number a sample.
      every_ms: as in `of`.

    Raises:
      UsageError: the projection is no text. Whether it fits the circuit is checked when it runs.
    """
    if not isinstance(projection, str):
        raise UsageError(f"projection: {projection!r}; text, such as 'granule_purkinje'")
    return Request(WEIGHTS, projection, synapses, every_ms)


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


def parse(record: Any, spec: Spec) -> tuple[Request, ...]:
    """Make requests from text such as "raster:purkinje", "v:golgi:0:5" or "v:golgi:0,3,7".

    After the population follows a cell, a Python slice of cells, or a list of cells. "rates" is
    always recorded and needs no request. Requests are checked and returned as they are.

    Raises:
      UsageError: the kind or the population is unknown, the cells do not exist, or the same
        quantity is requested twice.
    """
    requests: dict[tuple[str, str], Request] = {}
    for each in (record,) if isinstance(record, str | Request) else record:
        if isinstance(each, str) and each == "rates":
            continue
        request = _read(each, spec) if isinstance(each, str) else each
        key = (request.kind, request.owner)
        if key in requests:
            raise UsageError(f"{request.where}: {':'.join(key)} twice; once, with all its cells")
        _interval(request, spec.dt)
        if request.kind == WEIGHTS:
            _projection(request, spec)
        else:
            cells_of(request, spec)
        requests[key] = request
    return tuple(requests.values())


def _read(text: str, spec: Spec) -> Request:
    """The request of a text."""
    kind, *rest = text.split(":")
    if kind == WEIGHTS:
        if len(rest) != 1:
            raise UsageError(
                f"record {text!r}: weights:PROJECTION is their mean; "
                "cb.record.weights(PROJECTION, synapses=...) for some of them"
            )
        return Request(kind, rest[0], text=text)
    names = [population.name for population in spec.populations]
    if not rest or rest[0] not in names:
        raise UsageError(f"record {text!r}: {KINDS}; populations are {', '.join(names)}")
    try:
        if len(rest) == 2 and "," in rest[1]:
            cells: Any = [int(x) for x in rest[1].split(",")]
        else:
            bounds = [int(x) if x else None for x in rest[1:]]
            if len(bounds) == 1 and bounds[0] is not None:
                bounds.append(bounds[0] + 1)
            cells = slice(*bounds) if bounds else None
    except (ValueError, TypeError):
        raise UsageError(
            f"record {text!r}: cells as CELL, START:STOP, START:STOP:STRIDE or CELL,CELL"
        ) from None
    return Request(kind, rest[0], cells, text=text)


def _interval(request: Request, dt: float) -> int:
    """The number of steps from one sample to the next."""
    every_ms = request.every_ms
    if every_ms is None:
        return 1
    if not is_number(every_ms):
        raise UsageError(f"{request.where}: every_ms {every_ms!r}; a number, ms")
    steps = float(every_ms) / dt
    if not 0.5 <= steps < 2**31 or abs(steps - round(steps)) > GRID:
        raise UsageError(f"{request.where}: every_ms {every_ms:g}; whole steps of {dt:g} ms")
    if request.kind in SPIKES:
        raise UsageError(f"{request.where}: every_ms {every_ms:g}; none, spikes are of every step")
    return round(steps)


def cells_of(request: Request, spec: Spec) -> np.ndarray:
    """The cells of a request, int64 [n].

    Raises:
      UsageError: there is no such population or variable, or there are no such cells.
    """
    names = [population.name for population in spec.populations]
    if request.owner not in names:
        raise UsageError(
            f"{request.where}: {request.owner!r}; {nearest(request.owner, names, spec.name)}"
        )
    population = spec.population(request.owner)
    if request.kind not in SPIKES:
        known = _variables(population)
        if request.kind not in known:
            raise UsageError(
                f"{request.where}: {population.name} has {', '.join(known) or 'no variables'}; "
                f"{KINDS}"
            )
    return _chosen(request, population.size)


def _variables(population: Population) -> tuple[str, ...]:
    model = CIRCUIT_MODELS[population.model]
    return tuple(model.variables(model.init(population.typical, (1,))))


def _chosen(request: Request, size: int) -> np.ndarray:
    """The cells of a request among `size` cells, int64 [n]."""
    chosen, where = request.chosen, request.where
    if chosen is None or isinstance(chosen, slice):
        try:
            cells = range(size)[chosen if chosen is not None else slice(None)]
        except (TypeError, ValueError):
            raise UsageError(f"{where}: cells {chosen!r}; whole numbers") from None
        if cells.step < 1 or not cells:
            raise UsageError(f"{where}: no cells of the {size} there are; 0 to {size - 1}")
        return np.arange(cells.start, cells.stop, cells.step)
    if is_whole(chosen):
        chosen = [chosen]
    if isinstance(chosen, str) or not isinstance(chosen, Sequence | range | np.ndarray | Array):
        raise UsageError(f"{where}: cells {chosen!r}; a list of cells, a mask or a slice")
    cells = np.asarray(chosen)
    if cells.dtype == bool:
        if cells.shape != (size,):
            raise UsageError(f"{where}: a mask of {list(cells.shape)}; [{size}]")
        cells = np.flatnonzero(cells)
    if not cells.size:
        raise UsageError(f"{where}: no cells; some of the {size} there are, or leave it out")
    if cells.ndim != 1 or cells.dtype.kind not in "iu":
        raise UsageError(f"{where}: cells {cells.dtype} {list(cells.shape)}; whole numbers, [n]")
    outside = (cells < 0) | (cells >= size)
    if outside.any():
        raise UsageError(f"{where}: cell {cells[outside][0]}; from 0 to {size - 1}")
    cells = cells.astype(np.int64)
    if len(np.unique(cells)) < len(cells):
        values, counts = np.unique(cells, return_counts=True)
        raise UsageError(f"{where}: cell {values[counts > 1][0]} twice; each cell once")
    return cells


def _projection(request: Request, spec: Spec) -> Projection:
    """The plastic projection whose weights are requested."""
    plastic = [p.name for p in spec.projections if p.plastic]
    if request.owner not in plastic:
        known = [p.name for p in spec.projections]
        if request.owner in known:
            right = f"a plastic projection: {', '.join(plastic) or 'this circuit has none'}"
        else:
            right = f"{request.owner!r}; {nearest(request.owner, plastic, spec.name)}"
        raise UsageError(f"{request.where}: {right}")
    projection = next(p for p in spec.projections if p.name == request.owner)
    if request.chosen is not None:
        _pairs(request, projection, spec)
    return projection


def _pairs(request: Request, projection: Projection, spec: Spec) -> np.ndarray:
    """The synapses of a request as pairs of cells, int64 [n, 2]."""
    try:
        pairs = np.asarray(request.chosen)
    except ValueError:
        raise UsageError(f"{request.where}: synapses; pairs (source, target), [n, 2]") from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu" or not len(pairs):
        raise UsageError(
            f"{request.where}: synapses {pairs.dtype} {list(pairs.shape)}; pairs of cells (source, "
            "target), whole numbers [n, 2]"
        )
    for column, end in enumerate((projection.source, projection.target)):
        size = spec.population(end).size
        outside = (pairs[:, column] < 0) | (pairs[:, column] >= size)
        if outside.any():
            wrong = pairs[outside, column][0]
            raise UsageError(f"{request.where}: cell {wrong} of {end}; from 0 to {size - 1}")
    pairs = pairs.astype(np.int64)
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise UsageError(f"{request.where}: a synapse twice; each once")
    return pairs


def room_for(count: int) -> int:
    """The room for `count` entries, at most an eighth above it or `ROOM`, so that programs that
    record a few more or fewer cells are one program."""
    if count <= ROOM:
        return ROOM
    unit = max(ROOM, 2 ** (count.bit_length() - 4))
    return -(-count // unit) * unit


def watches(
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
    every, size = _interval(request, spec.dt), part.size(request.owner)
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
    projection = _projection(request, spec)
    fan, every = wiring.fans[projection.name], _interval(request, spec.dt)
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
    pairs = _pairs(request, projection, spec)
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


def observe(
    recorders: tuple[Recorder, ...],
    wiring: Wiring,
    state: State,
    activity: Activity,
    chosen: Mapping[str, Array],
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """The records of one step: spikes by population (int32 scalars), and one array per recorder.

    Args:
      chosen: `Watch.index` by label, of the recorders that do not record all cells.
    """
    totals = {name: events.count(words) for name, words in activity.words.items()}
    values = []
    for r in recorders:
        if r.kind == WEIGHTS:
            values.append(_weights(state.weights[r.owner], r, chosen))
        elif r.traced:
            model = CIRCUIT_MODELS[wiring.spec.population(r.owner).model]
            variable = model.variables(state.cells[r.owner])[r.kind]
            values.append(_cells(jnp.asarray(variable, jnp.float32), r, chosen))
        elif r.choice == "all":
            values.append(activity.words[r.owner])
        else:
            values.append(events.pack(_cells(activity.spikes[r.owner], r, chosen)))
    return totals, tuple(values)


def _cells(values: Array, r: Recorder, chosen: Mapping[str, Array]) -> Array:
    """The recorded cells of a population from `values`, [N]: [room].

    Entries beyond the recorded cells are meaningless.
    """
    if r.choice == "all":
        return values
    if r.choice == "range":
        return lax.dynamic_slice(values, (chosen[r.label][0],), (r.room,))
    return values[chosen[r.label]]


def _weights(values: Array, r: Recorder, chosen: Mapping[str, Array]) -> Array:
    """The recorded weights, [room], or their sum, [1], in the unit in which they are stored."""
    if r.choice == "sum":
        # By row first, because a float32 sum of millions of numbers would lose digits.
        return values.astype(jnp.float32).sum(axis=1).sum(keepdims=True)
    row, column = chosen[r.label].T
    return values[row, column].astype(jnp.float32)


def pack(fired: np.ndarray) -> np.ndarray:
    """`events.pack` in NumPy: bool [..., N] to uint32 [..., W]."""
    n = fired.shape[-1]
    words = -(-n // events.BITS)
    padding = [(0, 0)] * (fired.ndim - 1) + [(0, words * events.BITS - n)]
    octets = np.packbits(np.pad(fired, padding), axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: np.ndarray, n: int) -> np.ndarray:
    """`events.unpack` in NumPy: uint32 [..., W] to bool [..., n]."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=n, bitorder="little").astype(bool)


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
