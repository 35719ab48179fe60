"""`cerebellar-norse evaluate`: how well a trained model foretells, beside simple models."""

import argparse
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import plot
from cerebellum.errors import UsageError
from cerebellum.files import directory
from cerebellum.learn import decode, feed, online, score
from cerebellum.learn.tasks import ticks
from cerebellum.learn.tasks.ticks import Split
from cerebellum.store import learned
from cerebellum.store.learned import Model

SHOWN = ("accuracy", "balanced_accuracy", "mcc", "auc", "log_loss")


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code.

    Raises:
      UsageError: no model, other data than it can read, no scikit-learn.
    """
    held = learned.load(arguments.model)
    trained = held.model
    task = arguments.task or trained.task
    if task != trained.task:
        raise UsageError(f"--task: {task}; {arguments.model} learned {trained.task}")
    stream = ticks.load(arguments.data)
    if stream.fields != trained.fields:
        raise UsageError(
            f"--data: {arguments.data} has other columns than {arguments.model} learned from "
            f"({', '.join(trained.fields.names)})"
        )
    data = ticks.prepare(stream, task, trained.receptive, trained.band)
    part = data.test if arguments.split == "test" else Split(start=0, stop=data.test.stop)
    chances = predict(trained, data, part, arguments.online, held.plan.plasticity)
    result = judge(chances, stream, data, part)
    result = {"model": str(arguments.model), "task": task, "split": arguments.split, **result}
    result["online"] = arguments.online
    out = directory(arguments.out or str(Path(arguments.model) / "evaluation"))
    (out / "evaluation.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if not arguments.no_plots:
        plot.evaluation(result).savefig(out / "evaluation.png", dpi=130)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _show(result, out)
    return 0


def predict(
    model: Model, data: ticks.Data, part: Split, learning: bool = False, gain: float = 0.0
) -> np.ndarray:
    """Probabilities [n, 3] at the questions of a part.

    Args:
      learning: whether outcomes are learned from as they come.
      gain: of climbing fibres then.
    """
    at = data.asked(part) - part.start
    if learning:
        _, said = online.prequential(
            model.net, model.learner, data, part, gain=gain * online.GAIN, rate=online.RATE
        )
        return said[at]
    found = feed.run(model.net, model.learner, data.ranks, part)[at]
    return np.asarray(decode.signals(model.learner.readout, jnp.asarray(found))[0])


def judge(
    chances: np.ndarray, stream: ticks.Stream, data: ticks.Data, part: Split
) -> dict[str, Any]:
    """Scores of probabilities at the questions of a part, and of the baselines there."""
    asked = data.asked(part)
    labels = data.labels[asked].astype(int)
    guessed = score.guesses(chances, labels)
    others = score.baselines(stream, data, part)
    logistic = score.guesses(others["logistic"], labels)
    return {
        "samples": len(labels),
        **score.scores(chances, labels),
        "mcc_interval": score.bootstrap(labels, guessed),
        "mcc_above_logistic": score.bootstrap(labels, guessed, logistic),
        "baselines": {
            name: {
                **score.scores(each, labels),
                "mcc_interval": score.bootstrap(labels, score.guesses(each, labels)),
            }
            for name, each in others.items()
        },
        **score.details(chances, labels, data.day[asked]),
    }


def _show(result: dict[str, Any], out: Path) -> None:
    table = Table(box=box.SIMPLE)
    table.add_column("")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("MCC, 95 %", justify="right")
    rows = {"this model": result, **result["baselines"]}
    for name, each in rows.items():
        low, high = each["mcc_interval"]
        numbers = ("" if each[k] is None else f"{each[k]:.3f}" for k in SHOWN)
        table.add_row(name.replace("_", " "), *numbers, f"{low:.3f} to {high:.3f}")
    console = Console()
    console.print(table)
    low, high = result["mcc_above_logistic"]
    console.print(
        f"{result['samples']:,} samples; MCC above logistic regression: {low:.3f} to {high:.3f} "
        f"(95 %). Mostly microstructure, not money: a small part of the spread.\n"
        f"{out}: evaluation.json, evaluation.png",
        highlight=False,
    )
