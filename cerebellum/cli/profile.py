"""`cerebellar-norse profile`: measures the time and the memory of some ticks."""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import config, configure
from cerebellum.files import directory
from cerebellum.service import inference, models, served

WARM = 5
"""Calls before those that are timed."""
TRACED = 20
"""Calls in the trace. Tracing slows them several times, so other calls are timed."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
      UsageError: a configuration that is not valid here.
    """
    settings = config.load(arguments.config)
    configure.use_device(settings)
    out = directory(arguments.out)
    began = time.perf_counter()
    model = served.load(models.find(Path(settings.storage.models)), settings)
    loaded = time.perf_counter()
    inference.warm(model, settings.performance.batch_size)
    compiled = time.perf_counter()
    size = inference.sizes(settings.performance.batch_size)[-1]
    parts = _ticks(model, size, arguments.ticks)
    with jax.profiler.trace(str(out), create_perfetto_trace=True):
        _ticks(model, size, min(arguments.ticks, TRACED))
    jax.profiler.save_device_memory_profile(str(out / "memory.prof"))
    steps = model.form.design.steps
    result = {
        "model": model.name,
        "cells": model.sizes,
        "device": str(jax.devices()[0]),
        "batch_size": size,
        "ticks": arguments.ticks,
        "load_s": loaded - began,
        "compile_s": compiled - loaded,
        "parts_us": {name: _quantiles(spans) for name, spans in parts.items()},
        "step_us": {k: v / steps for k, v in _quantiles(parts["whole"]).items()},
        "output": str(out),
    }
    (out / "profile.json").write_text(json.dumps(result, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(result))
    else:
        _show(result)
    return 0


def _ticks(model: served.Served, size: int, count: int) -> dict[str, list[float]]:
    """The durations of `count` calls, us, by the part of the call."""
    rng = np.random.default_rng(0)
    memories = (model.fresh,) * size
    parts: dict[str, list[float]] = {"prepare": [], "dispatch": [], "compute": [], "read": []}
    parts["whole"] = []
    for index in range(WARM + count):
        marks = [time.perf_counter()]
        inputs = _inputs(rng, size)
        marks.append(time.perf_counter())
        _, memories, answer = served.answer(
            model.form,
            model.arrays,
            model.learner,
            memories,
            inputs,
            np.int32(index),
        )
        marks.append(time.perf_counter())
        jax.block_until_ready((memories, answer))
        marks.append(time.perf_counter())
        jax.device_get(answer)
        marks.append(time.perf_counter())
        if index >= WARM:
            spans = [*np.diff(marks), marks[-1] - marks[0]]
            for name, span in zip(parts, spans, strict=True):
                parts[name].append(float(span) * 1e6)
    return parts


def _inputs(rng: np.random.Generator, size: int) -> served.Inputs:
    """Ticks of `size` markets whose prices move at random."""
    zero = served.zero_inputs(size)
    tick = replace(
        zero.tick,
        log_return=(1e-4 * rng.standard_normal(size)).astype(np.float32),
        interval=np.full(size, 100.0, np.float32),
        volume=np.full(size, 1.0, np.float32),
    )
    return replace(zero, tick=tick)


def _quantiles(spans: list[float]) -> dict[str, float]:
    return {f"p{q}": float(np.percentile(spans, q)) for q in (50, 95, 99)}


def _show(result: dict[str, Any]) -> None:
    table = Table(box=box.SIMPLE, title=f"{result['ticks']} calls of {result['batch_size']} ticks")
    table.add_column("part, us")
    for name in ("p50", "p95", "p99"):
        table.add_column(name, justify="right")
    rows = {**result["parts_us"], "whole, per simulated step": result["step_us"]}
    for name, quantiles in rows.items():
        table.add_row(name, *(f"{quantiles[q]:,.0f}" for q in ("p50", "p95", "p99")))
    console = Console()
    console.print(table)
    print(f"{result['output']}: profile.json, plugins/profile (trace), memory.prof")
