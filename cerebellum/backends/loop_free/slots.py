"""Finding the cells that fired without a loop: a bounded number of slots, of which some stay empty.

The k-th spike of packed words is found as `events.select` finds it, by descending a tree of counts.
Here the counts of each level are cumulative, and are added up once by a masked sum, so that a
descent is a gather and a comparison and a GPU runs it as one kernel a level.

Dimensions: N cells in G groups (beams), W = ceil(N / 32) words, P slots of a group.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.model import events

BRANCH = 32
TOP = 128
"""Largest number of entries of the last level, which is searched at once."""


@dataclass(frozen=True)
class Size:
    """How many slots a population gets in a step."""

    share: int
    """one slot for so many cells ..."""
    synapses: int
    """... or as many as visit so many synapses, but not more than one for `CAP` cells"""

    def of(self, cells: int, groups: int, synapses: int) -> int:
        """Number of slots of a group; that of its cells where each has a slot of its own.

        Args:
          cells, groups: of the population.
          synapses: largest number of synapses of a cell.
        """
        span = -(-cells // groups)
        if cells * synapses <= EACH * self.synapses:
            return span
        by_work = min(self.synapses // (groups * max(1, synapses)), -(-span // CAP))
        return min(span, max(1, -(-span // self.share), by_work))


EACH = 2
"""A population with at most so many times the synapses that its slots may visit has a slot for each
cell: it then costs less to visit all than to search for those that fired."""

CAP = 16


@dataclass(frozen=True)
class Spikes:
    """The spikes of a population in a step, as they are searched."""

    words: Array
    """packed spikes, uint32 [W]"""
    levels: tuple[Array, ...]
    """cumulative counts, int32 [entries / 32, 32], the last of them [1, entries]"""
    edges: np.ndarray
    """the first cell of every group and, at the end, the number of cells, [G + 1]"""
    first: Array
    """number of spikes before each of `edges`, int32 [G + 1]"""

    @classmethod
    def of(cls, words: Array, cells: int, groups: int) -> "Spikes":
        """The packed spikes of `cells` cells in beams; bits past the last cell are none."""
        edges = events.beam_edges(cells, groups)
        levels = _cumulative(words)
        return cls(words, levels, edges, _rank(words, levels, jnp.asarray(edges)))

    @property
    def groups(self) -> int:
        return len(self.edges) - 1

    @property
    def span(self) -> int:
        """Number of cells of a group; the last may have fewer."""
        return -(-int(self.edges[-1]) // self.groups)

    def most(self) -> Array:
        """The largest number of spikes in a group, int32 scalar."""
        return jnp.max(self.first[1:] - self.first[:-1])

    def slots(self, size: int, block: Array | int = 0) -> tuple[Array, Array]:
        """One block of slots of every group, of which those past its last spike are empty.

        Args:
          size: number of slots of a group, P; if it is the number of its cells, each cell has its
            own slot.
          block: number of the block.

        Returns:
          The cells, int32 [G, P], and whether each slot holds a spike, bool [G, P].
        """
        lanes = jnp.arange(size, dtype=jnp.int32)[None]
        start, end = (jnp.asarray(edge)[:, None] for edge in (self.edges[:-1], self.edges[1:]))
        if size >= self.span:
            cells = start + lanes
            word = self.words[jnp.minimum(cells // events.BITS, self.words.shape[0] - 1)]
            bit = (word >> (cells % events.BITS).astype(jnp.uint32)) & 1
            return cells, (bit > 0) & (cells < end)
        rank = self.first[:-1, None] + block * size + lanes
        cells = _select(self.words, self.levels, rank.reshape(-1)).reshape(rank.shape)
        return cells, rank < self.first[1:, None]


def _cumulative(words: Array) -> tuple[Array, ...]:
    """Cumulative numbers of set bits per word, per 32 words, and so on."""
    counts, levels = lax.population_count(words).astype(jnp.int32), []
    while counts.shape[0] > TOP:
        rows = jnp.pad(counts, (0, -counts.shape[0] % BRANCH)).reshape(-1, BRANCH)
        levels.append(_running(rows))
        counts = levels[-1][:, -1]
    return (*levels, _running(counts[None]))


def _running(counts: Array) -> Array:
    """Sums of each row up to and including each entry: a reduction, not a scan."""
    below = np.tri(counts.shape[1], dtype=bool)
    return jnp.sum(jnp.where(below[None], counts[:, None], 0), axis=2, dtype=jnp.int32)


def _select(words: Array, levels: tuple[Array, ...], rank: Array) -> Array:
    """The cells of the `rank`-th spikes, int32 [K]; in range for any rank."""
    index = jnp.zeros_like(rank)
    for level in reversed(levels):
        row = level[jnp.minimum(index, level.shape[0] - 1)]
        before = row <= rank[:, None]
        child = jnp.sum(before, axis=1, dtype=jnp.int32)
        rank = rank - jnp.max(jnp.where(before, row, 0), axis=1)
        index = index * level.shape[1] + child
    index = jnp.minimum(index, words.shape[0] - 1)
    bit = jnp.minimum(events.select_bit(words[index], rank), events.BITS - 1)
    return index * events.BITS + bit


def _rank(words: Array, levels: tuple[Array, ...], cell: Array) -> Array:
    """The number of spikes in the cells below `cell`, at most 32 W: int32 [K]."""
    index, bit = cell // events.BITS, (cell % events.BITS).astype(jnp.uint32)
    low = words[jnp.minimum(index, words.shape[0] - 1)] & ((jnp.uint32(1) << bit) - 1)
    total = lax.population_count(low).astype(jnp.int32)
    for level in levels:
        # The last level has one row, which holds all of its entries.
        row, column = (index // BRANCH, index % BRANCH) if level is not levels[-1] else (0, index)
        before = level[jnp.minimum(row, level.shape[0] - 1), jnp.maximum(column - 1, 0)]
        total = total + jnp.where(column > 0, before, 0)
        index = index // BRANCH
    return total
