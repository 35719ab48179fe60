"""What a step delivers, as values: which spikes, through which synapses, to which arrays.

A step collects all its deliveries and makes them at once, so that a backend may look at all of them
before it chooses how to make any.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model import events


@struct.dataclass(kw_only=True)
class Delivery:
    """The spikes of one population that go through some of its projections in a step.

    The tuples have an entry for each projection, as `events.push` takes them.
    """

    words: Array
    """packed spikes, uint32 [W]"""
    fans: tuple[events.Fan, ...]
    weights: tuple[Array, ...]
    gains: tuple[Array | None, ...]
    scales: tuple[Array | None, ...]
    """factors on what arrives at each target, [T], of projections with synaptic scaling"""
    ends: tuple[str, ...] = struct.field(pytree_node=False)
    """names of the arrays to which the weights are added, all different"""


class Deliver(Protocol):
    """Make the deliveries of a step, which a backend may replace; `deliver` is the reference.

    Args:
      deliveries: in the order in which they count.
      arrays: by name, the values of targets [T], or rings of arrivals [D, T].
      sweep: the backend's operation that delivers the spikes of one population.

    Returns:
      All of `arrays`, after the deliveries.
    """

    def __call__(
        self, deliveries: Sequence[Delivery], arrays: Mapping[str, Array], sweep: events.Sweep
    ) -> dict[str, Array]: ...


def deliver(
    deliveries: Sequence[Delivery], arrays: Mapping[str, Array], sweep: events.Sweep
) -> dict[str, Array]:
    """Make one delivery after the other, each by `sweep`."""
    after = dict(arrays)
    for each in deliveries:
        before = [after[end] for end in each.ends]
        outs = tuple(
            out if scale is None else jnp.zeros_like(out)
            for out, scale in zip(before, each.scales, strict=True)
        )
        outs = events.push(each.words, each.fans, each.weights, outs, each.gains, sweep=sweep)
        for end, value, scale, out in zip(each.ends, before, each.scales, outs, strict=True):
            after[end] = out if scale is None else scaled(value, scale, out)
    return after


def scaled(value: Array, scale: Array, arrived: Array) -> Array:
    """The values of targets after what arrives has been scaled and added."""
    return value + scale * arrived


def dense(each: Delivery, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a delivery after it, through every synapse; differentiable.

    Its spikes are one number a cell.
    """
    after = {}
    parts = zip(each.fans, each.weights, each.gains, each.scales, each.ends, strict=True)
    for fan, weight, gain, scale, end in parts:
        spikes = each.words if gain is None else each.words * gain
        before = arrays[end]
        out = before if scale is None else jnp.zeros_like(before)
        out = events.dense(spikes, fan, weight, out)
        after[end] = out if scale is None else scaled(before, scale, out)
    return after
