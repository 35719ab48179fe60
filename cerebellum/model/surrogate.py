"""The spike function, and the surrogate gradients with which it can be trained.

In the forward pass a spike is a step function of the distance to threshold. Its true derivative is
zero almost everywhere, so the backward pass uses a smooth substitute, chosen by name from
`SURROGATES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError


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


def _arctan(x: Array, alpha: float) -> Array:
    return alpha / 2.0 / (1.0 + jnp.square(jnp.pi / 2.0 * alpha * x))


def _sigmoid(x: Array, alpha: float) -> Array:
    return alpha * jax.nn.sigmoid(alpha * x) * jax.nn.sigmoid(-alpha * x)


SURROGATES: dict[str, Callable[[Array, float], Array]] = {
    "superspike": _superspike,
    "triangle": _triangle,
    "tanh": _tanh,
    "circ": _circ,
    "erfc": _erfc,
    "arctan": _arctan,
    "sigmoid": _sigmoid,
}
"""Derivative of a spike with respect to the distance to threshold `x` (any shape), by name.

The second argument is the sharpness `alpha`.

superspike: Zenke & Ganguli 2018, eq. 4; triangle: Bellec et al. 2018, eq. 3; tanh, circ and
erfc as in Norse's `threshold` functions (Pehle & Pedersen 2021), whose formulas they equal;
arctan: Fang et al. 2021, eq. 15; sigmoid: Neftci et al. 2019, table 1.
"""

INTEGRALS: dict[str, Callable[[Array, float], Array]] = {
    "superspike": lambda x, alpha: x / (1.0 + alpha * jnp.abs(x)),
    "triangle": lambda x, alpha: alpha * (jnp.clip(x, -1, 1) - _signed_half_square(x)),
    "tanh": lambda x, alpha: jnp.tanh(alpha * x) / alpha,
    "circ": lambda x, alpha: alpha * x / jnp.sqrt(jnp.square(x) + alpha**2),
    "erfc": lambda x, alpha: jax.scipy.special.erf(alpha * x) / alpha,
    "arctan": lambda x, alpha: jnp.arctan(jnp.pi / 2.0 * alpha * x) / jnp.pi,
    "sigmoid": lambda x, alpha: jax.nn.sigmoid(alpha * x) - 0.5,
}
"""The integrals of `SURROGATES`, zero at zero."""


def _signed_half_square(x: Array) -> Array:
    inside = jnp.clip(x, -1, 1)
    return inside * jnp.abs(inside) / 2


@documented
@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """How the spikes of the cells of a circuit pass gradients."""

    name: str = "superspike"
    """a name in `SURROGATES`"""
    alpha: float = 10.0
    """sharpness"""
    width: float = 15.0
    """unit of the distance to threshold, mV"""
    gain: float = 1.0
    """Factor of the gradient. Less than one keeps it from growing where spikes feed back in many
    steps."""
    reset: bool = False
    """whether gradients also pass through the reset"""
    soft: bool = False
    """Whether the forward pass uses the integral of the surrogate instead of the step function.
    The circuit is then smooth, not spiking, and finite differences can check its gradients. Its
    cells must have no refractory period."""

    def __post_init__(self):
        if self.name not in SURROGATES:
            raise UsageError(f"surrogate: {self.name!r}; one of {', '.join(SURROGATES)}")
        if not (self.alpha > 0 and self.width > 0):
            raise UsageError(f"surrogate: {self.alpha}, {self.width}; alpha and width above zero")
        if not self.gain > 0:
            raise UsageError(f"surrogate.gain: {self.gain}; above zero")


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _through(fired: Array, x: Array, surrogate: str, alpha: float, gain: float) -> Array:
    return fired


@_through.defjvp
def _through_jvp(surrogate, alpha, gain, primals, tangents):
    fired, x = primals
    slope = SURROGATES[surrogate](x, alpha)
    return fired, tangents[1] * (slope if gain == 1 else gain * slope)


def through(fired: Array, distance: Array, rule: Surrogate) -> Array:
    """Spikes with a gradient with respect to the distance to threshold.

    Args:
      fired: spikes, 0 or 1, [..., n].
      distance: voltage minus threshold, mV, [..., n].

    Returns:
      `fired`, or the integral of the surrogate if the rule is soft.
    """
    x = distance / rule.width
    if rule.soft:
        return rule.gain * INTEGRALS[rule.name](x, rule.alpha)
    return _through(fired, x, rule.name, rule.alpha, rule.gain)


def spike(x: Array, surrogate: str = "superspike", alpha: float = 100.0) -> Array:
    """The spike function: 1 where `x` is strictly above zero, else 0, with a surrogate derivative.

    Args:
      x: distance to threshold, any shape, floating, in units of the width of the surrogate.
      surrogate: a name in `SURROGATES`.
      alpha: sharpness of the surrogate.

    Returns:
      Spikes, shape and dtype of `x`.

    Raises:
      KeyError: when differentiated with an unknown surrogate.
    """
    return _through(jnp.asarray(x > 0, x.dtype), x, surrogate, alpha, 1.0)
