"""`cerebellar-norse train`: learn from ticks; the run has a directory and can be resumed."""

import argparse
import dataclasses
import json
import os
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cerebellum import config, configure, plot, store
from cerebellum.cli import new_run, processes
from cerebellum.config import Settings
from cerebellum.errors import FailedError, UsageError
from cerebellum.files import directory
from cerebellum.learn import parallel, readouts, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.tasks import ticks
from cerebellum.sim import shard
from cerebellum.store import learned, snapshot
from cerebellum.store.learned import Run

LEAST_STEPS = 1_000
"""Least steps between checkpoints, where the configuration names no interval."""
STATUS_S = 1.0
"""Time between updates of the status file, s."""
AGREEMENT_STEPS = 8
"""Steps after which the processes agree whether to save or to stop."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
      UsageError: the configuration, the data or the directory is wrong; raised before anything is
        computed.
      FailedError: the loss is not finite, or the run would end without being saved.
    """
    settings = config.load(arguments.config, _flags(arguments))
    configure.choose_device(settings)
    with processes.joined(arguments, Path(arguments.out) / store.FOLDER) as devices:
        configure.use_device(settings)
        return _run(arguments, settings, devices)


def _run(arguments: argparse.Namespace, settings: Settings, devices: int) -> int:
    console = Console(stderr=True, quiet=not processes.leads())
    out = directory(arguments.out)
    pattern = arguments.data or settings.training.data
    if pattern is None:
        raise UsageError("--data: missing; a CSV file of ticks, a folder of them, or a glob")
    folder = out / store.FOLDER
    checkpoint = store.newest(folder) if arguments.resume else None
    if store.steps(folder) and not arguments.resume:
        raise UsageError(f"--out: {out} has checkpoints; --resume goes on, another --out begins")
    start = time.perf_counter()
    stream = ticks.load(pattern, settings.training.columns)
    plain: Any = {"markup": False, "highlight": False, "soft_wrap": True}
    if arguments.resume and checkpoint is None:
        console.print(f"{folder}: no checkpoint; the run begins", **plain)
    if stream.bad.rows:
        console.print(str(stream.bad), **plain)
    if checkpoint is None:
        training_run, data = new_run.new(settings, stream, arguments.task or "event")
    else:
        training_run = learned.restore(checkpoint)
        model = training_run.model
        split = training_run.plan.validation_split
        data = ticks.prepare(stream, model.task, model.receptive, model.band, split)
    streams, window = new_run.batches_of(training_run)
    if checkpoint is not None:
        if not new_run.learned_from(training_run, stream, data):
            raise UsageError(f"--data: {pattern}; not the ticks that {out} learned from")
        differing = new_run.not_followed(settings, training_run, data, streams, window)
        for line in _as_it_began(arguments, training_run, differing):
            console.print(line, **plain)
    for warning in ticks.few(data):
        console.print(warning)
    plan = training_run.plan
    feed = Ticks(
        data=data,
        size=streams,
        window=window,
        swap_noise=plan.swap_noise,
        seed=plan.seed,
    )
    parallel.mesh(devices, feed.size)
    if training_run.training is None:
        training = train.begin(plan, feed, training_run.model.net)
        training_run = dataclasses.replace(training_run, training=training)
    try:
        with _open_store(folder, settings) as checkpoints:
            learning = Learning(settings, feed, devices, out, checkpoints, console)
            training_run, stopped_by = _learn(training_run, learning)
    except OSError as error:
        raise FailedError(f"{folder}: {error}; a disk with room") from None
    except FailedError as error:
        saved = store.steps(folder)
        kept = (
            f"the checkpoint of step {saved[0][0]} is from before" if saved else "nothing is saved"
        )
        message = f"{error} ({kept})"
        _write_failure(out, message)
        raise FailedError(message) from None
    if processes.leads():
        resumed_from = None if checkpoint is None else checkpoint.step
        seconds = time.perf_counter() - start
        _finish(arguments, out, training_run, seconds, resumed_from, stopped_by)
    return 1 if stopped_by == "SIGINT" else 0


def _finish(
    arguments: argparse.Namespace,
    out: Path,
    training_run: Run,
    seconds: float,
    resumed_from: int | None,
    stopped_by: str | None,
) -> None:
    """Write the result, the history and the picture of a run, and print the result."""
    history = training_run.history
    result = {
        "run": str(out),
        "steps": training_run.step,
        "epochs": len(history),
        "validation_split": training_run.plan.validation_split,
        "seconds": seconds,
        "resumed_from": resumed_from,
        "stopped": stopped_by,
        "final": history[-1] if history else {},
        "best_validation_loss": float(training_run.training.best_loss) if history else None,
        "checkpoint": str(out / store.FOLDER / f"{training_run.step:0{store.DIGITS}}"),
    }
    _write(out / "result.json", result)
    _write(out / "history.json", history)
    if history and not arguments.no_plots:
        plot.history(history, ax=plot.blank()).savefig(out / "history.png", dpi=130)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _report(result, history)


def _as_it_began(
    arguments: argparse.Namespace, training_run: Run, differing: dict[str, tuple[Any, Any]]
) -> list[str]:
    """Lines that say which settings a resumed run does not follow.

    Args:
      differing: the result of `new_run.not_followed`.

    Raises:
      UsageError: a flag asks for another run than the one that is there.
    """
    task = training_run.model.task
    flags = {
        f"--{key.partition('.')[2]}": differing[key]
        for key in _flags(arguments)
        if key in differing
    }
    if arguments.task not in (None, task):
        flags["--task"] = arguments.task, task
    if flags:
        flag, (asked, begun) = next(iter(flags.items()))
        raise UsageError(
            f"{flag}: {asked}; {begun}, as {arguments.out} began: --resume goes on with that, "
            "another --out begins"
        )
    return [
        f"{key}: {asked} is not followed; --resume goes on with {begun}, as the run began"
        for key, (asked, begun) in differing.items()
    ]


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """The flags that override the configuration, by key."""
    values = {
        "training.method": arguments.method,
        "training.epochs": arguments.epochs,
        "neural.seed": arguments.seed,
    }
    return {key: value for key, value in values.items() if value is not None}


@contextmanager
def _open_store(folder: Path, settings: Settings):
    """The store of a run, closed at the end; None where another process saves."""
    if not processes.leads():
        yield None
        return
    retention = store.Retention(newest=settings.training.max_checkpoints)
    checkpoints = store.Store(folder, retention=retention)
    try:
        yield checkpoints
    finally:
        checkpoints.close()


@contextmanager
def _stop_signals():
    """A list to which SIGTERM and SIGINT add their names when they arrive."""
    names: list[str] = []

    def note(number, frame):
        names.append(signal.Signals(number).name)

    handlers = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield names
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclasses.dataclass(frozen=True)
class Learning:
    """What a run learns from, and where it saves and reports."""

    settings: Settings
    feed: Ticks
    devices: int
    out: Path
    checkpoints: store.Store | None
    """None where another process saves"""
    console: Console


def _learn(training_run: Run, learning: Learning) -> tuple[Run, str | None]:
    """Train until the run has ended or a signal stops it.

    Returns:
      The run afterwards, and the name of the signal that stopped it, or None.
    """
    if training_run.ended:
        return training_run, None
    feed, out, checkpoints = learning.feed, learning.out, learning.checkpoints
    plan, net = training_run.plan, training_run.model.net
    settings = learning.settings.training
    circuit = snapshot.about(net.circuit)
    interval_s = settings.checkpoint_interval
    interval_is_set = "checkpoint_interval" in settings.model_fields_set
    least_steps = 1 if interval_is_set else LEAST_STEPS
    last_save, last_save_step, last_status = time.monotonic(), training_run.step, 0.0
    steps, started = plan.epochs * feed.steps, time.time()
    with _stop_signals() as signals, _progress_bar(learning.console) as bar:
        task = bar.add_task(
            "", total=steps, completed=training_run.step, epoch=1, loss=float("nan")
        )
        history, first_step = training_run.history, training_run.step
        for training, progress in train.run(
            plan, feed, net, training_run.training, history, first_step, learning.devices
        ):
            training_run = dataclasses.replace(
                training_run,
                training=training,
                model=dataclasses.replace(training_run.model, learner=training.best),
                step=progress.step,
                ended=progress.ended,
            )
            bar.update(task, completed=progress.step, epoch=progress.epoch + 1, loss=progress.loss)
            now = time.monotonic()
            if now - last_status > STATUS_S or progress.ended:
                last_status = now
                _write_status(out, training_run, steps, progress.loss, started, "running")
            due = now - last_save >= interval_s and progress.step - last_save_step >= least_steps
            if jax.process_count() > 1 and progress.step % AGREEMENT_STEPS and not progress.ended:
                continue
            due, stop = parallel.any_of([due, bool(signals)])
            if due and not (progress.ended or stop):
                last_save, last_save_step = now, progress.step
                _save(checkpoints, training_run, circuit)
            if stop:
                signals = signals or ["another process"]
                break
        training_run = dataclasses.replace(
            training_run, training=parallel.local(training_run.training)
        )
        if training_run.ended:
            training_run = _calibrate(training_run, feed)
        if checkpoints is not None:
            checkpoints.wait()
        _save(checkpoints, training_run, circuit)
    stopped_by = signals[0] if signals and not training_run.ended else None
    loss = training_run.history[-1]["loss"] if training_run.history else None
    state = "stopped" if stopped_by else "completed"
    _write_status(out, training_run, steps, loss, started, state)
    return training_run, stopped_by


def _calibrate(training_run: Run, feed: Ticks) -> Run:
    """The run with its best learner, calibrated on the validation data."""
    model = training_run.model
    learner = readouts.calibrate(feed, model.net, training_run.training.best)
    return dataclasses.replace(training_run, model=dataclasses.replace(model, learner=learner))


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _save(checkpoints: store.Store | None, training_run: Run, circuit: dict[str, Any]) -> None:
    """Save a run. Every process must call this: each contributes its shards, and one saves."""
    model = training_run.model
    training = jax.tree.map(shard.to_host, training_run.training)
    model = dataclasses.replace(model, learner=jax.tree.map(shard.to_host, model.learner))
    if checkpoints is not None:
        whole = dataclasses.replace(training_run, training=training, model=model)
        tree, about = learned.tree(whole), learned.about(training_run, circuit)
        checkpoints.save(training_run.step, tree, about)


def _write_status(
    out: Path, training_run: Run, steps: int, loss: float | None, started: float, state: str
) -> None:
    """Write the status file that the service reads; a reader sees a complete file at any time."""
    plan, history = training_run.plan, training_run.history
    last = history[-1] if history else {}
    status = {
        "id": out.name,
        "state": state,
        "progress": training_run.step / steps,
        "epoch": min(len(history) + 1, plan.epochs),
        "epochs": plan.epochs,
        "step": training_run.step,
        "steps": steps,
        "loss": loss,
        "validation_loss": last.get("validation_loss"),
        "validation_accuracy": last.get("validation_accuracy"),
        "learning_rate": plan.learning_rate,
        "method": plan.method,
        "history": history,
        "started": started,
        "updated": time.time(),
    }
    if jax.process_count() > 1:
        status |= {"process": jax.process_index(), "processes": jax.process_count()}
    _write(_status_file(out), status)


def _status_file(out: Path) -> Path:
    """The status file of this process; that of the first process describes the run."""
    suffix = "" if processes.leads() else f"-{jax.process_index()}"
    return out / f"status{suffix}.json"


def _write_failure(out: Path, message: str) -> None:
    """Change the last status to that of a run that has failed."""
    path = _status_file(out)
    try:
        status = json.loads(path.read_text())
    except (OSError, ValueError):
        status = {"id": out.name, "progress": 0.0}
    _write(path, {**status, "state": "failed", "message": message, "updated": time.time()})


def _write(path: Path, value: Any) -> None:
    """Write a JSON file; it replaces the old one at once."""
    work = path.with_name(f".{path.name}.{os.getpid()}")
    work.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n")
    work.replace(path)


def _report(result: dict[str, Any], history: list[dict]) -> None:
    """Print the result."""
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
    best = result["best_validation_loss"]
    if best is not None and best < min(epoch["validation_loss"] for epoch in history):
        print(f"the model is that of the start: its validation loss, {best:.4f}, is the lowest")
    print(f"{result['run']}: {store.FOLDER}, history.json, status.json", file=sys.stdout)
