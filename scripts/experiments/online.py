"""Learning on, tick by tick, beside the frozen model: is it ever significantly worse?

    python scripts/experiments/online.py DATA [--files ...] [--seeds 3]

Trains by surrogate gradients as `ticks.py` does, then goes through the test part twice: frozen, and
learning from each outcome when it is known, as the service does. Prints both Matthews correlations
and the 95 % interval of their difference (moving blocks, seeds averaged).
"""

import argparse
import json
from pathlib import Path

import jax
import numpy as np
from sklearn.metrics import matthews_corrcoef
from ticks import EPOCHS, FILES, TASKS, prepared

from cerebellum.learn import network, online, score, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.tasks import ticks
from cerebellum.learn.train import Plan

PLASTICITY = 2e-4


def learner_of(data: ticks.Data, seed: int) -> tuple[network.Net, network.Learner]:
    """Trained, and calibrated on the validation part."""
    design = Design(inputs=data.ranks.shape[1], choices=ticks.CHOICES[data.task])
    net = network.build(design, jax.random.key(seed))
    plan = Plan(epochs=EPOCHS, learning_rate=1e-3, seed=seed, gradient_checkpointing=False)
    source = Ticks(data=data, seed=seed)
    training = train.begin(plan, source, net)
    for held, _ in train.run(plan, source, net, training, []):
        training = held
    return net, train.calibrate(source, net, training.best)


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("data", type=Path)
    parser.add_argument("--files", nargs="+", choices=FILES, default=tuple(FILES))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    for name, task in TASKS:
        if name not in given.files:
            continue
        _, data = prepared(given.data, name, task)
        asked = data.asked(data.test)
        labels, at = data.labels[asked].astype(int), asked - data.test.start
        guesses: dict[str, list[np.ndarray]] = {"frozen": [], "online": []}
        for seed in range(given.seeds):
            net, learner = learner_of(data, seed)
            for how, gain, rate in (
                ("frozen", 0.0, 0.0),
                ("online", PLASTICITY * online.GAIN, online.RATE),
            ):
                _, said = online.prequential(net, learner, data, data.test, gain=gain, rate=rate)
                guesses[how].append(score.guesses(said[at], labels))
        some = {how: np.stack(each) for how, each in guesses.items()}
        mccs = {
            how: round(float(np.mean([matthews_corrcoef(labels, g) for g in each])), 3)
            for how, each in some.items()
        }
        low, high = score.bootstrap(labels, some["online"], some["frozen"])
        told = {"task": f"{name} {task}", "samples": len(labels), **mccs}
        print(json.dumps({**told, "online_above_frozen": [round(low, 3), round(high, 3)]}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
