"""Lists of targets: how synapses become arrays in which each source finds its own."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy.sparse import csc_array, csr_array

from cerebellum.model import events, widths
from cerebellum.model.circuit import Circuit
from cerebellum.model.connect import Ends
from cerebellum.model.delays import steps_of
from cerebellum.model.part import Part
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

Connected = tuple[events.Fan, Array]
"""the wiring and the initial weights of a projection (see `circuit.Params`)"""


def fan_out(source: np.ndarray, target: np.ndarray, ends: Ends) -> np.ndarray:
    """Turn contacts into one list of targets per source.

    Args:
      source, target: the two cells of each contact, integers [pairs], ordered by target.
      ends: how many source and target cells there are.

    Returns:
      The lists, unsigned [sources, F], ascending, with unused entries at the maximum of the type.
      F is the largest fan-out, rounded up (see `widths`).
    """
    by_source, used = _by_source(source, target, ends, np.zeros(source.size, np.int8))
    return _table(by_source, used, ends.targets)


def fan_out_with(
    source: np.ndarray, target: np.ndarray, ends: Ends, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As `fan_out`, with a number that goes with each contact, [pairs], any type.

    Returns:
      The lists, and the numbers in the same places, [sources, F], with unused entries 0.
    """
    by_source, used = _by_source(source, target, ends, number)
    numbers = np.zeros(used.shape, number.dtype)
    numbers[used] = by_source.data
    return _table(by_source, used, ends.targets), numbers


def _by_source(
    source: np.ndarray, target: np.ndarray, ends: Ends, number: np.ndarray
) -> tuple[csc_array, np.ndarray]:
    """The contacts ordered by source, and which entries of a list they use, bool [sources, F]."""
    # Half as long as with int64, because each contact goes to another place in memory.
    index = np.int32 if max(source.size, ends.sources, ends.targets) < 2**31 else np.int64
    starts = np.searchsorted(target, np.arange(ends.targets + 1)).astype(index)
    parts = number, source.astype(index, copy=False), starts
    by_source = csr_array(parts, shape=(ends.targets, ends.sources)).tocsc()
    sizes = np.diff(by_source.indptr)
    width = widths.rounded(int(sizes.max(initial=0)))
    return by_source, np.arange(width, dtype=index) < sizes[:, None]


def _table(by_source: csc_array, used: np.ndarray, targets: int) -> np.ndarray:
    """The lists of targets (see `fan_out`)."""
    dtype = list_dtype(targets)
    table = np.full(used.shape, np.iinfo(dtype).max, dtype)
    table[used] = by_source.indices
    return table


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
    table, place = fan_out_with(pre[order], post[order], sizes, order.astype(index))
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
    fan = events.with_delays(events.FanOut(targets=jax.device_put(table), ascends=True), delays)
    return fan, jax.device_put(np.asarray(weights, np.float32))


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
        return jax.device_put(np.pad(array, [(0, 0), (0, missing)], constant_values=fill))

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
