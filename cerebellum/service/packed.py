"""Packing of a tree's small arrays into one array of each type.

Each array that a compiled call takes or gives costs microseconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Packed = tuple[jax.Array, ...]
"""The arrays of a packed tree."""
SMALL = 8_192
"""The most elements of an array that is put together with others."""


@dataclass(frozen=True)
class Layout:
    """How a tree of arrays is packed; static."""

    structure: Any
    leaves: tuple[tuple[tuple[int, ...], str], ...]
    """shape and type of each array"""

    @cached_property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The indices of the leaves that lie in each packed array."""
        by_type: dict[str, list[int]] = {}
        large = []
        for index, (shape, kind) in enumerate(self.leaves):
            if int(np.prod(shape)) <= SMALL:
                by_type.setdefault(kind, []).append(index)
            else:
                large.append((index,))
        return (*map(tuple, by_type.values()), *large)


def layout(tree: Any) -> Layout:
    """The layout of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return Layout(structure, tuple((x.shape, str(x.dtype)) for x in leaves))


@jax.jit
def pack(tree: Any) -> tuple[Any, ...]:
    """The arrays of a tree, with its small arrays put by_type."""
    return _pack(layout(tree), tree, jnp.concatenate)


def pack_on_host(form: Layout, tree: Any) -> tuple[np.ndarray, ...]:
    """The same as `pack`, for a tree of NumPy arrays whose layout is known, without JAX."""
    return _pack(form, tree, np.concatenate)


def _pack(form: Layout, tree: Any, concatenate: Callable[[list[Any]], Any]) -> tuple[Any, ...]:
    leaves = jax.tree.leaves(tree)
    return tuple(
        leaves[group[0]] if len(group) == 1 else concatenate([leaves[i].reshape(-1) for i in group])
        for group in form.groups
    )


def unpack(form: Layout, packed: Sequence[Any]) -> Any:
    """The tree of packed arrays. Its arrays are of NumPy if the packed arrays are."""
    leaves: list[Any] = [None] * len(form.leaves)
    for group, array in zip(form.groups, packed, strict=True):
        if len(group) == 1:
            leaves[group[0]] = array
            continue
        offset = 0
        for index in group:
            shape = form.leaves[index][0]
            size = int(np.prod(shape))
            leaves[index] = array[offset : offset + size].reshape(shape)
            offset += size
    return jax.tree.unflatten(form.structure, leaves)
