"""What a benchmark measured, and the clock that it is measured by."""

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

from cerebellum import backends


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line chose."""

    sizes: tuple[str, ...] = ("S", "M")
    network: str | None = None
    kernels: str | None = None
    cores: int = 1
    repeats: int = 7


@dataclass(frozen=True, kw_only=True)
class Result:
    """One measurement, of `n` runs."""

    name: str
    params: Mapping[str, Any]
    median_s: float
    iqr_s: float
    n: int
    per: Mapping[str, float] = field(default_factory=dict)
    """the median in ns, by what it is divided by: step_ns, cell_ns, event_ns"""
    floor_s: float | None = None
    """what moving its bytes alone would take on this machine"""
    rates_hz: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, float] = field(default_factory=dict)
    """further quantities, their unit at the end of the name"""

    @property
    def key(self) -> str:
        """What identifies it in a baseline."""
        return ", ".join([self.name, *(f"{k} {v}" for k, v in self.params.items())])

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, interquartile range and number, as fields of a Result."""
    quartiles = np.percentile(seconds, (25, 75)) if len(seconds) > 1 else (0.0, 0.0)
    return {
        "median_s": statistics.median(seconds),
        "iqr_s": float(quartiles[1] - quartiles[0]),
        "n": len(seconds),
    }


def clock(function: Callable[..., Any], arguments: tuple, repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls, after one that is not counted."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return seconds


def scanned(step: Callable[[Any], Any], steps: int) -> Callable[[Any], Any]:
    """A jitted function of a carry that takes `steps` steps; its argument is not donated."""

    @jax.jit
    def run(carry):
        return jax.lax.scan(lambda c, _: (step(c), None), carry, length=steps)[0]

    return run


@cache
def bandwidth(size: int, cores: int = 1) -> float:
    """Bytes a second, read and written, of scaling an array of about `size` bytes in place.

    On an accelerator by JAX, whose own loop that is; on a CPU by NumPy on so many threads, because
    XLA's loop reaches a fifth of it.
    """
    if jax.default_backend() != "cpu":
        count = max(1_024, size // 4)
        passes = max(3, min(2_000, 50_000_000 // count))
        run = scanned(lambda x: x * jnp.float32(1.0000001), passes)
        seconds = clock(run, (jnp.ones(count),), 5)
        return 8.0 * count * passes / min(seconds)
    parts = np.array_split(np.ones(max(1_024, size // 4), np.float32), cores)
    passes = max(3, min(2_000, 50_000_000 // parts[0].size))

    def scale(part: np.ndarray) -> None:
        for _ in range(passes):
            np.multiply(part, np.float32(1.0000001), out=part)

    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(scale, parts))
            seconds.append(time.perf_counter() - began)
    return 8.0 * sum(part.size for part in parts) * passes / min(seconds)


def machine(cores: int) -> dict[str, Any]:
    """Where it was measured."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    native = backends.BACKENDS["native"].unavailable(jax.default_backend())
    return {
        "processor": model,
        "cores": cores,
        "cores_there": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("cerebellar-norse", "jax", "jaxlib")},
        "kernels": "native" if native is None else f"xla ({native})",
        "bandwidth_bytes_s": {"1 MB": bandwidth(2**20), "256 MB": bandwidth(2**28)},
    }
