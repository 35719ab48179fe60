"""Learning without a loop: the weights whose window closes, and teaching spikes.

Dimensions: N source cells in G groups (beams), P slots of a group, R weights of a row, D steps of
the ring of pending weight updates.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.backends.loop_free.deliver import SIZES
from cerebellum.backends.loop_free.slots import Size, Spikes
from cerebellum.model import events, plasticity
from cerebellum.model.plasticity import Closing, Synapses


@dataclass(frozen=True)
class Settle:
    """The operation `Primitives.settle`: a block of slots, and more only while spikes are left.

    The weights of every spike are written alone, so blocks of any size give the same bits.
    """

    size: Size = SIZES[0]
    complete: bool = True
    """as in `deliver.Deliver`"""

    def __call__(self, weights: Array, closing: Closing, synapses: Synapses) -> Array:
        cells, width = weights.shape
        fan = synapses.fan
        groups = fan.beams if isinstance(fan, events.AllToAll) else 1
        spikes = Spikes.of(closing.words, cells, groups)
        size = self.size.of(cells, groups, width)
        update = plasticity.updating(closing, synapses, width)

        def visit(weights: Array, block: Array | int) -> Array:
            cell, real = (x.reshape(-1) for x in spikes.slots(size, block))
            group = jnp.repeat(jnp.arange(groups), size, total_repeat_length=cell.size)
            rows = update(weights, group, cell)
            # Places past the last row, which differ, so that XLA may write in any order.
            lanes = jnp.arange(cell.size, dtype=jnp.int32)
            cell = jnp.where(real, cell, cells + lanes)
            return weights.at[cell].set(rows, mode="drop", unique_indices=True)

        weights = visit(weights, 0)
        if size >= spikes.span or not self.complete:
            return weights
        blocks = -(-spikes.most() // size)
        return lax.while_loop(
            lambda loop: loop[0] < blocks,
            lambda loop: (loop[0] + 1, visit(loop[1], loop[0])),
            (jnp.int32(1), weights),
        )[1]


def incur(pending: Array, teaching_spikes: Array, step: Array, rule: Any, dt: float) -> Array:
    """`plasticity.incur` for all targets at once: D values a target, most of which add nothing.

    A ring is a few megabytes, which a GPU reads and writes in less time than its host needs to
    learn how many teaching spikes there are.
    """
    spikes = jnp.pad(teaching_spikes, (0, pending.shape[1] - teaching_spikes.size))[None]
    value = plasticity.kernel_by_row(pending, step, rule, dt)[:, None] * spikes
    return jnp.where(spikes > 0, pending + value, pending)
