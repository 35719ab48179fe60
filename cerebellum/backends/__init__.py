"""What a circuit can run on: backends, by name.

A backend replaces some of the operations of a step (`model.primitives`) by its own, which give the
same result. It says of itself whether this machine has what it needs; "auto" takes the last in
`BACKENDS` that does. `cerebellum.register("backend", name, backend)` adds one from outside.
"""

from typing import Any, Protocol

import jax

from cerebellum.backends import cpu, xla
from cerebellum.errors import UsageError
from cerebellum.model import registry
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import Primitives

AUTO = "auto"


class Backend(Protocol):
    """One way to run a circuit."""

    @property
    def name(self) -> str: ...

    def unavailable(self, platform: str) -> str | None:
        """Why it cannot be used where JAX computes on `platform` ("cpu", "gpu"), or None."""
        ...

    def suits(self, circuit: Circuit) -> bool:
        """Whether "auto" may take it for such a circuit, where it can be used."""
        ...

    def primitives(self, circuit: Circuit) -> Primitives:
        """The operations of a step of such a circuit."""
        ...

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> Any | None:
        """A loop of its own over so many steps (`sim.chunk.Chunk`), or None: a scan of steps.

        It must be hashable, and equal to another where it would do the same.
        """
        ...


BACKENDS: dict[str, Backend] = {each.name: each for each in (xla.BACKEND, cpu.BACKEND)}
"""By name; "auto" looks from the last one to the first, which suits every circuit and machine."""

NAMES = ("name", "unavailable", "suits", "primitives", "chunk")


def _wrong(thing: Any) -> str | None:
    lacking = [name for name in NAMES if not hasattr(thing, name)]
    return f"without {', '.join(lacking)}; what backends.Backend asks for" if lacking else None


registry.table("backend", BACKENDS, _wrong)


def choose(name: str, circuit: Circuit) -> Backend:
    """The backend of a name, or what "auto" takes for a circuit on this machine.

    Raises:
      UsageError: there is none of that name, or it cannot be used here.
    """
    platform = jax.default_backend()
    if name == AUTO:
        return next(
            backend
            for backend in reversed(BACKENDS.values())
            if backend.suits(circuit) and backend.unavailable(platform) is None
        )
    if name not in BACKENDS:
        raise UsageError(f"backend: {name!r}; one of {', '.join((AUTO, *BACKENDS))}")
    why = BACKENDS[name].unavailable(platform)
    if why is not None:
        raise UsageError(f"backend: {name!r}; {why}")
    return BACKENDS[name]


def of(circuit: Circuit) -> Backend:
    """The backend that a circuit runs on here: `choose` of the one that it names."""
    return choose(circuit.backend, circuit)


def primitives_of(circuit: Circuit) -> Primitives:
    """The operations of a step of a circuit, as its backend has them."""
    return of(circuit).primitives(circuit)


def usable() -> list[str]:
    """Names of the backends that this machine has what it needs for, in the order of "auto"."""
    platform = jax.default_backend()
    found = [name for name, each in BACKENDS.items() if each.unavailable(platform) is None]
    return found[::-1]
