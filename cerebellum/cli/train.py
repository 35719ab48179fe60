"""`cerebellar-norse train`: learn from ticks, resumably, in a directory of its own."""

import argparse
import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cerebellum import config, plot, store
from cerebellum.cli import processes
from cerebellum.config import Settings
from cerebellum.errors import FailedError, UsageError
from cerebellum.files import directory
from cerebellum.learn import network, parallel, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.tasks import ticks
from cerebellum.learn.train import Plan
from cerebellum.sim import shard
from cerebellum.store import learned, snapshot
from cerebellum.store.learned import Model, Run

GRANULES = 300
"""of a circuit whose configuration names no size: mossy fibres do most here, and it is fast"""
LEAST_STEPS = 1_000
"""Between checkpoints, where the configuration names no interval."""
STATUS_S = 1.0
AGREE = 8
"""Steps after which processes ask each other whether to save or to stop."""


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code.

    Raises:
      UsageError: before anything is computed: configuration, data, directory.
      FailedError: the loss is not finite, or the run would end with nothing saved.
    """
    with processes.joined(arguments, Path(arguments.out) / store.FOLDER) as devices:
        return _run(arguments, devices)


def _run(arguments: argparse.Namespace, devices: int) -> int:
    settings = config.load(arguments.config, _flags(arguments))
    console = Console(stderr=True, quiet=not processes.leads())
    out = directory(arguments.out)
    pattern = arguments.data or settings.training.data
    if pattern is None:
        raise UsageError("--data: missing; a CSV file of ticks, a folder of them, or a glob")
    folder = out / store.FOLDER
    found = store.newest(folder) if arguments.resume else None
    if store.steps(folder) and not arguments.resume:
        raise UsageError(f"--out: {out} has checkpoints; --resume goes on, another --out begins")
    began = time.perf_counter()
    stream = ticks.load(pattern, settings.training.columns)
    if stream.bad.rows:
        console.print(
            f"{stream.bad.rows} of {stream.bad.of} rows left out: {'; '.join(stream.bad.first)}"
        )
    if found is None:
        held, data = _new(settings, stream, arguments.task)
    else:
        held = learned.restore(found)
        data = ticks.prepare(stream, held.model.task, held.model.receptive, held.model.band)
        if _data(stream, data, held.data["streams"]) != held.data:
            raise UsageError(f"--data: {pattern}; not the ticks that {out} learned from")
    for warning in ticks.few(data):
        console.print(warning)
    feed = Ticks(data=data, size=held.data["streams"], seed=held.plan.seed)
    parallel.mesh(devices, feed.size)
    if held.training is None:
        held = dataclasses.replace(held, training=train.begin(held.plan, feed, held.model.net))
    resumed = None if found is None else found.step
    try:
        with _saved(folder, settings) as keep:
            held, stopped = _learn(held, feed, keep, settings, out, console, devices)
    except OSError as error:
        raise FailedError(f"{folder}: {error}; a disk with room") from None
    except FailedError as error:
        _failed(out, str(error))
        raise
    if not processes.leads():
        return 1 if stopped == "SIGINT" else 0
    result = {
        "run": str(out),
        "steps": held.step,
        "epochs": len(held.history),
        "seconds": time.perf_counter() - began,
        "resumed_from": resumed,
        "stopped": stopped,
        "final": held.history[-1] if held.history else {},
        "checkpoint": str(folder / f"{held.step:0{store.DIGITS}}"),
    }
    _write(out / "result.json", result)
    _write(out / "history.json", held.history)
    if held.history and not arguments.no_plots:
        plot.history(held.history).savefig(out / "history.png", dpi=130)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _report(result)
    return 1 if stopped == "SIGINT" else 0


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {
        "training.method": arguments.method,
        "training.epochs": arguments.epochs,
        "neural.seed": arguments.seed,
    }
    return {key: value for key, value in given.items() if value is not None}


def _new(settings: Settings, stream: ticks.Stream, task: ticks.Task) -> tuple[Any, ticks.Data]:
    """A run that has not begun; its training is yet to be made."""
    data = ticks.prepare(stream, task)
    training, neural = settings.training, settings.neural
    if training.method == "stdp":
        raise UsageError(
            "training.method: 'stdp'; train knows climbing_fiber, surrogate_gradient and hybrid "
            "(pair-based STDP is a rule of simulated circuits)"
        )
    given = "granule_size" in neural.model_fields_set
    sizes = {
        "granule": neural.granule_size if given else GRANULES,
        "golgi": neural.golgi_size,
        "purkinje": neural.purkinje_size,
        "nuclei": neural.dcn_size,
    }
    design = Design(
        inputs=data.ranks.shape[1],
        choices=ticks.CHOICES[task],
        steps=neural.steps_per_tick,
        dt=neural.dt,
        **{name: size for name, size in sizes.items() if size is not None},
    )
    plan = Plan(
        method=training.method,
        optimizer=training.optimizer,
        loss=training.loss,
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        gradient_clipping=training.gradient_clipping,
        gradient_checkpointing=training.gradient_checkpointing,
        early_stopping_patience=training.early_stopping_patience,
        balanced=training.class_weights == "balanced",
        plasticity=neural.learning_rate,
        seed=neural.seed,
    )
    net = network.build(design, jax.random.key(neural.seed))
    fresh = Model(
        net=net,
        learner=network.begin(net, jax.random.key(0)),
        receptive=data.receptive,
        fields=data.fields,
        task=task,
        band=data.band,
    )
    streams = max(1, min(training.batch_size, data.train.stop // 64))
    told = _data(stream, data, streams)
    begun: Any = Run(
        model=fresh,
        plan=plan,
        training=None,  # pyright: ignore[reportArgumentType]
        history=[],
        step=0,
        data=told,
        ended=False,
    )
    return begun, data


def _data(stream: ticks.Stream, data: ticks.Data, streams: int) -> dict[str, Any]:
    """What says that the ticks are the same."""
    digest = hashlib.sha256(np.ascontiguousarray(stream.price).data)
    digest.update(np.ascontiguousarray(data.ranks).data)
    return {"ticks": len(stream.price), "sha256": digest.hexdigest(), "streams": streams}


@contextmanager
def _saved(folder: Path, settings: Settings):
    """The store of a run; None where another process keeps it."""
    if not processes.leads():
        yield None
        return
    keep = store.Store(folder, keep=store.Keep(newest=settings.training.max_checkpoints))
    yield keep
    keep.close()


@contextmanager
def _stopping():
    """The names of signals that have asked to stop, as they come."""
    asked: list[str] = []

    def note(number, frame):
        asked.append(signal.Signals(number).name)

    before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _learn(
    held: Run,
    feed: Ticks,
    keep: store.Store | None,
    settings: Settings,
    out: Path,
    console: Console,
    devices: int,
) -> tuple[Run, str | None]:
    """Until the run has ended or is asked to stop: the run after it, and by which signal."""
    if held.ended:
        return held, None
    circuit = snapshot.about(held.model.net.circuit)
    exact = "checkpoint_interval" in settings.training.model_fields_set
    interval, least = settings.training.checkpoint_interval, 1 if exact else LEAST_STEPS
    saved, saved_step, shown = time.monotonic(), held.step, 0.0
    steps, started = held.plan.epochs * feed.steps, time.time()
    bar = Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with _stopping() as asked, bar:
        task = bar.add_task("", total=steps, completed=held.step, epoch=1, loss=float("nan"))
        net = held.model.net
        runs = train.run(held.plan, feed, net, held.training, held.history, held.step, devices)
        for training, seen in runs:
            held = dataclasses.replace(
                held,
                training=training,
                model=dataclasses.replace(held.model, learner=training.best),
                step=seen.step,
                ended=seen.ended,
            )
            bar.update(task, completed=seen.step, epoch=seen.epoch + 1, loss=seen.loss)
            now = time.monotonic()
            if now - shown > STATUS_S or seen.ended:
                shown = now
                _status(out, held, steps, seen.loss, started, "running")
            due = now - saved >= interval and seen.step - saved_step >= least
            if jax.process_count() > 1 and seen.step % AGREE and not seen.ended:
                continue
            due, stop = parallel.any_of([due, bool(asked)])
            if due and not (seen.ended or stop):
                saved, saved_step = now, seen.step
                _keep(keep, held, circuit)
            if stop:
                asked = asked or ["another process"]
                break
        held = dataclasses.replace(held, training=parallel.local(held.training))
        if held.ended:
            best = train.calibrate(feed, net, held.training.best)
            held = dataclasses.replace(held, model=dataclasses.replace(held.model, learner=best))
        if keep is not None:
            keep.wait()
        _keep(keep, held, circuit)
    state = "stopped" if asked and not held.ended else "completed"
    loss = held.history[-1]["loss"] if held.history else None
    _status(out, held, steps, loss, started, state)
    return held, asked[0] if asked and not held.ended else None


def _keep(keep: store.Store | None, held: Run, circuit: dict[str, Any]) -> None:
    """Save a run; of many processes each gives its part, and one saves."""
    training = jax.tree.map(shard.to_host, held.training)
    model = dataclasses.replace(held.model, learner=jax.tree.map(shard.to_host, held.model.learner))
    if keep is not None:
        whole = dataclasses.replace(held, training=training, model=model)
        keep.save(held.step, learned.tree(whole), learned.about(held, circuit))


def _status(out: Path, held: Run, steps: int, loss, started: float, state: str) -> None:
    """What the service says of the run; replaced at once, so that a reader sees all or the last."""
    last = held.history[-1] if held.history else {}
    done = {
        "id": out.name,
        "state": state,
        "progress": held.step / steps,
        "epoch": min(len(held.history) + 1, held.plan.epochs),
        "epochs": held.plan.epochs,
        "step": held.step,
        "steps": steps,
        "loss": loss,
        "validation_loss": last.get("validation_loss"),
        "validation_accuracy": last.get("validation_accuracy"),
        "learning_rate": held.plan.learning_rate,
        "method": held.plan.method,
        "history": held.history,
        "started": started,
        "updated": time.time(),
    }
    if jax.process_count() > 1:
        done |= {"process": jax.process_index(), "processes": jax.process_count()}
    _write(_status_file(out), done)


def _status_file(out: Path) -> Path:
    """Each process has its own; that of the first is the run's."""
    own = "" if processes.leads() else f"-{jax.process_index()}"
    return out / f"status{own}.json"


def _failed(out: Path, message: str) -> None:
    """The last status again, of a run that is over."""
    path = _status_file(out)
    last = json.loads(path.read_text()) if path.exists() else {"id": out.name, "progress": 0.0}
    _write(path, {**last, "state": "failed", "message": message, "updated": time.time()})


def _write(path: Path, value: Any) -> None:
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    work.replace(path)


def _report(result: dict[str, Any]) -> None:
    final = result["final"]
    stopped = f", stopped by {result['stopped']}: --resume goes on" if result["stopped"] else ""
    print(
        f"{result['epochs']} epochs, {result['steps']:,} steps, {result['seconds']:.0f} s{stopped}"
    )
    if final:
        print(
            f"loss {final['loss']:.4f}; validation: loss {final['validation_loss']:.4f}, "
            f"accuracy {final['validation_accuracy']:.1%}"
        )
    print(f"{result['run']}: {store.FOLDER}, history.json, status.json", file=sys.stdout)
