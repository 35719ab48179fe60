"""Calls of the CUDA kernels, with operands in the order that primitives.cu documents."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.backends.cuda.batches import for_members
from cerebellum.model.events import BITS

CLEARED_BYTES = 32 * 2**20
"""Sums of a projection that take more memory are cleared only where spikes arrive."""


def _like(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _words(members: int, size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((members, -(-size // BITS)), jnp.uint32)


def _merged(x: Array, members: int) -> Array:
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
        flat = [_merged(x, members) for x in state]
        kernel = jax.ffi.ffi_call(
            "cerebellum_cuda_integrate",
            (*map(_like, flat), _words(members, size)),
            input_output_aliases={3 + k: k for k in range(len(flat))},
        )
        attributes = {"model": np.int64(model), "variant": np.int64(variant)}
        *after, words = kernel(constants, current, uniform, *flat, **attributes)
        return *(x.reshape(members, size) for x in after), words

    return for_members(call, constants, current, uniform, *state)


@dataclass(frozen=True)
class Lists:
    """The lists of a projection."""

    targets: Array
    """[R, N, F]"""
    delays: Array | None = None
    """delays of the synapses, [R, N, F]; None if there is no ring of arrivals"""
    row: Array | None = None
    """row of the ring in the present step, int32 [R]"""
    depth: int = 1
    """number of rows of the ring"""


def deliver(
    words: Array,
    lists: tuple[Lists | None, ...],
    weights: tuple[Array, ...],
    gains: tuple[Array, ...],
    sums: tuple[Array, ...],
    beams: int,
) -> tuple[Array, ...]:
    """Deliver all events: `sums` after delivery. R and the batch are those of `events.sweep`.

    Args:
      lists: for each projection its lists of targets, or None for rows.
      beams: number of beams of the rows.
    """
    none, operands, results, scratch = jnp.zeros(1, jnp.uint32), [words], [], []
    tables = zip(lists, weights, gains, sums, strict=True)
    for own, weight, gain, before in tables:
        held = before if own is None else before.reshape(-1, *before.shape[2:])
        wiring = (None,) * 3 if own is None else (own.targets, own.delays, own.row)
        operands += [none if x is None else x for x in wiring]
        operands += [weight, gain, held]
        results.append(_like(held))
        counts = own is not None and weight.ndim == 1 and gain.ndim == 1
        levels = weight.dtype == jnp.uint16
        scratch.append(0 if levels else before.size * (4 if counts else 8))
    places, cleared, total = _places(scratch, lists)
    results.append(jax.ShapeDtypeStruct((max(1, total),), jnp.uint8))
    call = jax.ffi.ffi_call(
        "cerebellum_cuda_deliver",
        tuple(results),
        input_output_aliases={6 * p + 6: p for p in range(len(sums))},
    )
    sources = next(
        (x.shape[1] for x in (*(own.targets for own in lists if own), *weights) if x.ndim > 1), 1
    )
    *delivered, _ = call(
        *operands,
        beams=np.int64(beams),
        cells=np.int64(sources),
        cleared=np.int64(cleared),
        depths=np.array([1 if own is None else own.depth for own in lists], np.int64),
        places=places,
    )
    return tuple(x.reshape(before.shape) for x, before in zip(delivered, sums, strict=True))


def _places(bytes: list[int], lists: tuple[Lists | None, ...]) -> tuple[np.ndarray, int, int]:
    """Where the sums of each projection begin, and how many bytes are to be cleared and are needed.

    Those that are cleared as a whole come first.
    """
    whole = [own is None or size <= CLEARED_BYTES for own, size in zip(lists, bytes, strict=True)]
    places, at, cleared = np.zeros(len(bytes), np.int64), 0, 0
    for first in (True, False):
        for k, size in enumerate(bytes):
            if whole[k] == first:
                places[k] = at
                at += -(-size // 16) * 16
        cleared = at if first else cleared
    return places, cleared, at


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
        held = _merged(weights, members)
        kernel = jax.ffi.ffi_call(
            "cerebellum_cuda_settle", _like(held), input_output_aliases={4: 0}
        )
        attributes = {"members": members, "beams": beams, "share": share}
        numbers = {name: np.int64(value) for name, value in attributes.items()}
        settled = kernel(words, targets, change, noise, held, w_max=np.float32(w_max), **numbers)
        return (settled.reshape(members, *weights.shape[1:]),)

    lists = jnp.zeros(1, jnp.uint32) if targets is None else targets
    return for_members(call, words, lists, change, noise, weights)[0]


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
        held = _merged(rings, members)
        taken = jax.ShapeDtypeStruct((members * held.shape[1],), held.dtype)
        kernel = jax.ffi.ffi_call(
            "cerebellum_cuda_take", (taken, _like(held)), input_output_aliases={1: 1}
        )
        taken, left = kernel(jnp.broadcast_to(rows, (members,)), held)
        return taken.reshape(members, -1), left.reshape(members, *rings.shape[1:])

    taken, left = for_members(call, row, ring)
    return taken, left
