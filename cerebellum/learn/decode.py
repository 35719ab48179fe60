"""From spikes to numbers: the readout of the nuclei, and the decoders of Norse.

Dimensions: N nuclear cells, C choices, T steps.
"""

from collections.abc import Sequence
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
    """Mean of the filtered rates, [N]; not learned."""
    scale: Array
    """Standard deviation of the filtered rates, scalar; not learned."""
    weights: Array
    """[N, C]"""
    bias: Array
    """[C]"""
    temperature: Array
    """Divisor of the logits, fitted after training so that a confidence is the share of cases in
    which the prediction is right (Guo et al. 2017)."""


def init(rates: Array, zone: np.ndarray, choices: int) -> Readout:
    """A readout of zones: each cell counts for its zone's choice.

    Args:
      rates: filtered rates from which centre and scale are computed, [..., N].
      zone: the choice of each cell, int [N].
      choices: C.
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


def joined(readouts: Sequence[Readout], cells: Sequence[np.ndarray]) -> Readout:
    """One readout of all cells, whose logits are the mean of those of the given readouts.

    Args:
      cells: the cells that each of them reads; together every cell once.
    """
    count, order = len(readouts), np.argsort(np.concatenate(cells))
    scale = jnp.mean(jnp.stack([each.scale for each in readouts]))
    weights = [each.weights * (scale / each.scale / count) for each in readouts]
    return Readout(
        centre=jnp.concatenate([each.centre for each in readouts])[order],
        scale=scale,
        weights=jnp.concatenate(weights)[order],
        bias=jnp.mean(jnp.stack([each.bias for each in readouts]), axis=0),
        temperature=jnp.float32(1),
    )


def filtered(rate: Array, spikes: Array, tau: float, dt: float) -> Array:
    """Filtered rates [..., N] after a step: each spike adds 1, which decays with `tau` (ms)."""
    return rate * jnp.exp(-dt / tau) + spikes


def dropped(rates: Array, centre: Array | float, share: float, key: Array) -> Array:
    """Rates [..., N] with a share of them at their centre, the others the further from theirs, so
    that the mean of what is linear in them remains (Srivastava et al. 2014)."""
    heard = jax.random.bernoulli(key, 1 - share, rates.shape)
    return centre + jnp.where(heard, (rates - centre) / (1 - share), 0)


def logits(readout: Readout, rates: Array) -> Array:
    """Logits of the choices, [..., C], from filtered rates [..., N]."""
    scaled = (rates - readout.centre) / readout.scale
    return (scaled @ readout.weights + readout.bias) / readout.temperature


def microzone_logits(readout: Readout, rates: Array, zones: np.ndarray) -> Array:
    """Logits of each microzone alone, [K, ..., C]. For zones of equal size their mean is `logits`.

    Args:
      zones: the cells of each microzone, one-hot [K, N].
    """
    scaled = (rates - readout.centre) / readout.scale
    shares = jnp.asarray(len(zones) * zones, jnp.float32)
    each = jax.vmap(lambda share: scaled @ (share[:, None] * readout.weights))(shares)
    return (each + readout.bias) / readout.temperature


def signals(readout: Readout, rates: Array) -> tuple[Array, Array]:
    """Probabilities of the choices [..., C], which sum to one, and the largest of them, [...]."""
    chances = jax.nn.softmax(logits(readout, rates))
    return chances, jnp.max(chances, axis=-1)


def correct(readout: Readout, rates: Array, error: Array, rate: Array) -> Readout:
    """The readout after one step of the delta rule, for rates [N] and errors [C].

    A step is normalised by the size of the rates (Nagumo & Noda 1967), so that `rate` is the
    share of the error that one step takes away.
    """
    scaled = (rates - readout.centre) / readout.scale
    share = rate / (1 + jnp.sum(jnp.square(scaled)))
    return replace(
        readout,
        weights=readout.weights + share * scaled[:, None] * error[None, :],
        bias=readout.bias + share * error,
    )


def sum_decode(spikes: Array) -> Array:
    """Number of spikes of each cell, [...], from spikes [T, ...] (`sum_decode` of Norse)."""
    return jnp.sum(spikes, axis=0)


def spike_times(spikes: Array, count: int, dt: float) -> Array:
    """Times of each cell's first `count` spikes, inf where there is none, [count, ...].

    Step k has the time k `dt`. As in `SpikesToTimes` of Norse, the gradient is -1 at those spikes.
    """
    return _spike_times(spikes, count, dt)


def _times(spikes: Array, count: int, dt: float) -> Array:
    """Times of the first `count` spikes along the last axis, [..., count]."""
    steps = jnp.arange(spikes.shape[0]).reshape(-1, *([1] * (spikes.ndim - 1)))
    times = jnp.where(spikes > 0, steps * dt, jnp.inf)
    return -lax.top_k(jnp.moveaxis(-times, 0, -1), count)[0]


def _times_first(spikes: Array, count: int, dt: float) -> Array:
    """Times as `spike_times` gives them, without its gradient: [count, ...]."""
    return jnp.moveaxis(_times(spikes, count, dt), -1, 0)


def _forward(spikes, count, dt):
    times = _times_first(spikes, count, dt)
    return times, (spikes, times)


def _backward(count, dt, residual, cotangent):
    spikes, times = residual
    index = jnp.where(jnp.isfinite(times), jnp.round(times / dt), spikes.shape[0]).astype(int)
    flat = jnp.zeros((spikes.shape[0] + 1, *spikes.shape[1:]), spikes.dtype)
    grid = jnp.meshgrid(*(jnp.arange(n) for n in spikes.shape[1:]), indexing="ij")
    at = (index, *(jnp.broadcast_to(g, index.shape) for g in grid))
    return (flat.at[at].add(-cotangent)[:-1],)


_spike_times = jax.custom_vjp(_times_first, nondiff_argnums=(1, 2))
_spike_times.defvjp(_forward, _backward)
