"""Training by gradients through spikes, by climbing fibres, by both in turns, or by spike timing.

A run is a pure function of its plan, its feed and its net. A run that is stopped between two steps
and resumed from `Training` gives the same bits as one that was never stopped. Every epoch ends with
an evaluation on the validation split, and the learner that is best there is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cerebellum.errors import FailedError
from cerebellum.learn import (
    decode,
    network,
    parallel,
    rate_network,
    readouts,
    spare_cells,
    start,
)
from cerebellum.learn.feed import Feed
from cerebellum.learn.network import Design, Learner, Net
from cerebellum.learn.plan import Plan, check_turns
from cerebellum.learn.updates import STEPS, Samples, Training, descend, started
from cerebellum.model import noise

ZONE_GAIN = 2.0
"""Factor on the weights of the zone readout, where zones are taught and not read by regression."""

NEVER = -100.0
"""Bias of a choice that is never answered."""


def begin(plan: Plan, feed: Feed, net: Net) -> Training:
    """The state of a run before its first step.

    The cells' rates are balanced. For training by gradients the weights from mossy fibres to
    nuclear cells are initialised by regression or by a rate network, and the readout follows.

    Raises:
      UsageError: a method of the plan would never have its turn.
    """
    check_turns(plan.method, plan.epochs)
    key = jax.random.key(plan.seed)
    inputs = feed.sample()
    learner = network.begin(net, key)
    carry = network.fresh(net, noise.of_use(key, "balance"), inputs.shape[1])
    shares = learned = best_loss = None
    if plan.descends and plan.rate_epochs:
        learned = _rate_network(plan, feed, net.design)
        shown = feed.examples()[0][:, -1]
        found = spare_cells.used(net.design, learned, shown, plan.seed)
        learned, factors = jax.tree.map(parallel.agreed, found)
        learner = rate_network.with_rate_network(net, learner, learned)
        # The ticks in which `balance` measures.
        ticks = inputs[len(inputs) // 2 :]
        ticks = jnp.asarray(ticks.reshape(-1, *inputs.shape[2:]))
        shares = factors * rate_network.shares(net.design, learned, ticks)
    elif plan.descends:
        examples, labels = feed.examples()
        traces = start.traces(net, examples)
        regression = start.regress(traces, labels, net.design.outputs, seed=plan.seed)
        lesson_key = noise.of_use(key, "jitter")
        learner = start.with_mossy_weights(net, learner, regression, lesson_key)
    learner = start.balance(net, learner, carry, inputs, shares)
    if learned is not None:
        readout, best_loss = readouts.fit_to_rates(net, learner, feed, plan, learned)
        learner = replace(learner, readout=readout)
    elif plan.descends:
        learner = replace(learner, readout=readouts.fit(net, learner, feed, plan))
    else:
        _, ends = network.respond(net.design, net.circuit, learner, carry, inputs)
        rates = ends.rates[-1:] if feed.resets else ends.rates
        readout = network.readout(net.design, rates)
        learner = replace(learner, readout=replace(readout, weights=ZONE_GAIN * readout.weights))
    if plan.method == "stdp":
        learner = readouts.calibrate(feed, net, _without_absent(net.design, learner))
    training = started(plan, net, learner, key, feed.size, plan.epochs * feed.steps)
    if best_loss is None:
        return training
    # The start is kept where no epoch has a lower loss.
    return replace(training, best_loss=jnp.float32(best_loss))


def _rate_network(plan: Plan, feed: Feed, design: Design) -> rate_network.RateNetwork:
    """The rate network from which a run starts; of each example it sees the last tick."""
    lesson = rate_network.Lesson(
        microzones=plan.microzones,
        loss=plan.loss,
        passes=plan.rate_epochs,
        swap_noise=plan.swap_noise,
        dropout=plan.dropout,
        clipping=plan.gradient_clipping,
        seed=plan.seed,
    )

    def examples(split: str) -> rate_network.Examples:
        inputs, labels = feed.examples(split)
        return rate_network.Examples(inputs=inputs[:, -1], labels=labels)

    weights = _class_weights(feed, design.outputs) if plan.balanced else None
    return rate_network.learn(design, lesson, examples("train"), examples("validation"), weights)


def _without_absent(design: Design, learner: Learner) -> Learner:
    """The learner with a readout that never answers what does not occur as a label."""
    absent = np.isin(np.arange(design.outputs), design.choices, invert=True)
    bias = jnp.where(absent, NEVER, learner.readout.bias)
    return replace(learner, readout=replace(learner.readout, bias=bias))


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come."""

    step: int
    """Number of steps that are done."""
    epoch: int
    """The epoch of the last step, from 0."""
    loss: float
    """Loss of the last step."""
    over: bool
    """Whether this step was the last of its epoch."""
    ended: bool
    """Whether this step was the last of the run."""


def run(
    plan: Plan,
    feed: Feed,
    net: Net,
    training: Training,
    history: list[dict],
    step: int = 0,
    devices: int = 1,
) -> Iterator[tuple[Training, Progress]]:
    """Train from a step on. Yields the run and its progress after each step.

    Args:
      training: the result of `begin`, or of a checkpoint; donated.
      history: figures of each epoch so far; the new epochs are appended.
      step: number of steps that are already done.
      devices: number of devices among which each batch is divided (see `parallel`). With many
        processes, every process calls this with the same arguments.

    Raises:
      UsageError: the devices cannot divide a batch evenly.
      FailedError: the loss is not finite. The last `Training` that was yielded is good.
    """
    steps = plan.epochs * feed.steps
    class_weights = _class_weights(feed, net.design.outputs) if plan.balanced else None
    mesh = parallel.mesh(devices, feed.size)
    key, circuit = jax.random.key(plan.seed), parallel.replicated(net.circuit, mesh)
    start_key = noise.of_use(key, "start")
    keys = {
        "climbing_fiber": noise.of_use(key, "climbing fibers"),
        "stdp": noise.of_use(key, "taught spikes"),
        "surrogate_gradient": noise.of_use(key, "dropout"),
    }
    training = _placed(training, mesh)
    while step < steps:
        epoch, index = divmod(step, feed.steps)
        if index == 0 or feed.resets:
            fresh = network.fresh(net, jax.random.fold_in(start_key, epoch), feed.size)
            training = replace(training, carry=parallel.divided(fresh, mesh))
        samples = _samples(feed, epoch, index, class_weights, mesh)
        method = plan.method_of(epoch)
        step_key = parallel.replicated(jax.random.fold_in(keys[method], step), mesh)
        if method in STEPS:
            gain_share = parallel.replicated(jnp.float32(1 - step / steps), mesh)
            training, loss = STEPS[method](
                net.design, plan, circuit, training, samples, step_key, gain_share, mesh
            )
        else:
            training, loss = descend(
                net.design, plan, steps, circuit, training, samples, step_key, mesh
            )
        value = float(loss)
        step += 1
        if not np.isfinite(value):
            raise FailedError(f"step {step}: the loss is {value}; a lower training.learning_rate")
        over = index + 1 == feed.steps
        ended = step == steps
        training = _placed(training, mesh)
        if over:
            training = _after_epoch(plan, feed, net, parallel.local(training), history, epoch)
            training = _placed(training, mesh)
            ended = ended or int(training.waited) >= plan.early_stopping_patience
        yield training, Progress(step=step, epoch=epoch, loss=value, over=over, ended=ended)
        if ended:
            return


def _samples(
    feed: Feed, epoch: int, index: int, class_weights: np.ndarray | None, mesh: Mesh | None
) -> Samples:
    """A batch of the feed on the devices, weighted by class where `class_weights` is not None."""
    batch = feed.batch(epoch, index)
    weights = batch.weights
    if class_weights is not None:
        weights = weights * class_weights[batch.labels]
    samples = Samples(
        inputs=jnp.asarray(batch.inputs),
        labels=jnp.asarray(batch.labels),
        weights=jnp.asarray(weights),
    )
    return parallel.divided(samples, mesh, axis=1)


def _placed(training: Training, mesh: Mesh | None) -> Training:
    """A run on the devices of a mesh: its circuits are divided, all else is replicated."""
    no_carry: Any = None
    replicated = parallel.replicated(replace(training, carry=no_carry), mesh)
    return replace(replicated, carry=parallel.divided(training.carry, mesh))


def _class_weights(feed: Feed, choices: int) -> np.ndarray:
    """Weights of samples by label with which every choice has the same total, float32 [C]."""
    counts = np.bincount(feed.examples()[1], minlength=choices)
    return (counts.sum() / (np.maximum(counts, 1) * (counts > 0).sum())).astype(np.float32)


def _after_epoch(
    plan: Plan, feed: Feed, net: Net, training: Training, history: list[dict], epoch: int
) -> Training:
    """The run after an epoch, with the best learner and the patience updated.

    Evaluates the learner on the validation split and appends the epoch's figures to `history`. By
    spike timing nothing learns how sharp the readout is, so it is calibrated before.
    """
    rates, labels = feed.rates(net, training.learner, "validation")
    if plan.method == "stdp":
        readout = readouts.calibrated(training.learner.readout, rates, labels)
        training = replace(training, learner=replace(training.learner, readout=readout))
    logits = decode.logits(training.learner.readout, jnp.asarray(rates))
    loss = readouts.mean_loss(plan.loss, training.learner.readout, rates, labels)
    better = loss < float(training.best_loss)
    history.append(
        {
            "epoch": epoch + 1,
            "loss": float(training.total / jnp.maximum(training.counted, 1)),
            "validation_loss": loss,
            "validation_accuracy": float(np.mean(np.argmax(logits, -1) == labels)),
            "by": plan.method_of(epoch),
        }
    )
    best = jax.tree.map(jnp.copy, training.learner) if better else training.best
    return replace(
        training,
        total=jnp.float32(0),
        counted=jnp.float32(0),
        best=best,
        best_loss=jnp.float32(loss) if better else training.best_loss,
        waited=jnp.int32(0) if better else training.waited + 1,
    )
