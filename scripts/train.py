"""The smallest batch script that learns from ticks: DATA RUN.

    python scripts/train.py ticks.csv.gz results/mine

Goes on from RUN's newest checkpoint where there is one. What `cerebellar-norse train` does beside
this: a progress bar, a status file, checkpoints by the clock, an end by SIGTERM.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from cerebellum import store
from cerebellum.learn import decode, network, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.tasks import ticks

PLAN = train.Plan(epochs=3)


def main(data: str, run: str) -> None:
    task = ticks.prepare(ticks.load(data), "event")
    feed = Ticks(data=task)
    design = network.Design(inputs=task.ranks.shape[1], choices=ticks.CHOICES["event"], granule=100)
    net = network.build(design, jax.random.key(0))

    saved = store.Store(Path(run) / store.FOLDER)
    found, step, history = store.newest(saved.folder), 0, []
    if found is None:
        training = train.begin(PLAN, feed, net)
    else:
        step, history = found.step, found.about["history"]
        training = store.unflatten(train.shape(PLAN, net, feed.size), found.arrays)
    for held, seen in train.run(PLAN, feed, net, training, history, step):
        training = held
        if seen.over:
            print(history[-1])
            saved.wait()
            saved.save(seen.step, training, {"history": history})
    saved.close()

    rates, labels = feed.rates(net, training.best, "test")
    right = decode.logits(training.best.readout, jnp.asarray(rates)).argmax(axis=-1) == labels
    print(f"accuracy on the last tenth: {right.mean():.3f} of {len(labels):,}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: train.py DATA RUN")
    main(*sys.argv[1:])
