"""Calls of the CUDA kernels, with operands in the order that primitives.cu documents."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.backends.cuda.batches import for_members
from cerebellum.model.events import BITS


def like(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _words(members: int, size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((members, -(-size // BITS)), jnp.uint32)


def merged(x: Array, members: int) -> Array:
    """[1 or B, N, ...] as [B N, ...]: without a batch that is [N, ...], which XLA need not copy."""
    return jnp.broadcast_to(x, (members, *x.shape[1:])).reshape(-1, *x.shape[2:])


def integrate(
    constants: Array, current: Array, uniform: Array, state: list[Array], model: int, variant: int
) -> tuple[Array, ...]:
    """The arrays of a state after a step, and the packed spikes.

    Args:
      constants: [constants, 1 or N].
      current: [1 or N].
      uniform: [N], or [1] for models that draw no noise.
      state: arrays [N], the counter of the refractory period last.
    """

    def call(constants: Array, current: Array, uniform: Array, *state: Array) -> tuple[Array, ...]:
        members = max(x.shape[0] for x in (constants, current, uniform, *state))
        size = state[0].shape[1]
        if uniform.shape[1] > 1:
            uniform = jnp.broadcast_to(uniform, (members, size))
        flat = [merged(x, members) for x in state]
        kernel = jax.ffi.ffi_call(
            "cerebellum_cuda_integrate",
            (*map(like, flat), _words(members, size)),
            input_output_aliases={3 + k: k for k in range(len(flat))},
        )
        attributes = {"model": np.int64(model), "variant": np.int64(variant)}
        *after, words = kernel(constants, current, uniform, *flat, **attributes)
        return *(x.reshape(members, size) for x in after), words

    return for_members(call, constants, current, uniform, *state)


def settle(
    weights: Array,
    words: Array,
    targets: Array | None,
    change: Array,
    noise: Array,
    beams: int,
    share: int,
    w_max: float,
) -> Array:
    """The weights after updates for the spikes `words` have been applied."""

    def call(
        words: Array, targets: Array, change: Array, noise: Array, weights: Array
    ) -> tuple[Array, ...]:
        members = max(x.shape[0] for x in (words, targets, change, noise, weights))
        held = merged(weights, members)
        kernel = jax.ffi.ffi_call("cerebellum_cuda_settle", like(held), input_output_aliases={4: 0})
        attributes = {"members": members, "beams": beams, "share": share}
        numbers = {name: np.int64(value) for name, value in attributes.items()}
        settled = kernel(words, targets, change, noise, held, w_max=np.float32(w_max), **numbers)
        return (settled.reshape(members, *weights.shape[1:]),)

    lists = jnp.zeros(1, jnp.uint32) if targets is None else targets
    return for_members(call, words, lists, change, noise, weights)[0]


def incur(pending: Array, teaching_spikes: Array, by_row: Array) -> Array:
    """The pending weight updates, [D, G R], after teaching spikes, [T]."""

    def call(spikes: Array, by_row: Array, pending: Array) -> tuple[Array, ...]:
        members = max(x.shape[0] for x in (spikes, by_row, pending))
        held = merged(pending, members)
        kernel = jax.ffi.ffi_call("cerebellum_cuda_incur", like(held), input_output_aliases={2: 0})
        incurred = kernel(spikes, by_row, held, members=np.int64(members))
        return (incurred.reshape(members, *pending.shape[1:]),)

    return for_members(call, teaching_spikes, by_row, pending)[0]


def draw(
    key: Array, step: Array, chance: Array, cell_offset: Array, size: int, name_number: int
) -> Array:
    """Draw the packed spikes of one step.

    Args:
      chance: probability of a spike of each cell, [1] or [N].
      cell_offset: number of the first cell, uint32 scalar.
      size: number of cells.
      name_number: `noise.name_number` of the name of the draw.
    """

    def call(*operands: Array) -> tuple[Array, ...]:
        members = max(x.shape[0] for x in operands)
        kernel = jax.ffi.ffi_call("cerebellum_cuda_draw", _words(members, size))
        return (kernel(*operands, size=np.int64(size), name=np.int64(name_number)),)

    return for_members(call, key, step, chance.astype(jnp.float32), cell_offset)[0]


def take(ring: Array, row: Array) -> tuple[Array, Array]:
    """A row of a ring, [T], and the ring with zeros in its place."""

    def call(rows: Array, rings: Array) -> tuple[Array, ...]:
        members = max(rows.shape[0], rings.shape[0])
        held = merged(rings, members)
        taken = jax.ShapeDtypeStruct((members * held.shape[1],), held.dtype)
        kernel = jax.ffi.ffi_call(
            "cerebellum_cuda_take", (taken, like(held)), input_output_aliases={1: 1}
        )
        taken, left = kernel(jnp.broadcast_to(rows, (members,)), held)
        return taken.reshape(members, -1), left.reshape(members, *rings.shape[1:])

    taken, left = for_members(call, row, ring)
    return taken, left
