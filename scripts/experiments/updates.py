"""Time of an update of training on ticks, by the shape of its batch.

    python scripts/experiments/updates.py [--config configs/ticks.toml]

Every update has 128 ticks: stretches side by side (`training.batch_size`) times ticks of each
(`training.window`). Inputs are random; the network is that of a file with 30 features.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import ticks as experiment

from cerebellum import config
from cerebellum.cli import new_run
from cerebellum.learn import network, updates
from cerebellum.learn.updates import Samples

FEATURES, STEPS = 30, 1_000
SHAPES = ((32, 4), (128, 1))
REPEATS = 12


def updating(settings: config.Settings, streams: int, window: int) -> list[float]:
    """Seconds of each of several updates, the first of which compiles."""
    design = new_run.design_of(settings, FEATURES, "event")
    net = network.build(design, jax.random.key(0))
    plan = experiment.plan_of(settings, "surrogate_gradient", 0)
    key = jax.random.key(0)
    training = updates.started(plan, net, network.begin(net, key), key, streams, STEPS)
    rng = np.random.default_rng(0)
    batch = Samples(
        inputs=jnp.asarray(rng.integers(0, 256, (window, streams, FEATURES)), jnp.uint8),
        labels=jnp.asarray(2 * rng.integers(0, 2, (window, streams)), jnp.int32),
        weights=jnp.ones((window, streams), jnp.float32),
    )
    seconds = []
    for key in jax.random.split(jax.random.key(1), REPEATS + 1):
        start = time.perf_counter()
        training, loss = updates.descend(design, plan, STEPS, net.circuit, training, batch, key)
        loss.block_until_ready()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--config", type=Path, default=Path("configs/ticks.toml"))
    settings = config.load(parser.parse_args().config)
    for streams, window in SHAPES:
        first, *rest = updating(settings, streams, window)
        low, median, high = 1e3 * np.quantile(rest, (0, 0.5, 1))
        print(
            f"{streams} x {window}: {median:.1f} ms ({low:.1f} to {high:.1f}), "
            f"{first:.1f} s to compile",
            flush=True,
        )


if __name__ == "__main__":
    main()
