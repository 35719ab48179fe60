"""Training: gradients through spikes, climbing fibres, or both in turns.

A run is a pure function of its plan, its feed and its net: stopped anywhere between two steps and
gone on with from `Training`, it gives the same bits. Every epoch ends with a look at the
validation part, whose best learner is what is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array
from jax.sharding import Mesh

from cerebellum.errors import FailedError, UsageError
from cerebellum.learn import climbing, decode, losses, network, parallel, start
from cerebellum.learn.feed import Feed
from cerebellum.learn.network import Carry, Design, Learner, Net
from cerebellum.model.circuit import Circuit

Method = Literal["surrogate_gradient", "climbing_fiber", "hybrid"]
METHODS = get_args(Method)

OPTIMIZERS = {
    "adam": optax.scale_by_adam,
    "sgd": partial(optax.trace, decay=0.9),
    "rmsprop": optax.scale_by_rms,
}
WARM_UP = 0.05
"""share of a run's steps in which the learning rate rises"""
LAST = 0.02
"""share of the learning rate that is left at the end"""
ZONE_GAIN = 2.0
"""of the readout that climbing fibres teach for"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train; static. Names and meanings as in the configuration's `[training]`."""

    method: Method = "surrogate_gradient"
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    loss: Literal["cross_entropy", "mse", "mae", "huber"] = "cross_entropy"
    epochs: int = 10
    learning_rate: float = 1e-2
    """a step of a weight, as a share of its mean"""
    gradient_clipping: float = 1.0
    gradient_checkpointing: bool = True
    early_stopping_patience: int = 5
    balanced: bool = False
    """whether rare choices count for more, as much as common ones together"""
    plasticity: float = 2e-4
    """`neural.learning_rate`: of climbing fibres"""
    seed: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise UsageError(f"training.method: {self.method!r}; one of {', '.join(METHODS)}")

    def climbs(self, epoch: int) -> bool:
        """Whether an epoch is taught by climbing fibres."""
        odd = self.method == "hybrid" and epoch % 2 == 1 and epoch < self.epochs - 1
        return self.method == "climbing_fiber" or odd


@struct.dataclass(kw_only=True)
class Training:
    """A run between two steps: all that it needs to go on, but for its feed and its net."""

    learner: Learner
    optimizer: Any
    carry: Carry
    total: Array
    """of losses in this epoch"""
    counted: Array
    """samples that they were of"""
    best: Learner
    best_loss: Array
    """of the validation part"""
    waited: Array
    """epochs since, int32"""


@struct.dataclass(kw_only=True)
class Samples:
    """What one step learns from, on the device: see `feed.Batch`."""

    inputs: Array
    """[L, B, ...]"""
    labels: Array
    """int32 [L, B]"""
    weights: Array
    """float32 [L, B]; 0 where nothing is asked"""


def optimizer_of(plan: Plan, net: Net, steps: int) -> optax.GradientTransformation:
    """Clipping, the optimiser, the schedule, and steps in each weight's own unit."""
    warm = max(1, round(WARM_UP * steps))
    rate = optax.warmup_cosine_decay_schedule(
        0.0, plan.learning_rate, warm, max(steps, warm + 1), LAST * plan.learning_rate
    )
    units = network.units(net)

    in_units = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, units))
    return optax.chain(
        # Of what is learned in its own unit, so that clipping does not depend on millivolts.
        in_units,
        optax.clip_by_global_norm(plan.gradient_clipping),
        OPTIMIZERS[plan.optimizer](),
        optax.scale_by_learning_rate(rate),
        in_units,
    )


def shape(plan: Plan, net: Net, size: int) -> Training:
    """What a run looks like between two steps: shapes and types of its arrays.

    Args:
      size: circuits side by side.
    """

    learner: Any = network.begin(net, jax.random.key(0))

    def empty() -> Training:
        return Training(
            learner=learner,
            optimizer=optimizer_of(plan, net, 1).init(learner),
            carry=network.fresh(net, jax.random.key(0), size),
            total=jnp.float32(0),
            counted=jnp.float32(0),
            best=learner,
            best_loss=jnp.float32(0),
            waited=jnp.int32(0),
        )

    return jax.eval_shape(empty)


def begin(plan: Plan, feed: Feed, net: Net) -> Training:
    """A run that has not begun: cells balanced, and for gradients the first lesson learned."""
    key = jax.random.key(plan.seed)
    inputs = feed.sample()
    learner = network.begin(net, key)
    carry = network.fresh(net, jax.random.fold_in(key, 1), inputs.shape[1])
    if plan.method != "climbing_fiber":
        given, labels = feed.examples()
        found = start.regress(start.traces(net, given), labels, net.design.outputs, seed=plan.seed)
        learner = start.mossy_lesson(net, learner, found, jax.random.fold_in(key, 2))
    learner = start.balance(net, learner, carry, inputs)
    if plan.method == "climbing_fiber":
        _, ends = network.respond(net.design, net.circuit, learner, carry, inputs)
        rates = ends.rates[-1:] if feed.apart else ends.rates
        readout = network.readout(net.design, rates)
        learner = replace(learner, readout=replace(readout, weights=ZONE_GAIN * readout.weights))
    else:
        learner = replace(learner, readout=fit_readout(net, learner, feed, plan.seed))
    held: Any = learner
    return Training(
        learner=learner,
        optimizer=optimizer_of(plan, net, plan.epochs * feed.steps).init(held),
        carry=network.fresh(net, key, feed.size),
        total=jnp.float32(0),
        counted=jnp.float32(0),
        best=jax.tree.map(jnp.copy, learner),
        # Finite, as everything in a model that is valid.
        best_loss=jnp.float32(jnp.finfo(jnp.float32).max),
        waited=jnp.int32(0),
    )


def fit_readout(net: Net, learner: Learner, feed: Feed, seed: int) -> decode.Readout:
    """The readout that softmax regression on the nuclear rates of the first part gives."""
    rates, labels = feed.rates(net, learner, "train")
    held = jnp.asarray(rates)
    return start.regress(lambda at: held[at], labels, net.design.outputs, rate=1e-2, seed=seed)


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
    mesh: Mesh | None = None,
) -> tuple[Training, Array]:
    """One step of `steps` down the gradient: the run after it, and the loss."""
    net = Net(design, circuit)

    def loss(learner: Learner):
        segment = 1 if plan.gradient_checkpointing else 0
        operands = network.with_learned(circuit, learner), training.carry, batch.inputs
        carry, ends = parallel.unroll(mesh, design, *operands, segment)
        logits = decode.logits(learner.readout, ends.rates)
        each = losses.LOSSES[plan.loss](logits, batch.labels)
        return losses.mean(each, batch.weights), carry

    (value, carry), gradient = jax.value_and_grad(loss, has_aux=True)(training.learner)
    held: Any = training.learner
    updates, state = optimizer_of(plan, net, steps).update(gradient, training.optimizer, held)
    moved = jax.tree.map(jnp.add, training.learner, updates)
    learner = network.bounded(net, moved)
    return _after(training, learner, carry, value, batch.weights, optimizer=state), value


@partial(jax.jit, static_argnames=("design", "plan", "mesh"), donate_argnames=("training",))
def climb(
    design: Design,
    plan: Plan,
    circuit: Circuit,
    training: Training,
    batch: Samples,
    key: Array,
    left: Array,
    mesh: Mesh | None = None,
) -> tuple[Training, Array]:
    """One step of climbing-fibre learning: the run after it, and the loss.

    Args:
      left: share of the gain that is left, 1 falling to 0 over a run.
    """
    net, learner = Net(design, circuit), training.learner
    operands = network.with_learned(circuit, learner), training.carry, batch.inputs
    carry, ends = parallel.unroll(mesh, design, *operands, 0)
    logits = decode.logits(learner.readout, ends.rates)
    value = losses.mean(losses.LOSSES[plan.loss](logits, batch.labels), batch.weights)

    def flat(x: Array) -> Array:
        return x.reshape(-1, *x.shape[2:])

    errors = climbing.by_zone(net, climbing.error(flat(logits), flat(batch.labels)))
    traces: Any = jax.tree.map(flat, ends.traces)
    gain = plan.plasticity * left
    learner = climbing.teach(net, learner, traces, errors, flat(batch.weights), gain, key)
    return _after(training, learner, carry, value, batch.weights), value


def _after(training: Training, learner, carry, value, weights, **changes: Any) -> Training:
    count = jnp.sum(weights)
    return replace(
        training,
        learner=learner,
        carry=carry,
        total=training.total + value * count,
        counted=training.counted + count,
        **changes,
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Where a run is."""

    step: int
    """done"""
    epoch: int
    """under way, or just over"""
    loss: float
    over: bool
    """whether this step was the epoch's last"""
    ended: bool
    """whether it was the run's last"""


def run(
    plan: Plan,
    feed: Feed,
    net: Net,
    training: Training,
    history: list[dict],
    step: int = 0,
    devices: int = 1,
) -> Iterator[tuple[Training, Seen]]:
    """Train from a step on: the run after each, and where it is.

    Args:
      training: of `begin`, or of a checkpoint; donated.
      history: what each epoch before was like; this adds to it.
      step: done before.
      devices: among how many each batch is divided (see `parallel`). Of many processes, every one
        runs this alike.

    Raises:
      UsageError: a batch that so many devices cannot divide.
      FailedError: the loss is not finite; the last that was yielded is good.
    """
    steps = plan.epochs * feed.steps
    factor = _balance(feed, net.design.outputs) if plan.balanced else None
    mesh = parallel.mesh(devices, feed.size)
    key, circuit = jax.random.key(plan.seed), parallel.everywhere(net.circuit, mesh)
    training = _laid(training, mesh)
    while step < steps:
        epoch, index = divmod(step, feed.steps)
        if index == 0 or feed.apart:
            fresh = network.fresh(net, jax.random.fold_in(key, 1_000 + epoch), feed.size)
            training = replace(training, carry=parallel.divided(fresh, mesh))
        batch = feed.batch(epoch, index)
        weights = batch.weights if factor is None else batch.weights * factor[batch.labels]
        samples = Samples(
            inputs=jnp.asarray(batch.inputs),
            labels=jnp.asarray(batch.labels),
            weights=jnp.asarray(weights),
        )
        samples = parallel.divided(samples, mesh, axis=1)
        if plan.climbs(epoch):
            left = parallel.everywhere(jnp.float32(1 - step / steps), mesh)
            once = parallel.everywhere(jax.random.fold_in(key, step), mesh)
            training, loss = climb(net.design, plan, circuit, training, samples, once, left, mesh)
        else:
            training, loss = descend(net.design, plan, steps, circuit, training, samples, mesh)
        value = float(loss)
        step += 1
        if not np.isfinite(value):
            raise FailedError(
                f"step {step}: the loss is {value}; the last checkpoint is good "
                "(a lower training.learning_rate)"
            )
        over = index + 1 == feed.steps
        ended = step == steps
        training = _laid(training, mesh)
        if over:
            looked = _look(plan, feed, net, parallel.own(training), history, epoch)
            training = _laid(looked, mesh)
            ended = ended or int(training.waited) >= plan.early_stopping_patience
        yield training, Seen(step=step, epoch=epoch, loss=value, over=over, ended=ended)
        if ended:
            return


def _laid(training: Training, mesh: Mesh | None) -> Training:
    """A run between two steps on many devices: its circuits divided, all else everywhere."""
    carry: Any = None
    shared = parallel.everywhere(replace(training, carry=carry), mesh)
    return replace(shared, carry=parallel.divided(training.carry, mesh))


def _balance(feed: Feed, choices: int) -> np.ndarray:
    counts = np.bincount(feed.examples()[1], minlength=choices)
    return (counts.sum() / (np.maximum(counts, 1) * (counts > 0).sum())).astype(np.float32)


def _look(plan: Plan, feed: Feed, net: Net, training: Training, history, epoch: int) -> Training:
    """The validation part after an epoch: history, the best learner, patience."""
    rates, labels = feed.rates(net, training.learner, "validation")
    logits = decode.logits(training.learner.readout, jnp.asarray(rates))
    loss = parallel.agreed(jnp.mean(losses.LOSSES[plan.loss](logits, jnp.asarray(labels))))
    better = bool(loss < training.best_loss)
    history.append(
        {
            "epoch": epoch + 1,
            "loss": float(training.total / jnp.maximum(training.counted, 1)),
            "validation_loss": float(loss),
            "validation_accuracy": float(np.mean(np.argmax(logits, -1) == labels)),
            "by": "climbing_fiber" if plan.climbs(epoch) else "surrogate_gradient",
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


def calibrate(feed: Feed, net: Net, learner: Learner) -> Learner:
    """The learner with the temperature that makes validation likeliest (Guo et al. 2017)."""
    rates, labels = feed.rates(net, learner, "validation")
    logits = decode.logits(replace(learner.readout, temperature=jnp.float32(1)), jnp.asarray(rates))

    def loss(log_temperature: Array) -> Array:
        return jnp.mean(
            losses.cross_entropy(logits / jnp.exp(log_temperature), jnp.asarray(labels))
        )

    tried = jnp.linspace(-1.5, 3.0, 181)
    best = tried[jnp.argmin(jax.lax.map(loss, tried))]
    return replace(learner, readout=replace(learner.readout, temperature=jnp.exp(best)))
