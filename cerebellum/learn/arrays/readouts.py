"""Readouts: from spikes and voltages to logits.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import noise
from cerebellum.model.streams import stream


def spike_count(spikes: Array, bins: int = 1) -> Array:
    """Number of spikes of each cell in each of some equal bins of time, [B, bins N], of [B, T, N].

    Raises:
      UsageError: the steps cannot be divided into so many equal bins.
    """
    batch, steps, cells = spikes.shape
    if type(bins) is not int or bins < 1 or steps % bins:
        raise UsageError(f"bins: {bins!r}; a whole number that divides {steps} steps")
    return spikes.reshape(batch, bins, -1, cells).sum(axis=2).reshape(batch, -1)


def mean_voltage(trace: Array) -> Array:
    """Mean over time of a trace such as "v:readout", [B, N], of [B, T, N]."""
    return jnp.mean(trace, axis=1)


@struct.dataclass(kw_only=True)
class Linear:
    """A linear readout; call it with values [..., N] for logits [..., C]."""

    weights: Array
    """[N, C]"""
    bias: Array
    """[C]"""

    def __call__(self, values: Array) -> Array:
        return values @ self.weights + self.bias


def linear(cells: int, classes: int, key: Array | int) -> Linear:
    """A readout with normal weights of standard deviation 1 / sqrt(cells), and no bias."""
    random = stream(noise.key_of(key), "readout").standard_normal((cells, classes))
    weights = random / np.sqrt(cells)
    return Linear(weights=jnp.asarray(weights, jnp.float32), bias=jnp.zeros(classes, jnp.float32))


def accuracy(logits: Array, labels: Array | np.ndarray) -> Array:
    """Share of samples whose largest logit is that of their label, scalar."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)
