"""Conduction delays: spikes wait at their source, packed, until they are due.

A delay line is a ring of one population's last D steps: [D, W] words, or [D, N] spikes where
gradients must pass. The spikes of step s stand in row s mod D.
"""

import jax.numpy as jnp
from jax import Array, lax


def delay_steps(delay: float, dt: float) -> int:
    """Steps of a delay (ms), rounded, at least one."""
    return max(1, round(delay / dt))


def due(line: Array, step: Array, delay: int) -> Array:
    """What was emitted `delay` steps before `step`; to be read before `step` is written.

    Args:
      line: [D, ...] with D at least `delay`.
      step: int32 scalar, the step now being computed.
      delay: in steps, at least 1.
    """
    row = jnp.remainder(step - delay, line.shape[0])
    return lax.dynamic_index_in_dim(line, row, axis=0, keepdims=False)


def emit(line: Array, step: Array, emitted: Array) -> Array:
    """The line after `step` emitted its spikes [...], in place of the oldest."""
    row = jnp.remainder(step, line.shape[0])
    return lax.dynamic_update_index_in_dim(line, emitted.astype(line.dtype), row, axis=0)
