"""The reference backend: XLA's own operations, on any device that JAX uses.

On a GPU they are those of the backend "loop-free".
"""

from dataclasses import dataclass
from typing import Any

import jax

from cerebellum.backends import loop_free
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import REFERENCE, Primitives

SCAN = "a scan of single steps"
"""How XLA takes many steps."""


@dataclass(frozen=True)
class Xla:
    """The backend that is always available."""

    name: str = "xla"

    def unavailable(self, platform: str) -> str | None:
        return None

    def suits(self, circuit: Circuit) -> bool:
        return True

    def primitives(self, circuit: Circuit) -> Primitives:
        return REFERENCE if jax.default_backend() == "cpu" else loop_free.PRIMITIVES

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = Xla()
