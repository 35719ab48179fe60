"""Spikes as events: packing them, selecting them, and delivering them through synapses.

The spikes of a population in one step are packed, 32 cells to a uint32 word. `select` finds the
k-th set bit of many words by descending a tree of counts. So no buffer needs a capacity: delivery
proceeds over blocks of events until none is left.

Dimensions: B batch, N source cells, T target cells, F largest fan-out, W = ceil(N / 32) words,
G beams, S = ceil(N / G) source cells and R = ceil(T / G) target cells per beam.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.model.ordering import materialize_once

BITS = 32
DELAY_STEP = 8
"""Rings of arrivals have a multiple of this number of rows, so that circuits that differ only in
their seed mostly share one compiled program."""
_BRANCH = 32
_TOP = 128

Path = Literal["event", "dense"]


@struct.dataclass(kw_only=True)
class FanOut:
    """The wiring of a sparse projection: a list of targets for every source cell."""

    targets: Array
    """numbers of target cells, unsigned, [N, F]; unused entries, at the end of a list, hold T or
    more"""
    ascends: bool = struct.field(pytree_node=False, default=False)
    """whether every list is in ascending order, so that threads can divide the targets"""
    delays: Array | None = None
    """Delay of each synapse in steps, uint8 or uint16 [N, F]; None if all have the projection's.
    Spikes are then delivered when they are emitted, into a ring of arrivals (see `into_ring`)."""
    longest: int = struct.field(pytree_node=False, default=0)
    """the longest of these delays, rounded up to a multiple of `DELAY_STEP`"""
    row: Array | None = None
    """the row of the ring for arrivals in the present step, int32 scalar"""
    depth: int = struct.field(pytree_node=False, default=0)
    """number of rows of the ring"""

    def into_ring(self, step: Array, depth: int) -> "FanOut":
        """The same lists, for a delivery into a ring of arrivals, [depth, T].

        Row s mod depth of a ring holds the weights that arrive in step s. A spike of the present
        step adds each weight to the row of its delay, from 1 to `depth` steps later.

        Args:
          step: the present step, whose own row has been read and cleared, int32 scalar.
        """
        return replace(self, row=jnp.remainder(step, depth), depth=depth)


@struct.dataclass(kw_only=True)
class AllToAll:
    """The wiring of a dense projection: every source cell has a row of weights.

    The weights are [N, R]: each row covers the targets of the cell's beam. Beam g holds source
    cells g S to (g + 1) S - 1 and target cells g R to (g + 1) R - 1; the last may be smaller.
    """

    beams: int = struct.field(pytree_node=False, default=1)
    unit: float = struct.field(pytree_node=False, default=1.0)
    """the weight of one level of uint16 rows, nS or mV; float rows hold the weight itself"""


Fan = FanOut | AllToAll


def with_delays(fan: FanOut, delays: np.ndarray | None) -> FanOut:
    """Lists whose synapses have delays of their own, in steps, unsigned [N, F]; None for none."""
    if delays is None:
        return fan
    longest = -(-int(np.max(delays)) // DELAY_STEP) * DELAY_STEP
    return replace(fan, delays=jax.device_put(delays), longest=longest)


def pack(spikes: Array) -> Array:
    """Pack spikes into words: [..., N] (a value above zero is a spike) to uint32 [..., W].

    Bit j of word w is cell 32 w + j; bits from N on are zero.
    """
    n = spikes.shape[-1]
    words = -(-n // BITS)
    padding = [(0, 0)] * (spikes.ndim - 1) + [(0, words * BITS - n)]
    octets = jnp.packbits(jnp.pad(spikes > 0, padding), axis=-1, bitorder="little")
    return lax.bitcast_convert_type(octets.reshape(*spikes.shape[:-1], words, 4), jnp.uint32)


def all_of(n: int) -> np.ndarray:
    """The packed spikes of n cells that all fire, uint32 [W]; nothing is compiled for it."""
    words = np.full(-(-n // BITS), 2**BITS - 1, np.uint32)
    if n % BITS:
        words[-1] = 2 ** (n % BITS) - 1
    return words


def unpack(words: Array, n: int, dtype=jnp.float32) -> Array:
    """Unpack words into spikes: uint32 [..., W] to 0 or 1, [..., n]."""
    positions = jnp.arange(BITS, dtype=jnp.uint32).reshape((1,) * words.ndim + (BITS,))
    bits = (words[..., None] >> positions) & 1
    return bits.reshape(*words.shape[:-1], -1)[..., :n].astype(dtype)


def count(words: Array) -> Array:
    """Number of spikes in the words: uint32 [..., W] to int32 [...]."""
    return jnp.sum(lax.population_count(words).astype(jnp.int32), axis=-1, dtype=jnp.int32)


def tally(words: Array) -> list[Array]:
    """Count the set bits per word, per 32 words, and so on: a list of int32 arrays, the levels.

    A level is [entries / 32, 32], padded with zeros. The last one has at most `_TOP` entries,
    [1, ...].
    """
    counts = lax.population_count(words).astype(jnp.int32)
    levels = []
    while counts.shape[0] > _TOP:
        levels.append(jnp.pad(counts, (0, -counts.shape[0] % _BRANCH)).reshape(-1, _BRANCH))
        counts = jnp.sum(levels[-1], axis=1)
    return [*levels, counts[None]]


def _descend(counts: Array, rank: Array) -> tuple[Array, Array]:
    """Find the entry of each row that contains the `rank`-th item.

    Args:
      counts: number of items per entry, [K, entries] or [1, entries].
      rank: [K].

    Returns:
      The index of the entry, and the rank of the item within it, [K] each.
    """
    cumulative = jnp.cumsum(counts, axis=1)
    before = cumulative <= rank[:, None]
    index = jnp.sum(before, axis=1, dtype=jnp.int32)
    return index, rank - jnp.max(jnp.where(before, cumulative, 0), axis=1)


def select_bit(word: Array, rank: Array) -> Array:
    """Position of the `rank`-th set bit of each word, by bisection: uint32 [K] to int32 [K]."""
    position = jnp.zeros_like(rank)
    for width in (16, 8, 4, 2, 1):
        low = word & jnp.uint32((1 << width) - 1)
        low_count = lax.population_count(low).astype(jnp.int32)
        in_high = rank >= low_count
        rank = jnp.where(in_high, rank - low_count, rank)
        word = jnp.where(in_high, word >> width, low)
        position = position + jnp.where(in_high, width, 0)
    return position


def select(words: Array, levels: list[Array], rank: Array) -> Array:
    """The cells of the `rank`-th spikes.

    Args:
      words: uint32 [W].
      levels: `tally(words)`.
      rank: int32 [K]; a rank at or above the number of spikes gives no meaningful cell.

    Returns:
      Cell numbers, int32 [K], in range for any rank.
    """
    index, rank = _descend(levels[-1], rank)
    for level in reversed(levels[:-1]):
        index = jnp.minimum(index, level.shape[0] - 1)
        child, rank = _descend(level[index], rank)
        index = index * _BRANCH + child
    index = jnp.minimum(index, words.shape[0] - 1)
    return index * BITS + jnp.minimum(select_bit(words[index], rank), BITS - 1)


def rank(words: Array, levels: list[Array], cell: Array) -> Array:
    """The number of spikes in the cells below `cell`.

    Args:
      words: uint32 [W].
      levels: `tally(words)`.
      cell: int32 [K], at most 32 W.

    Returns:
      int32 [K].
    """
    index, bit = cell // BITS, (cell % BITS).astype(jnp.uint32)
    low = words[jnp.minimum(index, words.shape[0] - 1)] & ((jnp.uint32(1) << bit) - 1)
    total = lax.population_count(low).astype(jnp.int32)
    for level in levels[:-1]:
        siblings = level[jnp.minimum(index // _BRANCH, level.shape[0] - 1)]
        before = jnp.arange(_BRANCH)[None] < (index % _BRANCH)[:, None]
        total = total + jnp.sum(jnp.where(before, siblings, 0), axis=1)
        index = index // _BRANCH
    before = jnp.arange(levels[-1].shape[1])[None] < index[:, None]
    return total + jnp.sum(jnp.where(before, levels[-1], 0), axis=1)


def beam_edges(cells: int, beams: int) -> np.ndarray:
    """The first cell of every beam and, at the end, the number of cells: int32 [G + 1]."""
    return np.minimum(np.arange(beams + 1) * -(-cells // beams), cells).astype(np.int32)


def walk_beams(
    words: Array,
    levels: list[Array],
    edges: Array,
    block: int,
    visit: Callable[[Any, Array, Array, Array], Any],
    carry: Any,
) -> Any:
    """Visit all spikes in blocks, where each block lies within one beam.

    Args:
      words, levels: packed spikes [W] and their `tally`.
      edges: the first cell of every beam and, at the end, the end of the last one: int32 [G + 1].
      block: number of events in a block.
      visit: a function (carry, beam, cells [block], real [block]) -> carry. An event is `real`
        unless it only fills up its block.

    Returns:
      The carry after the last block.
    """
    first_event = rank(words, levels, edges)
    blocks = -(-(first_event[1:] - first_event[:-1]) // block)
    ends = jnp.cumsum(blocks)
    lanes = jnp.arange(block, dtype=jnp.int32)

    def body(state):
        index, carry = state
        beam = jnp.sum(ends <= index, dtype=jnp.int32)
        event = first_event[beam] + (index - (ends - blocks)[beam]) * block + lanes
        cells, beam = materialize_once((select(words, levels, event), beam))
        return index + 1, visit(carry, beam, cells, event < first_event[beam + 1])

    return lax.while_loop(lambda state: state[0] < ends[-1], body, (jnp.int32(0), carry))[1]


def block_size(rows: int, lists: int = 0) -> int:
    """The number of events in a block: enough synapses to make up for the search for the events.

    Rows are read in sequence, 16,384 synapses per block; lists are read at random, 2,048.

    Args:
      rows: number of synapses of one event in rows.
      lists: number of synapses of one event in lists.
    """
    events = 16_384 // rows if rows else 2_048 // max(1, lists)
    return max(8, min(128, 1 << events.bit_length()))


def _take(table: Array, batch: Array, cell: Array) -> Array:
    """Rows of a table [R, N, ...], where R is 1 (a shared table) or B (one table per member)."""
    return table[0, cell] if table.shape[0] == 1 else table[batch, cell]


def _by_list(
    fan: FanOut, weight: Array, gain: Array, out: Array, batch: Array, cell: Array, real: Array
):
    """Deliver one block of events through one projection with lists.

    Args:
      out: values of the targets, [B, T].
      batch, cell, real: member of the batch, source cell and validity of each event, [K].
    """
    shape, members = out.shape, out.shape[0]
    target = _take(fan.targets, batch, cell)
    no_target = jnp.array(jnp.iinfo(target.dtype).max, target.dtype)
    target = jnp.where(real[:, None], target, no_target)
    if fan.delays is not None and fan.row is not None:
        row = fan.row[batch * (fan.row.shape[0] > 1), None]
        delay = _take(fan.delays, batch, cell)
        out = out.reshape(members, -1)
        target = in_ring(target, delay, row, fan.depth, out.shape[1])
    if weight.ndim == 1:
        value = weight[batch * (weight.shape[0] > 1), None]
    else:
        value = _take(weight, batch, cell)
    if gain.ndim > 1:
        value = value * _take(gain, batch, cell)[:, None]
    value = jnp.broadcast_to(value.astype(out.dtype), target.shape).reshape(-1)
    if members == 1:
        return out[0].at[target.reshape(-1)].add(value, mode="drop").reshape(shape)
    member = jnp.broadcast_to(batch[:, None], target.shape)
    added = out.at[member.reshape(-1), target.reshape(-1)].add(value, mode="drop")
    return added.reshape(shape)


def in_ring(target: Array, delay: Array, row: Array, depth: int, size: int) -> Array:
    """The places of synapses in a flat ring of arrivals, int32; `size` for unused entries.

    Args:
      target, delay: of each synapse, [..., F].
      row: row of the present step, which broadcasts to them.
      depth, size: rows and entries of the ring.
    """
    targets = size // depth
    slot = jnp.remainder(row + delay.astype(jnp.int32), depth)
    return jnp.where(target < targets, slot * targets + target.astype(jnp.int32), size)


def _by_row(
    sums: Array,
    weight: Array,
    gain: Array,
    group: Array,
    batch: Array,
    cell: Array,
    real: Array,
):
    """Deliver one block of events, all of one beam, through one projection with rows.

    Sums of uint16 rows are exact: they have two limbs, of 16 and of 31 bits. Such rows have no
    gain.

    Args:
      sums: [B G, limbs, R].
      group: number of the member and beam, B G, a scalar.
      batch, cell, real: member of the batch, source cell and validity of each event, [K].
    """
    rows = weight[batch[0] * (weight.shape[0] > 1), cell]
    if weight.dtype != jnp.uint16:
        if gain.ndim > 1:
            rows = rows * _take(gain, batch, cell)[:, None]
        return sums.at[group, 0].add(jnp.sum(jnp.where(real[:, None], rows, 0), axis=0))
    block = jnp.sum(jnp.where(real[:, None], rows, 0).astype(jnp.int32), axis=0)
    low = sums[group, 0] + block
    return sums.at[group].set(jnp.stack([low & 0xFFFF, sums[group, 1] + (low >> 16)]))


class Sweep(Protocol):
    """The part of a delivery that a backend may replace; `sweep` is the reference."""

    def __call__(
        self, sent: "Events", fans: tuple, weights: tuple, gains: tuple, sums: tuple
    ) -> tuple: ...


@struct.dataclass(kw_only=True)
class Events:
    """The spikes of a batch that are to be delivered, and how they are divided into blocks."""

    words: Array
    """packed spikes, uint32 [B, W]"""
    starts: tuple[int, ...] = struct.field(pytree_node=False)
    """first source cell of every beam"""
    block: int = struct.field(pytree_node=False)
    """number of events in a block, for implementations that deliver in blocks"""


def _push(
    sweep: Sweep, words: Array, fans: tuple, weights: tuple, gains: tuple, outs: tuple
) -> tuple:
    """Deliver the events of a batch through several projections of one source population.

    Args:
      sweep: the implementation that visits the events.
      words: packed spikes, uint32 [B, W].
      fans: the wiring of each projection, with a leading axis R of 1 or B.
      weights: for each projection [R], or [R, N, F], or [R, N, targets in a beam].
      gains: for each projection [R], which stands for no gain, or [R, N].
      outs: for each projection [B, T].

    Returns:
      `outs` with the weights of each event added at its targets.
    """
    members = words.shape[0]
    widths = [
        fan.targets.shape[-1] if isinstance(fan, FanOut) else -weight.shape[-1]
        for fan, weight in zip(fans, weights, strict=True)
    ]
    block = block_size(-sum(min(0, width) for width in widths), sum(max(0, w) for w in widths))
    beams = max((fan.beams for fan in fans if isinstance(fan, AllToAll)), default=1)
    cells = max(weight.shape[1] for weight in weights if weight.ndim > 1) if beams > 1 else 1
    starts = tuple(beam_edges(cells, beams)[:-1].tolist())
    sums = tuple(
        out if isinstance(fan, FanOut) else _zero_sums(members * fan.beams, weight)
        for fan, weight, out in zip(fans, weights, outs, strict=True)
    )
    sent = Events(words=words, starts=starts, block=block)
    delivered = sweep(sent, fans, weights, gains, sums)
    return tuple(
        value if isinstance(fan, FanOut) else out + total_of_rows(value, fan, out)
        for fan, value, out in zip(fans, delivered, outs, strict=True)
    )


def sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    """Add the weights of all events to `sums`, block by block.

    Args:
      sent: the events.
      fans, weights, gains: as in `_push`.
      sums: for a `FanOut` the values of the targets [B, T], to which the weights are added; for an
        `AllToAll` zeros [B G, limbs, R], whose sums are added to the targets afterwards.
    """
    words, starts = sent.words, np.asarray(sent.starts, np.int32)
    members, stride = words.shape[0], words.shape[1] * BITS
    edges = (jnp.arange(members)[:, None] * stride + jnp.asarray(starts)[None]).reshape(-1)
    edges = jnp.append(edges, members * stride).astype(jnp.int32)
    if starts.size == 1 and not any(isinstance(fan, AllToAll) for fan in fans):
        edges = edges[jnp.array([0, -1])]

    def visit(carry, group, event, real):
        batch, cell = event // stride, event % stride
        return tuple(
            _by_list(fan, weight, gain, sums, batch, cell, real)
            if isinstance(fan, FanOut)
            else _by_row(sums, weight, gain, group, batch, cell, real)
            for fan, weight, gain, sums in zip(fans, weights, gains, carry, strict=True)
        )

    flat = words.reshape(-1)
    return walk_beams(flat, tally(flat), edges, sent.block, visit, sums)


@cache
def _batched(sweep: Sweep):
    """`_push` with a rule for `vmap`: a batch of batches becomes one larger batch.

    So the loop over events is never itself batched.
    """
    push = jax.custom_batching.custom_vmap(partial(_push, sweep))
    push.def_vmap(partial(_push_vmap, sweep))
    return push


def _zero_sums(groups: int, weight: Array) -> Array:
    """Zeros for the sums of rows: [groups, limbs, R], with two limbs for uint16 rows."""
    if weight.dtype == jnp.uint16:
        return jnp.zeros((groups, 2, weight.shape[-1]), jnp.int32)
    return jnp.zeros((groups, 1, weight.shape[-1]), weight.dtype)


def total_of_rows(sums: Array, fan: AllToAll, out: Array) -> Array:
    """Convert sums of rows [B G, limbs, R] to weights in the shape of `out`."""
    total = sums[:, 0]
    if sums.shape[1] == 2:
        total = (sums[:, 1] * 65_536.0 + total) * fan.unit
    return total.reshape(out.shape[0], -1)[:, : out.shape[1]]


def _push_vmap(sweep, axis_size, in_batched, words, fans, weights, gains, outs):
    members = words.shape[-2]

    def merge_all(x: Array, batched: bool) -> Array:
        x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        return x.reshape(-1, *x.shape[2:])

    def merge_table(x: Array, batched: bool) -> Array:
        by_member = x.shape[1 if batched else 0] > 1
        if not batched and not by_member:
            return x
        x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        x = x if by_member else jnp.broadcast_to(x, (axis_size, members, *x.shape[2:]))
        return x.reshape(-1, *x.shape[2:])

    words_batched, fans_batched, weights_batched, gains_batched, outs_batched = in_batched
    pushed = _batched(sweep)(
        merge_all(words, words_batched),
        jax.tree.map(merge_table, fans, fans_batched),
        jax.tree.map(merge_table, weights, weights_batched),
        jax.tree.map(merge_table, gains, gains_batched),
        jax.tree.map(merge_all, outs, outs_batched),
    )
    split = tuple(out.reshape(axis_size, -1, *out.shape[1:]) for out in pushed)
    return split, jax.tree.map(lambda _: True, split)


def push(
    words: Array,
    fans: tuple[Fan, ...],
    weights: tuple[Array, ...],
    outs: tuple[Array, ...],
    gains: tuple[Array | None, ...] | None = None,
    sweep: Sweep = sweep,
) -> tuple[Array, ...]:
    """Deliver packed spikes through several projections of their population, event by event.

    The cost is proportional to the number of spikes, and no spike is dropped. It works under
    `vmap`.

    Args:
      words: packed spikes, uint32 [W].
      fans: the wiring of each projection.
      weights: for each projection a scalar, or [N, F] with a `FanOut`, or [N, R] with an
        `AllToAll`.
      outs: for each projection the array to which the weights are added, [T]; for one whose
        synapses have delays of their own a ring of arrivals, [D, T] (see `FanOut.into_ring`).
      gains: for each projection None, or the factor of the weights of each source cell, [N].
      sweep: the implementation that visits the events; all give the same result.

    Returns:
      The arrays after delivery, [T] each.
    """
    lead = partial(jax.tree.map, lambda x: x[None])
    gains = gains or (None,) * len(fans)
    scales = tuple(jnp.ones(()) if gain is None else gain for gain in gains)
    operands = words[None], lead(fans), lead(weights), lead(scales), lead(outs)
    delivered = _batched(sweep)(*operands)
    return tuple(out[0] for out in delivered)


def dense(spikes: Array, fan: Fan, weight: Array, out: Array) -> Array:
    """Deliver spikes through every synapse of a projection; differentiable.

    Args:
      spikes: [N], in the dtype of `out`; any value, not only 0 and 1.
      fan, weight, out: as in `push`, for one projection.

    Returns:
      The array after delivery, [T].
    """
    if isinstance(fan, AllToAll):
        if weight.dtype == jnp.uint16:
            weight = weight.astype(out.dtype) * fan.unit
        cells = weight.shape[0]
        missing = fan.beams * -(-cells // fan.beams) - cells
        rows = jnp.pad(weight, ((0, missing), (0, 0))).reshape(fan.beams, -1, weight.shape[1])
        spikes = jnp.pad(spikes, (0, missing)).reshape(fan.beams, -1)
        sums = jnp.einsum("gs,gsr->gr", spikes, rows, precision=lax.Precision.HIGHEST)
        return out + sums.reshape(-1)[: out.shape[0]]
    value = jnp.broadcast_to(spikes[:, None] * weight, fan.targets.shape)
    if fan.delays is not None and fan.row is not None:
        # The places differ in every step. A gradient computes them again, and does not keep them.
        add = jax.checkpoint(partial(_into_ring, fan.depth))
        return add(value, fan.targets, fan.delays, fan.row, out)
    return jnp.asarray(out).at[fan.targets].add(value.astype(out.dtype), mode="drop")


def _into_ring(
    depth: int, value: Array, targets: Array, delays: Array, row: Array, out: Array
) -> Array:
    """The ring after it was given the value of each synapse."""
    places = in_ring(targets, delays, row, depth, out.size)
    added = jnp.ravel(out).at[places].add(value.astype(out.dtype), mode="drop")
    return added.reshape(out.shape)
