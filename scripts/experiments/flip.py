"""How fast learning on follows a rule that flips, beside boosted trees that are fitted again.

    python scripts/experiments/flip.py [--seeds 5] [--first 0] [--config FILE]

Each step of a generated price repeats the last with probability 0.85, and from tick `FLIP` on with
0.15. A circuit that learned the first ticks by gradients learns on from each outcome. Trees, where
LightGBM is installed, are fitted again every `REFIT` ticks on the last ones. A line for each model
and seed: its accuracy from the end of validation to the flip, then in each `BLOCK` ticks from the
flip on. Nobody can be right more often than 0.85.
"""

import argparse
import importlib.util
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ticks as experiment

from cerebellum import config
from cerebellum.cli import new_run
from cerebellum.config import Settings
from cerebellum.learn import network, online, readouts, train
from cerebellum.learn.tasks import ticks
from cerebellum.learn.tasks.ticks import Split

COUNT, TRAINED, HELD, FLIP = 14_000, 6_000, 8_000, 10_000
"""Ticks; ends of the training part and of the validation part; the tick of the flip."""
AGAIN = 0.85
BLOCK = 500
REFIT, MEMORIES = 1_000, (1_000, 4_000)
"""Ticks after which trees are fitted again, and how many ticks they are fitted on."""
TREES = {"n_estimators": 100, "num_leaves": 15, "learning_rate": 0.05, "verbose": -1, "n_jobs": 1}


def stream(seed: int) -> ticks.Stream:
    """Ticks of a price whose steps are repeated before the flip and reversed after it."""
    rng = np.random.default_rng(seed)
    again = np.where(np.arange(COUNT) < FLIP, AGAIN, 1 - AGAIN)
    moves = np.cumprod(np.where(rng.random(COUNT) < again, 1, -1))
    time = 1_700_000_000_000 + np.cumsum(rng.integers(1, 400, COUNT))
    price, volume = 100 + 0.01 * np.cumsum(moves), rng.random(COUNT)
    rows = [f"{t},{p:.4f},{v:.3f}\n" for t, p, v in zip(time, price, volume, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ticks.csv"
        path.write_text("timestamp,price,volume\n" + "".join(rows))
        return ticks.load(path)


def prepared(market: ticks.Stream, blur: float) -> ticks.Data:
    """The data of the event task, with the parts of this experiment."""
    parts = Split(start=0, stop=TRAINED), Split(start=TRAINED, stop=HELD)
    data = ticks.prepare(market, "event", blur=blur)
    return replace(data, train=parts[0], validation=parts[1], test=Split(start=HELD, stop=COUNT))


def learned(data: ticks.Data, seed: int, settings: Settings) -> tuple[network.Net, network.Learner]:
    """A circuit that was trained by gradients."""
    net = network.build(
        new_run.design_of(settings, data.ranks.shape[1], data.task), jax.random.key(seed)
    )
    plan = replace(experiment.plan_of(settings, "surrogate_gradient", seed), epochs=3)
    source = experiment.feed_of(data, plan, settings)
    training = train.begin(plan, source, net)
    for held, _ in train.run(plan, source, net, training, []):
        training = held
    return net, readouts.calibrate(source, net, training.best)


def refitted(market: ticks.Stream, data: ticks.Data, seed: int, memory: int) -> np.ndarray | None:
    """Guesses of trees for every tick of the test part, [T]; None without LightGBM."""
    if importlib.util.find_spec("lightgbm") is None:
        return None
    lightgbm: Any = importlib.import_module("lightgbm")
    features = np.concatenate(list(ticks.raw(market, 0, data.test.stop)))
    guesses = []
    for start in range(data.test.start, data.test.stop, REFIT):
        past = np.arange(start - memory, start)
        past = past[(data.labels[past] != ticks.NONE) & (data.known[past] <= start)]
        model = lightgbm.LGBMClassifier(**TREES, random_state=seed)
        model.fit(features[past], data.labels[past])
        guesses.append(model.predict(features[start : min(start + REFIT, data.test.stop)]))
    return np.concatenate(guesses)


def accuracies(guesses: np.ndarray, data: ticks.Data) -> dict[str, Any]:
    """Accuracy before the flip and in the blocks after it, and when nine tenths are back."""
    asked = data.asked(data.test)
    right = guesses[asked - data.test.start] == data.labels[asked]
    before = float(right[asked < FLIP].mean())
    starts = range(FLIP, COUNT, BLOCK)
    blocks = [float(right[(asked >= at) & (asked < at + BLOCK)].mean()) for at in starts]
    back = [index for index, block in enumerate(blocks) if block >= 0.9 * before]
    return {
        "before": round(before, 3),
        "blocks": np.round(blocks, 3).tolist(),
        "back_after": (back[0] + 1) * BLOCK if back else None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument(
        "--config",
        help="a file of which this takes the nuclear cells, fields, microzones, noise, dropout, "
        "learning rate and the shape of a batch",
    )
    arguments = parser.parse_args()
    settings = config.load(arguments.config)
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        market = stream(seed)
        data = prepared(market, settings.training.rank_blur)
        net, learner = learned(data, seed, settings)
        plan = experiment.plan_of(settings, "surrogate_gradient", seed)
        frozen = online.Gains(readout=jnp.float32(0))
        best, after = online.best(net, learner, data, data.validation, plan)
        for name, gains, start in (("frozen", frozen, learner), ("learning on", best, after)):
            _, chances = online.prequential(
                net, start, data, data.test, gains, mixing=online.mixes(plan)
            )
            guesses = np.where(chances[:, ticks.BUY] > chances[:, ticks.SELL], 0, 2)
            local = 0.0 if gains.local is None else float(gains.local)
            told = {"model": name, "seed": seed, "local": local}
            print(json.dumps(told | accuracies(guesses, data)), flush=True)
        for memory in MEMORIES:
            trees = refitted(market, data, seed, memory)
            if trees is not None:
                told = {"model": "trees", "seed": seed, "memory": memory}
                print(json.dumps(told | accuracies(trees, data)), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
