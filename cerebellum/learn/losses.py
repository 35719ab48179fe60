"""What training makes small. Logits [..., C], labels int [...], weights [...] of samples.

A sample whose weight is 0 does not count; the rest are averaged by weight.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array


def _one_hot(labels: Array, logits: Array) -> Array:
    return jax.nn.one_hot(labels, logits.shape[-1])


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Softmax cross-entropy of each sample, [...]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def mse(logits: Array, labels: Array) -> Array:
    """Squared distance of the probabilities to the label's, [...] (Brier 1950)."""
    away = jax.nn.softmax(logits) - _one_hot(labels, logits)
    return jnp.sum(jnp.square(away), axis=-1)


def mae(logits: Array, labels: Array) -> Array:
    """Absolute distance of the probabilities to the label's, [...]."""
    return jnp.sum(jnp.abs(jax.nn.softmax(logits) - _one_hot(labels, logits)), axis=-1)


def huber(logits: Array, labels: Array, delta: float = 0.5) -> Array:
    """Squared near the label, absolute away from it, [...] (Huber 1964)."""
    away = optax.huber_loss(jax.nn.softmax(logits), _one_hot(labels, logits), delta=delta)
    return jnp.sum(away, axis=-1)


def spike_count(counts: Array, labels: Array, right: float, wrong: float) -> Array:
    """Squared distance of output cells' spike counts [..., C] to those wanted, [...].

    Args:
      right, wrong: counts wanted of the label's cell and of the others (Shrestha & Orchard 2018).
    """
    wanted = jnp.where(_one_hot(labels, counts) > 0, right, wrong)
    return jnp.mean(jnp.square(counts - wanted), axis=-1)


def rate_penalty(rates: Array, target: float) -> Array:
    """How far mean rates [..., N] of cells are above a target: scalar (Zenke & Vogels 2021)."""
    mean = rates.reshape(-1, rates.shape[-1]).mean(axis=0)
    return jnp.mean(jnp.square(jax.nn.relu(mean - target)))


LOSSES = {"cross_entropy": cross_entropy, "mse": mse, "mae": mae, "huber": huber}


def mean(losses: Array, weights: Array) -> Array:
    """Average by weight; 0 where nothing counts."""
    total = jnp.sum(weights)
    return jnp.sum(losses * weights) / jnp.where(total > 0, total, 1)
