"""One update of each method of training: by gradients, climbing fibres or spike timing.

An update takes the state of a run and the samples of a step, and returns the state after it.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh

from cerebellum.learn import climbing, decode, losses, network, parallel, schedule, stdp
from cerebellum.learn.network import Carry, Design, Ends, Learner, Net
from cerebellum.learn.plan import Plan
from cerebellum.model.circuit import Circuit

OPTIMIZERS = {
    "adam": optax.scale_by_adam,
    "sgd": partial(optax.trace, decay=0.9),
    "rmsprop": optax.scale_by_rms,
}


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
