"""The CPU backend: small C++ files behind `jax.ffi`, for circuits on the event path.

They do in one pass what XLA's CPU compiler does in many small operations, with the same result.
They need a C++ compiler (`library`). A program that uses them may still be lowered for another
device, where the reference runs.
"""

from dataclasses import dataclass
from typing import Any

from cerebellum.backends.cpu import deferred, library, operations
from cerebellum.backends.xla import SCAN
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import Primitives


@dataclass(frozen=True)
class Native:
    """The backend that uses compiled C++."""

    name: str = "native"

    def unavailable(self, platform: str) -> str | None:
        if platform != "cpu":
            return f"it runs on a CPU; JAX computes on {platform}"
        kernels = library.kernels()
        return None if kernels.ready else kernels.why

    def suits(self, circuit: Circuit) -> bool:
        # The dense path has no events, and a kernel for cells alone is not worth a second program.
        return circuit.wiring.path != "dense"

    def primitives(self, circuit: Circuit) -> Primitives:
        return operations.PRIMITIVES

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> None:
        return None

    def merged(self, circuit: Circuit, steps: int) -> deferred.Merged | None:
        return deferred.merged(circuit, steps)

    def explain(self, circuit: Circuit, recorders: tuple[Any, ...], inputs: Any | None) -> str:
        """A scan, and that spikes are delivered when they arrive, where they are."""
        late = circuit.wiring.merged is not None
        return f"{SCAN}; spikes are delivered when they arrive" if late else SCAN


BACKEND = Native()
