"""The CPU backend: small C++ files behind `jax.ffi`, for circuits on the event path.

They do in one pass what XLA's CPU compiler does in many small operations, with the same result,
where there is a C++ compiler (`library`). A program that uses them may still be lowered for another
device: there the reference runs.
"""

from dataclasses import dataclass
from typing import Any

from cerebellum.backends.cpu import library, operations
from cerebellum.model.primitives import Primitives
from cerebellum.model.spec import Spec


@dataclass(frozen=True)
class Native:
    """The backend of compiled C++."""

    name: str = "native"

    def unavailable(self, platform: str) -> str | None:
        if platform != "cpu":
            return f"it runs on a CPU; JAX computes on {platform}"
        found = library.kernels()
        return None if found.ready else found.why

    def suits(self, spec: Spec) -> bool:
        # The dense path has no events; cells alone are not worth another program.
        return spec.path != "dense"

    def primitives(self, spec: Spec) -> Primitives:
        return operations.PRIMITIVES

    def chunk(self, spec: Spec, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = Native()
