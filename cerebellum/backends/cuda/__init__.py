"""The CUDA backend: kernels for NVIDIA's GPUs behind `jax.ffi`, compiled on this machine.

They serve circuits on the event path; the dense path, with its gradients, is XLA's. A program that
uses them may still be lowered for another device, where the reference runs.
"""

from dataclasses import dataclass
from typing import Any

from cerebellum.backends.cuda import library, operations
from cerebellum.backends.cuda import steps as many_steps
from cerebellum.backends.xla import SCAN
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import REFERENCE, Primitives


@dataclass(frozen=True)
class Cuda:
    """The backend that uses CUDA kernels."""

    name: str = "cuda"
    whole: bool = True
    """whether it runs many steps in one launch where a circuit allows it"""
    platform: str = "cuda"
    """the platform, as JAX names it, in whose programs the kernels are called"""

    def unavailable(self, platform: str) -> str | None:
        if platform != "gpu":
            return f"it runs on a GPU of NVIDIA; JAX computes on {platform}"
        kernels = library.kernels()
        return None if kernels.ready else kernels.why

    def suits(self, circuit: Circuit) -> bool:
        return self.whole and circuit.wiring.path != "dense"

    def primitives(self, circuit: Circuit) -> Primitives:
        dense = circuit.wiring.path == "dense"
        return REFERENCE if dense else operations.on(self.platform)

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> Any | None:
        return many_steps.chunk(circuit, steps, recorders) if self.whole else None

    def explain(self, circuit: Circuit, recorders: tuple[Any, ...], inputs: Any | None) -> str:
        """Whether many steps are one launch, or what of the circuit or its drive prevents that."""
        if circuit.wiring.path == "dense":
            return SCAN
        if not self.whole:
            return "single steps by kernels"
        why = many_steps.unsuitable(circuit, recorders)
        if why is None and inputs is not None:
            why = inputs.unrelayed(circuit.wiring)
        return "many steps in one launch" if why is None else f"single steps by kernels: {why}"


BACKEND = Cuda()
STEPWISE = Cuda(name="cuda-step", whole=False)
"""The same kernels, one step after the other."""
