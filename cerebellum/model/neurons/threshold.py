"""Threshold, reset and refractory period of cells that integrate first."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.model.surrogate import Surrogate, through


def fire(
    params: Any, v: Array, refractory: Array, dt: float, surrogate: Surrogate | None
) -> tuple[Array, Array, Array]:
    """What follows integration.

    Args:
      params: with v_th and v_reset (mV) and t_ref (ms).
      v: integrated voltage, mV, [..., n].
      refractory: steps left of the refractory period, uint8, [..., n].
      surrogate: how spikes pass gradients; None: not at all.

    Returns:
      The voltage after reset, the steps left, and the spikes, all [..., n].
    """
    silent = refractory > 0
    fired = ~silent & (v >= params.v_th)
    period = jnp.round(jnp.asarray(params.t_ref) / dt).astype(jnp.uint8)
    left = jnp.where(fired, period, refractory - silent.astype(jnp.uint8))
    if surrogate is None:
        return jnp.where(silent | fired, params.v_reset, v), left, fired.astype(v.dtype)
    spikes = jnp.where(silent, 0, through(fired.astype(v.dtype), v - params.v_th, surrogate))
    reset = spikes if surrogate.reset else lax.stop_gradient(spikes)
    return jnp.where(silent, params.v_reset, v + reset * (params.v_reset - v)), left, spikes
