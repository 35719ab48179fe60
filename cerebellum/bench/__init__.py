"""Benchmarks, run by `cerebellar-norse bench` and compared with the machine's memory bandwidth.

There is one module for each benchmark. It has a function (options) -> Iterator[Result]. A module is
imported only when it runs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cerebellum.bench.result import Options, Result


@dataclass(frozen=True)
class Benchmark:
    """A benchmark."""

    summary: str
    module: str

    def load(self) -> "Callable[[Options], Iterator[Result]]":
        """The function that runs the benchmark."""
        return import_module(f"cerebellum.bench.{self.module}").run


BENCHMARKS = {
    "neuron_step": Benchmark("one step of every neuron model, 1,000 to 4,000,000 cells", "neurons"),
    "propagation": Benchmark("sending spikes, by kind of projection, rate and size", "propagation"),
    "network": Benchmark("a biological second of a whole circuit", "network"),
    "scaling": Benchmark("cost against granule cells, rate and batch", "scaling"),
    "latency": Benchmark("one step from drive in to spikes out, in process", "latency"),
    "start": Benchmark("build, compile, peak memory beside the estimate", "start"),
}
"""Benchmarks by name."""

ALIASES = {
    "neuron_step_benchmark": "neuron_step",
    "build": "start",
    "compile": "start",
    "memory": "start",
}
"""Further names of benchmarks."""
