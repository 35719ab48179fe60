"""Every tick file, task and method, five seeds: Matthews correlation beside the baselines.

    python scripts/experiments/ticks.py DATA OUT [--files ...] [--tasks ...] [--methods ...]
    python scripts/experiments/ticks.py DATA OUT --table

DATA has the reference tick files. Each run's predictions go to OUT; what is there already is not
run again, so several of these may work side by side. The table takes, for each task, the method
that is best on the validation part, and its seeds on the test part. Of surrogate gradients it also
says what learning on through the test part adds, from each outcome when it is known.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.learn import decode, feed, network, online, score, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.tasks import ticks
from cerebellum.learn.train import METHODS, Plan

FILES = {
    "eurusd": ("eurusd_quotes.csv.gz", True),
    "btc_quotes": ("btcusdt_spot_quotes.csv.gz", True),
    "btc_trades": ("btcusdt_spot_trades.csv.gz", True),
    "btc_trades_no_side": ("btcusdt_spot_trades.csv.gz", False),
}
TASKS: tuple[tuple[str, ticks.Task], ...] = (
    ("btc_trades_no_side", "event"),
    ("btc_trades_no_side", "h10"),
    ("btc_trades", "event"),
    ("btc_quotes", "event"),
    ("btc_quotes", "h10"),
    ("eurusd", "event"),
    ("eurusd", "h10"),
)
EPOCHS = 6


def prepared(data: Path, name: str, task: ticks.Task) -> tuple[ticks.Stream, ticks.Data]:
    file, side = FILES[name]
    stream = ticks.load(data / file)
    if not side:
        stream = replace(stream, fields=replace(stream.fields, side=False))
    return stream, ticks.prepare(stream, task)


def one(data: ticks.Data, method: train.Method, seed: int, epochs: int) -> dict[str, np.ndarray]:
    """Train; probabilities on the validation and test parts, and on the latter learning on."""
    choices = ticks.CHOICES[data.task]
    design = Design(inputs=data.ranks.shape[1], choices=choices)
    net = network.build(design, jax.random.key(seed))
    plan = Plan(method=method, epochs=epochs, seed=seed, gradient_checkpointing=False)
    source = Ticks(data=data, seed=seed)
    training, history = train.begin(plan, source, net), []
    for held, seen in train.run(plan, source, net, training, history):
        if seen.over:
            print(data.task, method, seed, history[-1], flush=True)
        training = held
    learner = train.calibrate(source, net, training.best)
    found = {}
    for part in ("validation", "test"):
        where = getattr(data, part)
        rates = feed.run(net, learner, data.ranks, where)[data.asked(where) - where.start]
        found[part] = np.asarray(decode.signals(learner.readout, jnp.asarray(rates))[0])
    if method == "surrogate_gradient":
        gain, rate = plan.plasticity * online.GAIN, online.RATE
        _, said = online.prequential(net, learner, data, data.test, gain=gain, rate=rate)
        found["online"] = said[data.asked(data.test) - data.test.start]
    return found


def row_of(runs: list[Any], labels: dict[str, np.ndarray], logistic: np.ndarray) -> dict[str, Any]:
    """What the seeds of a method reached."""

    def scored(said: str, part: str) -> list[dict[str, Any]]:
        return [score.scores(run[said], labels[part]) for run in runs]

    def mean(told: list[dict[str, Any]], what: str) -> float:
        return round(float(np.mean([each[what] for each in told])), 3)

    def guessed(said: str) -> np.ndarray:
        return np.stack([score.guesses(run[said], labels["test"]) for run in runs])

    def above(some: np.ndarray, other: np.ndarray) -> list[float]:
        return np.round(score.bootstrap(labels["test"], some, other), 3).tolist()

    told, frozen = scored("test", "test"), guessed("test")
    row = {
        "seeds": len(runs),
        "validation_mcc": mean(scored("validation", "validation"), "mcc"),
        "mcc": mean(told, "mcc"),
        "sd": round(float(np.std([each["mcc"] for each in told])), 3),
        "auc": mean(told, "auc"),
        "above_logistic": above(frozen, logistic),
    }
    if "online" in runs[0]:
        row["online_mcc"] = mean(scored("online", "test"), "mcc")
        row["online_above_frozen"] = above(guessed("online"), frozen)
    return row


def table(data: Path, out: Path, wanted: list[tuple[str, ticks.Task]]) -> None:
    for name, task in wanted:
        stream, held = prepared(data, name, task)
        parts = {part: held.asked(getattr(held, part)) for part in ("validation", "test")}
        labels = {part: held.labels[at].astype(int) for part, at in parts.items()}
        others = score.baselines(stream, held, held.test)
        row = {"task": f"{name} {task}", "samples": len(labels["test"])}
        row["baselines"] = {
            key: round(score.scores(each, labels["test"])["mcc"], 3) for key, each in others.items()
        }
        logistic = score.guesses(others["logistic"], labels["test"])
        best = None
        for method in METHODS:
            runs = [np.load(path) for path in sorted(out.glob(f"{name}-{task}-{method}-*.npz"))]
            if not runs:
                continue
            row[method] = row_of(runs, labels, logistic)
            if best is None or row[method]["validation_mcc"] > row[best]["validation_mcc"]:
                best = method
        row["chosen"] = best
        print(json.dumps(row), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--files", nargs="+", choices=FILES, default=tuple(FILES))
    parser.add_argument("--tasks", nargs="+", choices=ticks.TASKS, default=ticks.TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    wanted: list[tuple[str, ticks.Task]] = [
        (name, task) for name, task in TASKS if name in arguments.files and task in arguments.tasks
    ]
    if arguments.table:
        table(arguments.data, arguments.out, wanted)
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, task in wanted:
        _, held = prepared(arguments.data, name, task)
        for method in arguments.methods:
            for seed in range(arguments.seeds):
                path = arguments.out / f"{name}-{task}-{method}-{seed}.npz"
                if not path.exists():
                    said: dict[str, Any] = one(held, method, seed, arguments.epochs)
                    np.savez(path, **said)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
