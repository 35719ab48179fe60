"""Building a circuit: who contacts whom, and with which first weights.

Runs on the host in NumPy. Every projection draws from its own counter-based stream (Philox,
keyed by the circuit's key and the projection's name), so any of them can be rebuilt alone and
none depends on the order of building.
"""

import zlib
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.model import events
from cerebellum.model.circuit import Circuit, Params, Wiring
from cerebellum.model.spec import Projection, Spec

DENSE_LIMIT = 2_000_000
"""Largest number of possible contacts (source cells times target cells, over all projections)
for which "auto" chooses the dense path."""

MATRIX_SHARE = 0.05
"""Share of possible contacts that exist from which the dense path keeps a matrix of weights."""


def stream(key: Array, name: str) -> np.random.Generator:
    """The random stream of the part of a circuit called `name`."""
    words = np.asarray(jax.random.key_data(key)).astype(np.uint32).ravel().tolist()
    seed = np.random.SeedSequence([*words, zlib.crc32(name.encode())])
    return np.random.Generator(np.random.Philox(seed))


def in_degrees(projection: Projection, targets: int, rng: np.random.Generator) -> np.ndarray:
    """How many sources each target gets, int64 [targets].

    With `sites`, binomial; otherwise the expected total is spread evenly: every target gets
    the mean rounded down, and as many as are needed get one more.
    """
    if projection.sites is not None:
        return rng.binomial(projection.sites, projection.in_degree / projection.sites, targets)
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
        rows = drawn[again]
        order = np.argsort(rows, axis=1, kind="stable")
        ranked = np.take_along_axis(rows, order, axis=1)
        row, place = np.nonzero(ranked[:, 1:] == ranked[:, :-1])
        drawn[again[row], order[row, place + 1]] = rng.integers(0, sources, row.size)
        again = again[np.unique(row)]
    return drawn


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


def contacts(projection: Projection, spec: Spec, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Every contact of a projection: (source cells, target cells), int64 [synapses] each.

    A pair of cells has at most one contact; no cell contacts itself.
    """
    sources = spec.population(projection.source).size
    targets = spec.population(projection.target).size
    loop = projection.source == projection.target
    rng = stream(key, projection.name)
    degrees = np.minimum(in_degrees(projection, targets, rng), sources - loop)
    drawn = draw_sources(degrees, sources - loop, rng)
    if loop:
        drawn = drawn + (drawn >= np.arange(targets)[:, None])
    exists = np.arange(drawn.shape[1]) < degrees[:, None]
    return drawn[exists], np.repeat(np.arange(targets), degrees)


def fan_out(source: np.ndarray, target: np.ndarray, sources: int, targets: int) -> np.ndarray:
    """Target lists by source: unsigned [sources, F], unused places at the type's maximum.

    F is the largest fan-out, rounded up to a multiple of eight so that circuits that differ
    in their seed alone mostly share one compiled program.
    """
    order = np.argsort(source, kind="stable")
    source, target = source[order], target[order]
    sizes = np.bincount(source, minlength=sources)
    width = max(1, -(-int(sizes.max(initial=0)) // 8) * 8)
    dtype = np.uint16 if targets < np.iinfo(np.uint16).max else np.uint32
    table = np.full((sources, width), np.iinfo(dtype).max, dtype)
    starts = np.cumsum(sizes) - sizes
    table[source, np.arange(source.size) - starts[source]] = target
    return table


def resolve_path(spec: Spec) -> events.Path:
    """The path that a circuit takes: its own choice, or by its size where that is "auto"."""
    if spec.path != "auto":
        return spec.path
    size = {population.name: population.size for population in spec.populations}
    possible = sum(size[p.source] * size[p.target] for p in spec.projections)
    return "dense" if possible <= DENSE_LIMIT else "event"


def connect(projection: Projection, spec: Spec, key: Array) -> tuple[events.Fan, Array]:
    """One projection's wiring and first weights (nS).

    Weights are one scalar, or, where they are plastic or stand in a matrix, one a contact
    (zero where there is none).
    """
    sources = spec.population(projection.source).size
    targets = spec.population(projection.target).size
    source, target = contacts(projection, spec, key)
    if spec.path == "dense" and source.size >= MATRIX_SHARE * sources * targets:
        matrix = np.zeros((sources, targets), np.float32)
        matrix[source, target] = projection.weight
        return events.AllToAll(), jnp.asarray(matrix)
    table = fan_out(source, target, sources, targets)
    if not projection.plastic:
        return events.FanOut(targets=jnp.asarray(table)), jnp.float32(projection.weight)
    weights = np.where(table < targets, np.float32(projection.weight), np.float32(0))
    return events.FanOut(targets=jnp.asarray(table)), jnp.asarray(weights)


def build(spec: Spec, key: Array) -> Circuit:
    """Draw a circuit's wiring and first parameters.

    Args:
      spec: what to build.
      key: a JAX random key; the same key gives the same circuit on any machine.
    """
    spec = replace(spec, path=resolve_path(spec))
    wired = {p.name: connect(p, spec, key) for p in spec.projections}
    cells = {p.name: jax.tree.map(jnp.float32, p.params) for p in spec.populations}
    return Circuit(
        params=Params(cells=cells, weights={name: weight for name, (_, weight) in wired.items()}),
        wiring=Wiring(fans={name: fan for name, (fan, _) in wired.items()}, spec=spec),
    )
