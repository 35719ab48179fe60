"""Save a training run as a checkpoint and restore it.

The checkpoint holds the circuit, what it has learned, the training plan, and which data it used.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.learn import encode, features, network, updates
from cerebellum.learn.network import Design, Learner, Net
from cerebellum.learn.plan import Plan
from cerebellum.learn.stdp import Timing
from cerebellum.learn.tasks.ticks import Task
from cerebellum.learn.updates import Training
from cerebellum.model.circuit import init
from cerebellum.model.surrogate import Surrogate
from cerebellum.store import Checkpoint, choice, names, old_draws, snapshot


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model, with everything that a prediction needs."""

    net: Net
    learner: Learner
    receptive: encode.Fields
    fields: features.Fields
    task: Task
    band: float
    """dead band of the task "h10" """


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run between two steps."""

    model: Model
    plan: Plan
    training: Training
    history: list[dict]
    step: int
    data: dict[str, Any]
    """identifies the ticks that the run learns from; a resumed run must have the same"""
    ended: bool
    """whether the run has come to its end"""


def tree(run: Run) -> dict[str, Any]:
    """The arrays of a run, for `store.write`."""
    circuit = run.model.net.circuit
    state = init(circuit, jax.random.key(run.plan.seed), spread=True)
    learned = network.with_learned(circuit, run.model.learner)
    more = {
        "learner": run.model.learner,
        "receptive": run.model.receptive,
        "training": run.training,
    }
    return snapshot.tree(learned, state, **more)


def about(run: Run, circuit: dict[str, Any]) -> dict[str, Any]:
    """The JSON values to store with the arrays.

    Args:
      circuit: `snapshot.about` of the net's circuit.
    """
    return {
        **circuit,
        "design": dataclasses.asdict(run.model.net.design),
        "plan": dataclasses.asdict(run.plan),
        "fields": dataclasses.asdict(run.model.fields),
        "task": run.model.task,
        "band": run.model.band,
        "history": run.history,
        "data": run.data,
        "ended": run.ended,
    }


def restore(checkpoint: Checkpoint) -> Run:
    """Restore the run of a checkpoint, bit for bit.

    Raises:
      UsageError: the checkpoint is not one of a training run, or of another version.
    """
    with snapshot.numbers_of(checkpoint):
        return _restore(checkpoint)


def _restore(checkpoint: Checkpoint) -> Run:
    about = checkpoint.about
    if "design" not in about:
        raise UsageError(f"{checkpoint.path}: no training run; a checkpoint of train")
    translated = names.translated(checkpoint.arrays, about)
    checkpoint = dataclasses.replace(checkpoint, arrays=translated)
    try:
        design = _design(about["design"])
        plan, fields = _plan(about["plan"]), features.Fields(**about["fields"])
    except TypeError as error:
        raise UsageError(f"{checkpoint.path}: {error}; of another version") from None
    net = network.build(design, jax.random.wrap_key_data(jnp.asarray(about["seed"], jnp.uint32)))
    if old_draws.is_old(about):
        net = dataclasses.replace(net, circuit=old_draws.redrawn(net.circuit))
    learner = network.begin(net, jax.random.key(0))
    training = updates.shape(plan, net, about["data"]["streams"])
    return Run(
        model=Model(
            net=net,
            learner=_arrays(learner, checkpoint, "learner"),
            receptive=_arrays(_receptive_fields(design.inputs), checkpoint, "receptive"),
            fields=fields,
            task=about["task"],
            band=about["band"],
        ),
        plan=plan,
        training=_arrays(training, checkpoint, "training"),
        history=list(about["history"]),
        step=checkpoint.step,
        data=about["data"],
        ended=about["ended"],
    )


def _design(values: dict[str, Any]) -> Design:
    """A design from its JSON values."""
    surrogate, choices = Surrogate(**values["surrogate"]), tuple(values["choices"])
    return Design(**{**values, "surrogate": surrogate, "choices": choices})


def _plan(values: dict[str, Any]) -> Plan:
    """A plan from its JSON values; those of earlier versions have no constants of STDP."""
    return Plan(**{**values, "stdp": Timing(**values.get("stdp", {}))})


def _receptive_fields(inputs: int) -> encode.Fields:
    """Receptive fields of the right shapes, as a template."""
    knots = jnp.zeros((inputs, encode.KNOTS), jnp.float32)
    return encode.Fields(knots=knots, blur=jnp.zeros(inputs, jnp.float32))


def _arrays(template: Any, checkpoint: Checkpoint, prefix: str) -> Any:
    """A tree like the template, with the arrays of a checkpoint below a prefix."""
    return jax.device_put(store.unflatten(template, checkpoint.arrays, prefix))


def load(run: str | Path) -> Run:
    """Restore the newest intact checkpoint of a training run.

    Raises:
      UsageError, FailedError: there is no checkpoint, or none is intact.
    """
    return read(choice.choose(run))


def read(path: Path) -> Run:
    """Restore a checkpoint of a training run that has been verified.

    Raises:
      UsageError, FailedError: it is of no training run, of another version, or cannot be read.
    """
    return restore(store.load(path, verify=False))
