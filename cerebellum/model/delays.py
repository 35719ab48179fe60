"""Conduction delays: spikes wait at their source, packed, until their delay has passed.

A delay line is a ring buffer of the last D steps of one population: [D, W] words, or [D, N] spikes
where gradients must pass. Row s mod D holds the spikes of step s.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.model import values

GRID = 1e-3
"""The share of a step by which a time may miss the grid, for what rounding does to it."""


def delay_steps(delay: float, dt: float) -> int:
    """A delay (ms) as a number of steps, rounded, at least one."""
    return max(1, round(delay / dt))


def steps_of(projection: Any, dt: float) -> int:
    """The delay of a projection in steps; the mean of a distribution of delays, on the grid."""
    return delay_steps(values.typical(projection.delay), dt)


def on_grid(delay: float, dt: float) -> float:
    """A delay (ms) that is a whole number of steps of `dt`, the nearest one to another delay."""
    steps = delay_steps(delay, dt)
    return delay if abs(delay / dt - steps) <= GRID else steps * dt


def due(line: Array, step: Array, delay: int) -> Array:
    """The spikes that were emitted `delay` steps before `step`.

    Call it before `emit` writes the spikes of `step`.

    Args:
      line: [D, ...] with D at least `delay`.
      step: the step that is being computed, int32 scalar.
      delay: in steps, at least 1.
    """
    row = jnp.remainder(step - delay, line.shape[0])
    return lax.dynamic_index_in_dim(line, row, axis=0, keepdims=False)


def emit(line: Array, step: Array, emitted: Array) -> Array:
    """The line after the spikes [...] that `step` emitted have replaced the oldest ones."""
    row = jnp.remainder(step, line.shape[0])
    return lax.dynamic_update_index_in_dim(line, emitted.astype(line.dtype), row, axis=0)
