"""The backend "loop-free": operations of XLA in which no number of trips depends on data.

On a GPU the host reads such a number back at every trip of a loop, which costs more than the work
of a step. There the backend "xla" uses these operations. On a CPU, where loops are cheap and every
empty slot costs, they are for tests and comparisons, and "auto" does not choose them.
"""

from dataclasses import dataclass
from typing import Any

from cerebellum.backends.loop_free import deliver, learning
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import Primitives

PRIMITIVES = Primitives(deliver=deliver.Deliver(), settle=learning.Settle(), incur=learning.incur)


@dataclass(frozen=True)
class LoopFree:
    """The backend of loop-free operations, for any device."""

    name: str = "loop-free"
    table: Primitives = PRIMITIVES

    def unavailable(self, platform: str) -> str | None:
        return None

    def suits(self, circuit: Circuit) -> bool:
        return circuit.wiring.path == "event"

    def primitives(self, circuit: Circuit) -> Primitives:
        return self.table

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> None:
        return None


BACKEND = LoopFree()
