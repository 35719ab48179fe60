"""Random numbers that depend on their key, their use, the step and the cell, and on nothing else.

Everything random is threefry2x32 (Salmon et al. 2011) of a counter under a 64-bit key, as in JAX.
Under one key threefry is a permutation: different counters give different words, so a sequence
never meets another one, shifted or not, of the same key. Keys are derived by threefry as well:

    key of the run or of the circuit  ->  key of a use   (counter: the number of the use's name)
    key of a use                      ->  key of a step  (counter: the step)
    key of a step                     ->  words          (counter: the cell; or the row and column)

So the keys of two uses of a run differ where the numbers (CRC-32) of their names do, and those of
all steps of a use differ. What is left to chance is that two names have one number (one pair in
2**32), and that two keys of different runs or uses are the same 64 bits (one pair in 2**64).
A shard draws what the whole circuit would draw, because cells and rows keep their numbers.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.errors import UsageError, is_whole
from cerebellum.model.ordering import materialize_once

TURNS = ((13, 15, 26, 6), (17, 29, 16, 24))
"""Rotations of the rounds of threefry2x32 (Salmon et al. 2011)."""

PARITY = 0x1BD11BDA
"""The constant of its key schedule."""


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


def key_of(given: Array | int) -> Array:
    """A random key, or the key of a seed; UsageError if it is neither."""
    if is_whole(given):
        if not 0 <= given < 2**32:
            raise UsageError(f"key: {given}; a seed from 0 to 4,294,967,295, or a JAX key")
        return jax.random.key(np.uint32(int(given)))
    try:
        words = jax.random.key_data(given)
    except (TypeError, ValueError):
        raise UsageError(f"key: {given!r}; a seed, or jax.random.key(seed)") from None
    if words.shape != (2,):
        raise UsageError(f"key: {words.size} words; a threefry key, jax.random.key(seed), has 2")
    return cast(Array, given)


def name_number(name: str) -> int:
    """The number that stands for a name where it is folded into a random key."""
    return zlib.crc32(name.encode())


def fold(key: Array, number: Array | int) -> Array:
    """The key that belongs to a number under a key, as by `jax.random.fold_in`: uint32 [2].

    Args:
      key: words of a key, uint32 [2].
      number: a scalar; of its value, 32 bits.
    """
    bits = np.uint32(number & 0xFFFFFFFF) if isinstance(number, int) else number
    return jnp.stack(threefry(key, jnp.uint32(0), jnp.asarray(bits).astype(jnp.uint32)))


def of_step(key: Array, names: Sequence[str], step: Array) -> dict[str, Array]:
    """The keys of uses in a step, by name: words, uint32 [2]. They are derived together.

    Args:
      key: words of the key of a run, uint32 [2].
      step: int32 scalar.
    """
    if not names:
        return {}
    step_keys = threefry(_named_each(key, names), jnp.uint32(0), step.astype(jnp.uint32))
    return dict(zip(names, jnp.stack(step_keys, axis=1), strict=True))


def named(key: Array, name: str) -> Array:
    """The words of the key that belongs to a use of random numbers, uint32 [2].

    It does not depend on the order in which names are used.

    Args:
      key: words of a key, uint32 [2].
      name: the use and what it is for, such as "start purkinje".
    """
    return fold(key, name_number(name))


def _named_each(key: Array, names: Sequence[str]) -> tuple[Array, Array]:
    """`named` for several names, derived together: both words, uint32 [names] each."""
    return threefry(key, jnp.uint32(0), np.array([name_number(n) for n in names], np.uint32))


def of_use(key: Array, name: str) -> Array:
    """The random key that belongs to a use of random numbers; as `named`, for a key of JAX."""
    return jax.random.fold_in(key, name_number(name))


@jax.jit
def threefry(key: Any, high: Array, low: Array) -> tuple[Array, Array]:
    """The two words of each counter (high, low), uint32, by threefry2x32 of 20 rounds.

    It is written out, because XLA then fuses it with what the words are used for.

    Args:
      key: its two words: uint32 [2], or two arrays for as many keys.
      high, low: uint32, of shapes that broadcast.
    """
    schedule = key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY)
    a, b = high + schedule[0], low + schedule[1]
    for group in range(5):
        for turn in TURNS[group % 2]:
            a = a + b
            b = ((b << turn) | (b >> (32 - turn))) ^ a
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def words(key: Array | Sequence[Array], numbers: Array) -> tuple[Array, Array]:
    """64 random bits for each cell, as two words, uint32 [n].

    The first words are those of `jax.random.bits`, where it is partitionable.

    Args:
      key: its two words: uint32 [2], or two arrays [n] for as many keys.
      numbers: numbers of the cells, uint32 [n].
    """
    a, b = threefry(key, jnp.uint32(0), numbers)
    return a ^ b, b


def uniform(key: Array | Sequence[Array], numbers: Array) -> Array:
    """A draw from (0, 1) for each cell, float32 [n].

    Small draws are multiples of 2**-33, so that small chances have their share.

    Args:
      key: its two words: uint32 [2], or two arrays [n] for as many keys.
      numbers: numbers of the cells, uint32 [n].
    """
    drawn = (words(key, numbers)[0].astype(jnp.float32) + 0.5) * 2.0**-32
    return jnp.minimum(drawn, 1 - 2.0**-24)


def uniform_each(key: Array, cells: Mapping[str, Array]) -> dict[str, Array]:
    """`uniform` for several uses, each with its `named` key: float32 [n] by name.

    They are drawn together, because one loop compiles sooner than several.

    Args:
      key: words of a key, uint32 [2].
      cells: numbers of the cells of each use, uint32 [n].
    """
    if not cells:
        return {}
    sizes = [each.shape[0] for each in cells.values()]
    of_cells = [
        jnp.concatenate([jnp.broadcast_to(word[i], n) for i, n in enumerate(sizes)])
        for word in _named_each(key, list(cells))
    ]
    drawn = uniform(of_cells, jnp.concatenate(list(cells.values())))
    return dict(zip(cells, jnp.split(drawn, np.cumsum(sizes[:-1])), strict=True))


@struct.dataclass(kw_only=True)
class Draws:
    """Draws from (0, 1) for cells, one each, that are made when they are needed."""

    key: Array
    """uint32 [2]"""
    cells: CellRange

    def values(self) -> Array:
        """The draws, as by `uniform`: float32 [n]."""
        return uniform(self.key, self.cells.numbers)


def drawn(uniform: Any) -> Array:
    """The numbers of draws that may not have been made yet."""
    return uniform.values() if isinstance(uniform, Draws) else jnp.asarray(uniform, jnp.float32)


def fires(key: Array, chance: Array, numbers: Array) -> Array:
    """Which cells fire, each with its chance, bool [n].

    Args:
      key: uint32 [2].
      chance: float32, [n], [1] or a scalar.
      numbers: numbers of the cells, uint32 [n].
    """
    return below(*words(key, numbers), chance)


def below(high: Array, low: Array, chance: Array) -> Array:
    """Whether 64 random bits, as a fraction of 2**64, are below a chance.

    No bit of the chance is lost, so the share is exact, also for one in a million million.

    Args:
      high, low: uint32.
      chance: float32, of a shape that broadcasts.
    """
    upper, lower = _fixed(chance)
    return (high < upper) | ((high == upper) & (low < lower)) | (chance >= 1)


def _fixed(chance: Array) -> tuple[Array, Array]:
    """A chance below 1 in units of 2**-64: two words, uint32."""
    scaled = chance * jnp.float32(2.0**32)
    whole = jnp.floor(scaled)
    # The product, the whole part and the rest are exact in float32.
    upper = jnp.clip(whole, 0, 2.0**32 - 256).astype(jnp.uint32)
    lower = jnp.clip((scaled - whole) * 2.0**32, 0, 2.0**32 - 256).astype(jnp.uint32)
    return upper, lower


def synapses(key: Array, rows: Array, width: int) -> Array:
    """A random word for every synapse, uint32 [K, width]: one of the two of a pair of columns.

    Args:
      key: uint32 [2].
      rows: row numbers, [K].
    """
    column = jnp.arange(width, dtype=jnp.uint32)[None]
    a, b = threefry(key, rows.astype(jnp.uint32)[:, None], column >> 1)
    # Chosen, not interleaved: XLA then stores no words of 3 billion synapses.
    return jnp.where(column & 1, b, a)


def rows(key: Array, numbers: Array) -> Array:
    """A random word for every row, uint32 [K].

    Args:
      key: uint32 [2].
      numbers: row numbers, [K].
    """
    return threefry(key, jnp.uint32(0), numbers.astype(jnp.uint32))[0]


def columns(key: Array, width: int) -> Array:
    """A random word for every column, uint32 [width]; no counter of `rows` is among theirs.

    Args:
      key: uint32 [2].
    """
    return threefry(key, jnp.uint32(1), jnp.arange(width, dtype=jnp.uint32))[0]


def normal(key: Array, numbers: Array) -> Array:
    """A draw of mean 0 and standard deviation 1 for each cell, float32 [n], at most 5.4 from zero.

    Args:
      key: uint32 [2].
      numbers: numbers of the cells, uint32 [n].
    """
    signed = lax.bitcast_convert_type(words(key, numbers)[0], jnp.int32)
    # float32 would round the outermost to 1, whose quantile is infinite.
    quantile = jnp.clip((signed.astype(jnp.float32) + 0.5) * 2.0**-31, -1 + 2.0**-24, 1 - 2.0**-24)
    return np.float32(np.sqrt(2)) * lax.erf_inv(quantile)


def counts(key: Array, tails: Array, numbers: Array, draws: Array | int = 1) -> Array:
    """A number of events for each cell, int32 [n]: a sum of independent draws by inverse CDF.

    Args:
      key: uint32 [2].
      tails: the chance that a draw is above k, for each k that may be: float32 [K, n] or [K, 1],
        below 1.
      numbers: numbers of the cells, uint32 [n].
      draws: how many draws are added up, at least 1.
    """

    limits = _fixed(tails)

    def add(index: Array | int, total: Array) -> Array:
        a, b = threefry(key, jnp.uint32(index), numbers)
        # Computed once, instead of again for every comparison.
        high, low = materialize_once((a ^ b, b))

        def compare(total: Array, limit: tuple[Array, Array]) -> tuple[Array, None]:
            upper, lower = limit
            above = (high < upper) | ((high == upper) & (low < lower))
            return total + above.astype(jnp.int32), None

        return lax.scan(compare, total, limits, unroll=8)[0]

    none = jnp.zeros(numbers.shape, jnp.int32)
    return (
        add(0, none)
        if isinstance(draws, int) and draws == 1
        else lax.fori_loop(0, draws, add, none)
    )
