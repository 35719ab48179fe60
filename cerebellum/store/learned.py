"""A model that learns, as a checkpoint and back: the circuit, what it learned, how, from what."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import cerebellum as cb
from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.learn import encode, features, network, train
from cerebellum.learn.network import Design, Learner, Net
from cerebellum.learn.tasks.ticks import Task
from cerebellum.learn.train import Plan, Training
from cerebellum.model.surrogate import Surrogate
from cerebellum.store import Checkpoint, snapshot, tools


@dataclass(frozen=True, kw_only=True)
class Model:
    """What predicts."""

    net: Net
    learner: Learner
    receptive: encode.Fields
    fields: features.Fields
    task: Task
    band: float
    """dead band of h10"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A training run between two steps."""

    model: Model
    plan: Plan
    training: Training
    history: list[dict]
    step: int
    data: dict[str, Any]
    """which ticks it learns from: to be the same when it goes on"""
    ended: bool


def tree(run: Run) -> dict[str, Any]:
    """The arrays of a run, for `store.write`."""
    circuit = run.model.net.circuit
    state = cb.init(circuit, jax.random.key(run.plan.seed), spread=True)
    learned = network.with_learned(circuit, run.model.learner)
    more = {
        "learner": run.model.learner,
        "receptive": run.model.receptive,
        "training": run.training,
    }
    return snapshot.tree(learned, state, **more)


def about(run: Run, circuit: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside them; `circuit` is `snapshot.about` of the net's."""
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


def restore(found: Checkpoint) -> Run:
    """The run of a checkpoint, bit for bit.

    Raises:
      UsageError: it is none of `train`.
    """
    told = found.about
    if "design" not in told:
        raise UsageError(f"{found.path}: no training run; a checkpoint of train")
    try:
        given = dict(told["design"])
        design = Design(
            **{
                **given,
                "surrogate": Surrogate(**given["surrogate"]),
                "choices": tuple(given["choices"]),
            }
        )
        plan, fields = Plan(**told["plan"]), features.Fields(**told["fields"])
    except TypeError as error:
        raise UsageError(f"{found.path}: {error}; of another version") from None
    net = network.build(design, jax.random.wrap_key_data(jnp.asarray(told["seed"], jnp.uint32)))
    learner = network.begin(net, jax.random.key(0))
    learner = _arrays(learner, found, "learner")
    template = train.shape(plan, net, told["data"]["streams"])
    return Run(
        model=Model(
            net=net,
            learner=learner,
            receptive=_arrays(_receptive(design.inputs), found, "receptive"),
            fields=fields,
            task=told["task"],
            band=told["band"],
        ),
        plan=plan,
        training=_arrays(template, found, "training"),
        history=list(told["history"]),
        step=found.step,
        data=told["data"],
        ended=told["ended"],
    )


def _receptive(inputs: int) -> encode.Fields:
    """The shapes of receptive fields."""
    knots = jnp.zeros((inputs, encode.KNOTS), jnp.float32)
    return encode.Fields(knots=knots, blur=jnp.zeros(inputs, jnp.float32))


def _arrays(template: Any, found: Checkpoint, prefix: str) -> Any:
    return jax.tree.map(jnp.asarray, store.unflatten(template, found.arrays, prefix))


def load(run: str | Path) -> Run:
    """The newest intact checkpoint of a training run.

    Raises:
      UsageError, FailedError: none, or none that is intact.
    """
    return restore(store.load(tools.choose(run), verify=False))
