"""The smallest batch script that learns from ticks; its arguments are DATA and RUN.

    python scripts/train.py ticks.csv.gz results/mine

It resumes from RUN's newest checkpoint if there is one. `cerebellar-norse train` also has a
progress bar, a status file, checkpoints at intervals of time, and stops cleanly on SIGTERM.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from cerebellum import store
from cerebellum.learn import decode, network, train, updates
from cerebellum.learn.feed import Ticks
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import ticks
from cerebellum.store import names

PLAN = Plan(epochs=3)


def main(data: str, run: str) -> None:
    task = ticks.prepare(ticks.load(data), "event")
    feed = Ticks(data=task)
    design = network.Design(inputs=task.ranks.shape[1], choices=ticks.CHOICES["event"], granule=100)
    net = network.build(design, jax.random.key(0))

    checkpoints = store.Store(Path(run) / store.FOLDER)
    checkpoint, step, history = store.newest(checkpoints.folder), 0, []
    if checkpoint is None:
        training = train.begin(PLAN, feed, net)
    else:
        step, history = checkpoint.step, checkpoint.about["history"]
        arrays = names.translated(checkpoint.arrays, checkpoint.about)
        training = store.unflatten(updates.shape(PLAN, net, feed.size), arrays)
    for latest, progress in train.run(PLAN, feed, net, training, history, step):
        training = latest
        if progress.over:
            print(history[-1])
            checkpoints.wait()
            checkpoints.save(progress.step, training, {"history": history})
    checkpoints.close()

    rates, labels = feed.rates(net, training.best, "test")
    correct = decode.logits(training.best.readout, jnp.asarray(rates)).argmax(axis=-1) == labels
    print(f"accuracy on the last tenth: {correct.mean():.3f} of {len(labels):,}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: train.py DATA RUN")
    main(*sys.argv[1:])
