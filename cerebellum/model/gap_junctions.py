"""Gap junctions: electrical synapses between the cells of one population.

    i_i = sum over partners j of g_ij (v_j - v_i)

The voltages are those at the start of a step, and the current is constant during it, like any
current from outside. A junction conducts both ways alike (g_ij = g_ji), so the currents of a
population add up to zero.

What a population has is in its spec, `GapJunctions`. What is built from it are two arrays with a
column for each cell: its partners, int32 [K, N], and the conductances to them, nS [K, N], or a
scalar where all are equal. A cell with fewer than K partners is its own partner in the rest of its
column, where no current flows.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import values
from cerebellum.model.connect import AllToAll, Connect, Distance, Ends, Probability
from cerebellum.model.edges import Edges
from cerebellum.model.ordering import materialize_once

SYMMETRIC = (Probability, Distance, AllToAll)
"""The rules of connection that treat both cells of a pair alike."""


@documented
@dataclass(frozen=True)
class GapJunctions:
    """The gap junctions among the cells of a population, each between two different cells."""

    conductance: float
    """Conductance of a junction, nS. Of `current` cells, whose currents are in mV, it is a share of
    the leak conductance."""
    connect: Connect | None = None
    """the rule that says which pairs of cells are coupled: `connect.Probability`, `AllToAll`, or
    `Distance`, which needs positions; None where `build` is given the pairs"""

    def __post_init__(self):
        if isinstance(self.conductance, np.integer | np.floating):
            object.__setattr__(self, "conductance", self.conductance.item())


@dataclass(frozen=True)
class Coupled:
    """A population whose cells have gap junctions, or may be given some."""

    name: str
    size: int
    """number of cells"""
    beam: int
    """number of cells in a beam, which junctions do not leave"""
    junctions: GapJunctions | None

    @property
    def mean_partners(self) -> float:
        """The expected number of partners of a cell in a whole beam; 0 where pairs are given."""
        if self.junctions is None or self.junctions.connect is None:
            return 0.0
        whole = Ends(sources=self.beam, targets=self.beam, same=True)
        return self.junctions.connect.mean_in_degree(whole)


@dataclass(frozen=True)
class Built:
    """The gap junctions of a built population."""

    partners: np.ndarray
    """int32 [K, N]"""
    conductance: np.ndarray
    """nS, float32: a scalar or [K, N]"""


def check(name: str, size: int, junctions: Any) -> None:
    """Raise UsageError if these are no gap junctions for `size` cells of the population `name`."""
    where = f"{name}.gap_junctions"
    if not isinstance(junctions, GapJunctions):
        raise UsageError(f"{where}: {junctions!r}; cb.GapJunctions(conductance, connect)")
    g = junctions.conductance
    if not values.is_number(g) or not 0 <= g < np.inf:
        raise UsageError(f"{where}.conductance: {g!r}; one finite number, nS, zero or more")
    rule = junctions.connect
    if rule is None:
        return
    if not isinstance(rule, SYMMETRIC):
        shown = rule.__name__ if isinstance(rule, type) else type(rule).__name__
        known = ", ".join(f"cb.connect.{each.__name__}" for each in SYMMETRIC)
        raise UsageError(f"{where}.connect: {shown}; one of {known}, or pairs given to cb.build")
    if rule.autapses:
        raise UsageError(f"{where}.connect: autapses; a junction is between two cells")
    problem = rule.problem(Ends(sources=size, targets=size, same=True))
    if problem is not None:
        raise UsageError(f"{where}.connect: {problem}")


def draw(cells: Coupled, um: np.ndarray | None, rng: np.random.Generator) -> Built:
    """Draw the gap junctions of a population by its rule, within beams.

    Args:
      um: positions of the cells, um [N, 3], or None.

    Raises:
      UsageError: the spec has no rule, because the pairs are to be given.
    """
    junctions = cells.junctions
    assert junctions is not None
    if junctions.connect is None:
        raise UsageError(
            f"{cells.name}.gap_junctions: without a rule (connect); or cb.build(spec, key, "
            f"{{{cells.name!r}: cb.Edges(pre, post)}})"
        )
    found = []
    for start in range(0, cells.size, cells.beam):
        stop = min(start + cells.beam, cells.size)
        here, count = None if um is None else um[start:stop], stop - start
        ends = Ends(sources=count, targets=count, same=True, source_um=here, target_um=here)
        pre, post = junctions.connect.pairs(ends, rng)
        once = pre < post
        found.append((pre[once] + start, post[once] + start))
    pre, post = (np.concatenate(ends) for ends in zip(*found, strict=True))
    return _built(cells.size, pre, post, np.asarray(junctions.conductance, np.float32))


def given(cells: Coupled, edges: Edges | np.ndarray) -> Built:
    """The gap junctions of a population between pairs that are given.

    Args:
      edges: each pair once, in either direction, with the conductance as its weight (nS); or
        integers [pairs, 3] of two cells and the number of junctions between them.

    Raises:
      UsageError: these are no pairs of different cells in a beam, a pair comes twice, or the
        population has no gap junctions.
    """
    name, junctions, size = cells.name, cells.junctions, cells.size
    where = f"edges {name!r}"
    if junctions is None:
        raise UsageError(
            f"{where}: a population without gap junctions; "
            f"cb.Population({name!r}, ..., gap_junctions=cb.GapJunctions(conductance))"
        )
    if isinstance(edges, np.ndarray):
        if edges.ndim != 2 or edges.shape[1] != 3 or edges.dtype.kind not in "iu":
            raise UsageError(
                f"{where}: {edges.dtype} {edges.shape}; integers [pairs, 3], or cb.Edges"
            )
        edges = Edges(*edges[:, :2].T, weight=junctions.conductance * edges[:, 2])
    if not isinstance(edges, Edges):
        raise UsageError(f"{where}: {type(edges).__name__}; cb.Edges(pre, post, weight)")
    if edges.delay is not None:
        raise UsageError(f"{where}: with a delay; a gap junction has none")
    edges.checked(where, size, size, 1.0)
    weight = junctions.conductance if edges.weight is None else edges.weight
    pre, post = np.minimum(edges.pre, edges.post), np.maximum(edges.pre, edges.post)
    for wrong, right in (
        (pre == post, "a junction is between two cells"),
        (pre // cells.beam != post // cells.beam, "a junction stays in its beam"),
    ):
        if wrong.any():
            i = np.flatnonzero(wrong)[0]
            raise UsageError(f"{where}: from {edges.pre[i]} to {edges.post[i]}; {right}")
    pairs, index, counts = np.unique(
        np.stack([pre, post], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    if counts.max(initial=1) > 1:
        if edges.multapses != "merge":
            repeated = pairs[counts > 1][0].tolist()
            raise UsageError(
                f"{where}: the pair {repeated} twice; each pair once, in either direction, or "
                'multapses="merge"'
            )
        each = np.broadcast_to(np.asarray(weight, np.float64), pre.shape)
        weight = np.bincount(index.ravel(), each, len(pairs))
    elif np.ndim(weight):
        weight = np.asarray(weight)[np.argsort(index.ravel())]
    return _built(size, pairs[:, 0], pairs[:, 1], np.asarray(weight, np.float32))


def _built(size: int, pre: np.ndarray, post: np.ndarray, conductance: np.ndarray) -> Built:
    """The arrays of junctions, of which each comes once.

    Args:
      conductance: nS, [junctions] or a scalar.
    """
    cell, partner = np.concatenate([pre, post]), np.concatenate([post, pre])
    order = np.lexsort((partner, cell))
    cell, partner = cell[order], partner[order]
    count = np.bincount(cell, minlength=size)
    row = np.arange(cell.size) - (np.cumsum(count) - count)[cell]
    most = int(count.max(initial=0))
    partners = np.broadcast_to(np.arange(size, dtype=np.int32), (most, size)).copy()
    partners[row, cell] = partner
    if np.ndim(conductance):
        each = np.zeros((most, size), np.float32)
        each[row, cell] = np.concatenate([conductance, conductance])[order]
        conductance = each
    return Built(partners, conductance)


def check_values(name: str, partners: Array, conductance: Array, cells: Any, dt: float) -> None:
    """Raise UsageError if conductances are none, or too large for the time step.

    The voltages of coupled cells would swing from step to step if a step moved a cell beyond its
    partners: if the sum of its conductances is not below c_m / dt, or, of cells without a
    capacitance, tau_m / dt.

    Args:
      name: the population.
      cells: the Params of its cells, with scalars or [N].
      dt: time step, ms.
    """
    where, g = f"{name}.gap_junctions", np.asarray(conductance)
    if not np.isfinite(g).all() or g.min(initial=0) < 0:
        raise UsageError(f"{where}: a conductance is not finite, or negative; nS, zero or more")
    held = np.asarray(partners)
    unit, limit = " nS", getattr(cells, "c_m", None)
    if limit is None:
        unit, limit = "", getattr(cells, "tau_m", None)
    if limit is None or not held.size:
        return
    coupled = held != np.arange(held.shape[1])
    total = np.atleast_1d(np.where(coupled, g, 0).sum(axis=0, dtype=np.float64))
    excess = np.atleast_1d(total * dt / np.asarray(limit, np.float64))
    worst = int(np.argmax(excess))
    if excess[worst] >= 1:
        most = total[worst] / excess[worst]
        raise UsageError(
            f"{where}: {total[worst]:g}{unit} at cell {worst}; under "
            f"{most:g}{unit} in all at steps of {dt:g} ms, or voltages swing from step to step"
        )


def edges_of(partners: Array, conductance: Array) -> Edges:
    """The junctions of a population, each once, with its conductance (nS)."""
    held = np.asarray(partners)
    row, cell = np.nonzero(held > np.arange(held.shape[1]))
    g = np.broadcast_to(np.asarray(conductance), held.shape)[row, cell]
    order = np.lexsort((held[row, cell], cell))
    return Edges(cell[order], held[row, cell][order], g[order])


def current(partners: Array, conductance: Array, v: Array) -> Array:
    """The current into every cell, pA (mV into `current` cells), [N].

    Args:
      partners: int32 [K, N].
      conductance: nS, a scalar or [K, N].
      v: voltages, mV [N].
    """
    flows = conductance * (v[partners] - v[None])
    # Rounded before the sum, so that it is the same in every program.
    return jnp.sum(materialize_once(flows), axis=0) if partners.shape[0] else jnp.zeros_like(v)


def scaled(junctions: GapJunctions, factor: float) -> GapJunctions:
    """Gap junctions of so many times the conductance."""
    return replace(junctions, conductance=junctions.conductance * factor)
