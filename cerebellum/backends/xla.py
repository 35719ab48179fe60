"""The reference backend: XLA's own operations, on any device that JAX uses."""

from dataclasses import dataclass
from typing import Any

from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import REFERENCE, Primitives


@dataclass(frozen=True)
class Xla:
    """The backend that is always available."""

    name: str = "xla"

    def unavailable(self, platform: str) -> str | None:
        return None

    def suits(self, circuit: Circuit) -> bool:
        return True

    def primitives(self, circuit: Circuit) -> Primitives:
        return REFERENCE

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = Xla()
