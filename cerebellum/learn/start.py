"""Where training by gradients starts: nuclei that already say what mossy fibres can by themselves.

Softmax regression of the labels on mossy-fibre traces, which is convex and takes seconds, gives the
first weights onto nuclear cells, those of each choice's zone alike; constant currents bring them
to their rate; a second regression, on the nuclear rates themselves, gives the readout. What is left
to learn is what single fibres cannot say.

Dimensions: n samples, D regressors, C choices.
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
from cerebellum.learn.network import Carry, Learner, Net

SAMPLES = 512
"""to a step of a regression"""
STEPS = 4_000
"""most of them"""
PASSES = 20
GAIN = 1.0
"""change of a first weight, as a share of it, for a regression weight of mean size"""
JITTER = 1.0
"""standard deviation of first weights, as a share of them: cells that are alike learn alike"""


def _improvement(optimizer: Any, held: Any, state: Any, x: Array, labels: Array):
    def loss(held):
        logits = x @ held[0] + held[1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    updates, state = optimizer.update(jax.grad(loss)(held), state, held)
    return optax.apply_updates(held, updates), state


_improve: Any = jax.jit(_improvement, static_argnums=0)


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

    Args:
      take: regressors of some samples, by their numbers: [k, D].
      labels: int [n].
      decay: of weights, as in AdamW.
    """
    count, rng = len(labels), np.random.default_rng(seed)
    some = take(rng.integers(0, count, min(count, 4_096)))
    centre, scale = some.mean(axis=0), some.std(axis=0).mean() + 1e-6
    size = min(SAMPLES, count)
    passes = max(1, min(PASSES, STEPS // (count // size)))
    schedule = optax.cosine_decay_schedule(rate, passes * (count // size))
    optimizer = optax.adamw(schedule, weight_decay=decay)
    held: Any = jnp.zeros((some.shape[1], choices)), jnp.zeros(choices)
    state = optimizer.init(held)
    for _ in range(passes):
        order = rng.permutation(count)[: count // size * size].reshape(-1, size)
        for chosen in order:
            x = (take(chosen) - centre) / scale
            held, state = _improve(optimizer, held, state, x, jnp.asarray(labels[chosen]))
    return Readout(
        centre=centre,
        scale=scale,
        weights=held[0],
        bias=held[1],
        temperature=jnp.float32(1),
    )


def traces(net: Net, inputs: np.ndarray) -> Callable[[np.ndarray], Array]:
    """Mossy-fibre traces at the end of examples, by their numbers.

    Args:
      inputs: [n, L, ...], see `network.sense`.
    """
    design = net.design
    fade = design.fade

    @jax.jit
    def trace(given: Array) -> Array:
        ticks = jax.vmap(lambda tick: network.sense(design, tick), in_axes=1)(given)
        spikes = ticks.reshape(-1, *ticks.shape[2:])
        powers = fade ** jnp.arange(spikes.shape[0] - 1, -1, -1)
        return jnp.tensordot(powers, spikes, 1)

    return lambda chosen: trace(jnp.asarray(inputs[chosen]))


def mossy_lesson(net: Net, learner: Learner, found: Readout, key: Array) -> Learner:
    """First weights of mossy fibres onto nuclear cells, from a regression on their traces."""
    first = net.circuit.params.weights["mossy_fiber_nuclei"]
    mean = jnp.sum(first) / first.size
    asked = found.weights[:, np.asarray(net.design.choices)]
    own = found.weights - asked.mean(axis=1, keepdims=True)
    zone = net.design.zone(net.design.nuclei)
    own = own[:, zone] / (jnp.abs(own[:, zone]).mean() + 1e-9)
    jitter = JITTER * jax.random.normal(key, first.shape)
    weights = mean * (1 + GAIN * own + jitter)
    held = {**learner.weights, "mossy_fiber_nuclei": weights}
    return network.bounded(net, replace(learner, weights=held))


def balance(net: Net, learner: Learner, carry: Carry, inputs: np.ndarray) -> Learner:
    """Constant currents that bring granule and nuclear cells to their rates in some ticks.

    Args:
      carry: of B fresh circuits.
      inputs: [L, B, ...]; the second half is looked at.
    """
    design = net.design

    def granule(ends: Any) -> float:
        return float(ends.traces.granule[len(inputs) // 2 :].mean()) * (1 - design.fade)

    def nuclear(ends: Any) -> float:
        fade = float(np.exp(-design.dt / design.tau))
        return float(ends.rates[len(inputs) // 2 :].mean()) * (1 - fade)

    for name, measure in (("granule", granule), ("nuclei", nuclear)):
        least, most = -150.0, 150.0
        drive = learner.drive[name]
        for _ in range(14):
            middle = (least + most) / 2
            learner = replace(learner, drive={**learner.drive, name: drive + middle})
            _, ends = network.respond(design, net.circuit, learner, carry, jnp.asarray(inputs))
            low = measure(ends) < network.RATES[name]
            least, most = (middle, most) if low else (least, middle)
    return learner
