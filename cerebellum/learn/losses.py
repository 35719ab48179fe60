"""Loss functions of logits [..., C], labels int [...] and sample weights [...].

Losses are averaged by weight. A sample whose weight is 0 does not count.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array


def lowest(losses: Sequence[float] | Array) -> int:
    """The place of the lowest loss. One that is not finite is never it, unless all are such."""
    each = np.asarray(losses)
    return int(np.argmin(np.where(np.isfinite(each), each, np.inf)))


def _one_hot(labels: Array, logits: Array) -> Array:
    return jax.nn.one_hot(labels, logits.shape[-1])


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Softmax cross-entropy of each sample, [...]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def mse(logits: Array, labels: Array) -> Array:
    """Squared distance of the probabilities from the one-hot label, [...] (Brier 1950)."""
    difference = jax.nn.softmax(logits) - _one_hot(labels, logits)
    return jnp.sum(jnp.square(difference), axis=-1)


def mae(logits: Array, labels: Array) -> Array:
    """Absolute distance of the probabilities from the one-hot label, [...]."""
    return jnp.sum(jnp.abs(jax.nn.softmax(logits) - _one_hot(labels, logits)), axis=-1)


def huber(logits: Array, labels: Array, delta: float = 0.5) -> Array:
    """Huber loss of the probabilities, [...]: squared up to `delta`, then linear (Huber 1964)."""
    by_choice = optax.huber_loss(jax.nn.softmax(logits), _one_hot(labels, logits), delta=delta)
    return jnp.sum(by_choice, axis=-1)


def spike_count(counts: Array, labels: Array, right: float, wrong: float) -> Array:
    """Mean squared distance of output cells' spike counts [..., C] from their targets, [...].

    Args:
      right, wrong: target counts of the label's cell and of the others (Shrestha & Orchard 2018).
    """
    targets = jnp.where(_one_hot(labels, counts) > 0, right, wrong)
    return jnp.mean(jnp.square(counts - targets), axis=-1)


def rate_penalty(rates: Array, target: float) -> Array:
    """Mean square of how far cells' mean rates [..., N] exceed a target (Zenke & Vogels 2021)."""
    mean = rates.reshape(-1, rates.shape[-1]).mean(axis=0)
    return jnp.mean(jnp.square(jax.nn.relu(mean - target)))


LOSSES = {"cross_entropy": cross_entropy, "mse": mse, "mae": mae, "huber": huber}


def of_microzones(loss: str, logits: Array, labels: Array, weights: Array) -> Array:
    """The mean over microzones of the mean loss of each alone.

    Args:
      loss: a name in `LOSSES`.
      logits: [K, ..., C].
    """
    each = LOSSES[loss](logits, jnp.broadcast_to(labels, logits.shape[:-1]))
    return mean(each.mean(axis=0), weights)


def mean(losses: Array, weights: Array) -> Array:
    """Weighted mean of losses; 0 where all weights are 0."""
    total = jnp.sum(weights)
    return jnp.sum(losses * weights) / jnp.where(total > 0, total, 1)
