"""Training by gradients through spikes, by climbing fibres, by both in turns, or by spike timing.

A run is a pure function of its plan, its feed and its net. A run that is stopped between two steps
and resumed from `Training` gives the same bits as one that was never stopped. Every epoch ends with
an evaluation on the validation split, and the learner that is best there is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh

from cerebellum.errors import FailedError
from cerebellum.learn import (
    climbing,
    decode,
    losses,
    network,
    parallel,
    rate_network,
    readouts,
    schedule,
    spare_cells,
    start,
    stdp,
)
from cerebellum.learn.feed import Feed
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net
from cerebellum.learn.plan import Plan
from cerebellum.model import noise
from cerebellum.model.circuit import Circuit

OPTIMIZERS = {
    "adam": optax.scale_by_adam,
    "sgd": partial(optax.trace, decay=0.9),
    "rmsprop": optax.scale_by_rms,
}
ZONE_GAIN = 2.0
"""Factor on the weights of the zone readout, where zones are taught and not read by regression."""

NEVER = -100.0
"""Bias of a choice that is never answered."""


@struct.dataclass(kw_only=True)
class Training:
    """The state of a run between two steps. With plan, feed and net a run can resume from it."""

    learner: Learner
    optimizer: Any
    carry: Carry
    total: Array
    """Sum of the losses of samples in this epoch."""
    counted: Array
    """Number of these samples, by weight."""
    best: Learner
    """The learner with the lowest validation loss so far."""
    best_loss: Array
    """Its loss on the validation split."""
    waited: Array
    """Epochs since then, int32."""


@struct.dataclass(kw_only=True)
class Samples:
    """The samples of one step, on the device: see `feed.Batch`."""

    inputs: Array
    """[L, B, ...]"""
    labels: Array
    """int32 [L, B]"""
    weights: Array
    """float32 [L, B]; 0 where there is no label"""


def optimizer_of(plan: Plan, net: Net, steps: int) -> optax.GradientTransformation:
    """The optimiser of a run, with clipping, the schedule, and steps in each weight's unit.

    Args:
      steps: number of steps of the run.
    """
    in_units = schedule.in_units(network.units(net))
    return optax.chain(
        # Gradients are in each array's unit, so that clipping does not depend on millivolts.
        in_units,
        optax.clip_by_global_norm(plan.gradient_clipping),
        OPTIMIZERS[plan.optimizer](),
        optax.scale_by_learning_rate(schedule.learning_rate(plan.learning_rate, steps)),
        in_units,
    )


def shape(plan: Plan, net: Net, size: int) -> Training:
    """A `Training` of shapes and dtypes, without values.

    Args:
      size: number of circuits side by side.
    """

    key = jax.random.key(0)
    learner = network.begin(net, key)
    return jax.eval_shape(lambda: started(plan, net, learner, key, size, 1))


def started(plan: Plan, net: Net, learner: Learner, key: Array, size: int, steps: int) -> Training:
    """The state of a run before its first step, from a learner.

    Args:
      key: of the initial states of the circuits.
      size: number of circuits side by side.
      steps: number of steps of the run.
    """
    parameters: Any = learner
    return Training(
        learner=learner,
        optimizer=optimizer_of(plan, net, steps).init(parameters),
        carry=network.fresh(net, key, size),
        total=jnp.float32(0),
        counted=jnp.float32(0),
        best=jax.tree.map(jnp.copy, learner),
        # Finite, because every array of a valid model must be.
        best_loss=jnp.float32(jnp.finfo(jnp.float32).max),
        waited=jnp.int32(0),
    )


def begin(plan: Plan, feed: Feed, net: Net) -> Training:
    """The state of a run before its first step.

    The cells' rates are balanced. For training by gradients the weights from mossy fibres to
    nuclear cells are initialised by regression or by a rate network, and the readout follows.
    """
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


@partial(
    jax.jit,
    static_argnames=("design", "plan", "steps", "mesh"),
    donate_argnames=("training",),
)
def descend(
    design: Design,
    plan: Plan,
    steps: int,
    circuit: Circuit,
    training: Training,
    batch: Samples,
    key: Array,
    mesh: Mesh | None = None,
) -> tuple[Training, Array]:
    """One step down the gradient, of `steps` in the run. Returns the run after it and the loss."""
    net = Net(design, circuit)

    def loss(learner: Learner):
        segment = 1 if plan.gradient_checkpointing else 0
        operands = network.with_learned(circuit, learner), training.carry, batch.inputs
        carry, ends = parallel.unroll(mesh, design, *operands, segment)
        rates = _heard(plan, learner.readout, ends.rates, key)
        return _microzone_loss(plan, design, learner, rates, batch), carry

    (value, carry), gradient = jax.value_and_grad(loss, has_aux=True)(training.learner)
    parameters: Any = training.learner
    optimizer = optimizer_of(plan, net, steps)
    updates, state = optimizer.update(gradient, training.optimizer, parameters)
    updated = jax.tree.map(jnp.add, training.learner, updates)
    learner = network.bounded(net, updated)
    return _after_step(training, learner, carry, value, batch.weights, optimizer=state), value


def _loss(plan: Plan, learner: Learner, ends: Ends, batch: Samples) -> tuple[Array, Array]:
    """The logits of the readout, [L, B, C], and the mean loss of the samples."""
    logits = decode.logits(learner.readout, ends.rates)
    return logits, losses.mean(losses.LOSSES[plan.loss](logits, batch.labels), batch.weights)


def _heard(plan: Plan, readout: decode.Readout, rates: Array, key: Array) -> Array:
    """Nuclear rates [L, B, N] with `plan.dropout` of them at their mean, the others the further
    from theirs, so that the mean of the logits remains."""
    return decode.dropped(rates, readout.centre, plan.dropout, key) if plan.dropout else rates


def _microzone_loss(
    plan: Plan, design: Design, learner: Learner, rates: Array, batch: Samples
) -> Array:
    """The mean over microzones of the mean loss of each alone, from nuclear rates [L, B, N]."""
    zones = design.microzone(design.nuclei, plan.microzones)
    logits = decode.microzone_logits(learner.readout, rates, zones)
    return losses.of_microzones(plan.loss, logits, batch.labels, batch.weights)


def _answer(
    design: Design,
    circuit: Circuit,
    training: Training,
    batch: Samples,
    mesh: Mesh | None,
    trains: bool = False,
) -> tuple[Carry, Ends]:
    """Run the samples of a step without a gradient; see `network.unroll`."""
    learned = network.with_learned(circuit, training.learner)
    return parallel.unroll(mesh, design, learned, training.carry, batch.inputs, 0, trains)


@partial(jax.jit, static_argnames=("design", "plan", "mesh"), donate_argnames=("training",))
def climb(
    design: Design,
    plan: Plan,
    circuit: Circuit,
    training: Training,
    batch: Samples,
    key: Array,
    gain_share: Array,
    mesh: Mesh | None = None,
) -> tuple[Training, Array]:
    """One step of climbing-fibre learning. Returns the run after it and the loss.

    Args:
      gain_share: factor on the gain, which falls from 1 to 0 over a run.
    """
    net, learner = Net(design, circuit), training.learner
    carry, ends = _answer(design, circuit, training, batch, mesh)
    logits, value = _loss(plan, learner, ends, batch)

    def flat(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])

    errors = climbing.by_zone(net, climbing.error(flat(logits), flat(batch.labels)))
    traces: Any = jax.tree.map(flat, ends.traces)
    gain = plan.plasticity * gain_share
    learner = climbing.teach(net, learner, traces, errors, flat(batch.weights), gain, key)
    return _after_step(training, learner, carry, value, batch.weights), value


@partial(jax.jit, static_argnames=("design", "plan", "mesh"), donate_argnames=("training",))
def associate(
    design: Design,
    plan: Plan,
    circuit: Circuit,
    training: Training,
    batch: Samples,
    key: Array,
    gain_share: Array,
    mesh: Mesh | None = None,
) -> tuple[Training, Array]:
    """One step of learning by spike timing. Arguments and results are those of `climb`."""
    net, learner = Net(design, circuit), training.learner
    carry, ends = _answer(design, circuit, training, batch, mesh, trains=True)
    _, value = _loss(plan, learner, ends, batch)

    # [L, B, S, N] as [T, B, N], and [L, S, B, M] as [T, B, M].
    nuclei: Any = ends.nuclei
    fired = jnp.moveaxis(nuclei, 2, 1)
    mossy = jax.vmap(partial(network.sense, design))(batch.inputs)
    fired, mossy = (x.reshape(-1, *x.shape[2:]) for x in (fired, mossy))
    shares = batch.weights / jnp.maximum(1, jnp.sum(batch.weights))
    shares = jnp.repeat(shares, design.steps, axis=0)[..., None]
    post = shares * (stdp.teaching_spikes(design, batch.labels, key) - fired)
    learner = stdp.teach(net, learner, plan.stdp, mossy, post, gain_share)
    return _after_step(training, learner, carry, value, batch.weights), value


STEPS = {"climbing_fiber": climb, "stdp": associate}
"""The step of each method that has no gradient."""


def _after_step(
    training: Training, learner: Learner, carry: Carry, loss: Array, weights: Array, **changes: Any
) -> Training:
    """The run after a step, with the step's mean loss added to the epoch's sum."""
    count = jnp.sum(weights)
    return replace(
        training,
        learner=learner,
        carry=carry,
        total=training.total + loss * count,
        counted=training.counted + count,
        **changes,
    )


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
