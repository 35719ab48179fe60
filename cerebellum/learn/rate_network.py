"""A network of rates from which training through spikes can start.

It has the nuclear cells, microzones and mossy fibres of a trainable circuit, but no time: a nuclear
cell is a rectified unit,

    rate = max(0, inputs @ weights + current)

whose inputs are the spikes of each mossy fibre in a tick, weighted by what they still do to a
cell's filtered rate at the end of the tick, and whose weights are not negative. It learns by
gradients in a small part of the time that spikes take. A weight is the product of two factors that
are both learned: one of the contact, and the gain of the feature whose receptive fields the fibres
are. Of many features few matter, and a common factor finds these sooner (Holzmueller et al. 2024,
whose networks scale each input). Then its weights become those of the spiking cells, and each cell
gets the current that gives it its share of the mean rate. The rates of spiking cells are then about
proportional to those of the units, as long as their inputs change little within a tick (Diehl et
al. 2015; Rueckauer et al. 2017): the code should be "regular". What the network does not have,
which is the granular layer, the Purkinje cells and the memory of earlier ticks, the circuit learns
afterwards.

Dimensions: n samples, B samples of a step, F features, M mossy fibres, N nuclear cells,
K microzones, C choices.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array

from cerebellum.errors import FailedError, UsageError
from cerebellum.learn import decode, feed, losses, network, parallel, schedule
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Design, Learner, Net

SAMPLES = 256
"""Samples to a step."""
STEPS = 1_500
"""Steps after which the first network has learned, once there were `LEAST_PASSES`."""
LEAST_PASSES = 6
"""Passes that it makes whatever the number of samples, unless fewer are asked for."""
RATE = 0.02
"""Learning rate. The factor of a contact is learned in units of the mean initial weight."""
CURRENT_UNIT = 0.15
"""Unit in which a cell's current is learned."""
GAIN_UNIT = 2.0
"""Unit in which the natural logarithm of a feature's gain is learned."""
MOST_LOG_GAIN = 10.0
"""Largest natural logarithm of a gain, of either sign."""
READOUT_UNIT = 0.05
"""Unit in which the readout is learned."""
TOTAL = 3.0
"""Initial sum of a cell's weights, times the root of M; the sums then differ by about 1 from tick
to tick."""
SPREAD = 0.3
"""Standard deviation of the initial currents."""
READOUT = 0.1
"""Standard deviation of the initial readout weights, times the root of the cells of a microzone."""
DRIVE = 2.0
"""Mean sum of the weights of a spiking cell, in units of `Design.mossy_nuclei`. The larger it is,
the more a cell's rate differs from tick to tick, and the closer to the mean is the largest
weight."""
RIDGE = 0.1
"""Penalty of the regression on spiking cells, as a share of the mean variance of their rates."""
EVALUATED = 4_096
"""Samples that are evaluated at once."""


@struct.dataclass(kw_only=True)
class RateNetwork:
    """A rate network."""

    weights: Array
    """[M, N]"""
    current: Array
    """[N]"""
    readout: Array
    """[N, C]"""
    bias: Array
    """[K, C]"""


@struct.dataclass(kw_only=True)
class Factored:
    """The arrays that are learned: a rate network whose weights have two factors."""

    of_contacts: RateNetwork
    """The network before its weights are multiplied by the gains."""
    log_gains: Array
    """Natural logarithms of the gains of the features, [F]; more follow for silent fibres."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Samples with labels."""

    inputs: np.ndarray
    """Inputs of the tick of each sample, [n, ...]; see `network.sense`."""
    labels: np.ndarray
    """int [n]"""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How to learn; static."""

    microzones: int = 1
    """Groups of nuclear cells that learn each from its own error."""
    loss: str = "cross_entropy"
    """A name in `losses.LOSSES`."""
    passes: int = 10
    """Most passes over the samples. With many samples there are fewer: see `passes`."""
    swap_noise: float = 0.0
    """Share of the features that have the value of another sample."""
    dropout: float = 0.0
    """Share of the nuclear cells that the readout does not hear."""
    clipping: float = 1.0
    """Largest norm of a gradient."""
    seed: int = 0


def effect(design: Design) -> np.ndarray:
    """What a mossy-fibre spike of each step does to a rate at the end of its tick, float32 [S].

    A spike makes a current from the next step on, which decays with the synapse's time constant. A
    cell fires in proportion to the current, and its spikes are filtered with `Design.tau`. The
    values are such that a fibre with the most spikes, evenly spread, has a sum of one.
    """
    steps, tau = np.arange(design.steps), network.NUCLEI["tau_exc"]
    since = steps[None, :] - steps[:, None] - 1
    still = np.exp(-(design.steps - 1 - steps) * design.dt / design.tau)
    current = np.exp(-np.maximum(since, 0) * design.dt / tau)
    sums = np.where(since >= 0, current * still, 0).sum(axis=1)
    most = min(1.0, design.burst / design.steps)
    return (sums / max(sums.sum() * most, 1e-9)).astype(np.float32)


def heard(design: Design, inputs: Array) -> Array:
    """What nuclear cells hear of each mossy fibre in ticks, [B, M]; see `network.sense`."""
    return jnp.tensordot(effect(design), network.sense(design, inputs), 1)


def rates(design: Design, net: RateNetwork, inputs: Array) -> Array:
    """Rates of nuclear cells in ticks, [B, N], in arbitrary units."""
    return jax.nn.relu(heard(design, inputs) @ net.weights + net.current)


def logits(design: Design, net: RateNetwork, cell_rates: Array) -> Array:
    """Logits of each microzone, [K, B, C], from rates [B, N]; the answer is their mean."""
    zones = jnp.asarray(design.microzone(design.nuclei, len(net.bias)), jnp.float32)
    return jnp.einsum("bn,kn,nc->kbc", cell_rates, zones, net.readout) + net.bias[:, None]


@partial(jax.jit, static_argnames="design")
def _answers(design: Design, net: RateNetwork, inputs: Array) -> Array:
    """Logits of each microzone in ticks, [K, B, C]."""
    return logits(design, net, rates(design, net, inputs))


def answers(design: Design, net: RateNetwork, inputs: np.ndarray) -> np.ndarray:
    """Logits of each microzone in many ticks, [K, n, C]."""
    starts = range(0, len(inputs), EVALUATED)
    parts = [_answers(design, net, jnp.asarray(inputs[at : at + EVALUATED])) for at in starts]
    return np.concatenate([np.asarray(part) for part in parts], axis=1)


def begin(design: Design, microzones: int, inputs: Array, key: Array) -> RateNetwork:
    """A network that has learned nothing. A cell is above zero in about every other tick.

    Args:
      inputs: those of some ticks.
    """
    shape = design.mossy_fibers, design.nuclei
    keys = jax.random.split(key, 3)
    weights = jax.random.uniform(keys[0], shape, maxval=2 * _mean_weight(design))
    centre = jnp.mean(heard(design, inputs) @ weights, axis=0)
    scale = READOUT / np.sqrt(design.nuclei / microzones)
    return RateNetwork(
        weights=weights,
        current=SPREAD * jax.random.normal(keys[1], (design.nuclei,)) - centre,
        readout=scale * jax.random.normal(keys[2], (design.nuclei, design.outputs)),
        bias=jnp.zeros((microzones, design.outputs)),
    )


def learn(
    design: Design,
    lesson: Lesson,
    training: Examples,
    validation: Examples,
    class_weights: np.ndarray | None = None,
) -> RateNetwork:
    """Learn by Adam. Returns the network after the pass with the least loss in validation.

    How many passes are best is not known beforehand: a network may learn the samples by heart in
    twice as many, or may need them. So a second one learns for twice as long where that is allowed.

    Args:
      class_weights: weights of samples by label, [C]; None where all count alike.

    Raises:
      UsageError: a tick is so short that no spike acts within it.
      FailedError: no loss in validation is finite.
    """
    if not effect(design).any():
        raise UsageError(
            f"neural.steps_per_tick: {design.steps}; at least 2 with training.rate_epochs, because "
            "a spike acts from the next step on"
        )
    size = min(SAMPLES, len(training.labels))
    batches = len(training.labels) // size, size
    weights = np.ones(design.outputs) if class_weights is None else class_weights
    parts = training, validation
    found = [
        _learned(design, lesson, parts, weights, batches, many)
        for many in passes(lesson, batches[0])
    ]
    told = [loss for _, loss in found]
    place = losses.lowest(told)
    if not np.isfinite(told[place]):
        raise FailedError(
            f"rate network: the validation loss is {told[place]}; training.rate_epochs 0 starts "
            "without one"
        )
    return found[place][0]


def passes(lesson: Lesson, steps: int) -> tuple[int, ...]:
    """How often each network is shown the samples, where a pass over them has so many steps."""
    many = max(1, min(lesson.passes, max(LEAST_PASSES, STEPS // steps)))
    return (many, 2 * many) if 2 * many <= lesson.passes else (many,)


def _learned(
    design: Design,
    lesson: Lesson,
    parts: tuple[Examples, Examples],
    weights: np.ndarray,
    batches: tuple[int, int],
    many: int,
) -> tuple[RateNetwork, float]:
    """The network after the best of so many passes, and its loss in validation.

    Args:
      parts: training and validation.
      weights: weights of samples by label, [C].
      batches: steps to a pass, and samples to a step.
    """
    (training, validation), (steps, size) = parts, batches
    count, rng = len(training.labels), np.random.default_rng(lesson.seed)
    key = jax.random.key(lesson.seed)
    some = jnp.asarray(training.inputs[rng.integers(0, count, 2_048)])
    net = begin(design, lesson.microzones, some, key)
    factored = Factored(of_contacts=net, log_gains=jnp.zeros(_feature_count(design)))
    optimizer = _optimizer(net, lesson.clipping, many * steps)
    step: Any = jax.jit(partial(_step, design, lesson, optimizer))
    parameters: Any = factored
    state = optimizer.init(parameters)
    best, best_loss = net, np.nan
    for index in range(many):
        order = rng.permutation(count)[: steps * size].reshape(steps, size)
        for place, batch in enumerate(order):
            inputs, labels = training.inputs[batch], training.labels[batch]
            if lesson.swap_noise and design.fields:
                inputs = feed.swapped(inputs, training.inputs, lesson.swap_noise, rng)
            samples = jnp.asarray(inputs), jnp.asarray(labels)
            counted = jnp.asarray(weights[labels], jnp.float32)
            step_key = jax.random.fold_in(key, index * steps + place)
            factored, state = step(factored, state, *samples, counted, step_key)
        net = multiplied(design, factored)
        loss = mean_loss(design, lesson.loss, net, validation)
        # Every process must keep the network of the same pass.
        held_out = float(parallel.agreed(jnp.float32(loss)))
        if losses.lowest([held_out, best_loss]) == 0:
            best, best_loss = net, held_out
    return best, best_loss


def _optimizer(net: RateNetwork, clipping: float, steps: int) -> optax.GradientTransformation:
    """Adam with clipping, a schedule of so many steps, and steps in each array's unit."""
    of_contacts = RateNetwork(
        weights=jnp.mean(net.weights),
        current=jnp.float32(CURRENT_UNIT),
        readout=jnp.float32(READOUT_UNIT),
        bias=jnp.float32(READOUT_UNIT),
    )
    units = Factored(of_contacts=of_contacts, log_gains=jnp.float32(GAIN_UNIT))
    return optax.chain(
        optax.clip_by_global_norm(clipping),
        optax.scale_by_adam(),
        optax.scale_by_learning_rate(schedule.learning_rate(RATE, steps)),
        schedule.in_units(units),
    )


def _step(
    design: Design,
    lesson: Lesson,
    optimizer: optax.GradientTransformation,
    factored: Factored,
    state: Any,
    inputs: Array,
    labels: Array,
    weights: Array,
    key: Array,
) -> tuple[Factored, Any]:
    """The network and the optimiser's state after a step on some samples."""

    def loss(factored: Factored) -> Array:
        net = multiplied(design, factored)
        cell_rates = rates(design, net, inputs)
        if lesson.dropout:
            cell_rates = decode.dropped(cell_rates, 0.0, lesson.dropout, key)
        each = logits(design, net, cell_rates)
        return losses.of_microzones(lesson.loss, each, labels, weights)

    gradient: Any = jax.grad(loss)(factored)
    parameters: Any = factored
    updates, state = optimizer.update(gradient, state, parameters)
    factored = jax.tree.map(jnp.add, factored, updates)
    most = largest_weight(design) / _gains(design, factored)
    net = factored.of_contacts
    net = replace(net, weights=jnp.clip(net.weights, 0, most))
    return replace(factored, of_contacts=net), state


def largest_weight(design: Design) -> float:
    """The largest weight of a unit.

    While the mean weight is the initial one, `with_rate_network` makes of it the largest weight of
    a spiking cell; where the mean has fallen, it cuts what is above that.
    """
    return design.largest_weight / DRIVE * _mean_weight(design)


def _feature_count(design: Design) -> int:
    """F, and the groups as large as a feature's fields that silent fibres fill."""
    return -(-design.mossy_fibers // max(1, design.fields))


def _gains(design: Design, factored: Factored) -> Array:
    """The gain of each mossy fibre, [M, 1]."""
    gains = jnp.exp(jnp.clip(factored.log_gains, -MOST_LOG_GAIN, MOST_LOG_GAIN))
    return jnp.repeat(gains, max(1, design.fields))[: design.mossy_fibers, None]


def multiplied(design: Design, factored: Factored) -> RateNetwork:
    """The rate network whose weights are the products of both factors."""
    net = factored.of_contacts
    return replace(net, weights=net.weights * _gains(design, factored))


def _mean_weight(design: Design) -> float:
    """Mean initial weight."""
    return TOTAL / float(np.sqrt(design.mossy_fibers))


def mean_loss(design: Design, loss: str, net: RateNetwork, examples: Examples) -> float:
    """Mean loss of the answers to samples."""
    mean = jnp.asarray(answers(design, net, examples.inputs).mean(axis=0))
    return float(jnp.mean(losses.LOSSES[loss](mean, jnp.asarray(examples.labels))))


@partial(jax.jit, static_argnames="design")
def shares(design: Design, net: RateNetwork, inputs: Array) -> Array:
    """Mean rate of each cell in some ticks, as a share of that of all cells, [N]."""
    means = jnp.mean(rates(design, net, inputs), axis=0)
    return means / jnp.maximum(jnp.mean(means), 1e-9)


def with_rate_network(net: Net, learner: Learner, learned: RateNetwork) -> Learner:
    """The learner with the weights of a rate network, in mV.

    Its nuclear cells have no currents yet; `start.balance` finds those that give each cell its
    share of the mean rate.
    """
    sums = jnp.mean(jnp.sum(learned.weights, axis=0))
    scale = DRIVE * net.design.mossy_nuclei / jnp.maximum(sums, 1e-9)
    weights = {**learner.weights, "mossy_fiber_nuclei": scale * learned.weights}
    drive = {**learner.drive, "nuclei": jnp.zeros_like(learner.drive["nuclei"])}
    return network.bounded(net, replace(learner, weights=weights, drive=drive))


def spiking_readout(wanted: np.ndarray, spiking_rates: np.ndarray) -> Readout:
    """The readout with which spiking cells answer as units of rates do, by ridge regression.

    Answers of units have none of the noise of labels, so that the regression finds even what
    differs little from tick to tick.

    Args:
      wanted: logits from the units in some ticks, [n, C].
      spiking_rates: filtered rates of the cells at the end of the same ticks, [n, N].
    """
    count, cells = spiking_rates.shape
    centre = spiking_rates.mean(axis=0, dtype=np.float64)
    # Softmax hears no sum of logits.
    goal = wanted - wanted.mean(axis=1, keepdims=True)
    goal_centre = goal.mean(axis=0, dtype=np.float64)
    squares, products = np.zeros((cells, cells)), np.zeros((cells, goal.shape[1]))
    # In parts, because a copy of all rates may take gigabytes.
    for start in range(0, count, EVALUATED):
        at = slice(start, start + EVALUATED)
        some = (spiking_rates[at] - centre).astype(np.float32)
        squares += some.T @ some
        products += some.T @ (goal[at] - goal_centre).astype(np.float32)
    variance = np.diag(squares).mean() / count
    penalty = RIDGE * max(variance, 1e-9) * np.eye(cells)
    weights = np.linalg.solve(squares / count + penalty, products / count)
    scale = np.sqrt(np.diag(squares) / count).mean() + 1e-3
    return Readout(
        centre=jnp.asarray(centre, jnp.float32),
        scale=jnp.float32(scale),
        weights=jnp.asarray(scale * weights, jnp.float32),
        bias=jnp.asarray(goal_centre, jnp.float32),
        temperature=jnp.float32(1),
    )
