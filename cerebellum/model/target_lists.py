"""Lists of targets: how synapses become arrays in which each source finds its own."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.sparse import csr_array

from cerebellum.model import events, widths
from cerebellum.model.circuit import Circuit
from cerebellum.model.delays import steps_of
from cerebellum.model.part import Part
from cerebellum.model.spec import Projection, Spec

Connected = tuple[events.Fan, Array]
"""the wiring and the initial weights of a projection (see `circuit.Params`)"""


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


def with_room(connected: Connected, projection: Projection, spec: Spec) -> Connected:
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
