"""Initialisation for training by gradients, by regression on the mossy fibres.

Softmax regression of the labels on mossy-fibre traces is convex and takes seconds. It gives the
initial weights from mossy fibres to nuclear cells, the same for all cells of a zone but for a
jitter. Constant currents then bring the cells to their rates. A second regression, on the nuclear
rates, gives the readout. Gradient training then learns what single mossy fibres cannot express.
Weights and readout may instead come from a `rate_network`.

Dimensions: n samples, D regressors, C choices. Regressions of the same size run together: their
arrays have leading axes, written ... here.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cerebellum.learn import network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net

SAMPLES = 512
"""Samples to a step of a regression."""
STEPS = 4_000
"""Most steps of a regression."""
PASSES = 20
"""Most passes over the samples."""
GAIN = 1.0
"""Change of an initial weight, as a share of it, for a regression weight of mean size."""
JITTER = 1.0
"""Standard deviation of the initial weights, as a share of them. Without it all cells of a zone
would be the same and would learn the same."""

CURRENT_LIMIT = 150.0
"""Largest current that is added to all cells of a population, mV."""
CELL_CURRENT_LIMIT = 1_500.0
"""Largest current that is added to a single nuclear cell, mV."""
CURRENT_ERROR = 0.025
"""Width of the range in which a current is found at last, mV."""
RATE_LIMITS = 0.005, 0.28
"""Lowest and highest mean rate of a single nuclear cell, spikes to a step; see `rate_limits`."""
SHARE_OF_FASTEST = 0.84
"""Highest mean rate of a single nuclear cell, as a share of that of one which fires whenever it is
not refractory and cannot differ from tick to tick."""


def _regression_step(
    optimizer: Any, parameters: Any, state: Any, regressors: Array, labels: Array
) -> tuple[Any, Any]:
    """Weights [..., D, C] and biases [..., C], and the optimiser's state, after a step.

    Args:
      regressors: those of some samples, [k, ..., D].
      labels: int [k].
    """

    def loss(parameters):
        logits = jnp.einsum("k...d,...dc->...kc", regressors, parameters[0])
        logits = logits + parameters[1][..., None, :]
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, jnp.broadcast_to(labels, logits.shape[:-1])
        )
        # A regression of many knows nothing of the others: the gradient of a sum is that of each.
        return jnp.sum(jnp.mean(losses, axis=-1))

    updates, state = optimizer.update(jax.grad(loss)(parameters), state, parameters)
    return optax.apply_updates(parameters, updates), state


_compiled_step: Any = jax.jit(_regression_step, static_argnums=0)


def regress(
    take: Callable[[np.ndarray], Array],
    labels: np.ndarray,
    choices: int,
    *,
    rate: float = 3e-3,
    decay: float = 1e-2,
    seed: int = 0,
) -> Readout:
    """Softmax regression by AdamW, as a readout of the regressors.

    Every field of the readout has the leading axes of the regressors; each regression is as it
    would be alone.

    Args:
      take: gives the regressors of samples by their indices, [k, ..., D].
      labels: int [n].
      rate: initial learning rate.
      decay: weight decay of AdamW.
    """
    count, rng = len(labels), np.random.default_rng(seed)
    sample = take(rng.integers(0, count, min(count, 4_096)))
    centre, scale = sample.mean(axis=0), sample.std(axis=0).mean(axis=-1) + 1e-6
    size = min(SAMPLES, count)
    passes = max(1, min(PASSES, STEPS // (count // size)))
    schedule = optax.cosine_decay_schedule(rate, passes * (count // size))
    optimizer = optax.adamw(schedule, weight_decay=decay)
    many = sample.shape[1:-1]
    parameters: Any = jnp.zeros((*sample.shape[1:], choices)), jnp.zeros((*many, choices))
    state = optimizer.init(parameters)
    for _ in range(passes):
        order = rng.permutation(count)[: count // size * size].reshape(-1, size)
        for batch in order:
            regressors = (take(batch) - centre) / scale[..., None]
            batch_labels = jnp.asarray(labels[batch])
            parameters, state = _compiled_step(
                optimizer, parameters, state, regressors, batch_labels
            )
    return Readout(
        centre=centre,
        scale=scale,
        weights=parameters[0],
        bias=parameters[1],
        temperature=jnp.ones(many, jnp.float32),
    )


def traces(net: Net, inputs: np.ndarray) -> Callable[[np.ndarray], Array]:
    """A function that gives mossy-fibre traces at the end of examples by their indices, [k, M].

    Args:
      inputs: inputs of all examples, [n, L, ...]; see `network.sense`.
    """
    design = net.design
    fade = design.fade

    @jax.jit
    def trace(examples: Array) -> Array:
        ticks = jax.vmap(lambda tick: network.sense(design, tick), in_axes=1)(examples)
        spikes = ticks.reshape(-1, *ticks.shape[2:])
        powers = fade ** jnp.arange(spikes.shape[0] - 1, -1, -1)
        return jnp.tensordot(powers, spikes, 1)

    return lambda indices: trace(jnp.asarray(inputs[indices]))


def with_mossy_weights(net: Net, learner: Learner, regression: Readout, key: Array) -> Learner:
    """The learner with initial weights from mossy fibres to nuclear cells by a regression.

    Args:
      regression: the result of `regress` on mossy-fibre traces.
    """
    initial_weights = net.circuit.params.weights["mossy_fiber_nuclei"]
    mean = network.mean_weight(initial_weights)
    of_choices = regression.weights[:, np.asarray(net.design.choices)]
    contrast = regression.weights - of_choices.mean(axis=1, keepdims=True)
    zone = net.design.zone(net.design.nuclei)
    contrast = contrast[:, zone] / (jnp.abs(contrast[:, zone]).mean() + 1e-9)
    jitter = JITTER * jax.random.normal(key, initial_weights.shape)
    weights = mean * (1 + GAIN * contrast + jitter)
    all_weights = {**learner.weights, "mossy_fiber_nuclei": weights}
    return network.bounded(net, replace(learner, weights=all_weights))


def rate_limits(design: Design) -> tuple[float, float]:
    """Lowest and highest mean rate that a nuclear cell is given, spikes to a step."""
    fastest = 1 / (1 + round(design.refractory / design.dt))
    return RATE_LIMITS[0], min(RATE_LIMITS[1], SHARE_OF_FASTEST * fastest)


def balance(
    net: Net,
    learner: Learner,
    carry: Carry,
    inputs: np.ndarray,
    shares: Array | None = None,
) -> Learner:
    """The learner with constant currents that bring granule and nuclear cells to `network.RATES`.

    Each current is found by bisection.

    Args:
      carry: initial states of B circuits.
      inputs: inputs of some ticks, [L, B, ...]. Rates are measured in the second half.
      shares: the rate that each nuclear cell is to have, as a multiple of the mean rate, [N]; the
        resulting rates are clipped to `rate_limits`. None adds the same current to all.
    """
    design, half = net.design, len(inputs) // 2
    fade = float(np.exp(-design.dt / design.tau))

    def granule(ends: Ends) -> bool:
        assert ends.traces is not None
        mean = float(ends.traces.granule[half:].mean()) * (1 - design.fade)
        return mean < network.RATES["granule"]

    def nuclear(ends: Ends) -> bool:
        return float(ends.rates[half:].mean()) * (1 - fade) < network.RATES["nuclei"]

    def each_nuclear(ends: Ends) -> Array:
        return ends.rates[half:].mean(axis=(0, 1)) * (1 - fade) < goal

    def bisected(learner: Learner, name: str, most: Array, too_slow: Callable) -> Learner:
        """The learner with a current that is not too slow, between -`most` and `most`."""
        low, high, drive = -most, most, learner.drive[name]
        while float(jnp.max(high - low)) > CURRENT_ERROR:
            middle = (low + high) / 2
            learner = replace(learner, drive={**learner.drive, name: drive + middle})
            _, ends = network.respond(design, net.circuit, learner, carry, jnp.asarray(inputs))
            slow = too_slow(ends)
            low, high = jnp.where(slow, middle, low), jnp.where(slow, high, middle)
        return learner

    learner = bisected(learner, "granule", jnp.float32(CURRENT_LIMIT), granule)
    if shares is None:
        return bisected(learner, "nuclei", jnp.float32(CURRENT_LIMIT), nuclear)
    # All cells are bisected at once, because none of them acts on another.
    goal = jnp.clip(network.RATES["nuclei"] * shares, *rate_limits(design))
    most = jnp.full(design.nuclei, CELL_CURRENT_LIMIT)
    return bisected(learner, "nuclei", most, each_nuclear)
