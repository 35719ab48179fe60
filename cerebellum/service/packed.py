"""A tree's small arrays as one array of each type: a compiled call costs microseconds an array."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SMALL = 8_192
"""Elements up to which an array is put together with others."""


@dataclass(frozen=True)
class Layout:
    """What a packed tree was; static."""

    structure: Any
    leaves: tuple[tuple[tuple[int, ...], str], ...]
    """shape and type of each"""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Leaves that lie in each packed array."""
        together: dict[str, list[int]] = {}
        alone = []
        for index, (shape, kind) in enumerate(self.leaves):
            if int(np.prod(shape)) <= SMALL:
                together.setdefault(kind, []).append(index)
            else:
                alone.append((index,))
        return (*map(tuple, together.values()), *alone)


def layout(tree: Any) -> Layout:
    """Of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple((x.shape, str(x.dtype)) for x in leaves))


@jax.jit
def pack(tree: Any) -> tuple[Any, ...]:
    """A tree's arrays, small ones together."""
    leaves, held = jax.tree.leaves(tree), layout(tree)
    return tuple(
        leaves[group[0]]
        if len(group) == 1
        else jnp.concatenate([leaves[i].reshape(-1) for i in group])
        for group in held.groups
    )


def unpack(held: Layout, packed: Sequence[Any]) -> Any:
    """The tree again; of NumPy arrays, if those are given."""
    leaves: list[Any] = [None] * len(held.leaves)
    for group, array in zip(held.groups, packed, strict=True):
        if len(group) == 1:
            leaves[group[0]] = array
            continue
        start = 0
        for index in group:
            shape = held.leaves[index][0]
            size = int(np.prod(shape))
            leaves[index] = array[start : start + size].reshape(shape)
            start += size
    return jax.tree.unflatten(held.structure, leaves)
