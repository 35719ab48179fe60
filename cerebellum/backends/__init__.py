"""Backends, the ways to run a circuit, by name.

A backend replaces some operations of a step (`model.primitives`) by its own, which give the same
result. It declares whether this machine has what it needs. "auto" chooses the last backend in
`BACKENDS` that does. `cerebellum.register("backend", name, backend)` adds one from a user's script.
"""

from dataclasses import replace
from typing import Any, Protocol

import jax

from cerebellum.backends import cpu, cuda, loop_free, xla
from cerebellum.backends.xla import SCAN
from cerebellum.errors import UsageError
from cerebellum.model import registry
from cerebellum.model.circuit import Circuit
from cerebellum.model.primitives import Primitives

AUTO = "auto"


class Backend(Protocol):
    """One way to run a circuit."""

    @property
    def name(self) -> str:
        """The name that circuits use."""
        ...

    def unavailable(self, platform: str) -> str | None:
        """Why it cannot be used when JAX computes on `platform` ("cpu", "gpu"), or None."""
        ...

    def suits(self, circuit: Circuit) -> bool:
        """Whether "auto" may choose it for a circuit, if it can be used at all."""
        ...

    def primitives(self, circuit: Circuit) -> Primitives:
        """The operations of a step of a circuit."""
        ...

    def chunk(self, circuit: Circuit, steps: int, recorders: tuple[Any, ...]) -> Any | None:
        """The backend's own loop over `steps` steps (`sim.chunk.Chunk`), or None for a scan.

        It must be hashable, and equal to another chunk that does the same. A backend that has one
        for some circuits may have a method `explain`, too (see the function).
        """
        ...


BACKENDS: dict[str, Backend] = {
    each.name: each
    for each in (loop_free.BACKEND, xla.BACKEND, cpu.BACKEND, cuda.STEPWISE, cuda.BACKEND)
}
"""Backends by name. "auto" searches from the last one to "xla", which suits every circuit and
machine, and so never gets to "loop-free": "xla" uses its operations where they are faster."""

METHODS = {
    "unavailable": ("platform",),
    "suits": ("circuit",),
    "primitives": ("circuit",),
    "chunk": ("circuit", "steps", "recorders"),
}
"""The methods that a backend must have, and what they are given."""
OPTIONAL = {"explain": ("circuit", "recorders", "inputs"), "merged": ("circuit", "steps")}
"""Those that it may have."""
NAMES = ("name", *METHODS)
"""The attributes that a backend must have."""


def _wrong(thing: Any) -> str | None:
    problem = registry.lacking(thing, NAMES, "what backends.Backend asks for")
    problem = problem or registry.no_object(thing)
    problem = problem or registry.uncallable(thing, METHODS, OPTIONAL)
    if problem is not None:
        return problem
    return None if thing.__hash__ else f"{type(thing).__name__}; hashable, a frozen dataclass"


registry.table("backend", BACKENDS, _wrong)


def choose(name: str, circuit: Circuit) -> Backend:
    """The backend of a name, or the one that "auto" chooses for a circuit on this machine.

    Raises:
      UsageError: there is no backend of that name, or it cannot be used here.
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
    reason = BACKENDS[name].unavailable(platform)
    if reason is not None:
        raise UsageError(f"backend: {name!r}; {reason}")
    return BACKENDS[name]


def of(circuit: Circuit) -> Backend:
    """The backend that a circuit runs on here: the result of `choose` for `circuit.backend`."""
    return choose(circuit.backend, circuit)


def primitives_of(circuit: Circuit) -> Primitives:
    """The operations of a step of a circuit, as its backend provides them."""
    return of(circuit).primitives(circuit)


def merged(circuit: Circuit, steps: int) -> Circuit:
    """A circuit with its lists in the form that its backend delivers from, to be run only.

    It is the circuit itself where the backend has no method `merged`, or that returns None. The
    form is made of the lists and weights of the circuit, which must not be replaced afterwards.

    Args:
      steps: to a chunk.
    """
    own = getattr(of(circuit), "merged", None)
    lists = None if own is None else own(circuit, steps)
    if lists is None:
        return circuit
    return replace(circuit, wiring=replace(circuit.wiring, merged=lists))


def explain(circuit: Circuit, recorders: tuple[Any, ...] = (), inputs: Any | None = None) -> str:
    """How the backend of a circuit takes many steps, in a few words.

    They are those of the backend's method `explain`, with the same arguments, where it has one:
    that many steps are one launch on a device, or what prevents that.

    Args:
      inputs: the drive of a chunk (`sim.chunk.Inputs`), where it is known; of arrays of spikes,
        currents or weights it has shapes and dtypes alone.

    Raises:
      UsageError: the backend of the circuit cannot be used on this machine.
    """
    backend = of(circuit)
    own = getattr(backend, "explain", None)
    if own is not None:
        return own(circuit, recorders, inputs)
    return SCAN if backend.chunk(circuit, 1, recorders) is None else "a loop of its own"


def usable() -> list[str]:
    """Names of the backends that can be used on this machine, in the order of "auto"."""
    platform = jax.default_backend()
    names = [name for name, backend in BACKENDS.items() if backend.unavailable(platform) is None]
    return names[::-1]
