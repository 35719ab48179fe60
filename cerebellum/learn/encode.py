"""From numbers to spikes: the coding of signals in mossy fibres, and the encoders of Norse.

A signal drives a population of mossy fibres with Gaussian receptive fields, each of which prefers a
value. The nearer the signal is to that value, the higher is the fibre's intensity, 0 to 1. The
intensity sets the length of a burst (rate code), the number of spikes that are spread evenly over
the tick (regular code), or the time of a spike, which is earlier for a higher intensity (latency
code). Mossy fibres use all of them: their bursts reach 700 Hz (Rancz et al. 2007), and many fire
regularly at a rate that follows the signal, such as the position of an eye (Lisberger & Fuchs
1978).

Dimensions: T steps, F features, K fields to a feature, M = F K mossy fibres.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.model.neurons import lif

Code = Literal["rate", "regular", "latency"]

KNOTS = 33
"""Quantiles that are stored of each feature."""
LEVELS = 255
"""Number of steps in which ranks are stored."""
BLUR = 0.1
"""Width over which a rank rises by default, as a share of the feature's standard deviation. It
keeps values that are almost the same at almost the same rank."""
WIDTH = 0.6
"""Standard deviation of a receptive field, in distances between neighbouring fields."""


@struct.dataclass(kw_only=True)
class Fields:
    """Receptive fields of features."""

    knots: Array
    """Values of each feature at equal steps of rank, ascending, [F, KNOTS]."""
    blur: Array
    """Width over which a rank rises, in the feature's unit, [F]."""


def fit(features: np.ndarray, width: float = BLUR) -> Fields:
    """Fields that cover features [T, F] evenly. Fit them on the training split only.

    Args:
      width: see `BLUR`. The smaller it is, the finer are values told apart where many lie close
        together, such as at the end of a feature's range. Between two of the `KNOTS` that are
        further apart than that, all values have nearly the same rank.
    """
    quantiles = np.quantile(features, np.linspace(0, 1, KNOTS), axis=0).T
    blur = width * features.std(axis=0) + 1e-6
    return Fields(knots=jnp.asarray(quantiles, jnp.float32), blur=jnp.asarray(blur, jnp.float32))


def rank(fields: Fields, features: Array) -> Array:
    """Ranks of features [..., F] among the fitted ones, 0 to 1.

    A value that occurs often has the middle of its ranks.
    """
    distance = (features[..., None] - fields.knots) / fields.blur[:, None]
    return jnp.mean(jax.nn.sigmoid(1.702 * distance), axis=-1)


def levels(fields: Fields, features: Array) -> Array:
    """Ranks in `LEVELS` steps: uint8 [..., F]."""
    return jnp.round(rank(fields, features) * LEVELS).astype(jnp.uint8)


def population(ranks: Array, count: int, width: float = WIDTH) -> Array:
    """Intensities [..., F * count] of Gaussian receptive fields for values [..., F], all 0 to 1.

    With a single field to a feature, the intensity is the value.

    Args:
      width: standard deviation of a field, in distances between neighbouring fields.
    """
    if count == 1:
        return ranks
    centres = jnp.linspace(0.0, 1.0, count)
    distance = (ranks[..., None] - centres) * (count - 1) / width
    return jnp.exp(-0.5 * distance * distance).reshape(*ranks.shape[:-1], -1)


def burst(intensity: Array, steps: int, most: int) -> Array:
    """Rate code: bursts of up to `most` spikes, [steps, ..., M], from intensities [..., M]."""
    count = jnp.round(intensity * most)
    step = jnp.arange(steps).reshape(-1, *([1] * intensity.ndim))
    return (step < count).astype(jnp.float32)


def regular(intensity: Array, steps: int, most: int) -> Array:
    """Regular code: up to `most` spikes, evenly over all steps, [steps, ..., M].

    A fibre with n spikes fires where the whole part of n t / steps rises, for t from 1 to `steps`.
    So every fibre that fires at all fires in the last step, and this spike reaches its targets
    only in the next tick. The others reach them in the tick at a rate that hardly changes.
    """
    count = jnp.round(intensity * most).astype(jnp.int32)
    step = jnp.arange(steps, dtype=jnp.int32).reshape(-1, *([1] * intensity.ndim))
    return ((step + 1) * count // steps > step * count // steps).astype(jnp.float32)


def latency(intensity: Array, steps: int, most: int, least: float = 0.25) -> Array:
    """Latency code: one spike for each intensity [..., M] above `least`, [steps, ..., M].

    The spike comes in step 0 for intensity 1, and towards step `most` for intensity `least`.
    """
    at = jnp.floor((1 - intensity) / (1 - least) * most)
    step = jnp.arange(steps).reshape(-1, *([1] * intensity.ndim))
    return ((step == at) & (intensity > least)).astype(jnp.float32)


CODES = {"rate": burst, "regular": regular, "latency": latency}


def constant_current_lif(current: Array, steps: int, dt: float = 1.0) -> Array:
    """Spikes [steps, ...] of an LIF cell under a constant current (`constant_current_lif_encode`).

    A spike subtracts the reset value from the voltage. The cell has no synapse. `dt` is in ms.
    """
    params = lif.Params()

    def body(v: Array, _):
        v = v + dt / params.tau_m * ((params.v_leak - v) + current)
        z = (v > params.v_th).astype(v.dtype)
        return v - z * (v - params.v_reset), z

    return lax.scan(body, jnp.zeros_like(current), length=steps)[1]


def poisson(uniform: Array, rate: Array, f_max: float = 100.0, dt: float = 1.0) -> Array:
    """Spikes where `uniform` [steps, ...] is below dt f_max rate (`poisson_encode`; `dt` in ms).

    Args:
      uniform: random numbers, such as `jax.random.uniform(key, (steps, ...))`. As an argument they
        can come from any generator.
    """
    return (uniform < dt * 1e-3 * f_max * rate).astype(jnp.float32)


def signed_poisson(uniform: Array, rate: Array, f_max: float = 100.0, dt: float = 1.0) -> Array:
    """As `poisson` for rates of either sign: spikes -1, 0 or 1 (`signed_poisson_encode`)."""
    return jnp.sign(rate) * poisson(uniform, jnp.abs(rate), f_max, dt)


def norse_population(x: Array, count: int, scale: float | None = None) -> Array:
    """Intensities [..., count] of Norse's `population_encode` with its default kernel."""
    size = jnp.max(x) if scale is None else scale
    centres = jnp.linspace(0.0, size, count)
    return jnp.exp(-jnp.square(x[..., None] - centres) * size / 2)


def first_spikes(spikes: Array) -> Array:
    """The first spike of each cell along the leading axis (`spike_latency_encode`)."""
    return spikes * (jnp.cumsum(spikes, axis=0) <= 1)


def spike_latency_lif(current: Array, steps: int, dt: float = 1.0) -> Array:
    """The first spike of `constant_current_lif` (`spike_latency_lif_encode`)."""
    return first_spikes(constant_current_lif(current, steps, dt))
