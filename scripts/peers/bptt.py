"""BPTT beside Norse: the same two layers of LIF cells, batch and steps, one thread each, in turns.

    bash scripts/peers/setup && taskset -c 0 python scripts/peers/bptt.py [--batch 32] [--rounds 3]

Forward, SuperSpike gradient, Adam; cross-entropy of the output spikes. Prints the median of an
update in each and their ratio.
"""

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax import lax  # noqa: E402

from cerebellum.model.neurons import lif  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
NORSE = ROOT / ".peers/norse/bin/python"
CELL = lif.Params(alpha=10.0)


def loss(weights, spikes, labels):
    batch = spikes.shape[1]
    states = tuple(lif.init(CELL, (batch, w.shape[1])) for w in weights)

    def step(carry, given):
        (first, second), total = carry
        first, fired = lif.step(CELL, first, given @ weights[0], 1.0)
        second, out = lif.step(CELL, second, fired @ weights[1], 1.0)
        return ((first, second), total + out), None

    zero = jnp.zeros((batch, weights[1].shape[1]))
    (_, total), _ = lax.scan(step, (states, zero), spikes)
    return optax.softmax_cross_entropy_with_integer_labels(total, labels).mean()


@partial(jax.jit, donate_argnums=(0, 1))
def update(weights, state, spikes, labels):
    value, gradient = jax.value_and_grad(loss)(weights, spikes, labels)
    moved, state = optax.adam(1e-3).update(gradient, state)
    return optax.apply_updates(weights, moved), state, value


def ours(inputs, hidden, outputs, batch, steps, updates) -> list[float]:
    rng = np.random.default_rng(0)
    spikes = jnp.asarray(rng.random((steps, batch, inputs)) < 0.05, jnp.float32)
    labels = jnp.asarray(rng.integers(0, outputs, batch))
    weights = (
        jnp.asarray(rng.normal(size=(inputs, hidden)) * 3 / inputs**0.5, jnp.float32),
        jnp.asarray(rng.normal(size=(hidden, outputs)) * 3 / hidden**0.5, jnp.float32),
    )
    state = optax.adam(1e-3).init(weights)
    spans = []
    for _ in range(updates + 1):
        began = time.perf_counter()
        weights, state, value = update(weights, state, spikes, labels)
        value.block_until_ready()
        spans.append(time.perf_counter() - began)
    return spans[1:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=3, default=[100, 300, 100])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not NORSE.exists():
        raise SystemExit("bptt: no Norse; bash scripts/peers/setup")
    sizes = [*given.sizes, given.batch, given.steps, given.updates]
    mine, theirs = [], []
    for _ in range(given.rounds):
        mine += ours(*sizes)
        script = Path(__file__).with_name("bptt_norse.py")
        told = subprocess.run(
            [NORSE, script, *map(str, sizes)], capture_output=True, text=True, check=True
        )
        theirs += json.loads(told.stdout)["seconds"][1:]
    ticks = given.batch * given.steps
    result = {
        "network": given.sizes,
        "batch": given.batch,
        "steps": given.steps,
        "ours_s": float(np.median(mine)),
        "norse_s": float(np.median(theirs)),
        "ratio": float(np.median(theirs) / np.median(mine)),
        "ours_steps_per_second": ticks / float(np.median(mine)),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
