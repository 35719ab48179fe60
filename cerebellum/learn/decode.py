"""Spikes to numbers: what the nuclei say, and the decoders of Norse.

Dimensions: N nuclear cells, C choices, T steps.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array, lax


@struct.dataclass(kw_only=True)
class Readout:
    """A linear map from filtered rates to choices."""

    centre: Array
    """of the rates, spikes in a filter's time, [N]; not learned"""
    scale: Array
    """of the rates, scalar; not learned"""
    weights: Array
    """[N, C]"""
    bias: Array
    """[C]"""
    temperature: Array
    """what logits are divided by, so that a confidence is the share of cases in which it is right;
    fitted last (Guo et al. 2017)"""


def init(rates: Array, zone: np.ndarray, choices: int) -> Readout:
    """A readout of zones: each cell speaks for its choice.

    Args:
      rates: some filtered rates, [..., N]: what they are centred and scaled by.
      zone: the choice of each cell, int [N].
    """
    flat = rates.reshape(-1, rates.shape[-1])
    zones = jax.nn.one_hot(zone, choices)
    return Readout(
        centre=flat.mean(axis=0),
        scale=flat.std(axis=0).mean() + 1e-3,
        weights=(zones - 1 / choices) / jnp.sqrt(flat.shape[1]),
        bias=jnp.zeros(choices, jnp.float32),
        temperature=jnp.float32(1),
    )


def filtered(rate: Array, spikes: Array, tau: float, dt: float) -> Array:
    """Filtered rates [..., N] after a step: each spike adds 1 and fades with `tau` (ms)."""
    return rate * jnp.exp(-dt / tau) + spikes


def logits(readout: Readout, rates: Array) -> Array:
    """Choices of filtered rates: [..., N] to [..., C]."""
    away = (rates - readout.centre) / readout.scale
    return (away @ readout.weights + readout.bias) / readout.temperature


def signals(readout: Readout, rates: Array) -> tuple[Array, Array]:
    """Probabilities [..., C], which sum to one, and the largest of them, [...]."""
    chances = jax.nn.softmax(logits(readout, rates))
    return chances, jnp.max(chances, axis=-1)


def correct(readout: Readout, rates: Array, error: Array, rate: Array) -> Readout:
    """The readout after an error, by the delta rule: rates [N], errors [C].

    A step is normalised by the size of the rates (Nagumo & Noda 1967), so that `rate` is the
    share of the error that one step takes away.
    """
    away = (rates - readout.centre) / readout.scale
    share = rate / (1 + jnp.sum(jnp.square(away)))
    return replace(
        readout,
        weights=readout.weights + share * away[:, None] * error[None, :],
        bias=readout.bias + share * error,
    )


def sum_decode(spikes: Array) -> Array:
    """Spikes of each cell: [T, ...] to [...] (`sum_decode` of Norse)."""
    return jnp.sum(spikes, axis=0)


def spike_times(spikes: Array, count: int, dt: float) -> Array:
    """Times of each cell's first `count` spikes, inf where there is none: [count, ...], in dt.

    As `SpikesToTimes` of Norse, whose gradient is -1 at those spikes.
    """
    return _spike_times(spikes, count, dt)


def _times(spikes: Array, count: int, dt: float) -> Array:
    steps = jnp.arange(spikes.shape[0]).reshape(-1, *([1] * (spikes.ndim - 1)))
    when = jnp.where(spikes > 0, steps * dt, jnp.inf)
    return -lax.top_k(jnp.moveaxis(-when, 0, -1), count)[0]


def _moved(spikes: Array, count: int, dt: float) -> Array:
    return jnp.moveaxis(_times(spikes, count, dt), -1, 0)


def _forward(spikes, count, dt):
    times = _moved(spikes, count, dt)
    return times, (spikes, times)


def _backward(count, dt, residual, cotangent):
    spikes, times = residual
    index = jnp.where(jnp.isfinite(times), jnp.round(times / dt), spikes.shape[0]).astype(int)
    flat = jnp.zeros((spikes.shape[0] + 1, *spikes.shape[1:]), spikes.dtype)
    grid = jnp.meshgrid(*(jnp.arange(n) for n in spikes.shape[1:]), indexing="ij")
    at = (index, *(jnp.broadcast_to(g, index.shape) for g in grid))
    return (flat.at[at].add(-cotangent)[:-1],)


_spike_times = jax.custom_vjp(_moved, nondiff_argnums=(1, 2))
_spike_times.defvjp(_forward, _backward)
