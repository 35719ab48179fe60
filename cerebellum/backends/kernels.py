"""Operations of a step by kernels, for programs of one platform; in others the reference runs.

They are what the backends of C++ and of CUDA kernels have in common. Each is given the platform, as
JAX names it, and the call of the kernel.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.backends.models import Model
from cerebellum.model import events, fixed, plasticity, primitives
from cerebellum.model.events import AllToAll
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.noise import CellRange, name_number
from cerebellum.model.plasticity import Closing, Synapses


def by_platform(platform: str, kernel: Callable, reference: Callable, *operands: Any) -> Any:
    """Call `kernel` in programs for one platform, and `reference` in programs for others."""
    return lax.platform_dependent(*operands, default=reference, **{platform: kernel})


def integrate(
    platform: str,
    call: Callable[[Any, Any], tuple[Array, ...]],
    kernel: Model,
    model: NeuronModel,
    params: Any,
    state: Any,
    input: Any,
    dt: float,
) -> tuple[Any, Array, Array]:
    """Advance the cells of a population, as `primitives.integrate` does.

    Args:
      call: (state, input): the arrays of the state after the step, the counter of the refractory
        period, and the packed spikes.
      kernel: of the model.
    """

    def native(state: Any, input: Any) -> tuple[Any, Array]:
        *arrays, refractory, words = call(state, input)
        return replace(kernel.rebuilt(state, arrays), refractory=refractory), words

    def reference(state: Any, input: Any) -> tuple[Any, Array]:
        stepped, _, words = primitives.integrate(model, params, state, input, dt, None)
        return stepped, words

    stepped, words = by_platform(platform, native, reference, state, input)
    return stepped, events.unpack(words, state.v.shape[-1]), words


def settle(
    platform: str, call: Callable[..., Array], weights: Array, closing: Closing, synapses: Synapses
) -> Array:
    """Apply the weight updates of the spikes whose window closes, as `plasticity.settle` does."""

    def native(weights: Array, closing: Closing, synapses: Synapses) -> Array:
        fan, change = synapses.fan, closing.change
        if isinstance(fan, AllToAll):
            targets, beams = None, fan.beams
            if weights.dtype == jnp.uint16:
                change = fixed.fine(change / fan.unit)
        else:
            targets, beams = fan.targets, 1
        cell_offset = jnp.asarray(synapses.cell_offset).astype(jnp.uint32)
        noise = jnp.concatenate([closing.key, synapses.contacts_key, cell_offset[None]])
        attributes = beams, fixed.threshold(synapses.share), synapses.w_max
        return call(weights, closing.words, targets, change, noise, *attributes)

    return by_platform(platform, native, plasticity.settle, weights, closing, synapses)


def draw(
    platform: str,
    call: Callable[..., Array],
    key: Array,
    name: str,
    step: Array,
    chance: Array,
    cells: CellRange,
) -> Array:
    """Draw packed spikes, as `primitives.draw` does; the kernel derives the keys, too."""

    def native(key: Array, step: Array, chance: Array) -> Array:
        cell_offset = jnp.asarray(cells.offset).astype(jnp.uint32)
        return call(key, step, chance, cell_offset, cells.size, name_number(name))

    def reference(key: Array, step: Array, chance: Array) -> Array:
        return primitives.draw(key, name, step, chance, cells)

    return by_platform(platform, native, reference, key, step, chance)


def count(
    platform: str,
    call: Callable[..., Array],
    key: Array,
    name: str,
    step: Array,
    tails: Array,
    draws: Array | int,
    cells: CellRange,
) -> Array:
    """Draw numbers of spikes, as `primitives.count` does; the kernel derives the keys, too."""

    def native(key: Array, step: Array, tails: Array, draws: Array) -> Array:
        cell_offset = jnp.asarray(cells.offset).astype(jnp.uint32)
        return call(key, step, tails, cell_offset, draws, cells.size, name_number(name))

    def reference(key: Array, step: Array, tails: Array, number: Array) -> Array:
        own = draws if isinstance(draws, int) else number
        return primitives.count(key, name, step, tails, own, cells)

    operands = key, step, tails, jnp.asarray(draws, jnp.int32)
    return by_platform(platform, native, reference, *operands)


def take(
    platform: str, call: Callable[..., tuple[Array, Array]], ring: Array, step: Array
) -> tuple[Array, Array]:
    """Take a row out of a ring in place, as `primitives.take` does."""
    if ring.dtype != jnp.float32:
        return primitives.take(ring, step)

    def native(ring: Array, step: Array) -> tuple[Array, Array]:
        return call(ring, jnp.remainder(step, ring.shape[0]))

    return by_platform(platform, native, primitives.take, ring, step)
