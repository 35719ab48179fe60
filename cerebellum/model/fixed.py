"""Weights in fixed point, and the counter-based noise that draws and rounds them.

A weight is a uint16 in units of w_max / 65535. Sums of integers are exact, so neither the order
of events nor blocks nor shards can change a spike. Increments far below one unit still count, in
expectation, because they are rounded at random. All noise is a hash of the seed, the step and the
numbers of the row and column, so it depends on nothing else.

Dimensions: K rows, R targets per row.
"""

import zlib
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array
from jax.extend.random import threefry2x32_p

LEVELS = 65_535


@struct.dataclass(kw_only=True)
class CellRange:
    """A range of cells of a population, or of rows of a projection.

    They have their numbers in the whole circuit. Noise depends on these numbers, so that a shard
    draws the same values as the whole circuit.
    """

    size: int = struct.field(pytree_node=False)
    offset: Array | int = 0
    """number of the first cell; a uint32 scalar where it is an array"""

    @property
    def numbers(self) -> Array:
        """The numbers offset, offset + 1, ...: uint32 [size]."""
        return jnp.arange(self.size, dtype=jnp.uint32) + jnp.uint32(self.offset)


def unit(w_max: float) -> float:
    """The weight of one level, in the unit of w_max."""
    return w_max / LEVELS


def mix(x: Array) -> Array:
    """A 32-bit hash of uint32 counters: the finaliser of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def seed(key: Array, name: str) -> Array:
    """The seed that belongs to a name, from the words of a key, uint32 [2]: a uint32 scalar."""
    return mix(key[0] ^ mix(key[1] ^ jnp.uint32(name_number(name))))


def name_number(name: str) -> int:
    """The number that stands for a name where it is folded into a random key."""
    return zlib.crc32(name.encode())


def named_key(key: Array, name: str) -> Array:
    """The random key that belongs to a name.

    It does not depend on the order in which names are used.

    Args:
      key: words of a key, uint32 [2].
    """
    return jax.random.fold_in(jax.random.wrap_key_data(key), name_number(name))


def noise(seed: Array, rows: Array, width: int) -> Array:
    """Independent uniform words, one for every synapse, uint32 [K, R].

    Args:
      seed: uint32 scalar.
      rows: row numbers, int32 [K].
      width: R.
    """
    row = mix(rows.astype(jnp.uint32) ^ seed) * jnp.uint32(0x9E3779B1)
    return mix(row[:, None] + jnp.arange(width, dtype=jnp.uint32)[None])


def uniform(seed: Array, step: Array, cells: CellRange) -> Array:
    """Independent draws from (0, 1), one for every cell in one step: float32 [size].

    Args:
      seed: uint32 scalar.
      step: int32 scalar.
    """
    now = mix(step.astype(jnp.uint32) ^ seed)
    # With `now` used once, the draws of two steps would be two windows of the same sequence.
    words = mix(mix(cells.numbers + now) ^ now)
    return ((words >> 9).astype(jnp.float32) + 0.5) * 2.0**-23


def threefry_uniform(key: Array, cells: CellRange) -> Array:
    """The values that `jax.random.uniform` draws for a range of cells: float32 [size].

    Its threefry draw for a cell depends only on the number of the cell, not on the number of cells.

    Args:
      key: random key.
    """
    if isinstance(cells.offset, int) and cells.offset == 0:
        return jax.random.uniform(key, (cells.size,), jnp.float32)
    numbers = cells.numbers
    words = jnp.broadcast_to(jax.random.key_data(key)[:, None], (2, cells.size))
    high, low = threefry2x32_p.bind(*words, jnp.zeros_like(numbers), numbers)
    return ((high ^ low) >> 9).astype(jnp.float32) * 2.0**-23


def exists(seed: Array, rows: Array, width: int, share: float) -> Array:
    """Which synapses exist if only a share of them does: bool [K, R], determined by the seed."""
    return (noise(contacts(seed), rows, width) >> 8) < threshold(share)


def contacts(seed: Array) -> Array:
    """The seed of the noise that `exists` reads."""
    return seed ^ jnp.uint32(0x5BD1E995)


def threshold(share: float) -> int:
    """A synapse exists if the upper 24 bits of its noise are below this number."""
    return round(share * 2**24)


def draw(seed: Array, rows: Array, width: int, mean: Array, spread: float, share: float) -> Array:
    """Initial weights, uniform in mean (1 - spread) to mean (1 + spread): float32 [K, R].

    Synapses that do not exist have the weight zero.
    """
    weights = mean * jnp.ones((rows.shape[0], width), jnp.float32)
    if spread:
        deviation = (noise(seed, rows, width) >> 8).astype(jnp.float32) * 2.0**-23 - 1
        weights = weights * (1 + spread * deviation)
    if share < 1:
        weights = jnp.where(exists(seed, rows, width, share), weights, 0)
    return weights


@partial(jax.jit, static_argnames=("width", "spread", "share", "w_max"))
def draw_all(
    seed: Array,
    mean: Array,
    rows: CellRange,
    width: int,
    spread: float,
    share: float,
    w_max: float | None = None,
) -> Array:
    """`draw` for a range of rows: float32 [size, width], or uint16 by `encode` if w_max is set."""
    weights = draw(seed, rows.numbers, width, mean, spread, share)
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


def add(rows: Array, delta: Array, seed: Array, ids: Array) -> Array:
    """Rows after a change, which is rounded at random without bias; the result is clipped.

    The noise of a synapse is the sum, modulo 2**16, of a hash of its row and a hash of its column.
    It costs one addition per synapse and is uniform for each of them, though not independent
    between four synapses that form a rectangle.

    Args:
      rows: uint16 [K, R].
      delta: change in levels, float32, broadcast to [K, R]; clipped at half the range.
      seed: uint32 scalar, a different one in every step.
      ids: row numbers, int32 [K].
    """
    row = mix(ids.astype(jnp.uint32) + seed)[:, None]
    column = mix(jnp.arange(rows.shape[-1], dtype=jnp.uint32) ^ ~seed)[None]
    dither = ((row + column) >> 16).astype(jnp.int32)
    levels = (fine(delta) + dither) >> 16
    return jnp.clip(rows.astype(jnp.int32) + levels, 0, LEVELS).astype(jnp.uint16)
