"""A run that learns and saves a checkpoint every few steps, for tests that kill it: FOLDER STEPS.

It prints "ready" when it starts to learn, each step, and at its end a digest of its state.
"""

import hashlib
import sys
from pathlib import Path

import jax
import numpy as np

import cerebellum as cb
from cerebellum import store
from cerebellum.store import snapshot

EVERY = 2


def main(folder: Path, steps: int) -> None:
    checkpoint = store.newest(folder)
    checkpoints = store.Store(folder, retention=store.Retention(newest=3))
    drive = {"mossy_fiber": cb.drive.poisson(30.0)}
    if checkpoint is None:
        circuit = cb.build(cb.presets.beams(1_000, learning_rate=1e-2), _key(0), path="event")
        state, done, history = cb.init(circuit, _key(1), spread=True), 0, []
    else:
        circuit, state = snapshot.restore(checkpoint)
        done, history = checkpoint.step, list(checkpoint.about["history"])
    about = snapshot.about(circuit)
    print("ready", done, flush=True)
    while done < steps:
        state, recording = cb.simulate(circuit, state, drive, duration_ms=10, progress=False)
        history.append(cb.record.rates(recording)["purkinje"])
        done += 1
        print("step", done, flush=True)
        if done % EVERY == 0:
            checkpoints.wait()
            checkpoints.save(done, snapshot.tree(circuit, state), {**about, "history": history})
    checkpoints.close()
    digest = hashlib.sha256(repr(history).encode())
    for leaf in jax.tree.leaves(state):
        digest.update(np.asarray(leaf).tobytes())
    print(digest.hexdigest())


def _key(seed: int) -> jax.Array:
    return jax.random.key(seed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
