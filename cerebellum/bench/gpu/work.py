"""What is measured beside steps of circuits: ticks of the service, and training."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.bench import bptt
from cerebellum.bench.gpu.cases import WORK, Case
from cerebellum.bench.network import device_memory
from cerebellum.errors import UsageError
from cerebellum.learn import encode, network, updates
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan

TICKS, UPDATES = 200, 10
WARM_UP = 20
"""Ticks that are not timed."""


def measure(case: Case, quick: bool) -> Iterator[dict[str, Any]]:
    """The figures of a case.

    Raises:
      UsageError: something that it needs is not installed.
    """
    began = time.perf_counter()
    kind = WORK[case.subject][0]
    if kind == "service":
        seconds, about = ticks(case.path, *((1_000, 5) if quick else (100_000, TICKS)))
    elif kind == "bptt":
        inputs, hidden, outputs = map(int, case.subject.split("-")[1:])
        batch, steps, count = (4, 10, 3) if quick else (256, 100, UPDATES)
        if quick:
            inputs, hidden, outputs = inputs // 10, hidden // 10, outputs // 10
        seconds = bptt.updates(inputs, hidden, outputs, batch, steps, count)
        about = {"batch": batch, "steps": steps}
    else:
        seconds, about = training(*((100, 4, 3) if quick else (1_000, 256, UPDATES)))
    us = np.asarray(seconds) * 1e6
    yield {
        "us": float(np.median(us)),
        "least_us": float(us.min()),
        "most_us": float(us.max()),
        "n": len(us),
        "whole_s": time.perf_counter() - began,
        **about,
        **device_memory(),
    }


def ticks(backend: str, granules: int, count: int) -> tuple[list[float], dict[str, Any]]:
    """Seconds of each tick of one market, ten steps each, as the service takes it, without HTTP.

    Raises:
      UsageError: the service's packages are missing.
    """
    try:
        from cerebellum import config
        from cerebellum.service import served
    except ModuleNotFoundError as error:
        raise UsageError(f"service: needs {error.name}: pip install {error.name}") from None
    settings = config.load(None, {"neural.granule_size": granules})
    performance = settings.performance.model_copy(update={"kernels": backend})
    settings = settings.model_copy(update={"performance": performance})
    model = served.untrained(settings)
    rng, memories, seconds = np.random.default_rng(0), (model.fresh,), []
    for index in range(WARM_UP + count):
        zero = served.zero_inputs(1)
        moved = (1e-4 * rng.standard_normal(1)).astype(np.float32)
        tick = replace(zero.tick, log_return=moved, interval=np.full(1, 100.0, np.float32))
        began = time.perf_counter()
        _, memories, answer = served.answer(
            *(model.form, model.arrays, model.learner, memories),
            replace(zero, tick=tick),
            np.int32(index),
        )
        jax.device_get(answer)
        jax.block_until_ready(memories)
        if index >= WARM_UP:
            seconds.append(time.perf_counter() - began)
    return seconds, {"granules": granules, "steps": settings.neural.steps_per_tick}


def training(granules: int, streams: int, count: int) -> tuple[list[float], dict[str, Any]]:
    """Seconds of each update of a trainable circuit down its gradient, four ticks to an update."""
    design, length = Design(inputs=8, granule=granules), 4
    net = network.build(design, jax.random.key(0))
    plan = Plan(epochs=1)
    learner: Any = network.begin(net, jax.random.key(1))
    state = updates.Training(
        learner=learner,
        optimizer=updates.optimizer_of(plan, net, count + 1).init(learner),
        carry=network.fresh(net, jax.random.key(2), streams),
        total=jnp.float32(0),
        counted=jnp.float32(0),
        best=jax.tree.map(jnp.copy, learner),
        best_loss=jnp.float32(0),
        waited=jnp.int32(0),
    )
    rng, seconds = np.random.default_rng(0), []
    fields = encode.fit(rng.normal(size=(1_000, design.inputs)).astype(np.float32))
    for _ in range(count + 1):
        values = jnp.asarray(rng.normal(size=(length, streams, design.inputs)), jnp.float32)
        samples = updates.Samples(
            inputs=encode.levels(fields, values),
            labels=jnp.asarray(rng.integers(0, 3, (length, streams)), jnp.int32),
            weights=jnp.ones((length, streams)),
        )
        jax.block_until_ready((samples, state))
        began = time.perf_counter()
        key = jax.random.key(3)
        state, loss = updates.descend(design, plan, count + 1, net.circuit, state, samples, key)
        jax.block_until_ready((state, loss))
        seconds.append(time.perf_counter() - began)
    ticks_per_second = length * streams / float(np.median(seconds[1:]))
    about = {"granules": granules, "streams": streams, "ticks_per_second": ticks_per_second}
    return seconds[1:], about
