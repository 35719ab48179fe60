"""Memories of many markets, stacked for a compiled call and taken apart after it.

The time to compile a call grows with the number of arrays that it takes and gives. So a call takes
at most `GROUP` packed memories, or stacks of them. More are stacked before the call and taken apart
after it, `GROUP` at a time, by programs that compile in milliseconds.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp

from cerebellum.service.packed import Packed

GROUP = 8
"""The most memories, or stacks of them, that one program takes or gives."""


def join(memories: Sequence[Packed]) -> tuple[Packed, ...]:
    """At most GROUP stacks, arrays [n, ...], that hold the memories in order."""
    stacks = [stack(tuple(memories[k : k + GROUP])) for k in range(0, len(memories), GROUP)]
    while len(stacks) > GROUP:
        stacks = [concatenate(tuple(stacks[k : k + GROUP])) for k in range(0, len(stacks), GROUP)]
    return tuple(stacks)


def part(stacks: Sequence[Packed]) -> tuple[Packed, ...]:
    """The memories in stacks, in order; the inverse of `join`."""
    memories: list[Packed] = []
    for together in stacks:
        rows = together[0].shape[0]
        if rows <= GROUP:
            memories += unstack(together)
            continue
        size = GROUP
        while size * GROUP < rows:
            size *= GROUP
        memories += part(split(together, tuple(range(size, rows, size))))
    return tuple(memories)


@jax.jit
def stack(memories: tuple[Packed, ...]) -> Packed:
    """One stack of memories."""
    return tuple(jnp.stack(arrays) for arrays in zip(*memories, strict=True))


@jax.jit
def unstack(together: Packed) -> tuple[Packed, ...]:
    """The memories of one stack."""
    return tuple(tuple(x[i] for x in together) for i in range(together[0].shape[0]))


@jax.jit
def concatenate(stacks: tuple[Packed, ...]) -> Packed:
    """One stack of several."""
    return tuple(jnp.concatenate(arrays) for arrays in zip(*stacks, strict=True))


@partial(jax.jit, static_argnames="places")
def split(together: Packed, places: tuple[int, ...]) -> tuple[Packed, ...]:
    """Several stacks of one.

    Args:
      places: the rows where all but the first begin.
    """
    edges = (0, *places, together[0].shape[0])
    ranges = [slice(a, b) for a, b in pairwise(edges)]
    return tuple(tuple(x[rows] for x in together) for rows in ranges)
