"""The CUDA backends on a CPU: registered by the tests that use them, chosen by nothing else."""

from dataclasses import dataclass, replace
from functools import cache

import emulation

from cerebellum.backends import cuda
from cerebellum.backends.cuda import library


@cache
def kernels() -> None:
    """Compile the kernels for the CPU, file by file, and make their handlers known to JAX there."""
    for unit in library.units():
        emulation.register(unit)


@dataclass(frozen=True)
class Emulated(cuda.Cuda):
    """The CUDA backend with its kernels on the CPU."""

    platform: str = "cpu"

    def unavailable(self, platform: str) -> str | None:
        if platform != "cpu":
            return f"emulated on a CPU; JAX computes on {platform}"
        if emulation.compiler() is None:
            return "no C++ compiler"
        kernels()
        return None

    def suits(self, circuit) -> bool:
        return False


BACKENDS = {
    f"{each.name}-emulated": replace(Emulated(), name=f"{each.name}-emulated", whole=each.whole)
    for each in (cuda.BACKEND, cuda.STEPWISE)
}
"""Backends by name, for `backends.BACKENDS`."""
