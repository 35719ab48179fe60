"""Encoders: values of samples as spikes.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.learn import encode
from cerebellum.learn.arrays.samples import numbers
from cerebellum.model import noise
from cerebellum.model.streams import stream


def rate(
    values: Any, key: Array | int, *, most_hz: float = 100.0, hold: int = 1, dt: float = 1.0
) -> Array:
    """Rate code: independent random spikes, float32 [n, T hold, F].

    Args:
      values: intensities, 0 to 1, [n, T, F].
      key: random key, or a seed.
      most_hz: rate for an intensity of 1, at most one spike a step.
      hold: number of steps for which each value holds.
      dt: time step, ms.

    Raises:
      UsageError: values have another shape or range, or rate, hold or dt are impossible.
    """
    intensity = _intensities(values, 3)
    if type(hold) is not int or hold < 1:
        raise UsageError(f"hold: {hold!r}; a whole number of steps, at least 1")
    if not 0 < most_hz * dt <= 1e3:
        raise UsageError(f"most_hz: {most_hz:g}; above 0, at most {1e3 / dt:g}, a spike a step")
    held = np.repeat(intensity, hold, axis=1)
    uniform = stream(noise.key_of(key), "rate").random(held.shape, np.float32)
    return encode.poisson(jnp.asarray(uniform), jnp.asarray(held), most_hz, dt)


def latency(values: Any, steps: int, *, least: float = 0.25) -> Array:
    """Latency code: a spike a feature, earlier for larger values, float32 [n, steps, F].

    Args:
      values: intensities, 0 to 1, [n, F].
      steps: number of steps; the spike comes in the first for 1 and in the last near `least`.
      least: values up to this have no spike.

    Raises:
      UsageError: values have another shape or range, or there are no steps.
    """
    intensity = _intensities(values, 2)
    if type(steps) is not int or steps < 2:
        raise UsageError(f"steps: {steps!r}; a whole number, at least 2")
    if not 0 <= least < 1:
        raise UsageError(f"least: {least:g}; at least 0 and under 1")
    return jnp.moveaxis(encode.latency(jnp.asarray(intensity), steps, steps - 1, least), 0, 1)


def fields(values: Any, count: int) -> Array:
    """Population code: intensities of Gaussian receptive fields, float32 [n, T, F count].

    Each feature has `count` fields at equal distances; feed the result to `rate`.

    Raises:
      UsageError: values are not [n, T, F], or not 0 to 1, or there are less than two fields.
    """
    if type(count) is not int or count < 2:
        raise UsageError(f"count: {count!r}; a whole number of fields, at least 2")
    return encode.population(jnp.asarray(_intensities(values, 3)), count)


def _intensities(values: Any, axes: int) -> np.ndarray:
    """Values as float32, or a UsageError that says what is wrong with them."""
    array = numbers(values, "values", axes)
    low, high = float(np.min(array)), float(np.max(array))
    if not 0 <= low <= high <= 1:
        raise UsageError(f"values: {low:g} to {high:g}; 0 to 1, such as (X - low) / (high - low)")
    return array.astype(np.float32)
