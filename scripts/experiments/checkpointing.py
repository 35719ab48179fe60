"""What gradient checkpointing saves and costs: 10,000 granule cells, 1,000 steps.

    python scripts/experiments/checkpointing.py [--streams 4]

Bytes that the compiled gradient keeps beside its arguments, and the best of three times, plain and
with segments of one and of ten ticks, in turns.
"""

import argparse
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.learn import decode, losses, network
from cerebellum.learn.network import Design

TICKS = 100
SEGMENTS = (0, 1, 10)


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--streams", type=int, default=4)
    given = parser.parse_args()
    design = Design(
        inputs=100, fields=0, choices=(0, 1), granule=10_000, golgi=25, purkinje=38, nuclei=64
    )
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    carry = network.fresh(net, jax.random.key(2), given.streams)
    rng = np.random.default_rng(0)
    shape = (TICKS, given.streams, design.steps, design.inputs)
    spikes = jnp.asarray((rng.random(shape) < 0.02).astype(np.uint8))
    labels = jnp.zeros((TICKS, given.streams), int)

    def loss(learner, segment):
        circuit = network.with_learned(net.circuit, learner)
        _, ends = network.unroll(design, circuit, carry, spikes, segment)
        logits = decode.logits(learner.readout, ends.rates)
        return jnp.mean(losses.cross_entropy(logits, labels))

    programs: dict[int, Any] = {
        segment: jax.jit(jax.grad(lambda held, s=segment: loss(held, s))).lower(learner).compile()
        for segment in SEGMENTS
    }
    spans: dict[int, list[float]] = {segment: [] for segment in SEGMENTS}
    for _ in range(3):
        for segment, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program(learner))
            spans[segment].append(time.perf_counter() - began)
    kept = {s: program.memory_analysis().temp_size_in_bytes for s, program in programs.items()}
    for segment in SEGMENTS:
        told = {"segment_ticks": segment, "megabytes": round(kept[segment] / 1e6, 1)}
        told |= {"seconds": round(min(spans[segment]), 2)}
        told |= {"memory_cut": round(kept[0] / kept[segment], 1)}
        print(json.dumps({**told, "time_ratio": round(min(spans[segment]) / min(spans[0]), 2)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
