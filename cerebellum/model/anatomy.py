"""Building a circuit: its connections and their initial weights.

This runs on the host, in NumPy. Every projection draws from its own counter-based stream (Philox,
keyed by the circuit's key and the projection's name). So each projection can be rebuilt alone, and
none depends on the order of building.
"""

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import csr_array

from cerebellum.errors import UsageError, nearest
from cerebellum.model import circuit as circuits
from cerebellum.model import events, fit, fixed, gap_junctions, noise, registry, values, widths
from cerebellum.model.circuit import Circuit, Params, Wiring, check_rules
from cerebellum.model.delays import steps_of
from cerebellum.model.edges import LONGEST, Edges, check_delays, merged
from cerebellum.model.noise import CellRange
from cerebellum.model.part import Part
from cerebellum.model.plasticity import RULES
from cerebellum.model.plasticity.window import Rule as WindowRule
from cerebellum.model.sampling import draw_sources
from cerebellum.model.spec import Population, Projection, Spec

log = logging.getLogger(__name__)

Path = Literal["auto", "event", "dense"]
PATHS = get_args(Path)

ROWS_SHARE = 0.5
"""If at least this share of the possible contacts exists, the event path keeps rows of weights. A
row costs one sequential read per target; a list costs about six random reads per contact."""

MATRIX_SHARE = 0.01
"""The same limit for the dense path."""

DENSE_LIMIT = 2_000_000
"""Largest number of possible contacts (source cells times target cells, over all projections)
for which "auto" chooses the dense path."""


def stream(key: Array, name: str) -> np.random.Generator:
    """The random stream that belongs to a name, such as that of a projection, in a circuit."""
    words = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist()
    seed = np.random.SeedSequence([*words, noise.name_number(name)])
    return np.random.Generator(np.random.Philox(seed))


def in_degrees(projection: Projection, targets: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the number of sources of each target, int64 [targets].

    The number is binomial if the projection has `sites`, and normal if it has `degree_sd`.
    Otherwise the expected total is distributed evenly: every target gets the mean, rounded down,
    and as many targets as needed get one more.
    """
    if projection.sites is not None:
        return rng.binomial(projection.sites, projection.in_degree / projection.sites, targets)
    if projection.degree_sd:
        degrees = rng.normal(projection.in_degree, projection.degree_sd, targets)
        return np.maximum(0, np.round(degrees)).astype(np.int64)
    total = round(projection.in_degree * targets)
    degrees = np.full(targets, total // targets)
    degrees[rng.permutation(targets)[: total % targets]] += 1
    return degrees


def contacts(
    projection: Projection, spec: Spec, key: Array, beam: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw all contacts of a projection within a beam: (source cells, target cells), int64 each.

    For a projection that crosses beams, these are the contacts within the whole circuit. A pair of
    cells has at most one contact, and no cell contacts itself.
    """
    beams = spec.reach(projection)
    source_offset, sources = _span(spec.population(projection.source).size, beams, beam)
    target_offset, targets = _span(spec.population(projection.target).size, beams, beam)
    loop = projection.source == projection.target
    rng = stream(key, projection.name if beams == 1 else f"{projection.name}.{beam}")
    degrees = np.minimum(in_degrees(projection, targets, rng), sources - loop)
    table = draw_sources(degrees, sources - loop, rng)
    if loop:
        table = table + (table >= np.arange(targets)[:, None])
    width = table.shape[1]
    cells = np.arange(target_offset, target_offset + targets)
    if degrees.min(initial=width) == width:  # no mask over many millions of entries
        chosen, receiving = table.reshape(-1), np.repeat(cells, width)
    else:
        chosen, receiving = table[np.arange(width) < degrees[:, None]], np.repeat(cells, degrees)
    return (chosen + source_offset if source_offset else chosen), receiving


def _span(size: int, beams: int, beam: int) -> tuple[int, int]:
    """The first cell and the number of cells of a population of `size` cells in a beam."""
    edges = events.beam_edges(size, beams)
    return int(edges[beam]), int(edges[beam + 1] - edges[beam])


def fan_out(
    source: np.ndarray, target: np.ndarray, sources: int, targets: int, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn contacts into one list of targets per source, and a number that goes with each contact.

    Args:
      source, target: the two cells of each contact, integers [pairs], ordered by target.
      sources, targets: numbers of source and target cells.
      number: one number per contact, [pairs], any type.

    Returns:
      The lists, unsigned [sources, F], ascending, with unused entries at the maximum of the type;
      and the numbers in the same places, [sources, F], with unused entries 0. F is the largest
      fan-out, rounded up (see `widths`).
    """
    starts = np.searchsorted(target, np.arange(targets + 1))
    by_source = csr_array((number, source, starts), shape=(targets, sources)).tocsc()
    sizes = np.diff(by_source.indptr)
    width = widths.rounded(int(sizes.max(initial=0)))
    used = np.arange(width) < sizes[:, None]
    dtype = list_dtype(targets)
    table = np.full((sources, width), np.iinfo(dtype).max, dtype)
    table[used] = by_source.indices
    numbers = np.zeros((sources, width), number.dtype)
    numbers[used] = by_source.data
    return table, numbers


def list_dtype(targets: int) -> type[np.unsignedinteger]:
    """The narrowest type of a list of targets, whose maximum is reserved for unused entries."""
    return np.uint16 if targets < np.iinfo(np.uint16).max else np.uint32


def resolve_path(spec: Spec, path: Path = "auto") -> events.Path:
    """The path on which spikes are delivered; "auto" chooses it by the size of the circuit.

    Raises:
      UsageError: there is no such path.
    """
    if path not in PATHS:
        raise UsageError(f"path: {path!r}; one of {', '.join(PATHS)}")
    if path != "auto":
        return path
    size = {population.name: population.size for population in spec.populations}
    possible = sum(size[p.source] * size[p.target] for p in spec.projections)
    return "dense" if possible <= DENSE_LIMIT else "event"


def has_rows(projection: Projection, spec: Spec, path: events.Path) -> bool:
    """Whether a projection has a row of weights for every source, instead of lists of targets."""
    if projection.dtype == "uint16":
        return True
    if projection.crosses or projection.listed:
        return False
    limit = MATRIX_SHARE if path == "dense" else ROWS_SHARE
    evenly_distributed = projection.sites is None and not projection.degree_sd
    return evenly_distributed and spec.share(projection) >= limit


def lists(projection: Projection, spec: Spec, key: Array) -> np.ndarray:
    """Draw the target lists of a projection (see `fan_out`)."""
    by_beam = [contacts(projection, spec, key, beam) for beam in range(spec.reach(projection))]
    source, target = map(_joined, zip(*by_beam, strict=True))
    sizes = [spec.population(end).size for end in (projection.source, projection.target)]
    return fan_out(source, target, sizes[0], sizes[1], np.zeros(source.size, np.int8))[0]


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after the other; a single one is not copied."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


Positions = Mapping[str, np.ndarray]
"""positions of cells by population, um [cells, 3]"""


Connected = tuple[events.Fan, Array]
"""the wiring and the initial weights of a projection (see `circuit.Params`)"""


def connect(
    projection: Projection,
    spec: Spec,
    key: Array,
    path: events.Path,
    positions: Positions | None = None,
) -> Connected:
    """Draw the wiring and the initial weights of one projection."""
    if projection.listed:
        drawn = _connect_listed(projection, spec, key, positions or {})
    else:
        drawn = _connect_evenly(projection, spec, key, path)
    return _with_room(drawn, projection, spec)


def _connect_evenly(projection: Projection, spec: Spec, key: Array, path: events.Path) -> Connected:
    """As `connect`, for a projection of which each target draws its sources."""
    if has_rows(projection, spec, path):
        w_max = projection.w_max
        unit = fixed.unit(w_max) if w_max and projection.dtype == "uint16" else 1.0
        return events.AllToAll(beams=spec.beams, unit=unit), _rows(projection, spec, key)
    table = lists(projection, spec, key)
    targets = spec.population(projection.target).size
    weights = np.float32(projection.mean_weight * projection.contacts)
    if projection.plastic or projection.spread:
        uniform = stream(key, f"{projection.name}.weights").random(table.shape, np.float32)
        weights = weights * (1 + projection.spread * (2 * uniform - 1))
        weights = np.where(table < targets, weights, np.float32(0))
    fan = events.FanOut(targets=jnp.asarray(table), ascends=True)
    return fan, jnp.asarray(weights, jnp.float32)


def _with_room(connected: Connected, projection: Projection, spec: Spec) -> Connected:
    """Lists as wide as for other seeds, if sources differ in their number of targets."""
    fan, weights = connected
    if not isinstance(fan, events.FanOut):
        return fan, weights
    sources, present = fan.targets.shape
    width = widths.width(projection, Part(spec=spec))
    # Large lists are not looked at, which takes long.
    if width <= present or sources * width > widths.MOST_ENTRIES:
        return fan, weights
    sizes = (np.asarray(fan.targets) < spec.population(projection.target).size).sum(axis=1)
    if sizes.min(initial=width) == sizes.max(initial=0):
        return fan, weights
    return _as_wide((fan, weights), width)


def _as_wide(connected: tuple[events.FanOut, Array], width: int) -> Connected:
    """Lists of another width, with room for what they hold."""
    fan, weights = connected

    def cut(array: Any, fill: Any) -> Array:
        array = np.asarray(array)[:, :width]
        missing = width - array.shape[1]
        return jnp.asarray(np.pad(array, [(0, 0), (0, missing)], constant_values=fill))

    no_target = np.iinfo(fan.targets.dtype).max
    delays = None if fan.delays is None else cut(fan.delays, 1)
    fan = replace(fan, targets=cut(fan.targets, no_target), delays=delays)
    return fan, cut(weights, 0) if weights.ndim else weights


def with_narrow_lists(circuit: Circuit) -> Circuit:
    """A circuit whose lists are only as wide as their largest fan-out, as older versions built."""
    spec, fans, weights = circuit.spec, dict(circuit.wiring.fans), dict(circuit.params.weights)
    for projection in spec.projections:
        name, fan = projection.name, fans[projection.name]
        if isinstance(fan, events.FanOut):
            used = np.asarray(fan.targets) < spec.population(projection.target).size
            width = widths.rounded(int(used.sum(axis=1).max(initial=0)))
            fans[name], weights[name] = _as_wide((fan, weights[name]), width)
    return replace(
        circuit,
        params=replace(circuit.params, weights=weights),
        wiring=replace(circuit.wiring, fans=fans),
    )


def _connect_listed(
    projection: Projection, spec: Spec, key: Array, positions: Positions
) -> tuple[events.FanOut, Array]:
    """As `connect`, for a rule of connection, or weights or delays that are distributed."""
    name, rule, ends = projection.name, projection.connect, spec.ends(projection)
    if rule is None:
        by_beam = [contacts(projection, spec, key, beam) for beam in range(spec.reach(projection))]
        pre, post = (np.concatenate(cells) for cells in zip(*by_beam, strict=True))
    else:
        ends = replace(
            ends,
            source_um=positions.get(projection.source),
            target_um=positions.get(projection.target),
        )
        pre, post = rule.pairs(ends, stream(key, name))
    Edges(pre, post).checked(f"{name}.connect", ends.sources, ends.targets, spec.dt)
    weight = None
    if isinstance(projection.weight, values.Distribution):
        weight = values.draw(projection.weight, stream(key, f"{name}.weights"), pre.shape)
        most = np.inf if projection.w_max is None else projection.w_max
        weight = np.minimum(weight * projection.contacts, most)
    steps = np.full(pre.shape, steps_of(projection, spec.dt), np.uint16)
    if isinstance(projection.delay, values.Distribution):
        delay = values.draw(projection.delay, stream(key, f"{name}.delays"), pre.shape)
        steps = np.clip(np.round(delay / spec.dt), 1, LONGEST).astype(np.uint16)
    return listed(projection, spec, pre, post, weight, steps)


def listed(
    projection: Projection,
    spec: Spec,
    pre: np.ndarray,
    post: np.ndarray,
    weight: np.ndarray | float | None,
    steps: np.ndarray,
) -> tuple[events.FanOut, Array]:
    """The lists and the weights of synapses one by one.

    Args:
      pre, post: source and target of each synapse, [synapses].
      weight: weight of each synapse, [synapses] or a scalar; None for the projection's.
      steps: delay of each synapse in steps, [synapses].

    Returns:
      The lists, with delays where they differ from the projection's delay; and the weights,
      float32 [N, F], or a scalar where all are one and do not learn.
    """
    sizes = spec.ends(projection)
    narrow = post.astype(np.uint16) if sizes.targets <= 2**16 else post
    order = np.argsort(narrow, kind="stable")
    index = np.int32 if pre.size < 2**31 else np.int64
    table, place = fan_out(
        *(pre[order].astype(np.int32), post[order], sizes.sources, sizes.targets),
        order.astype(index),
    )
    used = table < sizes.targets
    if weight is None:
        weight = projection.mean_weight * projection.contacts
    if np.ndim(weight) or projection.plastic:
        each = np.broadcast_to(np.asarray(weight, np.float32), pre.shape)
        weights = np.where(used, each[place] if each.size else 0, np.float32(0))
    else:
        weights = np.float32(weight)
    delays, longest = None, int(steps.max(initial=1))
    if steps.size and (longest != steps.min() or longest != steps_of(projection, spec.dt)):
        short = steps.astype(np.uint8 if longest < 256 else np.uint16)
        delays = np.where(used, short[place], short.dtype.type(1))
    fan = events.with_delays(events.FanOut(targets=jnp.asarray(table), ascends=True), delays)
    return fan, jnp.asarray(weights, jnp.float32)


def _rows(projection: Projection, spec: Spec, key: Array) -> Array:
    """Initial weights [N, R]; for uint16 only their mean, from which `init` draws the rows."""
    mean = jnp.float32(projection.mean_weight * projection.contacts)
    if projection.dtype == "uint16":
        return mean
    shape = spec.population(projection.source).size, spec.beam_size(projection.target)
    share = spec.share(projection)
    if projection.rule is not None or share == 1:
        first = circuits.first_weights(
            jnp.asarray(jax.random.key_data(key)), projection, spec, mean
        )
        return fixed.draw(first, CellRange(size=shape[0]), shape[1])
    matrix = np.zeros(shape, np.float32)
    for beam in range(spec.beams):
        source, target = contacts(projection, spec, key, beam)
        uniform = stream(key, f"{projection.name}.{beam}.weights").random(source.size, np.float32)
        factor = 1 + projection.spread * (2 * uniform - 1)
        weight = projection.mean_weight * projection.contacts
        matrix[source, target - beam * shape[1]] = weight * factor
    return jnp.asarray(matrix)


def connect_edges(
    projection: Projection, spec: Spec, edges: Edges | np.ndarray
) -> tuple[events.FanOut, Array]:
    """As `connect`, for edges that the caller of `build` or the spec provides."""
    name = projection.name
    if isinstance(edges, Edges):
        return _connect_synapses(projection, spec, edges)
    if not isinstance(edges, np.ndarray):
        raise UsageError(
            f"edges {name!r}: {type(edges).__name__}; cb.Edges(pre, post, weight, delay)"
        )
    sizes = [spec.population(end).size for end in (projection.source, projection.target)]
    if projection.dtype != "float32" or spec.beams > 1:
        raise UsageError(f"edges {name!r}: given; for float32 lists without beams only")
    if projection.spread:
        raise UsageError(
            f"edges {name!r}: given, with a spread of {projection.spread}; spread 0: a weight is "
            "that of a contact times the contacts"
        )
    if edges.ndim != 2 or edges.shape[1] != 3 or not np.issubdtype(edges.dtype, np.integer):
        raise UsageError(
            f"edges {name!r}: {edges.dtype} {edges.shape}; integers [pairs, 3], or "
            "cb.Edges(pre, post, weight, delay)"
        )
    for column, end, size in zip((0, 1), ("source", "target"), sizes, strict=True):
        outside = (edges[:, column] < 0) | (edges[:, column] >= size)
        if outside.any():
            wrong = edges[outside, column][0]
            raise UsageError(f"edges {name!r}: {end} {wrong}; numbered 0 to {size - 1}")
    source, target, number = edges[np.argsort(edges[:, 1], kind="stable")].T
    if number.size and number.min() < 1:
        raise UsageError(f"edges {name!r}: {number.min()} contacts of a pair; at least 1")
    pairs, counts = np.unique(edges[:, :2], axis=0, return_counts=True)
    if pairs.size and counts.max() > 1:
        repeated = pairs[counts > 1][0].tolist()
        raise UsageError(f"edges {name!r}: the pair {repeated} twice; each pair once")
    heaviest = projection.mean_weight * int(number.max(initial=0))
    if projection.w_max is not None and heaviest > projection.w_max:
        raise UsageError(
            f"edges {name!r}: {number.max()} contacts weigh {heaviest:g}; at most w_max "
            f"{projection.w_max:g}"
        )
    table, contacts = fan_out(source, target, sizes[0], sizes[1], number)
    weights = np.where(
        table < sizes[1], contacts * np.float32(projection.mean_weight), np.float32(0)
    )
    fan = events.FanOut(targets=jnp.asarray(table), ascends=True)
    return fan, jnp.asarray(weights, jnp.float32)


def _connect_synapses(
    projection: Projection, spec: Spec, edges: Edges
) -> tuple[events.FanOut, Array]:
    """As `connect_edges`, for synapses one by one."""
    name, sizes = projection.name, spec.ends(projection)
    where = f"edges {name!r}"
    if projection.dtype != "float32" or projection.crosses:
        raise UsageError(f"{where}: given; for float32 weights that do not cross beams")
    edges.checked(where, sizes.sources, sizes.targets, spec.dt)
    beams = [
        cells // spec.beam_size(end)
        for cells, end in ((edges.pre, projection.source), (edges.post, projection.target))
    ]
    outside = np.flatnonzero(beams[0] != beams[1])
    if outside.size:
        pre, post = edges.pre[outside[0]], edges.post[outside[0]]
        raise UsageError(f"{where}: from {pre} to {post}; a synapse stays in its beam")
    declared = projection.mean_weight * projection.contacts
    weight = edges.weight
    pre, post = edges.pre, edges.post
    steps = edges.steps(spec.dt, steps_of(projection, spec.dt))
    if edges.multapses == "merge":
        each = np.broadcast_to(np.float64(declared if weight is None else weight), pre.shape)
        pre, post, weight, steps = merged(pre, post, each, steps)
        if pre.size < len(edges):
            log.info("%s: %d synapses merged into %d", where, len(edges), pre.size)
    heaviest = np.max(declared if weight is None else weight, initial=0)
    if projection.w_max is not None and heaviest > projection.w_max:
        raise UsageError(f"{where}: a weight of {heaviest:g}; at most w_max {projection.w_max:g}")
    return listed(projection, spec, pre, post, weight, steps)


def _with_projections(
    spec: Spec, edges: Mapping[str | tuple[str, str, str], Edges | np.ndarray]
) -> tuple[Spec, dict[str, Edges | np.ndarray]]:
    """A spec with a projection for each (source, target, receptor) that has edges, and the edges by
    the names of projections."""
    if not isinstance(edges, Mapping):
        raise UsageError(f"edges: {type(edges).__name__}; a dictionary of cb.Edges by projection")
    by_name, added = {}, []
    for ends, synapses in edges.items():
        if isinstance(ends, str):
            by_name[ends] = synapses
            continue
        if not isinstance(ends, tuple) or len(ends) != 3:
            raise UsageError(f"edges {ends!r}: a name, or (source, target, receptor)")
        if not isinstance(synapses, Edges) or synapses.weight is None or synapses.delay is None:
            raise UsageError(f"edges {ends!r}: without weights and delays; cb.Edges with both")
        if not len(synapses):
            raise UsageError(f"edges {ends!r}: none; at least one synapse")
        check_delays(np.atleast_1d(synapses.delay), f"edges {ends!r}", spec.dt)
        weight, steps = np.mean(synapses.weight), round(np.mean(synapses.delay) / spec.dt)
        added.append(Projection(*ends, weight=float(weight), delay=max(1, steps) * spec.dt))
        by_name[added[-1].name] = synapses
    if added:  # Otherwise the spec need not be checked again.
        spec = replace(spec, projections=(*spec.projections, *added))
    return spec, by_name


def _connect_by_name(
    spec: Spec, edges: Mapping[str, Edges | np.ndarray]
) -> dict[str, tuple[events.Fan, Array]]:
    """`connect_edges` of projections by name."""
    known = [projection.name for projection in spec.projections]
    for name in edges:
        if name not in known:
            raise UsageError(f"edges {name!r}: {nearest(name, known, spec.name)}")
    return {
        p.name: connect_edges(p, spec, edges[p.name]) for p in spec.projections if p.name in edges
    }


def cell_params(population: Population, key: Array) -> Any:
    """The parameters of a population's cells: float32, scalars or, where cells differ, [N].

    Every distribution draws from a stream of its own (see `stream`), POPULATION.FIELD.
    """
    size = population.size

    def numbers(path: Any, value: Any) -> Array:
        if not isinstance(value, (values.PerCell, values.Distribution)):
            return jnp.float32(value)
        field = jax.tree_util.keystr(path, simple=True, separator=".")
        rng = stream(key, f"{population.name}.{field}")
        return jnp.asarray(values.draw(value, rng, (size,)), jnp.float32)

    return jax.tree_util.tree_map_with_path(numbers, population.params)


def _draws_params(population: Population) -> bool:
    """Whether a parameter of a population is a distribution."""
    fields = values.fields(population.params).values()
    return any(isinstance(value, values.Distribution) for value in fields)


def equations(spec: Spec) -> tuple[Hashable, ...]:
    """What the registered models, rules and windows of a spec consist of at present."""
    rules = [p.rule for p in spec.projections if p.rule is not None]
    types = {type(rule) for rule in rules}
    return registry.equations(
        {
            "neuron": [p.model for p in spec.populations],
            "rule": [name for name, each in RULES.items() if each in types],
            "window": [rule.kernel for rule in rules if isinstance(rule, WindowRule)],
        }
    )


def current(circuit: Circuit) -> Circuit:
    """A circuit whose registered things are those of now: what was edited since is compiled."""
    now = equations(circuit.spec)
    if now == circuit.wiring.equations:
        return circuit
    return replace(circuit, wiring=replace(circuit.wiring, equations=now))


def build(
    spec: Spec,
    key: Array | int,
    edges: Mapping[str | tuple[str, str, str], Edges | np.ndarray] | None = None,
    *,
    positions: Mapping[str, Any] | None = None,
    path: Path = "auto",
    backend: str = "auto",
) -> Circuit:
    """Draw the wiring and the initial parameters of a circuit.

    Args:
      spec: the circuit to build.
      key: a JAX random key, or a seed; the same one gives the same circuit on any machine.
      edges: the edges of projections that are not to be drawn, by name: `Edges`, with a weight and
        a delay of each synapse; or source, target and number of contacts, integers [pairs, 3], each
        pair once. They replace those that `spec.place` returns. The name of a population is for its
        gap junctions: each pair once, with its conductance (nS) as weight. The name (source,
        target, receptor) adds a projection that the spec does not have, with the mean weight and
        delay of its edges, which must have both.
      positions: positions of the cells, um [cells, 3], by population, for rules of connection that
        depend on distance.
      path: how spikes are delivered. "event" delivers packed spikes; "dense" visits every synapse
        in every step and has gradients; "auto" chooses "dense" up to `DENSE_LIMIT` possible
        contacts.
      backend: the backend that the circuit runs on (see `Circuit`). Whether it is available is
        checked when the circuit runs, not here.

    Raises:
      UsageError: a distribution drew what its parameter cannot be; edges have the wrong shape, or
        refer to cells or projections that do not exist, or belong to a projection that has rows;
        or a learning rule does not fit; gap junctions are too strong for the step; the key is none.
    """
    key = noise.key_of(key)
    spec, by_name = _with_projections(spec, edges or {})
    names = {p.name for p in spec.populations}
    pairs = {name: by_name.pop(name) for name in names & by_name.keys()}
    resolved_path = resolve_path(spec, path)
    # Edges that were given are checked before the others are placed, which takes seconds.
    laid = _connect_by_name(spec, by_name)
    placed_um = _positions(spec, positions or {})
    placed = spec.place(key) if spec.place else {}
    coupled = {**{name: placed[name] for name in names & placed.keys()}, **pairs}
    placed = {name: each for name, each in placed.items() if name not in names}
    placed = _connect_by_name(spec, {n: e for n, e in placed.items() if n not in laid})
    named = {p.name: p for p in spec.projections}
    laid |= {name: _with_room(x, named[name], spec) for name, x in placed.items()}
    connected = {
        p.name: laid.get(p.name) or connect(p, spec, key, resolved_path, placed_um)
        for p in spec.projections
    }
    cells = {p.name: cell_params(p, key) for p in spec.populations}
    drawn = {p.name: cells[p.name] for p in spec.populations if _draws_params(p)}
    fit.check_values(drawn, {}, circuits.longest_refractory(spec), spec.dt)
    junctions = _gap_junctions(spec, key, coupled, placed_um)
    circuit = Circuit(
        params=Params(
            cells=cells,
            weights={name: weight for name, (_, weight) in connected.items()},
            learning_gain={name: jnp.float32(1) for name in circuits.learning(spec)},
            gap_junctions={n: jnp.asarray(each.conductance) for n, each in junctions.items()},
        ),
        wiring=Wiring(
            fans={name: fan for name, (fan, _) in connected.items()},
            seed=jnp.asarray(jax.random.key_data(key), jnp.uint32),
            alive={p.name: jnp.asarray(events.all_of(p.size)) for p in spec.populations},
            part=Part(spec=spec),
            partners={n: jnp.asarray(each.partners) for n, each in junctions.items()},
            path=resolved_path,
            drawn=not laid and not placed_um and not coupled,
            equations=equations(spec),
        ),
        backend=backend,
    )
    _check_teachers(circuit)
    check_rules(circuit)
    circuits.check_junctions(circuit.params, circuit.wiring)
    return circuit


def _gap_junctions(
    spec: Spec, key: Array, pairs: Mapping[str, Edges | np.ndarray], positions: Positions
) -> dict[str, gap_junctions.Built]:
    """The gap junctions of the populations that have some: between given pairs, or drawn."""
    built = {}
    for population in spec.populations:
        name, cells = population.name, spec.coupled(population.name)
        if name in pairs:
            built[name] = gap_junctions.given(cells, pairs[name])
        elif population.gap_junctions is not None:
            rng = stream(key, f"{name}.gap_junctions")
            built[name] = gap_junctions.draw(cells, positions.get(name), rng)
    return built


def _positions(spec: Spec, positions: Mapping[str, Any]) -> Positions:
    """Positions in NumPy; UsageError if they do not fit the populations."""
    checked = {}
    for name, given in positions.items():
        size, um = spec.population(name).size, np.asarray(given)
        if um.shape != (size, 3) or um.dtype.kind not in "iuf" or not np.isfinite(um).all():
            raise UsageError(
                f"positions {name!r}: {um.dtype} {list(um.shape)}; finite numbers, um [{size}, 3]"
            )
        checked[name] = um.astype(np.float64)
    return checked


def _check_teachers(circuit: Circuit) -> None:
    """Raise UsageError if a teaching projection has no contacts, or delays of its synapses."""
    for projection in circuit.spec.projections:
        for teacher in projection.rule.teachers if projection.rule else ():
            fan = circuit.wiring.fans.get(teacher)
            weights = circuit.params.weights.get(teacher)
            if isinstance(fan, events.AllToAll) and not np.any(np.asarray(weights)):
                raise UsageError(
                    f"{projection.name}.rule.teacher: {teacher}, whose weights are 0, which are no "
                    'contacts in its rows; a small weight, or path="event"'
                )
            if isinstance(fan, events.FanOut) and fan.delays is not None:
                raise UsageError(
                    f"{projection.name}.rule.teacher: {teacher}, whose synapses have delays of "
                    "their own; one with a single delay"
                )
