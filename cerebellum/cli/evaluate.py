"""`cerebellar-norse evaluate`: score a trained model next to simple baselines."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import config, plot
from cerebellum.cli import new_run
from cerebellum.errors import UsageError
from cerebellum.files import directory
from cerebellum.learn import decode, feed, online, score
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import ticks
from cerebellum.learn.tasks.ticks import Split
from cerebellum.store import learned
from cerebellum.store.learned import Model

COLUMNS = ("accuracy", "balanced_accuracy", "mcc", "auc", "log_loss")
"""Scores that the table shows."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
      UsageError: there is no model, the data do not fit it, or a part is not installed.
    """
    training_run = learned.load(arguments.model)
    model = training_run.model
    task = arguments.task or model.task
    if task != model.task:
        raise UsageError(f"--task: {task}; {arguments.model} learned {model.task}")
    stream = ticks.load(arguments.data, config.load(arguments.config).training.columns)
    if stream.bad.rows:
        print(stream.bad, file=sys.stderr)
    if stream.fields != model.fields:
        raise UsageError(
            f"--data: {arguments.data} has other columns than {arguments.model} learned from "
            f"({', '.join(model.fields.names)})"
        )
    validation = training_run.plan.validation_split
    data = ticks.prepare(stream, task, model.receptive, model.band, validation)
    split = data.test if arguments.split == "test" else Split(start=0, stop=data.test.stop)
    gains = None
    if arguments.online:
        gains, probabilities = learn_on(model, data, split, training_run.plan)
    else:
        probabilities = predict(model, data, split)
    result = judge(probabilities, stream, data, split)
    result = {"model": str(arguments.model), "task": task, "split": arguments.split, **result}
    result["online"] = arguments.online
    # What did not teach has no gain: null.
    result["gains"] = gains and jax.tree.map(lambda x: float(f"{x:.6g}"), vars(gains))
    result["seen"] = seen = _seen(training_run, stream, data, split)
    out = directory(arguments.out or str(Path(arguments.model) / _folder(arguments)))
    (out / "evaluation.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    picture = out / "evaluation.png"
    picture.unlink(missing_ok=True)  # Of an earlier evaluation, whose numbers are gone.
    if not arguments.no_plots:
        plot.evaluation(result, ax=plot.blank()).savefig(picture, dpi=130)
    if seen:
        print(
            f"--split all: {seen:,} of {result['samples']:,} samples taught this model or chose "
            "what it is; only --split test tells how it predicts",
            file=sys.stderr,
        )
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        names = "evaluation.json" if arguments.no_plots else "evaluation.json, evaluation.png"
        _show(result, f"{out}: {names}")
    return 0


def _seen(run: learned.Run, stream: ticks.Stream, data: ticks.Data, split: Split) -> int | None:
    """How many samples of a split a model was trained on or chosen by; None for other ticks."""
    if not new_run.learned_from(run, stream, data):
        return None
    return int(np.sum(data.asked(split) < data.validation.stop))


def _folder(arguments: argparse.Namespace) -> str:
    """The default folder of results: each kind of evaluation has its own."""
    split = "" if arguments.split == "test" else f"-{arguments.split}"
    return f"evaluation{split}{'-online' if arguments.online else ''}"


def predict(model: Model, data: ticks.Data, split: Split) -> np.ndarray:
    """Probabilities [n, 3] at the questions of a split, of a model that stays as it is."""
    rates = feed.run(model.net, model.learner, data.ranks, split)
    rates = rates[data.asked(split) - split.start]
    return np.asarray(decode.signals(model.learner.readout, jnp.asarray(rates))[0])


def learn_on(
    model: Model, data: ticks.Data, split: Split, plan: Plan
) -> tuple[online.Gains, np.ndarray]:
    """The gains of a model that learns from each outcome when it is known, and its probabilities.

    Args:
      plan: how the model was trained.

    Returns:
      The gains, and the probabilities [n, 3] at the questions of the split.
    """
    gains, learner = online.best(model.net, model.learner, data, data.validation, plan)
    if split.start < data.validation.stop:
        # What was learned in the validation split must not predict it.
        learner = model.learner
    _, probabilities = online.prequential(
        model.net, learner, data, split, gains, mixing=online.mixes(plan)
    )
    return gains, probabilities[data.asked(split) - split.start]


def judge(
    probabilities: np.ndarray, stream: ticks.Stream, data: ticks.Data, split: Split
) -> dict[str, Any]:
    """The scores of probabilities at the questions of a split, and of the baselines there."""
    questions = data.asked(split)
    labels = data.labels[questions].astype(int)
    guesses = score.guesses(probabilities, labels)
    baselines = score.baselines(stream, data, split)
    logistic = score.guesses(baselines["logistic"], labels)
    return {
        "samples": len(labels),
        **score.scores(probabilities, labels),
        "mcc_interval": score.bootstrap(labels, guesses),
        "mcc_above_logistic": score.bootstrap(labels, guesses, logistic),
        "baselines": {
            name: {
                **score.scores(baseline, labels),
                "mcc_interval": score.bootstrap(labels, score.guesses(baseline, labels)),
            }
            for name, baseline in baselines.items()
        },
        **score.details(probabilities, labels, data.day[questions]),
    }


def _show(result: dict[str, Any], where: str) -> None:
    """Print the table of scores, and where the results are."""
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("MCC, 95 %", justify="right")
    rows = {"this model": result, **result["baselines"]}
    for name, scores in rows.items():
        low, high = scores["mcc_interval"]
        numbers = ("" if scores[k] is None else f"{scores[k]:.3f}" for k in COLUMNS)
        table.add_row(name.replace("_", " "), *numbers, f"{low:.3f} to {high:.3f}")
    console = Console()
    console.print(table)
    low, high = result["mcc_above_logistic"]
    console.print(
        f"{result['samples']:,} samples; MCC above logistic regression: {low:.3f} to {high:.3f} "
        f"(95 %). Mostly microstructure, not money: a small part of the spread.\n{where}",
        highlight=False,
    )
