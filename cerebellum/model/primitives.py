"""The operations of a step that a backend may replace.

Each operation has a reference made of XLA's own operations. It runs everywhere, and the dense,
differentiable path always uses it. A replacement must give the same result: spikes, lists and
fixed-point rows bit for bit, sums of rows of floats to rounding. tests/backends checks this for
every available backend.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.model import delivery, events, noise, plasticity
from cerebellum.model.neurons.protocol import NeuronModel
from cerebellum.model.noise import CellRange
from cerebellum.model.surrogate import Surrogate


class Integrate(Protocol):
    """Advance the cells of one population by a step: (state, spikes [N], packed spikes)."""

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
    """Draw the packed spikes of cells that each fire with a given probability."""

    def __call__(
        self, key: Array, name: str, step: Array, chance: Array, cells: CellRange
    ) -> Array: ...


class Count(Protocol):
    """Draw how many spikes of a source reach each cell."""

    def __call__(
        self,
        key: Array,
        name: str,
        step: Array,
        tails: Array,
        draws: Array | int,
        cells: CellRange,
    ) -> Array: ...


def integrate(
    model: NeuronModel,
    params: Any,
    state: Any,
    input: Any,
    dt: float,
    surrogate: Surrogate | None,
) -> tuple[Any, Array, Array]:
    """Advance a population by one step of its model.

    Args:
      input: what reaches the cells; its `uniform`, if the model draws noise, may be `noise.Draws`.
      surrogate: how spikes pass gradients, for models whose spikes do.
    """
    if model.DRAWS_NOISE:
        input = replace(input, uniform=noise.drawn(input.uniform))
    options = {"surrogate": surrogate} if model.PASSES_GRADIENTS else {}
    stepped, spikes = model.step(params, state, input, dt, **options)
    return stepped, spikes, events.pack(spikes)


def draw(key: Array, name: str, step: Array, chance: Array, cells: CellRange) -> Array:
    """Draw the packed spikes of one step, uint32 [W]; they depend only on the arguments.

    Args:
      key: random key of the run, uint32 [2].
      name: name of the draw; different names give independent spikes.
      step: int32 scalar.
      chance: probability of a spike of each cell, [N] or [1].
      cells: the cells, by their numbers in the whole circuit.
    """
    step_key = noise.fold(noise.named(key, name), step)
    return events.pack(noise.fires(step_key, jnp.asarray(chance, jnp.float32), cells.numbers))


def count(
    key: Array, name: str, step: Array, tails: Array, draws: Array | int, cells: CellRange
) -> Array:
    """Draw a number of spikes for each cell in one step, int32 [n], as `noise.counts` does.

    Args:
      key: random key of the run, uint32 [2].
      name: name of the draw; different names give independent counts.
      step: int32 scalar.
      tails: the chance that a draw is above k, which does not rise with k: float32 [K, n] or
        [K, 1], below 1.
      draws: how many draws a count is the sum of, at least 1.
      cells: the cells, by their numbers in the whole circuit.
    """
    return noise.counts(noise.fold(noise.named(key, name), step), tails, cells.numbers, draws)


class Take(Protocol):
    """Take the arrivals of a step out of a ring: the row, and the ring with zeros in its place."""

    def __call__(self, ring: Array, step: Array) -> tuple[Array, Array]: ...


def take(ring: Array, step: Array) -> tuple[Array, Array]:
    """Take what arrives in a step out of a ring of arrivals, [D, T] (see `State.arrivals`)."""
    row = jnp.remainder(step, ring.shape[0])
    taken = lax.dynamic_index_in_dim(ring, row, keepdims=False)
    return taken, lax.dynamic_update_index_in_dim(ring, jnp.zeros_like(taken), row, 0)


class Deferred(Protocol):
    """Delivery when spikes arrive, for circuits with `Wiring.merged`; the reference has none.

    A chunk begins and ends with a state whose rings hold all that is on its way. In between,
    `State.sent` holds the spikes that are not in the rings.
    """

    def begin(self, wiring: Any, state: Any) -> Any:
        """The state at the beginning of a chunk."""
        ...

    def arrive(self, wiring: Any, state: Any, emitted: dict[str, Array]) -> tuple[Any, Any]:
        """What arrives in this step by ring, [T], and the state after it with the packed spikes
        that the step `emitted`, by population."""
        ...

    def end(self, wiring: Any, state: Any) -> Any:
        """The state at the end of a chunk."""
        ...


@dataclass(frozen=True, kw_only=True)
class Primitives:
    """A table of operations; entries that a backend does not replace are the reference."""

    integrate: Integrate = integrate
    sweep: events.Sweep = events.sweep
    """delivers packed spikes through the projections of a population"""
    deliver: delivery.Deliver = delivery.deliver
    """makes all deliveries of a step; the reference makes one after the other, by `sweep`"""
    settle: plasticity.Settle = plasticity.settle
    """writes the weights whose window has closed"""
    incur: plasticity.Incur = plasticity.incur
    """adds the effect of teaching spikes to the pending weight updates"""
    draw: Draw = draw
    count: Count = count
    take: Take = take
    deferred: Deferred | None = None
    """delivery when spikes arrive; None: when they are emitted"""


REFERENCE = Primitives()
