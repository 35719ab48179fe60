"""Every tick file, task and method, five seeds: Matthews correlation beside the baselines.

    python scripts/experiments/ticks.py DATA OUT [--files ...] [--tasks ...] [--methods ...]
    python scripts/experiments/ticks.py DATA OUT --table
    python scripts/experiments/ticks.py DATA OUT --methods surrogate_gradient --config \
        configs/ticks.toml

DATA has the reference tick files. Each run's predictions go to OUT; what is there already is not
run again, so several of these may work side by side. The table takes, for each task, the method
that is best on the validation part, and its seeds on the test part. Of surrogate gradients it also
says what learning on through the test part adds, from each outcome when it is known. Boosted trees
stand beside them where LightGBM is installed; they stop early on the validation part.
"""

import argparse
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import config
from cerebellum.cli import new_run
from cerebellum.config import Settings
from cerebellum.learn import decode, feed, network, online, readouts, score, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.plan import METHODS, Method, Plan
from cerebellum.learn.tasks import ticks

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
SEEDS = 5
EPOCHS = 6
"""Epochs where the configuration names none."""
TREES = {
    "n_estimators": 2_000,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.7,
    "reg_lambda": 1.0,
    "n_jobs": 1,
    "verbose": -1,
}
"""Of 7, 15 and 31 leaves, 15 is best or within 0.006 of the best on every validation part."""
ROUNDS = 50
"""Trees without progress on the validation part after which no more are added."""


def prepared(
    data: Path, name: str, task: ticks.Task, blur: float
) -> tuple[ticks.Stream, ticks.Data]:
    file, side = FILES[name]
    stream = ticks.load(data / file)
    if not side:
        stream = replace(stream, fields=replace(stream.fields, side=False))
    return stream, ticks.prepare(stream, task, blur=blur)


def plan_of(settings: Settings, method: Method, seed: int) -> Plan:
    """How a run of these experiments trains; nothing is computed twice, because memory suffices."""
    configured = settings.training
    epochs = configured.epochs if "epochs" in configured.model_fields_set else EPOCHS
    return replace(
        new_run.plan_of(settings),
        method=method,
        epochs=epochs,
        seed=seed,
        gradient_checkpointing=False,
    )


def feed_of(data: ticks.Data, plan: Plan, settings: Settings) -> Ticks:
    """The feed of a task, in updates of the settings' size."""
    return Ticks(
        data=data,
        size=feed.streams_of(data, settings.training.batch_size),
        window=settings.training.window,
        swap_noise=plan.swap_noise,
        seed=plan.seed,
    )


def one(data: ticks.Data, method: Method, seed: int, settings: Settings) -> dict[str, np.ndarray]:
    """Train; probabilities on the validation and test parts, and on the latter learning on."""
    design = new_run.design_of(settings, data.ranks.shape[1], data.task)
    net = network.build(design, jax.random.key(seed))
    plan = plan_of(settings, method, seed)
    source = feed_of(data, plan, settings)
    training, history = train.begin(plan, source, net), []
    for held, seen in train.run(plan, source, net, training, history):
        if seen.over:
            print(data.task, method, seed, history[-1], flush=True)
        training = held
    learner = readouts.calibrate(source, net, training.best)
    found = {}
    for part in ("validation", "test"):
        where = getattr(data, part)
        rates = feed.run(net, learner, data.ranks, where)[data.asked(where) - where.start]
        found[part] = np.asarray(decode.signals(learner.readout, jnp.asarray(rates))[0])
    if method == "surrogate_gradient":
        gains, after = online.best(net, learner, data, data.validation, plan)
        mixing = online.mixes(plan)
        _, said = online.prequential(net, after, data, data.test, gains, mixing=mixing)
        found["online"] = said[data.asked(data.test) - data.test.start]
        found["local"] = np.asarray(0 if gains.local is None else gains.local)
    return found


def boosted(stream: ticks.Stream, data: ticks.Data, seed: int) -> dict[str, np.ndarray] | None:
    """Probabilities [n, 3] of LightGBM on the same features, by part; None if not installed."""
    if importlib.util.find_spec("lightgbm") is None:
        return None
    lightgbm: Any = importlib.import_module("lightgbm")
    features = np.concatenate(list(ticks.raw(stream, 0, data.test.stop)))
    at = {part: data.asked(getattr(data, part)) for part in ("train", "validation", "test")}
    held = [(features[at["validation"]], data.labels[at["validation"]])]
    model = lightgbm.LGBMClassifier(**TREES, random_state=seed)
    stop = [lightgbm.early_stopping(ROUNDS, verbose=False)]
    model.fit(features[at["train"]], data.labels[at["train"]], eval_set=held, callbacks=stop)
    found = {}
    for part in ("validation", "test"):
        found[part] = np.zeros((len(at[part]), 3))
        found[part][:, model.classes_] = model.predict_proba(features[at[part]])
    return found


def calibration_error(chances: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance of confidence from accuracy over bins of confidence (Naeini et al. 2015)."""
    bins = score.details(chances, labels, np.zeros(len(labels), int))["calibration"]
    gaps = [abs(each["confidence"] - each["accuracy"]) * each["samples"] for each in bins]
    return sum(gaps) / len(labels)


def row_of(
    runs: list[Any],
    labels: dict[str, np.ndarray],
    logistic: np.ndarray,
    trees: list[dict[str, np.ndarray]] | None = None,
) -> dict[str, Any]:
    """What the seeds of a method reached, each alone and, as "together", by their mean prediction.

    Args:
      logistic: guesses of logistic regression for the test part, [n].
      trees: predictions of boosted trees, of several seeds.
    """

    def scored(said: str, part: str) -> list[dict[str, Any]]:
        return [score.scores(run[said], labels[part]) for run in runs]

    def mean(told: list[dict[str, Any]], what: str) -> float:
        return round(float(np.mean([each[what] for each in told])), 3)

    def guessed(said: str, runs: list[Any] = runs) -> np.ndarray:
        return np.stack([score.guesses(run[said], labels["test"]) for run in runs])

    def together(runs: list[Any]) -> np.ndarray:
        return np.mean([run["test"] for run in runs], axis=0)

    def above(some: np.ndarray, other: np.ndarray) -> list[float]:
        return np.round(score.bootstrap(labels["test"], some, other), 3).tolist()

    def losses(said: str, runs: list[Any] = runs) -> np.ndarray:
        """Losses of the samples, mean of the seeds, [n]."""
        right = np.arange(len(labels["test"])), labels["test"]
        return np.mean(
            [-np.log(np.maximum(run[said][right], online.LEAST_CHANCE)) for run in runs], axis=0
        )

    def saved(some: np.ndarray, other: np.ndarray) -> list[float]:
        return np.round(score.bootstrap_mean(other - some), 4).tolist()

    validated, told = scored("validation", "validation"), scored("test", "test")
    frozen, one = guessed("test"), score.scores(together(runs), labels["test"])
    of_trees = guessed("test", trees) if trees else None
    row = {
        "seeds": len(runs),
        "validation_mcc": mean(validated, "mcc"),
        "validation_log_loss": mean(validated, "log_loss"),
        "mcc": mean(told, "mcc"),
        "sd": round(float(np.std([each["mcc"] for each in told])), 3),
        "auc": mean(told, "auc"),
        "log_loss": mean(told, "log_loss"),
        "calibration_error": round(
            float(np.mean([calibration_error(run["test"], labels["test"]) for run in runs])), 3
        ),
        "above_logistic": above(frozen, logistic),
        "together_mcc": round(one["mcc"], 3),
        "together_log_loss": round(one["log_loss"], 3),
    }
    if trees and of_trees is not None:
        row["above_trees"] = above(frozen, of_trees)
        row["loss_less_than_trees"] = saved(losses("test"), losses("test", trees))
        # As many trees as there are runs, because the mean of more is better.
        both = runs, trees[: len(runs)]
        of_both = [score.guesses(together(each), labels["test"]) for each in both]
        row["together_above_trees"] = above(*of_both)
    if "online" in runs[0]:
        row["online_mcc"] = mean(scored("online", "test"), "mcc")
        learning_on = guessed("online")
        row["online_above_frozen"] = above(learning_on, frozen)
        row["online_log_loss"] = mean(scored("online", "test"), "log_loss")
        row["online_loss_less_than_frozen"] = saved(losses("online"), losses("test"))
        if of_trees is not None:
            row["online_above_trees"] = above(learning_on, of_trees)
    return row


def table(data: Path, out: Path, wanted: list[tuple[str, ticks.Task]], blur: float) -> None:
    for name, task in wanted:
        stream, held = prepared(data, name, task, blur)
        parts = {part: held.asked(getattr(held, part)) for part in ("validation", "test")}
        labels = {part: held.labels[at].astype(int) for part, at in parts.items()}
        others = score.baselines(stream, held, held.test)
        row = {"task": f"{name} {task}", "samples": len(labels["test"])}
        row["baselines"] = {
            key: round(score.scores(each, labels["test"])["mcc"], 3) for key, each in others.items()
        }
        logistic = score.guesses(others["logistic"], labels["test"])
        grown = [boosted(stream, held, seed) for seed in range(SEEDS)]
        trees = [each for each in grown if each is not None]
        if trees:
            row["trees"] = row_of(trees, labels, logistic)
        best = None
        for method in METHODS:
            runs = [np.load(path) for path in sorted(out.glob(f"{name}-{task}-{method}-*.npz"))]
            if not runs:
                continue
            row[method] = row_of(runs, labels, logistic, trees)
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
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--config", help="a file whose training settings and nuclei are used")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    wanted: list[tuple[str, ticks.Task]] = [
        (name, task) for name, task in TASKS if name in arguments.files and task in arguments.tasks
    ]
    settings = config.load(arguments.config)
    blur = settings.training.rank_blur
    if arguments.table:
        table(arguments.data, arguments.out, wanted, blur)
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, task in wanted:
        _, held = prepared(arguments.data, name, task, blur)
        for method in arguments.methods:
            for seed in range(arguments.seeds):
                path = arguments.out / f"{name}-{task}-{method}-{seed}.npz"
                if not path.exists():
                    said: dict[str, Any] = one(held, method, seed, settings)
                    np.savez(path, **said)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
