"""Numbers to spikes: how a signal drives mossy fibres, and the encoders of Norse.

A signal reaches mossy fibres by a population of Gaussian receptive fields, each fibre preferring
a value; what a fibre is told, 0 to 1, it says by a burst, longer the nearer (rate), or by when it
fires, earlier the nearer (latency). Mossy fibres do both; bursts reach 700 Hz (Rancz et al. 2007).

Dimensions: T steps, F features, K fields to a feature, M = F K mossy fibres.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax

from cerebellum.model.neurons import lif

Code = Literal["rate", "latency"]

KNOTS = 33
LEVELS = 255
"""Steps in which ranks are kept."""
BLUR = 0.1
"""Standard deviation, as a share of the feature's, over which a rank rises: so that values that
are nearly one do not tear apart."""
WIDTH = 0.6
"""standard deviation of a field, in distances between neighbours"""


@struct.dataclass(kw_only=True)
class Fields:
    """Receptive fields of features."""

    knots: Array
    """values of each feature at equal steps of rank, ascending, [F, KNOTS]"""
    blur: Array
    """over which a rank rises, [F]"""


def fit(features: np.ndarray) -> Fields:
    """Fields that cover features [T, F] evenly: to be fitted on what may be learned from."""
    quantiles = np.quantile(features, np.linspace(0, 1, KNOTS), axis=0).T
    blur = BLUR * features.std(axis=0) + 1e-6
    return Fields(knots=jnp.asarray(quantiles, jnp.float32), blur=jnp.asarray(blur, jnp.float32))


def rank(fields: Fields, features: Array) -> Array:
    """Features [..., F] as their rank among those that were fitted, 0 to 1.

    Of a value that occurs often, the middle of its ranks.
    """
    away = (features[..., None] - fields.knots) / fields.blur[:, None]
    return jnp.mean(jax.nn.sigmoid(1.702 * away), axis=-1)


def levels(fields: Fields, features: Array) -> Array:
    """Ranks in `LEVELS` steps: uint8 [..., F]."""
    return jnp.round(rank(fields, features) * LEVELS).astype(jnp.uint8)


def population(ranks: Array, count: int) -> Array:
    """Gaussian receptive fields: values 0 to 1 [..., F] to intensities 0 to 1 [..., F * count].

    A single field rises with the value.
    """
    if count == 1:
        return ranks
    centres = jnp.linspace(0.0, 1.0, count)
    away = (ranks[..., None] - centres) * (count - 1) / WIDTH
    return jnp.exp(-0.5 * away * away).reshape(*ranks.shape[:-1], -1)


def burst(intensity: Array, steps: int, most: int) -> Array:
    """Rate code: intensities [..., M] to a burst of up to `most` spikes: [steps, ..., M]."""
    count = jnp.round(intensity * most)
    when = jnp.arange(steps).reshape(-1, *([1] * intensity.ndim))
    return (when < count).astype(jnp.float32)


def latency(intensity: Array, steps: int, most: int, least: float = 0.25) -> Array:
    """Latency code: one spike, at once at 1, in step `most` at `least`: [steps, ..., M]."""
    at = jnp.floor((1 - intensity) / (1 - least) * most)
    when = jnp.arange(steps).reshape(-1, *([1] * intensity.ndim))
    return ((when == at) & (intensity > least)).astype(jnp.float32)


CODES = {"rate": burst, "latency": latency}


def constant_current_lif(current: Array, steps: int, dt: float = 1.0) -> Array:
    """Spikes [steps, ...] of an LIF cell under a constant current (`constant_current_lif_encode`).

    Its reset subtracts; no synapse. `dt` in ms.
    """
    params = lif.Params()

    def body(v: Array, _):
        v = v + dt / params.tau_m * ((params.v_leak - v) + current)
        z = (v > params.v_th).astype(v.dtype)
        return v - z * (v - params.v_reset), z

    return lax.scan(body, jnp.zeros_like(current), length=steps)[1]


def poisson(uniform: Array, rate: Array, f_max: float = 100.0, dt: float = 1.0) -> Array:
    """Spikes where `uniform` [steps, ...] is below dt f_max rate (`poisson_encode`; `dt` in ms).

    The draws are given, so that they can be anyone's: `jax.random.uniform(key, (steps, ...))`.
    """
    return (uniform < dt * 1e-3 * f_max * rate).astype(jnp.float32)


def signed_poisson(uniform: Array, rate: Array, f_max: float = 100.0, dt: float = 1.0) -> Array:
    """The same for rates of either sign: spikes -1, 0 or 1 (`signed_poisson_encode`)."""
    return jnp.sign(rate) * poisson(uniform, jnp.abs(rate), f_max, dt)


def norse_population(x: Array, count: int, scale: float | None = None) -> Array:
    """Intensities, not spikes, [..., count] (`population_encode` with its default kernel)."""
    size = jnp.max(x) if scale is None else scale
    centres = jnp.linspace(0.0, size, count)
    return jnp.exp(-jnp.square(x[..., None] - centres) * size / 2)


def first_spikes(spikes: Array) -> Array:
    """Only the first spike of each cell along the leading axis (`spike_latency_encode`)."""
    return spikes * (jnp.cumsum(spikes, axis=0) <= 1)


def spike_latency_lif(current: Array, steps: int, dt: float = 1.0) -> Array:
    """The first spike of `constant_current_lif` (`spike_latency_lif_encode`)."""
    return first_spikes(constant_current_lif(current, steps, dt))
