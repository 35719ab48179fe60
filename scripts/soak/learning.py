"""What takes minutes to learn: delayed XOR by two methods.

    python scripts/soak/learning.py [--only surrogate_gradient]

Granule cells whose currents linger hold the first pattern until the second comes; what they make
of both reaches the nuclei by Purkinje cells alone, each in its own zone. A line for each; exits 1
where one learned less than it should. `tests/learn` has a short form: ten patterns by both methods.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.learn import decode, network, train
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import patterns

NOISE = patterns.Noise(jitter=0.5, loss=0.05, background=0.002)


@dataclass(frozen=True)
class Trial:
    """How one method is tried, and the least accuracy that it should reach."""

    samples: int
    sizes: dict[str, Any]
    plan: Plan
    least: float


TRIALS = {
    "surrogate_gradient": Trial(
        4_000,
        {
            "granule": 1_000,
            "purkinje": 100,
            "nuclei": 60,
            "inhibition": 1.0,
            "mossy_granule": 1.5,
        },
        Plan(epochs=12, early_stopping_patience=99, gradient_checkpointing=False),
        0.95,
    ),
    "climbing_fiber": Trial(
        6_000,
        {
            "granule": 2_000,
            "purkinje": 200,
            "nuclei": 120,
            "inhibition": 3.0,
            "mossy_granule": 6.0,
        },
        Plan(
            method="climbing_fiber",
            epochs=8,
            plasticity=1e-3,
            early_stopping_patience=99,
            gradient_checkpointing=False,
        ),
        0.92,
    ),
}


def accuracy(trial: Trial) -> float:
    """Share of the test part that is answered rightly after training."""
    feed = patterns.delayed_xor(trial.samples, noise=NOISE)
    design = Design(
        inputs=60,
        fields=0,
        choices=(0, 1),
        tau=10.0,
        memory=10.0,
        linger=30.0,
        mossy_nuclei=100.0,
        microzones=True,
        **trial.sizes,
    )
    net = network.build(design, jax.random.key(0))
    training = train.begin(trial.plan, feed, net)
    for ran, _ in train.run(trial.plan, feed, net, training, []):
        training = ran
    rates, labels = feed.rates(net, training.best, "test")
    logits = decode.logits(training.best.readout, jnp.asarray(rates))
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def xor(method: str) -> tuple[bool, str]:
    """Whether delayed XOR was learned by a method, and how well."""
    trial = TRIALS[method]
    reached = accuracy(trial)
    return reached > trial.least, f"{reached:.3f} right (over {trial.least})"


SUBJECTS: dict[str, Callable[[], tuple[bool, str]]] = {
    **{method: partial(xor, method) for method in TRIALS},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(SUBJECTS), action="append")
    failed = False
    for name in parser.parse_args().only or SUBJECTS:
        began = time.monotonic()
        learned, said = SUBJECTS[name]()
        failed |= not learned
        print(f"{name}: {said}, {time.monotonic() - began:.0f} s", flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
