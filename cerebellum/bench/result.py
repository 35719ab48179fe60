"""The results of benchmarks, and the functions that measure them."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import backends, program


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command line."""

    sizes: tuple[str, ...] = ("S", "M")
    network: str | None = None
    backend: str | None = None
    """None stands for every usable backend."""
    cores: int = 1
    repeats: int = 7


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measurement, from `n` runs."""

    name: str
    params: Mapping[str, Any]
    median_s: float
    iqr_s: float
    n: int
    per: Mapping[str, float] = field(default_factory=dict)
    """The median in ns per step, cell or event: step_ns, cell_ns, event_ns."""
    floor_s: float | None = None
    """Time that this machine needs to move the bytes alone, s."""
    rates_hz: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)
    """Further quantities, whose names end with the unit."""

    @property
    def key(self) -> str:
        """The key of the result in a baseline."""
        return ", ".join([self.name, *(f"{k} {v}" for k, v in self.params.items())])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, interquartile range and number of times, as fields of a `Result`."""
    quartiles = np.percentile(seconds, (25, 75)) if len(seconds) > 1 else (0.0, 0.0)
    return {
        "median_s": statistics.median(seconds),
        "iqr_s": float(quartiles[1] - quartiles[0]),
        "n": len(seconds),
    }


def clock(function: Callable[..., Any], arguments: tuple, repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, after a call that is not counted."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return seconds


def scanned(step: Callable[[Any], Any], steps: int) -> Callable[[Any], Any]:
    """A jitted function that takes `steps` steps from a carry. The argument is not donated."""

    @jax.jit
    def run(carry):
        return jax.lax.scan(lambda c, _: (step(c), None), carry, length=steps)[0]

    return run


@cache
def bandwidth(size: int, cores: int = 1) -> float:
    """Bytes a second that are read and written when an array of about `size` bytes is scaled.

    On an accelerator JAX scales it. On a CPU NumPy does, on `cores` threads, because XLA's loop
    reaches only a fifth of that.
    """
    if jax.default_backend() != "cpu":
        count = max(1_024, size // 4)
        passes = max(3, min(2_000, 50_000_000 // count))
        run = scanned(lambda x: x * jnp.float32(1.0000001), passes)
        seconds = clock(run, (jnp.ones(count),), 5)
        return 8.0 * count * passes / min(seconds)
    blocks = np.array_split(np.ones(max(1_024, size // 4), np.float32), cores)
    passes = max(3, min(2_000, 50_000_000 // blocks[0].size))

    def scale(block: np.ndarray) -> None:
        for _ in range(passes):
            np.multiply(block, np.float32(1.0000001), out=block)

    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(scale, blocks))
            seconds.append(time.perf_counter() - began)
    return 8.0 * sum(block.size for block in blocks) * passes / min(seconds)


def machine(cores: int) -> dict[str, Any]:
    """A description of this machine and of the installed versions."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": model,
        "cores": cores,
        "cores_there": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {
            program.NAME: program.__version__,
            **{name: version(name) for name in ("jax", "jaxlib")},
        },
        "backends": backends.usable(),
        "bandwidth_bytes_s": {"1 MB": bandwidth(2**20), "256 MB": bandwidth(2**28)},
    }
