"""Backpropagation through time in two layers of LIF cells: forward, SuperSpike gradient, Adam."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from cerebellum.model.neurons import lif

CELL = lif.Params(alpha=10.0)


def loss(weights, spikes, labels):
    """Cross-entropy of the output spikes.

    Args:
      weights: of the two layers, float32 [inputs, hidden] and [hidden, outputs].
      spikes: float32 [steps, batch, inputs].
      labels: int32 [batch].
    """
    batch = spikes.shape[1]
    states = tuple(lif.init(CELL, (batch, w.shape[1])) for w in weights)

    def step(carry, given):
        (first, second), total = carry
        first, fired = lif.step(CELL, first, given @ weights[0], 1.0)
        second, out = lif.step(CELL, second, fired @ weights[1], 1.0)
        return ((first, second), total + out), None

    zero = jnp.zeros((batch, weights[1].shape[1]))
    (_, total), _ = lax.scan(step, (states, zero), spikes)
    return optax.softmax_cross_entropy_with_integer_labels(total, labels).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def update(weights, state, spikes, labels):
    """The weights and the optimizer's state after an update, and the loss before it."""
    value, gradient = jax.value_and_grad(loss)(weights, spikes, labels)
    moved, state = optax.adam(1e-3).update(gradient, state)
    return optax.apply_updates(weights, moved), state, value


def updates(
    inputs: int, hidden: int, outputs: int, batch: int, steps: int, count: int
) -> list[float]:
    """Seconds of each of `count` updates, after one that is not counted."""
    rng = np.random.default_rng(0)
    spikes = jnp.asarray(rng.random((steps, batch, inputs)) < 0.05, jnp.float32)
    labels = jnp.asarray(rng.integers(0, outputs, batch))
    weights = (
        jnp.asarray(rng.normal(size=(inputs, hidden)) * 3 / inputs**0.5, jnp.float32),
        jnp.asarray(rng.normal(size=(hidden, outputs)) * 3 / hidden**0.5, jnp.float32),
    )
    state = optax.adam(1e-3).init(weights)
    spans = []
    for _ in range(count + 1):
        began = time.perf_counter()
        weights, state, value = update(weights, state, spikes, labels)
        jax.block_until_ready((weights, state, value))
        spans.append(time.perf_counter() - began)
    return spans[1:]
