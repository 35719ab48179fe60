"""The reference: XLA's own operations, on whatever JAX computes on."""

from dataclasses import dataclass
from typing import Any

from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.spec import Spec


@dataclass(frozen=True)
class Xla:
    """The backend that is there always."""

    name: str = "xla"

    def unavailable(self, platform: str) -> str | None:
        return None

    def suits(self, spec: Spec) -> bool:
        return True

    def primitives(self, spec: Spec) -> Primitives:
        return REFERENCE

    def chunk(self, spec: Spec, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = Xla()
