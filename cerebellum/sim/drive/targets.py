"""What a key of a drive stands for, and which of its cells a source is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax import Array

from cerebellum.errors import UsageError, is_whole, nearest
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.spec import Spec

Cells = Any
"""Cells of a population: a mask (bool [N]), their numbers (ints), or a slice; None: all of them."""


@dataclass(frozen=True)
class Target:
    """What a key of a drive stands for."""

    name: str
    """the population"""
    size: int
    """number of its cells"""
    model: str
    """the model of its cells"""
    receptor: str | None
    """the receptor at which weights arrive, if the key names one"""
    receptors: tuple[str, ...]
    """the receptors that a key may name"""

    @property
    def repeats(self) -> bool:
        """Whether the key is that of relays, which repeat spikes."""
        return CIRCUIT_MODELS[self.model].TAKES_SPIKES

    @property
    def unit(self) -> str:
        """The unit of a current into these cells."""
        return "mV" if self.model == "current" else "pA"


def population_of(slot: str) -> str:
    """The population of a key or of a slot."""
    return key_of(slot).partition(".")[0]


def key_of(slot: str) -> str:
    """The key of a slot."""
    return slot.partition("[")[0]


def slots(drive: Mapping[str, Any]) -> dict[str, Any]:
    """The single sources of a drive, each by its slot, which is also the name of its draws.

    The first source of a key has the key as its slot, the others are "key[1]", "key[2]", ...

    Raises:
      UsageError: a list is empty, or is one of numbers.
    """
    found = {}
    for key, given in drive.items():
        if not isinstance(given, list | tuple):
            found[key] = given
            continue
        if not given:
            raise UsageError(f"drive {key!r}: an empty list; a source, or several")
        if any(isinstance(each, int | float | np.number) for each in given):
            raise UsageError(
                f"drive {key!r}: a list of numbers; one value a cell is cb.drive.current(values)"
            )
        for index, source in enumerate(given):
            found[f"{key}[{index}]" if index else key] = source
    return found


def target_of(slot: str, spec: Spec) -> Target:
    """What the key of a slot stands for.

    Raises:
      UsageError: the circuit has no such population, or its cells no such receptor.
    """
    key = key_of(slot) if isinstance(slot, str) else slot
    where = f"drive {key!r}"
    known = {population.name: population for population in spec.populations}
    name, dot, receptor = key.partition(".") if isinstance(key, str) else (None, "", "")
    if name not in known:
        raise UsageError(f"{where}: {nearest(name, known, spec.name)}")
    population = known[name]
    model = CIRCUIT_MODELS[population.model]
    receptors = receptors_of(population)
    target = Target(name, population.size, population.model, receptor if dot else None, receptors)
    if not dot:
        return target
    if model.TAKES_SPIKES:
        raise UsageError(f"{where}: {name} has relays, which repeat spikes; {name!r}, no weight")
    if receptor not in receptors:
        known = [f"{name}.{each}" for each in receptors]
        raise UsageError(f"{where}: {nearest(key, known, name)}")
    return target


def receptors_of(population: Population) -> tuple[str, ...]:
    """Names of the receptors of a population's cells."""
    model = CIRCUIT_MODELS[population.model]
    return tuple(
        jax.eval_shape(lambda: model.receptors(model.init(population.typical, (1,)))).keys()
    )


def chosen(cells: Cells, size: int, where: str) -> np.ndarray | None:
    """The numbers of chosen cells of a population, int64 [k], or None for all.

    Raises:
      UsageError: they are no mask, list or slice of a population of `size` cells, or none at all.
    """
    if cells is None:
        return None
    right = f"a mask, bool [{size}], cells from 0 to {size - 1}, or a slice"
    if isinstance(cells, slice):
        if not all(end is None or is_whole(end) for end in (cells.start, cells.stop, cells.step)):
            raise UsageError(f"{where}: cells {cells}; {right}")
        numbers = np.arange(size)[cells] if cells.step != 0 else np.zeros(0, int)
    else:
        if not isinstance(cells, list | tuple | range | np.ndarray | Array):
            raise UsageError(f"{where}: cells {cells!r}; {right}")
        try:
            numbers = np.asarray(cells)
        except ValueError:
            raise UsageError(f"{where}: cells of unequal length; {right}") from None
        if numbers.dtype == bool and numbers.size:
            if numbers.shape != (size,):
                raise UsageError(f"{where}: cells: bool {list(numbers.shape)}; {right}")
            numbers = np.flatnonzero(numbers)
        elif numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise UsageError(f"{where}: cells: {numbers.dtype} {list(numbers.shape)}; {right}")
    if not numbers.size:
        raise UsageError(f"{where}: cells: none; at least one, or leave `cells` out for all")
    numbers = numbers.astype(np.int64)
    outside = (numbers < 0) | (numbers >= size)
    if outside.any():
        raise UsageError(f"{where}: cells: {numbers[outside][0]}; from 0 to {size - 1}")
    values, times = np.unique(numbers, return_counts=True)
    if values.size < numbers.size:
        raise UsageError(f"{where}: cells: {values[times > 1][0]} more than once; each once")
    return numbers


def spread(values: Any, cells: np.ndarray | None, size: int) -> np.ndarray:
    """Values of chosen cells as values of all cells, zero elsewhere: [..., 1] or [..., size].

    Args:
      values: [..., 1], or [..., k] for k chosen cells.
    """
    values = np.asarray(values)
    if cells is None:
        return values
    whole = np.zeros((*values.shape[:-1], size), values.dtype)
    whole[..., cells] = values
    return whole
