"""The CPU backend: small C++ files behind `jax.ffi`, for circuits on the event path.

They do in one pass what XLA's CPU compiler does in many small operations, with the same result,
where there is a C++ compiler (`library`). A program that uses them may still be lowered for another
device: there the reference runs.
"""

from dataclasses import dataclass
from typing import Any

from cerebellum.backends.cpu import library, operations
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import Primitives


@dataclass(frozen=True)
class Native:
    """The backend of compiled C++."""

    name: str = "native"

    def unavailable(self, platform: str) -> str | None:
        if platform != "cpu":
            return f"it runs on a CPU; JAX computes on {platform}"
        found = library.kernels()
        return None if found.ready else found.why

    def suits(self, circuit: Circuit) -> bool:
        # The dense path has no events; cells alone are not worth another program.
        return circuit.wiring.path != "dense"

    def primitives(self, circuit: Circuit) -> Primitives:
        return operations.PRIMITIVES

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = Native()
