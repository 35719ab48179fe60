"""Spikes as events: packing, finding them again, and sending them through synapses.

A population's spikes of one step are packed 32 to a uint32 word. `select` finds the k-th set
bit of many words by descending a tree of counts, so nothing needs a capacity: propagation
walks over blocks of events until none is left.

Dimensions: B batch, N source cells, T target cells, F largest fan-out, W = ceil(N / 32) words,
G beams, S = ceil(N / G) source cells and R = ceil(T / G) target cells to a beam.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.model.ordering import materialize_once

BITS = 32
_BRANCH = 32
_TOP = 128

Path = Literal["event", "dense"]


@struct.dataclass(kw_only=True)
class FanOut:
    """Each source cell's list of targets, for projections that are sparse."""

    targets: Array
    """unsigned, [N, F]; unused places, behind all used ones, hold T or more"""
    ascends: bool = struct.field(pytree_node=False, default=False)
    """every list is in order of its targets, so that threads can share it out"""


@struct.dataclass(kw_only=True)
class AllToAll:
    """Every source cell has a row of weights, [N, R], over the targets of its beam.

    For projections that are dense. Beam g holds source cells g S to (g + 1) S - 1 and target
    cells g R to (g + 1) R - 1; the last may be smaller.
    """

    beams: int = struct.field(pytree_node=False, default=1)
    unit: float = struct.field(pytree_node=False, default=1.0)
    """what a weight of 1 stands for in uint16 rows, nS or mV; float rows hold the weight itself"""


Fan = FanOut | AllToAll


def pack(spikes: Array) -> Array:
    """Words of the spikes: [..., N] (a spike where above zero) to uint32 [..., W].

    Bit j of word w is cell 32 w + j; bits past N are zero.
    """
    n = spikes.shape[-1]
    words = -(-n // BITS)
    padding = [(0, 0)] * (spikes.ndim - 1) + [(0, words * BITS - n)]
    octets = jnp.packbits(jnp.pad(spikes > 0, padding), axis=-1, bitorder="little")
    return lax.bitcast_convert_type(octets.reshape(*spikes.shape[:-1], words, 4), jnp.uint32)


def unpack(words: Array, n: int, dtype=jnp.float32) -> Array:
    """Spikes of the words: uint32 [..., W] to 0 or 1, [..., n]."""
    places = jnp.arange(BITS, dtype=jnp.uint32).reshape((1,) * words.ndim + (BITS,))
    bits = (words[..., None] >> places) & 1
    return bits.reshape(*words.shape[:-1], -1)[..., :n].astype(dtype)


def count(words: Array) -> Array:
    """Number of spikes in the words: uint32 [..., W] to int32 [...]."""
    return jnp.sum(lax.population_count(words).astype(jnp.int32), axis=-1, dtype=jnp.int32)


def tally(words: Array) -> list[Array]:
    """Set bits per word, per 32 words, and so on: int32.

    Levels are [entries / 32, 32], padded with zeros; the last has at most `_TOP` entries, [1, ...].
    """
    counts = lax.population_count(words).astype(jnp.int32)
    levels = []
    while counts.shape[0] > _TOP:
        levels.append(jnp.pad(counts, (0, -counts.shape[0] % _BRANCH)).reshape(-1, _BRANCH))
        counts = jnp.sum(levels[-1], axis=1)
    return [*levels, counts[None]]


def _descend(counts: Array, rank: Array) -> tuple[Array, Array]:
    """Which entry of each row holds the `rank`-th item, and its rank there.

    `counts` is [K, entries] or [1, entries], `rank` is [K].
    """
    below = jnp.cumsum(counts, axis=1)
    before = below <= rank[:, None]
    place = jnp.sum(before, axis=1, dtype=jnp.int32)
    return place, rank - jnp.max(jnp.where(before, below, 0), axis=1)


def _select_bit(word: Array, rank: Array) -> Array:
    """Position of the `rank`-th set bit of each word, by halving: uint32 [K] to int32 [K]."""
    place = jnp.zeros_like(rank)
    for width in (16, 8, 4, 2, 1):
        low = word & jnp.uint32((1 << width) - 1)
        here = lax.population_count(low).astype(jnp.int32)
        up = rank >= here
        rank = jnp.where(up, rank - here, rank)
        word = jnp.where(up, word >> width, low)
        place = place + jnp.where(up, width, 0)
    return place


def select(words: Array, levels: list[Array], rank: Array) -> Array:
    """Cells of the `rank`-th spikes.

    Args:
      words: uint32 [W].
      levels: `tally(words)`.
      rank: int32 [K]; ranks at or above the number of spikes give no meaningful cell.

    Returns:
      int32 [K], in range for any rank.
    """
    place, rank = _descend(levels[-1], rank)
    for level in reversed(levels[:-1]):
        place = jnp.minimum(place, level.shape[0] - 1)
        inside, rank = _descend(level[place], rank)
        place = place * _BRANCH + inside
    place = jnp.minimum(place, words.shape[0] - 1)
    return place * BITS + jnp.minimum(_select_bit(words[place], rank), BITS - 1)


def rank(words: Array, levels: list[Array], cell: Array) -> Array:
    """Number of spikes in cells below `cell`.

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
    """First cell of every beam and, last, the number of cells: int32 [G + 1]."""
    return np.minimum(np.arange(beams + 1) * -(-cells // beams), cells).astype(np.int32)


def walk_beams(
    words: Array,
    levels: list[Array],
    edges: Array,
    block: int,
    visit: Callable[[Any, Array, Array, Array], Any],
    carry: Any,
) -> Any:
    """Visit all spikes in blocks, each block within one beam.

    Args:
      words, levels: spikes [W] and their `tally`.
      edges: first cell of every beam and, last, the end: int32 [G + 1].
      block: events to a block.
      visit: (carry, beam, cells [block], real [block]) -> carry.

    Returns:
      The carry after the last block.
    """
    first = rank(words, levels, edges)
    blocks = -(-(first[1:] - first[:-1]) // block)
    ends = jnp.cumsum(blocks)
    lanes = jnp.arange(block, dtype=jnp.int32)

    def body(state):
        index, carry = state
        beam = jnp.sum(ends <= index, dtype=jnp.int32)
        wanted = first[beam] + (index - (ends - blocks)[beam]) * block + lanes
        cells, beam = materialize_once((select(words, levels, wanted), beam))
        return index + 1, visit(carry, beam, cells, wanted < first[beam + 1])

    return lax.while_loop(lambda state: state[0] < ends[-1], body, (jnp.int32(0), carry))[1]


def block_size(rows: int, lists: int = 0) -> int:
    """Events to a block: enough synapses to pay for finding the events.

    Rows are read in sequence, 16,384 synapses to a block; lists at random, 2,048.

    Args:
      rows: synapses of one event in rows.
      lists: the same in lists.
    """
    wanted = 16_384 // rows if rows else 2_048 // max(1, lists)
    return max(8, min(128, 1 << wanted.bit_length()))


def _take(table: Array, batch: Array, cell: Array) -> Array:
    """Rows of a table [R, N, ...] with R = 1 (shared) or B (one a member)."""
    return table[0, cell] if table.shape[0] == 1 else table[batch, cell]


def _by_list(
    fan: FanOut, weight: Array, gain: Array, out: Array, batch: Array, cell: Array, real: Array
):
    """One block of events through one list projection; `out` is [B, T], the rest [K]."""
    members = out.shape[0]
    target = _take(fan.targets, batch, cell)
    nowhere = jnp.array(jnp.iinfo(target.dtype).max, target.dtype)
    target = jnp.where(real[:, None], target, nowhere)
    if weight.ndim == 1:
        value = weight[batch * (weight.shape[0] > 1), None]
    else:
        value = _take(weight, batch, cell)
    if gain.ndim > 1:
        value = value * _take(gain, batch, cell)[:, None]
    value = jnp.broadcast_to(value.astype(out.dtype), target.shape).reshape(-1)
    if members == 1:
        return out[0].at[target.reshape(-1)].add(value, mode="drop")[None]
    member = jnp.broadcast_to(batch[:, None], target.shape)
    return out.at[member.reshape(-1), target.reshape(-1)].add(value, mode="drop")


def _by_row(
    sums: Array,
    weight: Array,
    gain: Array,
    group: Array,
    batch: Array,
    cell: Array,
    real: Array,
):
    """One block of events, all of one beam, through one projection of rows.

    `sums` is [B G, limbs, R]. Sums of uint16 rows are exact: limbs of 16 and of 31 bits; they
    have no gain.
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
    """The part of a delivery that a backend may replace: `sweep` is the reference."""

    def __call__(
        self, sent: "Events", fans: tuple, weights: tuple, gains: tuple, sums: tuple
    ) -> tuple: ...


@struct.dataclass(kw_only=True)
class Events:
    """The spikes of a batch that are to be delivered, and in which portions."""

    words: Array
    """packed, uint32 [B, W]"""
    starts: tuple[int, ...] = struct.field(pytree_node=False)
    """first source cell of every beam"""
    block: int = struct.field(pytree_node=False)
    """events to a portion, where they are delivered in portions"""


def _push(
    sweep: Sweep, words: Array, fans: tuple, weights: tuple, gains: tuple, outs: tuple
) -> tuple:
    """Events of a batch through several projections of one source population.

    Args:
      sweep: how the events are gone through.
      words: uint32 [B, W].
      fans: their tables with a leading axis R of 1 or B.
      weights: one [R], or [R, N, F], or [R, N, targets in a beam], a projection.
      gains: one [R], which stands for none, or [R, N], a projection.
      outs: one [B, T] a projection.

    Returns:
      `outs` with each event's weights added at its targets.
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
        out if isinstance(fan, FanOut) else _no_rows(members * fan.beams, weight)
        for fan, weight, out in zip(fans, weights, outs, strict=True)
    )
    sent = Events(words=words, starts=starts, block=block)
    swept = sweep(sent, fans, weights, gains, sums)
    return tuple(
        reached if isinstance(fan, FanOut) else out + _total(reached, fan, out)
        for fan, reached, out in zip(fans, swept, outs, strict=True)
    )


def sweep(sent: Events, fans: tuple, weights: tuple, gains: tuple, sums: tuple) -> tuple:
    """`sums` after all events, in blocks of them; operands as in `_push`.

    Args:
      sums: for a `FanOut` the targets' values [B, T], which the weights are added to; for an
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
    """`_push`, whose batch of batches is one larger batch: the events are never mapped."""
    push = jax.custom_batching.custom_vmap(partial(_push, sweep))
    push.def_vmap(partial(_push_vmap, sweep))
    return push


def _no_rows(groups: int, weight: Array) -> Array:
    if weight.dtype == jnp.uint16:
        return jnp.zeros((groups, 2, weight.shape[-1]), jnp.int32)
    return jnp.zeros((groups, 1, weight.shape[-1]), weight.dtype)


def _total(sums: Array, fan: AllToAll, out: Array) -> Array:
    """Sums of rows [B G, limbs, R] as weights, in the shape of `out`."""
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
        own = x.shape[1 if batched else 0] > 1
        if not batched and not own:
            return x
        x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
        x = x if own else jnp.broadcast_to(x, (axis_size, members, *x.shape[2:]))
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
    """Send packed spikes through every projection of their population, event by event.

    The cost follows the number of spikes and nothing is dropped. Works under `vmap`.

    Args:
      words: spikes, uint32 [W].
      fans: where each projection goes.
      weights: for each, a scalar, or [N, F] beside a `FanOut`, or [N, R] of an `AllToAll`.
      outs: for each, the array that the weights are added to, [T].
      gains: for each that has one, what a source's weights are multiplied by, [N].
      sweep: how the events are gone through; every one gives the same result.

    Returns:
      The arrays after delivery, [T] each.
    """
    lead = partial(jax.tree.map, lambda x: x[None])
    own = gains or (None,) * len(fans)
    scales = tuple(jnp.ones(()) if gain is None else gain for gain in own)
    operands = words[None], lead(fans), lead(weights), lead(scales), lead(outs)
    delivered = _batched(sweep)(*operands)
    return tuple(out[0] for out in delivered)


def dense(spikes: Array, fan: Fan, weight: Array, out: Array) -> Array:
    """Send spikes through every synapse of a projection; differentiable.

    Args:
      spikes: [N], in the dtype of `out`; any value, not only 0 and 1.
      fan, weight, out: as in `push`, one projection.

    Returns:
      [T].
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
    return jnp.asarray(out).at[fan.targets].add(value.astype(out.dtype), mode="drop")


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def propagate(spikes: Array, fan: Fan, weight: Array, out: Array, path: Path) -> Array:
    """Send spikes (0 or 1, [N]) through one projection by either path.

    Both paths have one gradient, that of the dense sum over synapses, so that a cell that did
    not fire still learns what its spike would have done.
    """
    if path == "dense":
        return dense(spikes, fan, weight, out)
    return push(pack(spikes), (fan,), (weight,), (out,))[0]


def _propagate_forward(spikes, fan, weight, out, path):
    return propagate(spikes, fan, weight, out, path), (spikes, fan, weight, out)


def _propagate_backward(path, residual, cotangent):
    spikes, fan, weight, out = residual
    _, pull = jax.vjp(lambda s, w, o: dense(s, fan, w, o), spikes, weight, out)
    d_spikes, d_weight, d_out = pull(cotangent)
    return d_spikes, None, d_weight, d_out


propagate.defvjp(_propagate_forward, _propagate_backward)
