"""Threshold, reset and refractory period, for cells whose voltage has been integrated."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.model.surrogate import Surrogate, through


def fire(
    params: Any, v: Array, refractory: Array, dt: float, surrogate: Surrogate | None
) -> tuple[Array, Array, Array]:
    """Apply threshold, reset and refractory period after integration.

    Args:
      params: parameters with v_th and v_reset (mV) and t_ref (ms).
      v: integrated voltage, mV, [..., n].
      refractory: remaining steps of the refractory period, uint8, [..., n].
      surrogate: how spikes pass gradients; None if they do not.

    Returns:
      The voltage after reset, the remaining refractory steps, and the spikes, all [..., n].
    """
    silent = refractory > 0
    fired = ~silent & (v >= params.v_th)
    period = jnp.round(jnp.asarray(params.t_ref) / dt).astype(jnp.uint8)
    remaining = jnp.where(fired, period, refractory - silent.astype(jnp.uint8))
    if surrogate is None:
        return jnp.where(silent | fired, params.v_reset, v), remaining, fired.astype(v.dtype)
    spikes = jnp.where(silent, 0, through(fired.astype(v.dtype), v - params.v_th, surrogate))
    reset = spikes if surrogate.reset else lax.stop_gradient(spikes)
    return jnp.where(silent, params.v_reset, v + reset * (params.v_reset - v)), remaining, spikes
