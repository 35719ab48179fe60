"""Weights in fixed point: how they are drawn, changed and rounded.

A weight is a uint16 in units of w_max / 65535. Sums of integers are exact, so neither the order
of events nor blocks nor shards can change a spike. Increments far below one unit still count, in
expectation, because they are rounded at random.

Dimensions: K rows, R targets per row.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from cerebellum.model import noise
from cerebellum.model.noise import CellRange

LEVELS = 65_535


def unit(w_max: float) -> float:
    """The weight of one level, in the unit of w_max."""
    return w_max / LEVELS


def exists(key: Array, rows: Array, width: int, share: float) -> Array:
    """Which synapses exist if only a share of them does: bool [K, R], determined by the key.

    Args:
      key: words of the key of the contacts, uint32 [2].
      rows: row numbers, [K].
      width: R.
    """
    return (noise.synapses(key, rows, width) >> 8) < threshold(share)


def threshold(share: float) -> int:
    """A synapse exists if the upper 24 bits of its word are below this number."""
    return round(share * 2**24)


@struct.dataclass(kw_only=True)
class First:
    """How the first weights of rows are drawn: uniform in mean (1 - spread) to mean (1 + spread).

    Synapses that do not exist have the weight zero.
    """

    weights_key: Array
    """words of the key of the weights, uint32 [2]"""
    contacts_key: Array
    """words of the key of `exists`, uint32 [2]"""
    mean: Array
    """scalar"""
    spread: float = struct.field(pytree_node=False, default=0.0)
    share: float = struct.field(pytree_node=False, default=1.0)
    """the share of the contacts of a row that exist"""

    def rows(self, numbers: Array, width: int) -> Array:
        """The weights of rows, float32 [K, width].

        Args:
          numbers: row numbers, [K].
        """
        weights = self.mean * jnp.ones((numbers.shape[0], width), jnp.float32)
        if self.spread:
            words = noise.synapses(self.weights_key, numbers, width)
            deviation = (words >> 8).astype(jnp.float32) * 2.0**-23 - 1
            weights = weights * (1 + self.spread * deviation)
        if self.share < 1:
            weights = jnp.where(exists(self.contacts_key, numbers, width, self.share), weights, 0)
        return weights


@partial(jax.jit, static_argnames=("width", "w_max"))
def draw(first: First, rows: CellRange, width: int, w_max: float | None = None) -> Array:
    """First weights of a range of rows: float32 [size, width], or uint16 if w_max is set."""
    weights = first.rows(rows.numbers, width)
    return weights if w_max is None else encode(weights, w_max)


def encode(weights: Array, w_max: float) -> Array:
    """Round weights to the nearest level, clipped to the range from 0 to w_max: uint16."""
    return jnp.clip(jnp.round(weights / unit(w_max)), 0, LEVELS).astype(jnp.uint16)


def decode(levels: Array, w_max: float) -> Array:
    """The weights that levels stand for, in the unit of w_max: float32.

    `encode` returns the same levels again.
    """
    return levels.astype(jnp.float32) * unit(w_max)


def fine(delta: Array) -> Array:
    """Convert a change in levels, clipped at half the range, to 65,536ths of a level: int32."""
    return jnp.round(jnp.clip(delta, -32_767.0, 32_766.0) * 65_536).astype(jnp.int32)


def add(rows: Array, delta: Array, dither: Array) -> Array:
    """Rows after a change, which is rounded at random without bias; the result is clipped.

    Args:
      rows: uint16 [K, R].
      delta: change in levels, float32, broadcast to [K, R]; clipped at half the range.
      dither: a word for each synapse, of which the upper 16 bits are used, uint32 [K, R].
    """
    levels = (fine(delta) + (dither >> 16).astype(jnp.int32)) >> 16
    return jnp.clip(rows.astype(jnp.int32) + levels, 0, LEVELS).astype(jnp.uint16)


def dither(key: Array, numbers: Array, columns: Array) -> Array:
    """The words that round the changes of rows in a step, uint32 [K, R].

    The word of a synapse is the product, modulo 2**32, of an odd word of its row and an odd word of
    its column, which costs one multiplication. Its upper 16 bits are uniform, and the words of any
    two synapses are independent of each other.

    Args:
      key: words of a key, different ones in every step, uint32 [2].
      numbers: row numbers, [K].
      columns: `noise.columns` of the key, uint32 [R].
    """
    return (noise.rows(key, numbers) | 1)[:, None] * (columns | 1)[None]
