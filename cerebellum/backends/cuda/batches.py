"""Calls that take all members of a batch at once."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def for_members(call: Callable[..., tuple[Array, ...]], *operands: Array) -> tuple[Array, ...]:
    """The results of a call, which under `vmap`, however deep, is made once for all members.

    Args:
      call: takes the operands with a leading axis, of B for what each member has of its own and of
        1 for what all share, and returns arrays [B, ...]; without `vmap` B is 1.
    """

    @jax.custom_batching.custom_vmap
    def members(*operands: Array) -> tuple[Array, ...]:
        return call(*operands)

    @members.def_vmap
    def _(axis_size, in_batched, *operands):
        own = [x.shape[batched] for x, batched in zip(operands, in_batched, strict=True)]
        count = max(own)

        def merge(x: Array, batched: bool, own: int) -> Array:
            if not batched and own == 1:
                return x
            x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            x = jnp.broadcast_to(x, (axis_size, count, *x.shape[2:]))
            return x.reshape(-1, *x.shape[2:])

        results = members(*map(merge, operands, in_batched, own))
        split = tuple(x.reshape(axis_size, count, *x.shape[1:]) for x in results)
        return split, tuple(True for _ in split)

    return tuple(x[0] for x in members(*(x[None] for x in operands)))
