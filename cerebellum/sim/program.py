"""Which program runs a circuit: what of its description is compiled into it, and how many steps."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax

from cerebellum.model.circuit import Circuit
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection

_Record = TypeVar("_Record")

LEAST_STEPS = 64
"""Shorter runs share the program that has room for so many steps."""


def canonical(circuit: Circuit) -> Circuit:
    """A circuit whose static description has only what a step depends on.

    Parameters and weights are operands of a program, so their numbers in the spec, and what the
    wiring and the first weights were drawn from, are replaced by constants: circuits that differ
    in nothing else then share a compiled program. It is not checked, and only to be run.
    """
    wiring, spec = circuit.wiring, circuit.spec
    plain = _with(
        spec,
        name="",
        populations=tuple(map(_population, spec.populations)),
        projections=tuple(map(_projection, spec.projections)),
        place=None,
    )
    part = _with(wiring.part, spec=plain)
    return replace(circuit, wiring=replace(wiring, part=part, drawn=False))


def _population(population: Population) -> Population:
    return _with(population, params=jax.tree.map(lambda _: 1.0, population.params))


def _projection(projection: Projection) -> Projection:
    # A rule draws which contacts of a row exist from the in-degree, in every step.
    in_degree = 0.0 if projection.rule is None else projection.in_degree
    drawn = {"weight": 0.0, "contacts": 1.0, "spread": 0.0, "sites": None, "degree_sd": 0.0}
    return _with(projection, in_degree=in_degree, connect=None, **drawn)


def _with(record: _Record, **fields: Any) -> _Record:
    """A copy of a frozen record with other fields, without its checks."""
    changed = copy.copy(record)
    for name, value in fields.items():
        object.__setattr__(changed, name, value)
    return changed


@dataclass(frozen=True)
class Cut:
    """Consecutive steps of a run that one call of a program runs."""

    first: int
    """the first of them, counted from the beginning of the run"""
    last: int
    """the step after the last one"""
    room: int
    """number of steps of the program"""
    counted: bool
    """whether the program gets the number of its steps (`chunk.Inputs.steps`)"""

    @property
    def size(self) -> int:
        return self.last - self.first


def cuts(steps: int, limit: int, counts: bool, platform: str = "cpu") -> Iterator[Cut]:
    """Divide a run into chunks of at most `limit` steps.

    Args:
      counts: whether the program can run fewer steps than it has room for. Then all chunks have the
        same room, `limit` or for a shorter run a power of two, so that runs of different durations
        share a program. Otherwise all chunks have the same length if a suitable divisor exists.
      platform: where the program runs. On a CPU a counted loop is as fast as one of a fixed length,
        so there is one program; elsewhere, only a last chunk that is not full is counted.
    """
    if counts:
        room = min(limit, max(LEAST_STEPS, 1 << (steps - 1).bit_length()))
        for first in range(0, steps, room):
            last = min(first + room, steps)
            yield Cut(first, last, room, platform == "cpu" or last - first < room)
        return
    limit = max(1, min(limit, steps))
    divisors = [size for size in range(limit, limit // 4, -1) if steps % size == 0]
    size = divisors[0] if divisors else limit
    for first in range(0, steps, size):
        last = min(first + size, steps)
        yield Cut(first, last, last - first, False)
