"""The wiring of projections whose edges the caller of `build` or the spec provides."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import jax
import numpy as np
from jax import Array

from cerebellum.errors import UsageError, nearest
from cerebellum.model import events
from cerebellum.model.delays import steps_of
from cerebellum.model.edges import Edges, check_delays, merged
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.target_lists import Connected, fan_out_with, listed

log = logging.getLogger(__name__)


def with_projections(
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


def connect_by_name(spec: Spec, edges: Mapping[str, Edges | np.ndarray]) -> dict[str, Connected]:
    """`connect_edges` of projections by name."""
    known = [projection.name for projection in spec.projections]
    for name in edges:
        if name not in known:
            raise UsageError(f"edges {name!r}: {nearest(name, known, spec.name)}")
    return {
        p.name: connect_edges(p, spec, edges[p.name]) for p in spec.projections if p.name in edges
    }


def connect_edges(
    projection: Projection, spec: Spec, edges: Edges | np.ndarray
) -> tuple[events.FanOut, Array]:
    """As `anatomy.connect`, for edges that are given instead of drawn."""
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
    table, contacts = fan_out_with(source, target, spec.ends(projection), number)
    weights = np.where(
        table < sizes[1], contacts * np.float32(projection.mean_weight), np.float32(0)
    )
    fan = events.FanOut(targets=jax.device_put(table), ascends=True)
    return fan, jax.device_put(np.asarray(weights, np.float32))


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
