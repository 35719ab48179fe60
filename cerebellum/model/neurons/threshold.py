"""Threshold, reset and refractory period, for cells whose voltage has been integrated."""

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.model import values
from cerebellum.model.surrogate import Surrogate, through

LONGEST_REFRACTORY = 65_535
"""Most steps of a refractory period of a model that counts them in `refractory` of its state.

It counts up to 255 steps in uint8 and more in uint16. A model that has this constant takes both; of
another one, periods are at most 255 steps.
"""


def counter(model: Any, params: Any, dt: float) -> tuple[Any, int]:
    """The type that counts the steps of a refractory period, and the most that it can count.

    Args:
      model: a neuron model.
      params: parameters of a population as its spec has them; without `t_ref` (ms), it has no
        refractory period. A distribution without an upper bound may draw any.
      dt: time step, ms.
    """
    longest = values.largest(getattr(params, "t_ref", 0.0))
    if longest / dt > 255 and hasattr(model, "LONGEST_REFRACTORY"):
        return jnp.uint16, model.LONGEST_REFRACTORY
    return jnp.uint8, 255


def fire(
    params: Any, v: Array, refractory: Array, dt: float, surrogate: Surrogate | None
) -> tuple[Array, Array, Array]:
    """Apply threshold, reset and refractory period after integration.

    Args:
      params: parameters with v_th and v_reset (mV) and t_ref (ms).
      v: integrated voltage, mV, [..., n].
      refractory: remaining steps of the refractory period, uint8 or uint16, [..., n].
      surrogate: how spikes pass gradients; None if they do not.

    Returns:
      The voltage after reset, the remaining refractory steps, and the spikes, all [..., n].
    """
    silent = refractory > 0
    fired = ~silent & (v >= params.v_th)
    period = jnp.round(jnp.asarray(params.t_ref) / dt).astype(refractory.dtype)
    remaining = jnp.where(fired, period, refractory - silent.astype(refractory.dtype))
    if surrogate is None:
        return jnp.where(silent | fired, params.v_reset, v), remaining, fired.astype(v.dtype)
    spikes = jnp.where(silent, 0, through(fired.astype(v.dtype), v - params.v_th, surrogate))
    reset = spikes if surrogate.reset else lax.stop_gradient(spikes)
    return jnp.where(silent, params.v_reset, v + reset * (params.v_reset - v)), remaining, spikes
