"""The spike function and the surrogate gradients that let it be trained.

Forward, a spike is a step of the distance to threshold. Its true derivative is zero almost
everywhere, so the backward pass uses a smooth stand-in, chosen by name from `SURROGATES`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array


def _superspike(x: Array, alpha: float) -> Array:
    return 1.0 / jnp.square(alpha * jnp.abs(x) + 1.0)


def _triangle(x: Array, alpha: float) -> Array:
    return alpha * jax.nn.relu(1.0 - jnp.abs(x))


def _tanh(x: Array, alpha: float) -> Array:
    return 1.0 - jnp.square(jnp.tanh(alpha * x))


def _circ(x: Array, alpha: float) -> Array:
    square = jnp.square(x) + alpha**2
    return 2.0 * alpha * (0.5 / jnp.sqrt(square) - 0.5 * jnp.square(x) / square**1.5)


def _erfc(x: Array, alpha: float) -> Array:
    return 2.0 / jnp.sqrt(jnp.pi) * jnp.exp(-jnp.square(alpha * x))


SURROGATES: dict[str, Callable[[Array, float], Array]] = {
    "superspike": _superspike,
    "triangle": _triangle,
    "tanh": _tanh,
    "circ": _circ,
    "erfc": _erfc,
}
"""Derivative of a spike by its distance to threshold `x` (any shape) and sharpness `alpha`.

superspike: Zenke & Ganguli 2018, eq. 4; triangle: Bellec et al. 2018, eq. 3; tanh, circ and
erfc as in Norse's `threshold` functions (Pehle & Pedersen 2021), whose formulas they equal.
"""


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def spike(x: Array, surrogate: str = "superspike", alpha: float = 100.0) -> Array:
    """1 where `x` is above zero (strictly), else 0, with a surrogate derivative.

    Args:
      x: distance to threshold, any shape, floating; in units of the surrogate's width.
      surrogate: a name in `SURROGATES`.
      alpha: sharpness of the surrogate.

    Returns:
      Spikes, shape and dtype of `x`.

    Raises:
      KeyError: when differentiated with an unknown surrogate.
    """
    return jnp.asarray(x > 0, x.dtype)


@spike.defjvp
def _spike_jvp(surrogate, alpha, primals, tangents):
    (x,), (dx,) = primals, tangents
    return spike(x, surrogate, alpha), dx * SURROGATES[surrogate](x, alpha)
