"""What one block of spikes adds, through all kinds of synapses.

What is added to an array depends neither on the size of a block nor on the order of additions:

    lists with one weight   equal addends to a target, one after the other, as in the reference
    uint16 rows             integers, as in the reference, bit for bit
    all others              fixed point (`exact`), added after these

Dimensions: N source cells in G groups (beams), P slots of a group, T targets, F fan-out, R targets
of a beam.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.backends.loop_free import exact
from cerebellum.backends.loop_free.slots import Size, Spikes
from cerebellum.model import delivery, events
from cerebellum.model.delivery import Delivery
from cerebellum.model.events import AllToAll, FanOut

MOST_ROWS = 2**15 - 1
"""Number of uint16 weights that can be added to one more in int32."""

Visit = Callable[[Any, Array, Array], Any]
"""A function of what was added so far, the cells [G, P], and whether each slot has a spike."""

Walk = Callable[["Sent", int, Visit, Any], Any]
"""A way to visit the spikes of a delivery with so many slots to a group."""


@dataclass(frozen=True)
class Part:
    """One projection of a delivery."""

    fan: events.Fan
    weight: Array
    gain: Array | None
    scale: Array | None
    end: str
    name: str
    """name of its sum in fixed point: projections onto one end share one, unless it is scaled"""

    @property
    def is_row(self) -> bool:
        return isinstance(self.fan, AllToAll)

    @property
    def is_fixed(self) -> bool:
        """Whether its weights are added in fixed point."""
        if self.weight.dtype == jnp.uint16:
            return False
        return self.is_row or self.weight.ndim > 0 or self.gain is not None

    @property
    def width(self) -> int:
        """Number of synapses of a cell."""
        fan = self.fan
        return fan.targets.shape[-1] if isinstance(fan, FanOut) else self.weight.shape[-1]

    def lanes(self, slots: int) -> int:
        """Largest number of addends that so many slots may have for one target."""
        return slots if self.is_row else slots * self.width

    def values(self, cells: Array) -> Array:
        """The weights of the synapses of cells [...], float32 [..., F] or [..., R]."""
        values = self.weight if self.weight.ndim == 0 else self.weight[cells]
        if self.gain is not None:
            values = values * self.gain[cells][..., None]
        return jnp.broadcast_to(values, (*cells.shape, self.width))

    def places(self, cells: Array, real: Array, out: Array) -> Array:
        """Where the lists of cells [...] add to a flat array of the shape `out`; past its end for
        what is nothing: int32 [..., F].
        """
        fan = self.fan
        assert isinstance(fan, FanOut)
        targets = fan.targets[cells]
        if fan.delays is not None and fan.row is not None:
            places = events.in_ring(targets, fan.delays[cells], fan.row, fan.depth, out.size)
        else:
            places = jnp.where(targets < out.size, targets.astype(jnp.int32), out.size)
        return jnp.where(real[..., None], places, out.size)


@dataclass(frozen=True)
class Sent:
    """A delivery whose spikes have been counted."""

    parts: tuple[Part, ...]
    spikes: Spikes
    synapses: int
    """number of synapses of a cell in all projections"""

    @classmethod
    def of(cls, index: int, each: Delivery) -> "Sent":
        """The `index`-th delivery of a step."""
        fields = each.fans, each.weights, each.gains, each.scales, each.ends
        parts = tuple(
            Part(*own, name=own[-1] if own[3] is None else f"{own[-1]} of {index}")
            for own in zip(*fields, strict=True)
        )
        tables = [x.fan.targets if isinstance(x.fan, FanOut) else x.weight for x in parts]
        groups = max((x.fan.beams for x in parts if isinstance(x.fan, AllToAll)), default=1)
        spikes = Spikes.of(each.words, tables[0].shape[0], groups)
        return cls(parts, spikes, sum(part.width for part in parts))

    def size(self, size: Size) -> int:
        """Number of slots of a group."""
        return size.of(int(self.spikes.edges[-1]), self.spikes.groups, self.synapses)


@struct.dataclass(kw_only=True)
class Carry:
    """What the deliveries of a step have added so far."""

    arrays: dict[str, Array]
    sums: dict[str, exact.Sum]
    """what is added in fixed point, by `Part.name`"""


def has_types(deliveries: Sequence[Delivery], arrays: Mapping[str, Array]) -> bool:
    """Whether all numbers are of the types whose sums are exact here."""
    weights = [weight for each in deliveries for weight in each.weights]
    gains = [gain for each in deliveries for gain in each.gains if gain is not None]
    ends = [arrays[end] for each in deliveries for end in each.ends]
    plain = all(x.dtype == jnp.float32 for x in (*gains, *ends))
    return plain and all(x.dtype in (jnp.float32, jnp.uint16) for x in weights)


def _fixed(sent: Sequence[Sent]) -> Iterator[Part]:
    return (part for each in sent for part in each.parts if part.is_fixed)


def begin(sent: Sequence[Sent], arrays: dict[str, Array]) -> Carry:
    """Arrays to which nothing has been added yet."""
    return Carry(
        arrays=arrays,
        sums={part.name: exact.empty(arrays[part.end].size) for part in _fixed(sent)},
    )


def finish(sent: Sequence[Sent], carry: Carry) -> dict[str, Array]:
    """The arrays after the sums in fixed point have been added to them."""
    arrays = dict(carry.arrays)
    for part in {part.name: part for part in _fixed(sent)}.values():
        total = exact.carry(carry.sums[part.name])
        arrived = exact.value(total).reshape(arrays[part.end].shape)
        arrays[part.end] = _added(part, arrays[part.end], arrived)
    return arrays


def _added(part: Part, before: Array, arrived: Array) -> Array:
    """The values of targets after what has arrived was added, and scaled if the projection is."""
    if part.scale is None:
        return before + arrived
    return delivery.scaled(before, part.scale, arrived)


def visit_all(
    sent: Sequence[Sent], plan: Sequence[int], carry: Carry, walk: Walk, blocks: bool
) -> Carry:
    """Make all deliveries, each with its planned number of slots to a group.

    Args:
      walk: visits the spikes of a delivery.
      blocks: whether it may visit more than one block of them.
    """
    sums = _with_exponents(sent, plan, carry, walk)
    arrays, added = dict(carry.arrays), dict.fromkeys(sums, 0)
    for each, size in zip(sent, plan, strict=True):
        names = {part.name for part in each.parts if part.is_fixed}
        for part in each.parts:
            if part.is_fixed and not blocks:
                lanes = part.lanes(each.spikes.groups * size)
                if added[part.name] + lanes > exact.LANES:
                    sums[part.name], added[part.name] = exact.carry(sums[part.name]), 0
                added[part.name] += lanes

        def visit(state: tuple, cells: Array, real: Array, each=each) -> tuple:
            outs, sums = list(state[0]), dict(state[1])
            for k, part in enumerate(each.parts):
                if not part.is_fixed:
                    outs[k] = _add(part, outs[k], cells, real)
                    continue
                total = _add_fixed(part, sums[part.name], arrays[part.end], cells, real)
                sums[part.name] = exact.carry(total) if blocks else total
            return outs, sums

        begun = [_begun(part, arrays) for part in each.parts]
        outs, reached = walk(each, size, visit, (begun, {name: sums[name] for name in names}))
        sums |= reached
        for part, out in zip(each.parts, outs, strict=True):
            if not part.is_fixed:
                arrays[part.end] = _ended(part, arrays[part.end], out)
    return Carry(arrays=arrays, sums=sums)


def _with_exponents(
    sent: Sequence[Sent], plan: Sequence[int], carry: Carry, walk: Walk
) -> dict[str, exact.Sum]:
    """The sums with the exponents of the largest addends that they are to get."""
    sums = dict(carry.sums)
    for each, size in zip(sent, plan, strict=True):
        for part in each.parts:
            if part.is_fixed:

                def visit(exponent: Array, cells: Array, real: Array, part=part) -> Array:
                    exponents = exact.exponent_of(part.values(cells))
                    out = carry.arrays[part.end]
                    if part.is_row:
                        exponents = jnp.max(jnp.where(real[..., None], exponents, 0), axis=1)
                        return jnp.maximum(exponent, exponents.reshape(-1)[: out.size])
                    places = part.places(cells, real, out)
                    return exponent.at[places].max(exponents, mode="drop")

                total = sums[part.name]
                exponent = walk(each, size, visit, total.exponent)
                sums[part.name] = replace(total, exponent=exponent)
    return sums


def _begun(part: Part, arrays: dict[str, Array]) -> Array | None:
    """That to which the blocks of a projection add what is not in fixed point."""
    if part.is_fixed:
        return None
    if isinstance(part.fan, AllToAll):
        return jnp.zeros((part.fan.beams, 2, part.width), jnp.int32)
    before = arrays[part.end]
    return before if part.scale is None else jnp.zeros_like(before)


def _ended(part: Part, before: Array, out: Array) -> Array:
    """The array at the end of a projection, after all blocks have added to `out`."""
    if isinstance(part.fan, AllToAll):
        # Rounded before the sum, in every program.
        arrived = lax.optimization_barrier(events.total_of_rows(out, part.fan, before[None])[0])
        return _added(part, before, arrived)
    return out if part.scale is None else _added(part, before, out)


def _add(part: Part, out: Array, cells: Array, real: Array) -> Array:
    """Add a block of uint16 rows to sums [G, 2, R], or of lists with one weight to an array."""
    if part.is_row:
        low, high = out[:, 0], out[:, 1]
        for start in range(0, cells.shape[1], MOST_ROWS):
            piece = slice(start, start + MOST_ROWS)
            rows = jnp.where(real[:, piece, None], part.weight[cells[:, piece]], 0)
            low = low + jnp.sum(rows.astype(jnp.int32), axis=1)
            low, high = low & 0xFFFF, high + (low >> 16)
        return jnp.stack([low, high], axis=1)
    places = part.places(cells, real, out).reshape(-1)
    return out.reshape(-1).at[places].add(part.weight, mode="drop").reshape(out.shape)


def _add_fixed(part: Part, total: exact.Sum, out: Array, cells: Array, real: Array) -> exact.Sum:
    """Add a block of a projection to the sum of an array of the shape `out`."""
    if part.is_row:
        groups, width = cells.shape[0], part.width
        padded = jnp.pad(total.exponent, (0, groups * width - out.size))
        limbs = exact.split(part.values(cells), padded.reshape(groups, 1, width))
        limbs = jnp.where(real[..., None, None], limbs, 0)
        for piece in _pieces(cells.shape[1]):
            total = exact.carry(total) if piece.start else total
            sums = jnp.sum(limbs[:, piece], axis=1).reshape(-1, 2)
            total = replace(total, limbs=total.limbs + sums[: out.size])
        return total
    places = part.places(cells, real, out)
    exponent = total.exponent.at[places].get(mode="fill", fill_value=0)
    limbs = exact.split(part.values(cells), exponent).reshape(-1, 2)
    places = places.reshape(-1)
    for piece in _pieces(places.size):
        total = exact.carry(total) if piece.start else total
        added = total.limbs.at[places[piece]].add(limbs[piece], mode="drop")
        total = replace(total, limbs=added)
    return total


def _pieces(size: int) -> list[slice]:
    """A range of addends in pieces, each of as many as can be added before a carry."""
    return [slice(start, start + exact.LANES) for start in range(0, size, exact.LANES)]
