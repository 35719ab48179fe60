"""Calls of the native kernels, with operands in the order that each .cc file documents."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def _like(x: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


@dataclass(frozen=True)
class Lists:
    """The lists of a projection for push.cc."""

    targets: Array
    """[R, N, F]"""
    ascend: bool
    """whether the lists are in ascending order"""
    delays: Array | None = None
    """delays of the synapses, [R, N, F]; None if there is no ring of arrivals"""
    row: Array | None = None
    """row of the ring in the present step, int32 [R]"""
    depth: int = 1
    """number of rows of the ring"""


def push(
    words: Array,
    lists: tuple[Lists | None, ...],
    weights: tuple[Array, ...],
    gains: tuple[Array, ...],
    sums: tuple[Array, ...],
    starts: np.ndarray,
) -> tuple[Array, ...]:
    """Deliver all events: `sums` after delivery. See push.cc.

    Args:
      lists: for each projection its lists of targets, or None for rows.
      starts: first source cell of every beam.
    """
    none, operands, results = jnp.zeros(1, jnp.uint32), [words], []
    for own, weight, gain, before in zip(lists, weights, gains, sums, strict=True):
        # A reshape would prevent an update in place: sums are flat, and rings as they are.
        ring = own is not None and own.delays is not None
        flat = before.reshape(-1) if not ring else before[0] if len(before) == 1 else before
        targets = none if own is None else own.targets
        delays, row = (none, none) if own is None or own.delays is None else (own.delays, own.row)
        operands += [targets, delays, row, weight, gain, flat]
        results.append(_like(flat))
    aliases = {6 * p + 6: p for p in range(len(results))}
    call = jax.ffi.ffi_call("cerebellum_push", tuple(results), input_output_aliases=aliases)
    pushed = call(
        *operands,
        edges=starts.astype(np.int64),
        ascend=np.array([own is not None and own.ascend for own in lists], np.int64),
        depth=np.array([1 if own is None else own.depth for own in lists], np.int64),
    )
    return tuple(x.reshape(before.shape) for x, before in zip(pushed, sums, strict=True))


def take(ring: Array, row: Array) -> tuple[Array, Array]:
    """A row of a ring, [T], and the ring with zeros in its place. See take.cc."""
    call = jax.ffi.ffi_call(
        "cerebellum_take",
        (jax.ShapeDtypeStruct(ring.shape[-1:], ring.dtype), _like(ring)),
        input_output_aliases={1: 1},
        vmap_method="broadcast_all",
    )
    taken, left = call(row, ring)
    return taken, left


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
    """The weights after updates for the spikes `words` have been applied. See settle.cc."""
    call = jax.ffi.ffi_call(
        "cerebellum_settle",
        _like(weights),
        input_output_aliases={4: 0},
        vmap_method="sequential",
    )
    lists = jnp.zeros(1, jnp.uint32) if targets is None else targets
    attributes = {"beams": np.int64(beams), "share": np.int64(share), "w_max": np.float32(w_max)}
    return call(words, lists, change, noise, weights, **attributes)


def integrate(
    name: str, constants: Array, current: Array, noise: Array, *state: Array
) -> tuple[Array, ...]:
    """The arrays of a state after a step, and the packed spikes. See blocks.h.

    Args:
      name: of the kernel.
      constants: of all cells, as `models` has them, float32 [constants].
      current: what drives each cell, float32 [N] or [1].
      noise: the key of the draws and the number of the first cell, uint32 [3]; or [1].
      state: arrays [N], the counter of the refractory period last.
    """
    words = jax.ShapeDtypeStruct((-(-state[0].shape[-1] // 32),), jnp.uint32)
    call = jax.ffi.ffi_call(
        f"cerebellum_{name}",
        (*map(_like, state), words),
        input_output_aliases={3 + k: k for k in range(len(state))},
        vmap_method="sequential",
    )
    return tuple(call(constants, current, noise, *state))


def draw(
    key: Array, step: Array, chance: Array, cell_offset: Array, size: int, name_number: int
) -> Array:
    """Draw the packed spikes of one step. See draw.cc.

    Args:
      chance: probability of a spike of each cell.
      cell_offset: number of the first cell, uint32 scalar.
      size: number of cells.
      name_number: `noise.name_number` of the name of the draw.
    """
    words = jax.ShapeDtypeStruct((-(-size // 32),), jnp.uint32)
    call = jax.ffi.ffi_call("cerebellum_draw", words, vmap_method="sequential")
    attributes = {"size": np.int64(size), "part": np.int64(name_number)}
    return call(key, step, chance.astype(jnp.float32), cell_offset, **attributes)


def count(
    key: Array,
    step: Array,
    tails: Array,
    cell_offset: Array,
    draws: Array,
    size: int,
    name_number: int,
) -> Array:
    """Draw the numbers of spikes of one step, int32 [size]. See count.cc.

    Args:
      tails: the chance that a draw is above k, float32 [K, size] or [K, 1].
      cell_offset: number of the first cell, uint32 scalar.
      draws: how many draws are added up, int32 scalar.
      size: number of cells.
      name_number: `noise.name_number` of the name of the draw.
    """
    counts = jax.ShapeDtypeStruct((size,), jnp.int32)
    call = jax.ffi.ffi_call("cerebellum_count", counts, vmap_method="sequential")
    return call(key, step, tails, cell_offset, draws, part=np.int64(name_number))
