"""A training run as the configuration describes it, and how far a resumed one departs from that."""

import hashlib
from typing import Any

import jax
import numpy as np

from cerebellum.config import Settings
from cerebellum.config.sections import Training
from cerebellum.errors import UsageError
from cerebellum.learn import encode, network, rate_network, start
from cerebellum.learn.feed import WINDOW, streams_of
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan, check_turns
from cerebellum.learn.stdp import Timing
from cerebellum.learn.tasks import ticks
from cerebellum.model.delays import GRID
from cerebellum.store.learned import Model, Run


def new(settings: Settings, stream: ticks.Stream, task: ticks.Task) -> tuple[Any, ticks.Data]:
    """A new run, with its data; its `training` is None until `train.begin` makes it.

    Raises:
      UsageError: settings that do not go together or do not suit the data.
    """
    training, seed = settings.training, settings.neural.seed
    data = ticks.prepare(
        stream, task, validation=training.validation_split, blur=training.rank_blur
    )
    if training.fields == 1 and training.field_width != encode.WIDTH:
        raise UsageError(
            f"training.field_width: {training.field_width:g}; {encode.WIDTH:g} with "
            "training.fields 1: only two fields or more to a feature have a width"
        )
    design = design_of(settings, data.ranks.shape[1], task)
    _check_microzones(training.microzones, design)
    _check_time(training, design)
    _check_largest_weight(training)
    plan = plan_of(settings)
    check_turns(plan.method, plan.epochs)
    net = network.build(design, jax.random.key(seed))
    model = Model(
        net=net,
        learner=network.begin(net, jax.random.key(0)),
        receptive=data.receptive,
        fields=data.fields,
        task=task,
        band=data.band,
    )
    streams = streams_of(data, training.batch_size)
    most = max(WINDOW, data.train.stop // streams // 2)
    if training.window > most:
        raise UsageError(
            f"training.window: {training.window}; at most {most} with {data.train.stop:,} ticks "
            f"to learn from in {streams} stretches (training.batch_size)"
        )
    run: Any = Run(
        model=model,
        plan=plan,
        training=None,  # pyright: ignore[reportArgumentType]
        history=[],
        step=0,
        data=identity(stream, data, streams, training.window),
        ended=False,
    )
    return run, data


def design_of(settings: Settings, features: int, task: ticks.Task) -> Design:
    """The circuit of a configuration for ticks of so many features."""
    training, neural = settings.training, settings.neural
    # The default of the configuration is that of a simulation, which is larger.
    configured = "granule_size" in neural.model_fields_set
    return Design(
        inputs=features,
        choices=ticks.CHOICES[task],
        fields=training.fields,
        width=training.field_width,
        code=training.code,
        burst=training.burst,
        tau=training.readout_tau,
        refractory=training.refractory,
        largest_weight=training.largest_weight,
        steps=neural.steps_per_tick,
        dt=neural.dt,
        granule=neural.granule_size if configured else Design.granule,
        golgi=neural.golgi_size or Design.golgi,
        purkinje=neural.purkinje_size or Design.purkinje,
        nuclei=neural.dcn_size or Design.nuclei,
    )


def plan_of(settings: Settings) -> Plan:
    """How a configuration trains."""
    training, neural = settings.training, settings.neural
    return Plan(
        method=training.method,
        optimizer=training.optimizer,
        loss=training.loss,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        gradient_clipping=training.gradient_clipping,
        gradient_checkpointing=training.gradient_checkpointing,
        validation_split=training.validation_split,
        early_stopping_patience=training.early_stopping_patience,
        balanced=training.class_weights == "balanced",
        microzones=training.microzones,
        swap_noise=training.swap_noise,
        dropout=training.dropout,
        rate_epochs=training.rate_epochs,
        rank_blur=training.rank_blur,
        plasticity=neural.learning_rate,
        stdp=Timing(**training.stdp.model_dump()),
        seed=neural.seed,
    )


def _check_microzones(asked: int, design: Design) -> None:
    """Raise `UsageError` where some microzones would lack a cell of a choice's zone."""
    most = design.nuclei // len(design.choices)
    if asked > max(1, most):
        raise UsageError(
            f"training.microzones: {asked}; at most {most} with {design.nuclei} nuclear cells "
            f"(neural.dcn_size) and {len(design.choices)} choices"
        )


def _check_largest_weight(training: Training) -> None:
    """Raise `UsageError` where a rate network's first weights would be above the largest."""
    least = 2 * rate_network.DRIVE
    if training.rate_epochs and training.largest_weight < least:
        raise UsageError(
            f"training.largest_weight: {training.largest_weight:g}; at least {least:g} with "
            "training.rate_epochs, whose network begins with weights up to that"
        )


def _check_time(training: Training, design: Design) -> None:
    """Raise `UsageError` where the times of a circuit do not suit its ticks and steps.

    Of a burst and a filter only what is given is checked.
    """
    steps, dt, given = design.steps, design.dt, training.model_fields_set
    if "burst" in given and design.burst > steps:
        raise UsageError(
            f"training.burst: {design.burst}; at most {steps}, the steps of a tick "
            "(neural.steps_per_tick)"
        )
    # The currents are found in ten ticks, by which a slower filter has not settled.
    if "readout_tau" in given and design.tau > 2 * steps * dt:
        raise UsageError(
            f"training.readout_tau: {design.tau:g} ms; at most {2 * steps * dt:g} ms, two ticks "
            "(neural.steps_per_tick, neural.dt)"
        )
    period = round(design.refractory / dt)
    if abs(design.refractory - period * dt) > GRID * dt:
        raise UsageError(
            f"training.refractory: {design.refractory:g} ms; a multiple of the step of {dt:g} ms "
            f"(neural.dt), such as {period * dt:g} ms"
        )
    wanted = network.RATES["nuclei"]
    if start.rate_limits(design)[1] <= wanted:
        most = int(start.SHARE_OF_FASTEST / wanted - 1)
        raise UsageError(
            f"training.refractory: {design.refractory:g} ms; at most {most * dt:g} ms, {most} "
            f"steps (neural.dt), so that nuclear cells can fire in {wanted:.0%} of the steps"
        )


def identity(stream: ticks.Stream, data: ticks.Data, streams: int, window: int) -> dict[str, Any]:
    """What identifies the ticks of a run: their number, a digest, and the shape of a batch."""
    digest = hashlib.sha256(np.ascontiguousarray(stream.price).data)
    digest.update(np.ascontiguousarray(data.ranks).data)
    return {
        "ticks": len(stream.price),
        "sha256": digest.hexdigest(),
        "streams": streams,
        "window": window,
    }


def batches_of(run: Run) -> tuple[int, int]:
    """How many stretches of the data a run shows side by side, and ticks of each in an update."""
    # Runs of older versions did not say their window.
    return run.data["streams"], run.data.get("window", WINDOW)


def learned_from(run: Run, stream: ticks.Stream, data: ticks.Data) -> bool:
    """Whether these are the ticks that a run learned from."""
    streams, window = batches_of(run)
    return identity(stream, data, streams, window) == {**run.data, "window": window}


def not_followed(
    settings: Settings, run: Run, data: ticks.Data, streams: int, window: int
) -> dict[str, tuple[Any, Any]]:
    """Settings that a resumed run does not follow, because it goes on as it began.

    Args:
      streams: stretches of the data that the run shows side by side.
      window: ticks of each in an update.

    Returns:
      Of each setting that is given and differs, the given value and that of the run.
    """
    plan, design = run.plan, run.model.net.design
    training = {
        "method": plan.method,
        "optimizer": plan.optimizer,
        "loss": plan.loss,
        "epochs": plan.epochs,
        "learning_rate": plan.learning_rate,
        "gradient_clipping": plan.gradient_clipping,
        "gradient_checkpointing": plan.gradient_checkpointing,
        "validation_split": plan.validation_split,
        "early_stopping_patience": plan.early_stopping_patience,
        "class_weights": "balanced" if plan.balanced else "none",
        "microzones": plan.microzones,
        "swap_noise": plan.swap_noise,
        "dropout": plan.dropout,
        "rate_epochs": plan.rate_epochs,
        "rank_blur": plan.rank_blur,
        "fields": design.fields,
        "field_width": design.width,
        "code": design.code,
        "burst": design.burst,
        "readout_tau": design.tau,
        "refractory": design.refractory,
        "largest_weight": design.largest_weight,
        "window": window,
    }
    neural = {
        "granule_size": design.granule,
        "golgi_size": design.golgi,
        "purkinje_size": design.purkinje,
        "dcn_size": design.nuclei,
        "steps_per_tick": design.steps,
        "dt": design.dt,
        "learning_rate": plan.plasticity,
        "seed": plan.seed,
    }
    found = {}
    for section, values in (("training", training), ("neural", neural)):
        given = getattr(settings, section)
        for name, value in values.items():
            asked = getattr(given, name)
            if name in given.model_fields_set and asked is not None and asked != value:
                found[f"{section}.{name}"] = asked, value
    given = settings.training
    if "batch_size" in given.model_fields_set and streams_of(data, given.batch_size) != streams:
        found["training.batch_size"] = given.batch_size, streams
    for name in sorted(given.stdp.model_fields_set):
        asked, value = getattr(given.stdp, name), getattr(plan.stdp, name)
        if asked != value:
            found[f"training.stdp.{name}"] = asked, value
    return found
