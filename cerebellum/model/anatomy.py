"""Building a circuit: who contacts whom, and with which first weights.

Runs on the host in NumPy. Every projection draws from its own counter-based stream (Philox,
keyed by the circuit's key and the projection's name), so any of them can be rebuilt alone and
none depends on the order of building.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import csr_array

from cerebellum.errors import UsageError
from cerebellum.model import events, fixed, registry
from cerebellum.model.circuit import Circuit, Params, Wiring
from cerebellum.model.part import Part
from cerebellum.model.spec import Projection, Spec

Path = Literal["auto", "event", "dense"]
PATHS = get_args(Path)

ROWS_SHARE = 0.5
"""Share of possible contacts that exist from which the event path keeps rows of weights. A row
costs one read a target in sequence, a list about six a contact at random."""

MATRIX_SHARE = 0.01
"""The same for the dense path."""

DENSE_LIMIT = 2_000_000
"""Largest number of possible contacts (source cells times target cells, over all projections)
for which "auto" chooses the dense path."""


LIST_STEP = 8
"""Lists are as wide as their largest fan-out, rounded up to a multiple of this, so that circuits
that differ in their seed alone mostly share one compiled program."""


def stream(key: Array, name: str) -> np.random.Generator:
    """The random stream of the part of a circuit called `name`."""
    words = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist()
    seed = np.random.SeedSequence([*words, fixed.name_number(name)])
    return np.random.Generator(np.random.Philox(seed))


def in_degrees(projection: Projection, targets: int, rng: np.random.Generator) -> np.ndarray:
    """How many sources each target gets, int64 [targets].

    With `sites`, binomial; with `degree_sd`, normal; otherwise the expected total is spread
    evenly: every target gets the mean rounded down, and as many as are needed get one more.
    """
    if projection.sites is not None:
        return rng.binomial(projection.sites, projection.in_degree / projection.sites, targets)
    if projection.degree_sd:
        drawn = rng.normal(projection.in_degree, projection.degree_sd, targets)
        return np.maximum(0, np.round(drawn)).astype(np.int64)
    total = round(projection.in_degree * targets)
    degrees = np.full(targets, total // targets)
    degrees[rng.permutation(targets)[: total % targets]] += 1
    return degrees


def draw_sources(degrees: np.ndarray, sources: int, rng: np.random.Generator) -> np.ndarray:
    """For each target its sources, all different: int64 [targets, largest degree].

    Only the first `degrees[t]` entries of row t count.
    """
    targets, width = len(degrees), int(degrees.max(initial=0))
    if 8 * width > sources:
        return _draw_many(targets, width, sources, rng)
    drawn = rng.integers(0, sources, (targets, width))
    again = np.arange(targets)
    while again.size:
        row, place = _repeats(drawn, again)
        drawn[again[row], place] = rng.integers(0, sources, row.size)
        again = again[np.unique(row)]
    return drawn


def _repeats(drawn: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where some rows of `drawn` hold a value again: numbers of the rows, places in them.

    Sorts value and place as one number, which NumPy does ten times as fast as it sorts places, and
    in parts that fit into a core's cache.
    """
    width = max(1, drawn.shape[1])
    bits, found = width.bit_length(), []
    some = max(1, 100_000 // width)
    for first in range(0, rows.size, some):
        keys = (drawn[rows[first : first + some]] << bits) | np.arange(drawn.shape[1])
        keys.sort(axis=1)
        value = keys >> bits
        row, place = np.nonzero(value[:, 1:] == value[:, :-1])
        found.append((first + row, keys[row, place + 1] & ((1 << bits) - 1)))
    row, place = zip(*found, strict=True)
    return np.concatenate(row), np.concatenate(place)


def _draw_many(targets: int, width: int, sources: int, rng: np.random.Generator) -> np.ndarray:
    """As `draw_sources` for large shares of the sources: the smallest of random keys."""
    if width == sources:
        return np.broadcast_to(np.arange(sources), (targets, sources))
    chunk = max(1, 8_000_000 // sources)
    rows = []
    for start in range(0, targets, chunk):
        keys = rng.random((min(chunk, targets - start), sources), dtype=np.float32)
        chosen = np.argpartition(keys, width, axis=1)[:, :width]
        rows.append(rng.permuted(chosen, axis=1))
    return np.concatenate(rows)


def contacts(
    projection: Projection, spec: Spec, key: Array, beam: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Every contact of a projection within a beam: (source cells, target cells), int64 each.

    Of one that crosses, within all beams.

    A pair of cells has at most one contact; no cell contacts itself.
    """
    beams = spec.reach(projection)
    first, sources = _span(spec.population(projection.source).size, beams, beam)
    first_target, targets = _span(spec.population(projection.target).size, beams, beam)
    loop = projection.source == projection.target
    rng = stream(key, projection.name if beams == 1 else f"{projection.name}.{beam}")
    degrees = np.minimum(in_degrees(projection, targets, rng), sources - loop)
    drawn = draw_sources(degrees, sources - loop, rng)
    if loop:
        drawn = drawn + (drawn >= np.arange(targets)[:, None])
    exists = np.arange(drawn.shape[1]) < degrees[:, None]
    return first + drawn[exists], first_target + np.repeat(np.arange(targets), degrees)


def _span(size: int, beams: int, beam: int) -> tuple[int, int]:
    """First cell and number of cells of a population of `size` in a beam."""
    edges = events.beam_edges(size, beams)
    return int(edges[beam]), int(edges[beam + 1] - edges[beam])


def fan_out(
    source: np.ndarray, target: np.ndarray, sources: int, targets: int, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Target lists by source, and a number of each contact in the same places.

    Args:
      source, target: contacts, integers [pairs], in order of their targets.
      sources, targets: numbers of cells.
      number: [pairs], any type.

    Returns:
      Lists, unsigned [sources, F], ascending, unused places at the type's maximum; and numbers,
      [sources, F], unused places 0. F is the largest fan-out, rounded up to a multiple of
      `LIST_STEP`.
    """
    starts = np.searchsorted(target, np.arange(targets + 1))
    by_source = csr_array((number, source, starts), shape=(targets, sources)).tocsc()
    sizes = np.diff(by_source.indptr)
    width = max(1, -(-int(sizes.max(initial=0)) // LIST_STEP) * LIST_STEP)
    used = np.arange(width) < sizes[:, None]
    dtype = list_dtype(targets)
    table = np.full((sources, width), np.iinfo(dtype).max, dtype)
    table[used] = by_source.indices
    numbers = np.zeros((sources, width), number.dtype)
    numbers[used] = by_source.data
    return table, numbers


def list_dtype(targets: int) -> type[np.unsignedinteger]:
    """Narrowest type of a list: its maximum is kept for unused places."""
    return np.uint16 if targets < np.iinfo(np.uint16).max else np.uint32


def resolve_path(spec: Spec, path: Path = "auto") -> events.Path:
    """How a circuit's spikes are sent: as asked for, or by its size where that is "auto".

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
    """Whether a projection has a row of weights for every source, not lists of targets."""
    if projection.dtype == "uint16":
        return True
    if projection.crosses:
        return False
    limit = MATRIX_SHARE if path == "dense" else ROWS_SHARE
    even = projection.sites is None and not projection.degree_sd
    return even and spec.share(projection) >= limit


def lists(projection: Projection, spec: Spec, key: Array) -> np.ndarray:
    """Target lists of a projection: see `fan_out`."""
    drawn = [contacts(projection, spec, key, beam) for beam in range(spec.reach(projection))]
    source, target = (np.concatenate(ends) for ends in zip(*drawn, strict=True))
    sizes = [spec.population(end).size for end in (projection.source, projection.target)]
    return fan_out(source, target, sizes[0], sizes[1], np.zeros(source.size, np.int8))[0]


def connect(
    projection: Projection, spec: Spec, key: Array, path: events.Path
) -> tuple[events.Fan, Array]:
    """One projection's wiring and first weights (see `circuit.Params`)."""
    if has_rows(projection, spec, path):
        w_max = projection.w_max
        unit = fixed.unit(w_max) if w_max and projection.dtype == "uint16" else 1.0
        return events.AllToAll(beams=spec.beams, unit=unit), _rows(projection, spec, key)
    table = lists(projection, spec, key)
    targets = spec.population(projection.target).size
    weights = np.float32(projection.weight * projection.contacts)
    if projection.plastic or projection.spread:
        even = stream(key, f"{projection.name}.weights").random(table.shape, np.float32)
        weights = weights * (1 + projection.spread * (2 * even - 1))
        weights = np.where(table < targets, weights, np.float32(0))
    fan = events.FanOut(targets=jnp.asarray(table), ascends=True)
    return fan, jnp.asarray(weights, jnp.float32)


def _rows(projection: Projection, spec: Spec, key: Array) -> Array:
    """First weights [N, R]; of uint16 only their mean, from which `init` draws the rows."""
    mean = jnp.float32(projection.weight * projection.contacts)
    if projection.dtype == "uint16":
        return mean
    shape = spec.population(projection.source).size, spec.beam_size(projection.target)
    share = spec.share(projection)
    if projection.rule is not None or share == 1:
        seed = fixed.seed(jnp.asarray(jax.random.key_data(key)), projection.name)
        rows = fixed.CellRange(size=shape[0])
        return fixed.draw_all(seed, mean, rows, shape[1], projection.spread, share)
    matrix = np.zeros(shape, np.float32)
    for beam in range(spec.beams):
        source, target = contacts(projection, spec, key, beam)
        even = stream(key, f"{projection.name}.{beam}.weights").random(source.size, np.float32)
        weight = projection.weight * projection.contacts
        matrix[source, target - beam * shape[1]] = weight * (1 + projection.spread * (2 * even - 1))
    return jnp.asarray(matrix)


def connect_edges(
    projection: Projection, spec: Spec, edges: np.ndarray
) -> tuple[events.FanOut, Array]:
    """As `connect`, for edges that are given: see `build`."""
    name = projection.name
    sizes = [spec.population(end).size for end in (projection.source, projection.target)]
    if projection.dtype != "float32" or spec.beams > 1:
        raise UsageError(f"edges {name!r}: given; for float32 lists without beams only")
    if edges.ndim != 2 or edges.shape[1] != 3 or not np.issubdtype(edges.dtype, np.integer):
        raise UsageError(f"edges {name!r}: {edges.dtype} {edges.shape}; integers [pairs, 3]")
    for column, end, size in zip((0, 1), ("source", "target"), sizes, strict=True):
        outside = (edges[:, column] < 0) | (edges[:, column] >= size)
        if outside.any():
            wrong = edges[outside, column][0]
            raise UsageError(f"edges {name!r}: {end} {wrong}; numbered 0 to {size - 1}")
    source, target, number = edges[np.argsort(edges[:, 1], kind="stable")].T
    table, contacts = fan_out(source, target, sizes[0], sizes[1], number)
    weights = np.where(table < sizes[1], contacts * np.float32(projection.weight), np.float32(0))
    fan = events.FanOut(targets=jnp.asarray(table), ascends=True)
    return fan, jnp.asarray(weights, jnp.float32)


def _learning(spec: Spec) -> list[str]:
    """Names of what learns: see `Params.rates`."""
    ruled = [p.name for p in spec.projections if p.rule is not None]
    return list(dict.fromkeys([*ruled, *(name for name, _, _ in spec.watched())]))


def build(
    spec: Spec,
    key: Array,
    edges: Mapping[str, np.ndarray] | None = None,
    *,
    path: Path = "auto",
    backend: str = "auto",
) -> Circuit:
    """Draw a circuit's wiring and first parameters.

    Args:
      spec: what to build.
      key: a JAX random key; the same key gives the same circuit on any machine.
      edges: projections whose edges are given, by name: source, target and number of contacts,
        integers [pairs, 3], each pair once. They go before those that the spec places.
      path: how spikes are sent. "event" sends packed spikes; "dense" sends every synapse in every
        step and has gradients; "auto" is dense up to `DENSE_LIMIT` possible contacts.
      backend: what it is to run on: see `Circuit`. Asked for when it runs, not here.

    Raises:
      UsageError: edges of another shape, of cells or projections that are not there, or for rows.
    """
    taken = resolve_path(spec, path)
    given = {**(spec.place(key) if spec.place else {}), **(edges or {})}
    known = [projection.name for projection in spec.projections]
    for name in given:
        if name not in known:
            raise UsageError(f"edges {name!r}: {spec.name} has {', '.join(known)}")
    wired = {
        p.name: connect_edges(p, spec, given[p.name])
        if p.name in given
        else connect(p, spec, key, taken)
        for p in spec.projections
    }
    cells = {p.name: jax.tree.map(jnp.float32, p.params) for p in spec.populations}
    return Circuit(
        params=Params(
            cells=cells,
            weights={name: weight for name, (_, weight) in wired.items()},
            rates={name: jnp.float32(1) for name in _learning(spec)},
        ),
        wiring=Wiring(
            fans={name: fan for name, (fan, _) in wired.items()},
            seed=jnp.asarray(jax.random.key_data(key), jnp.uint32),
            part=Part(spec=spec),
            path=taken,
            drawn=not given,
            revision=registry.revision(),
        ),
        backend=backend,
    )
