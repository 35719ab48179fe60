"""Weights in fixed point, and the counter-based noise that draws and rounds them.

A weight is a uint16 in units of w_max / 65535. Sums of integers are exact, so neither the order
of events nor blocks or shards can change a spike; increments far below a unit still count, in
expectation, because they are rounded at random. All noise is a hash of where and when, so it
depends on nothing else.

Dimensions: K rows, R targets to a row.
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
    """Some cells of a population, or rows of a projection, by their numbers in the whole circuit.

    Noise depends on these numbers, so that a shard draws what the whole circuit would.
    """

    size: int = struct.field(pytree_node=False)
    offset: Array | int = 0
    """number of the first one, uint32 scalar where it is an array"""

    @property
    def numbers(self) -> Array:
        """offset, offset + 1, ...: uint32 [size]."""
        return jnp.arange(self.size, dtype=jnp.uint32) + jnp.uint32(self.offset)


def unit(w_max: float) -> float:
    """Weight of one level, in the unit of w_max."""
    return w_max / LEVELS


def mix(x: Array) -> Array:
    """A 32-bit hash of uint32 counters: the finaliser of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def seed(key: Array, name: str) -> Array:
    """The seed of a named part: key words uint32 [2] to uint32 scalar."""
    return mix(key[0] ^ mix(key[1] ^ jnp.uint32(name_number(name))))


def name_number(name: str) -> int:
    """What the key of a named part is folded with."""
    return zlib.crc32(name.encode())


def named_key(key: Array, name: str) -> Array:
    """The random key of a named part: independent of the order in which parts draw.

    Args:
      key: words of a key, uint32 [2].
    """
    return jax.random.fold_in(jax.random.wrap_key_data(key), name_number(name))


def noise(seed: Array, rows: Array, width: int) -> Array:
    """Independent uniform words of every synapse, uint32 [K, R].

    Args:
      seed: uint32 scalar.
      rows: row numbers, int32 [K].
      width: R.
    """
    row = mix(rows.astype(jnp.uint32) ^ seed) * jnp.uint32(0x9E3779B1)
    return mix(row[:, None] + jnp.arange(width, dtype=jnp.uint32)[None])


def uniform(seed: Array, step: Array, cells: CellRange) -> Array:
    """Independent draws from (0, 1) of every cell in one step: float32 [size].

    Args:
      seed: uint32 scalar.
      step: int32 scalar.
    """
    now = mix(step.astype(jnp.uint32) ^ seed)
    # `now` comes in twice, or the draws of two steps would be windows of one sequence.
    words = mix(mix(cells.numbers + now) ^ now)
    return ((words >> 9).astype(jnp.float32) + 0.5) * 2.0**-23


def threefry_uniform(key: Array, cells: CellRange) -> Array:
    """What `jax.random.uniform` draws for some cells of many: float32 [size].

    Its threefry draws of a cell depend on the cell's number alone, however many there are.

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
    """Which synapses there are when a share of all does: bool [K, R], fixed by the seed."""
    return (noise(contacts(seed), rows, width) >> 8) < threshold(share)


def contacts(seed: Array) -> Array:
    """The seed of the noise that `exists` reads."""
    return seed ^ jnp.uint32(0x5BD1E995)


def threshold(share: float) -> int:
    """Below which the upper 24 bits of its noise say that a synapse exists."""
    return round(share * 2**24)


def draw(seed: Array, rows: Array, width: int, mean: Array, spread: float, share: float) -> Array:
    """First weights: uniform in mean (1 - spread) to mean (1 + spread); float32 [K, R].

    Synapses that do not exist have zero.
    """
    weights = mean * jnp.ones((rows.shape[0], width), jnp.float32)
    if spread:
        even = (noise(seed, rows, width) >> 8).astype(jnp.float32) * 2.0**-23 - 1
        weights = weights * (1 + spread * even)
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
    """`draw` for a range of rows: float32 [size, width], or `encode`d with a w_max."""
    drawn = draw(seed, rows.numbers, width, mean, spread, share)
    return drawn if w_max is None else encode(drawn, w_max)


def encode(weights: Array, w_max: float) -> Array:
    """Weights to the nearest level, clipped to 0 and w_max: uint16."""
    return jnp.clip(jnp.round(weights / unit(w_max)), 0, LEVELS).astype(jnp.uint16)


def decode(levels: Array, w_max: float) -> Array:
    """Weights of levels, in the unit of w_max: float32; `encode` gives the same levels again."""
    return levels.astype(jnp.float32) * unit(w_max)


def fine(delta: Array) -> Array:
    """A change in levels, clipped at half the range, in 65,536ths of a level: int32."""
    return jnp.round(jnp.clip(delta, -32_767.0, 32_766.0) * 65_536).astype(jnp.int32)


def add(rows: Array, delta: Array, seed: Array, ids: Array) -> Array:
    """Rows after a change, rounded at random without bias and clipped.

    A synapse's noise is the sum, modulo 2**16, of one hash for its row and one for its column:
    uniform for each synapse at one addition apiece, though not independent between four that
    form a rectangle.

    Args:
      rows: uint16 [K, R].
      delta: change in levels, float32, broadcast to [K, R]; clipped at half the range.
      seed: uint32 scalar, another one in every step.
      ids: row numbers, int32 [K].
    """
    row = mix(ids.astype(jnp.uint32) + seed)[:, None]
    column = mix(jnp.arange(rows.shape[-1], dtype=jnp.uint32) ^ ~seed)[None]
    dither = ((row + column) >> 16).astype(jnp.int32)
    levels = (fine(delta) + dither) >> 16
    return jnp.clip(rows.astype(jnp.int32) + levels, 0, LEVELS).astype(jnp.uint16)
