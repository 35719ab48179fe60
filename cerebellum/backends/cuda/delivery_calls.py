"""Calls of deliver.cu: all deliveries of a step, in a launch of each pass.

Dimensions: B batch, N source cells, T targets, F largest fan-out, R targets of a beam, or, as the
leading axis of an array, 1 or B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.backends.cuda.batches import for_members
from cerebellum.backends.cuda.calls import like, merged
from cerebellum.model.delivery import Delivery, scaled
from cerebellum.model.events import Events, Fan, FanOut

CLEARED_BYTES = 4 * 2**20
"""Sums of lists that take more memory are cleared only where spikes arrive: a pass over the events
touches less memory than the sums of millions of targets have."""


@dataclass(frozen=True)
class Part:
    """One projection of a call."""

    source: int
    """number of the words"""
    end: int
    """number of the array that is added to"""
    fan: Fan
    weight: Array
    gain: Array
    """[R, N]; or of one axis, which stands for none"""

    @property
    def cells(self) -> int:
        """N."""
        table = self.fan.targets if isinstance(self.fan, FanOut) else self.weight
        return table.shape[1]

    @property
    def depth(self) -> int:
        """Number of rows of the ring of arrivals; 1 without one."""
        return self.fan.depth if _is_ring(self.fan) and isinstance(self.fan, FanOut) else 1

    def operands(self) -> list[Array]:
        """As deliver.cu takes them."""
        none, fan = jnp.zeros(1, jnp.uint32), self.fan
        listed = isinstance(fan, FanOut)
        wiring = (fan.targets, fan.delays, fan.row) if listed else (None,) * 3
        if not _is_ring(fan):
            wiring = wiring[0], None, None
        return [*(none if x is None else x for x in wiring), self.weight, self.gain]

    def bytes(self, members: int, end: Array) -> int:
        """Bytes of its sums, for an array [B T], [B D, T] or, of rows, whatever it is."""
        if not isinstance(self.fan, FanOut):
            return members * self.fan.beams * self.weight.shape[-1] * 8
        counts = self.weight.ndim == 1 and self.gain.ndim == 1
        return end.size * (4 if counts else 8)


def _is_ring(fan: Fan) -> bool:
    return isinstance(fan, FanOut) and fan.delays is not None and fan.row is not None


def has_types(fan: Fan, weight: Array, gain: Array | None, end: Array) -> bool:
    """Whether deliver.cu can add these weights."""
    types = {x.dtype for x in (weight, gain, end) if x is not None}
    if types == {jnp.dtype(jnp.float32)}:
        return True
    plain = gain is None or gain.ndim < 2
    rows = not isinstance(fan, FanOut) and weight.dtype == jnp.uint16
    return rows and plain and end.dtype in (jnp.float32, jnp.int32)


def call(words: Sequence[Array], arrays: Sequence[Array], parts: Sequence[Part]) -> list[Array]:
    """The arrays after the events of all sources have been delivered.

    Args:
      words: packed spikes of each source, uint32 [B, W].
      arrays: float32 [B, T] or rings [B, D, T]; for rows also limbs, int32 [B, G, 2, targets of a
        beam], which are zero before.
      parts: in the order in which they count for an array.
    """
    members = words[0].shape[0]
    held = [merged(x, members) for x in arrays]
    cells = [max(part.cells for part in parts if part.source == k) for k in range(len(words))]
    rounds, before = [], [0] * len(arrays)
    for part in parts:
        rounds.append(before[part.end])
        before[part.end] += 1
    layout = _Layout()
    counts = layout.take(4 * members * len(words))
    sizes = [part.bytes(members, held[part.end]) for part in parts]
    whole = [
        not isinstance(part.fan, FanOut) or size <= CLEARED_BYTES
        for part, size in zip(parts, sizes, strict=True)
    ]
    sums = {k: layout.take(size) for k, size in enumerate(sizes) if whole[k]}
    cleared = layout.end
    sums |= {k: layout.take(size) for k, size in enumerate(sizes) if not whole[k]}
    events = [layout.take(4 * members * count) for count in cells]
    kernel = jax.ffi.ffi_call(
        "cerebellum_cuda_deliver",
        (*map(like, held), jax.ShapeDtypeStruct((layout.end,), jnp.uint8)),
        input_output_aliases={k: k for k in range(len(held))},
    )
    numbers = {
        "cells": cells,
        "events": events,
        "source": [part.source for part in parts],
        "end": [part.end for part in parts],
        "round": rounds,
        "depth": [part.depth for part in parts],
        "beams": [1 if isinstance(part.fan, FanOut) else part.fan.beams for part in parts],
        "sums": [sums[k] for k in range(len(parts))],
    }
    units = [1.0 if isinstance(part.fan, FanOut) else part.fan.unit for part in parts]
    *delivered, _ = kernel(
        *held,
        *words,
        *(x for part in parts for x in part.operands()),
        arrays=np.int64(len(held)),
        counts=np.int64(counts),
        cleared=np.int64(cleared),
        unit=np.array(units, np.float32),
        **{name: np.array(values, np.int64) for name, values in numbers.items()},
    )
    return [x.reshape(before.shape) for x, before in zip(delivered, arrays, strict=True)]


class _Layout:
    """Places in a piece of memory."""

    def __init__(self):
        self.end = 0

    def take(self, size: int) -> int:
        """Where the next `size` bytes begin, a multiple of 16."""
        start = self.end
        self.end += -(-size // 16) * 16
        return start


def sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    """As `events.sweep`: the events of one population."""
    parts = [
        Part(0, k, fan, weight, gain)
        for k, (fan, weight, gain) in enumerate(zip(fans, weights, gains, strict=True))
    ]
    members = sent.words.shape[0]
    # Sums of rows are [B G, limbs, targets of a beam].
    arrays = [
        x if isinstance(f, FanOut) else x.reshape(members, -1, *x.shape[1:])
        for f, x in zip(fans, sums, strict=True)
    ]
    after = call([sent.words], arrays, parts)
    return tuple(x.reshape(before.shape) for x, before in zip(after, sums, strict=True))


def deliver(deliveries: Sequence[Delivery], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """As `delivery.deliver`: all deliveries in one call, or several where scales are between them.

    What a projection with synaptic scaling adds is summed alone, and scaled afterwards.
    """
    after, batch = dict(arrays), _Batch()
    for each in deliveries:
        for k, end in enumerate(each.ends):
            scaling = each.scales[k] is not None
            if end in batch.scaled or (scaling and end in batch.ends):
                after |= batch.make(after)
                batch = _Batch()
            batch.add(each, k)
    return after | batch.make(after)


class _Batch:
    """Deliveries that are made in one call."""

    def __init__(self):
        self.words: list[Array] = []
        self.ends: list[str] = []
        self.scaled: dict[str, Array] = {}
        self.parts: list[tuple[int, int, Fan, Array, Array]] = []
        self._last: Delivery | None = None

    def add(self, each: Delivery, index: int) -> None:
        """Add one projection of a delivery."""
        if each is not self._last:
            self.words.append(each.words)
            self._last = each
        end, scale, gain = each.ends[index], each.scales[index], each.gains[index]
        if end not in self.ends:
            self.ends.append(end)
        if scale is not None:
            self.scaled[end] = scale
        number = self.ends.index(end)
        gain = jnp.ones(()) if gain is None else gain
        part = len(self.words) - 1, number, each.fans[index], each.weights[index], gain
        self.parts.append(part)

    def make(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays that were added to, by name."""
        if not self.parts:
            return {}
        before = [arrays[end] for end in self.ends]
        outs = [
            jnp.zeros_like(x) if end in self.scaled else x
            for end, x in zip(self.ends, before, strict=True)
        ]
        tables = [(fan, weight, gain) for _, _, fan, weight, gain in self.parts]
        leaves, structure = jax.tree.flatten((self.words, outs, tables))

        def kernel(*leaves: Array) -> tuple[Array, ...]:
            words, outs, tables = jax.tree.unflatten(structure, leaves)
            members = max(x.shape[0] for x in leaves)
            words = [jnp.broadcast_to(x, (members, *x.shape[1:])) for x in words]
            outs = [jnp.broadcast_to(x, (members, *x.shape[1:])) for x in outs]
            parts = [
                Part(source, end, *table)
                for (source, end, *_), table in zip(self.parts, tables, strict=True)
            ]
            return tuple(call(words, outs, parts))

        delivered = for_members(kernel, *leaves)
        return {
            end: scaled(value, self.scaled[end], out) if end in self.scaled else out
            for end, value, out in zip(self.ends, before, delivered, strict=True)
        }
