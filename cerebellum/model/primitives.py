"""The operations of a step that a backend may replace.

Each has a reference in XLA's own operations, which runs everywhere, and which the dense,
differentiable path always uses. What replaces it must give the same result: spikes, lists and
fixed-point rows bit for bit, sums of rows of floats to rounding (tests/backends holds every
backend that is there to it).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from cerebellum.model import events, fixed, plasticity
from cerebellum.model.fixed import CellRange
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.surrogate import Surrogate


class Integrate(Protocol):
    """Cells of one population, a step on: (state, spikes [N], the same packed)."""

    def __call__(
        self,
        model: NeuronModel,
        params: Any,
        state: Any,
        input: Any,
        dt: float,
        surrogate: Surrogate | None,
    ) -> tuple[Any, Array, Array]: ...


class Draw(Protocol):
    """Packed spikes of cells that each fire with a chance."""

    def __call__(
        self, key: Array, name: str, step: Array, chance: Array, cells: CellRange
    ) -> Array: ...


def integrate(
    model: NeuronModel,
    params: Any,
    state: Any,
    input: Any,
    dt: float,
    surrogate: Surrogate | None,
) -> tuple[Any, Array, Array]:
    """One step of a population by its model.

    Args:
      surrogate: how spikes pass gradients, for models that can.
    """
    passed = {"surrogate": surrogate} if model.PASSES_GRADIENTS else {}
    stepped, spikes = model.step(params, state, input, dt, **passed)
    return stepped, spikes, events.pack(spikes)


def draw(key: Array, name: str, step: Array, chance: Array, cells: CellRange) -> Array:
    """Packed spikes of one step, uint32 [W]; they depend on nothing but the arguments.

    Args:
      key: random key of the run, uint32 [2].
      name: of what is drawn.
      step: int32 scalar.
      chance: of each cell, [N] or [1].
    """
    own = jax.random.fold_in(fixed.named_key(key, name), step)
    chances = jnp.broadcast_to(chance, (cells.size,))
    return events.pack(fixed.threefry_uniform(own, cells) < chances)


@dataclass(frozen=True, kw_only=True)
class Primitives:
    """A table of operations; those that a backend does not replace are the reference's."""

    integrate: Integrate = integrate
    sweep: events.Sweep = events.sweep
    """delivers packed spikes through the projections of a population"""
    settle: plasticity.Settle = plasticity.settle
    """writes the weights that are due"""
    draw: Draw = draw


REFERENCE = Primitives()
