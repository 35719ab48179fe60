"""The numbers of a circuit that a fit looks for, and how they move.

An optimiser moves coordinates, of which a step of 0.1 is a tenth of a natural unit. Weights, time
constants and capacitances are positive: their coordinate is the logarithm, so that a step is
relative and none becomes negative. Voltages and currents may have either sign and move in their own
unit: a voltage in the width of the surrogate, which is about the distance from rest to threshold; a
current in its first value. Neither unit is larger than the range of the bounds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.model import values
from cerebellum.model.circuit import Circuit
from cerebellum.model.fit import is_positive, nearest
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Spec
from cerebellum.sim import numbers
from cerebellum.sim.numbers import Target

Bounds = Mapping[str, tuple[float, float]]
"""The least and the largest value by name."""


@dataclass(frozen=True)
class Unknown:
    """A number of a circuit that is fitted: one for a whole population or projection."""

    name: str
    target: Target
    first: float
    """its value before the fit: where cells differ, their mean"""
    positive: bool
    """whether its coordinate is a logarithm"""
    unit: float
    """what a coordinate of one adds, in the unit of the number, if it is not a logarithm"""
    low: float
    high: float

    def value(self, coordinate: float) -> float:
        """The value at a coordinate, within the bounds; coordinate 0 is the first value."""
        if self.positive:
            moved = self.first * float(np.exp(min(coordinate, 80.0)))
        else:
            moved = self.first + self.unit * coordinate
        return min(max(moved, self.low), self.high)

    def coordinate(self, value: float) -> float:
        """The coordinate of a value."""
        if self.positive:
            return math.log(max(value, np.finfo(np.float32).tiny) / self.first)
        return (value - self.first) / self.unit

    def array(self, circuit: Circuit, value: float) -> Any:
        """The array of the parameters with a value; cells that differ keep their differences.

        Args:
          circuit: the circuit before the fit.
        """
        before = numbers.array_of(circuit.params, self.target)
        if self.target.group == "cells" and np.ndim(before):
            each = np.asarray(before, np.float64)
            moved = each * (value / self.first) if self.positive else each + (value - self.first)
            return numbers.array_for(circuit, self.target, moved)
        return numbers.array_for(circuit, self.target, value)

    def slope(self, circuit: Circuit, gradient: Any, value: float) -> float:
        """The derivative with respect to the coordinate.

        Args:
          gradient: the derivative with respect to `array`.
        """
        before = numbers.array_of(circuit.params, self.target)
        gradient = np.asarray(gradient, np.float64)
        if np.ndim(before) and self.positive:
            by_value = np.sum(gradient * np.asarray(before, np.float64)) / self.first
        elif self.target.group == "weights":
            by_value = float(gradient) * numbers.projection_of(circuit, self.target).contacts
        else:
            by_value = gradient.sum()
        return float(by_value * (value if self.positive else self.unit))


def of(circuit: Circuit, over: Any, bounds: Bounds | None) -> list[Unknown]:
    """The numbers that are fitted.

    Args:
      over: their names, or one name (see `cb.sweep`).

    Raises:
      UsageError: a name is not of the circuit, or its number has no gradient or no unit; bounds are
        not of these names, or do not hold the first value.
    """
    names = [over] if isinstance(over, str) else over
    if not isinstance(names, Sequence) or not names or not all(isinstance(n, str) for n in names):
        raise UsageError(f"over: {over!r}; a list of names such as 'golgi.v_th', at least one")
    repeated = [name for index, name in enumerate(names) if name in names[:index]]
    if repeated:
        raise UsageError(f"over: {repeated[0]!r} twice; each name once")
    if not isinstance(bounds or {}, Mapping):
        raise UsageError(f"bounds: {type(bounds).__name__}; a dictionary of (low, high) by name")
    bounds = dict(bounds or {})
    for name in bounds:
        if name not in names:
            raise UsageError(f"bounds: {name!r}; {nearest(name, names, 'over')}")
    return [_unknown(circuit, name, bounds.get(name)) for name in names]


def _unknown(circuit: Circuit, name: str, bounds: Any) -> Unknown:
    target = numbers.target(circuit, name, "over")
    _check_gradient(circuit, name, target)
    before = numbers.array_of(circuit.params, target)
    least, most, positive = -math.inf, math.inf, True
    if target.group == "weights":
        projection = numbers.projection_of(circuit, target)
        first = projection.mean_weight
        if not np.ndim(before):
            first = float(before) / projection.contacts
        if projection.w_max is not None:
            # A little less, because weights are float32.
            largest = projection.contacts * (1 + projection.spread)
            most = projection.w_max * (1 - 1e-6) / largest
    else:
        first = float(np.mean(np.asarray(before, np.float64)))
        positive = is_positive(name.partition(".")[2])
    if positive:
        least = 0.0
        if not first > 0:
            raise UsageError(f"over: {name!r} is {first:g} before the fit; above zero")
    low, high = _bounds(name, first, bounds, (least, most))
    return Unknown(name, target, first, positive, _unit(circuit, name, first, low, high), low, high)


def _check_gradient(circuit: Circuit, name: str, target: Target) -> None:
    """Raise UsageError if rates cannot have a gradient with respect to a number."""
    spec = circuit.spec
    if target.group in ("learning_gain", "gap_junctions"):
        raise UsageError(f"over: {name!r}; a parameter of cells, or the weight of a projection")
    population = target.owner
    if target.group == "weights":
        projection = numbers.projection_of(circuit, target)
        if projection.dtype == "uint16":
            raise UsageError(f"over: {name!r}: uint16 weights, without gradients; dtype='float32'")
        population = projection.target
    check_model(spec, population, f"over: {name!r}")
    if target.group == "cells" and name.endswith(".t_ref"):
        raise UsageError(f"over: {name!r}: counted in whole steps, without a gradient; another")


def check_model(spec: Spec, population: str, where: str) -> None:
    """Raise UsageError if the spikes of a population pass no gradients."""
    model = spec.population(population).model
    if not CIRCUIT_MODELS[model].PASSES_GRADIENTS:
        able = ", ".join(name for name, each in CIRCUIT_MODELS.items() if each.PASSES_GRADIENTS)
        raise UsageError(f"{where}: {population} has {model} cells, without gradients; {able}")


def _bounds(
    name: str, first: float, given: Any, widest: tuple[float, float]
) -> tuple[float, float]:
    """The bounds of a number, within the widest ones that it can have."""
    if given is None:
        return widest
    pair = isinstance(given, Sequence) and len(given) == 2 and all(map(is_number, given))
    if not pair or not given[0] < given[1]:
        raise UsageError(f"bounds: {name!r}: {given!r}; (low, high), low under high")
    if given[0] < widest[0] or (given[1] > widest[1] and math.isfinite(given[1])):
        low, high = widest
        raise UsageError(f"bounds: {name!r}: {given!r}; within {low:g} to {high:g}")
    low, high = float(given[0]), min(float(given[1]), widest[1])
    if not low <= first <= high:
        raise UsageError(f"bounds: {name!r}: {given!r}; around its first value, {first:g}")
    return low, high


def _unit(circuit: Circuit, name: str, first: float, low: float, high: float) -> float:
    """What a coordinate of one adds to a number that is not positive (see the module)."""
    surrogate, field = circuit.spec.surrogate, name.partition(".")[2]
    natural = abs(first)
    if field.startswith(("v_", "e_")) and surrogate is not None:
        natural = surrogate.width
    unit = min(natural or math.inf, high - low)
    if not math.isfinite(unit):
        raise UsageError(
            f"over: {name!r}: 0, which gives its steps no unit; bounds={{{name!r}: (low, high)}}"
        )
    return unit


def fitted_circuit(circuit: Circuit, fitted_values: Mapping[Unknown, float]) -> Circuit:
    """A circuit with other values of some numbers, in its spec too.

    In the spec, cells that differ have their numbers one by one.
    """
    arrays = [unknown.array(circuit, value) for unknown, value in fitted_values.items()]
    targets = [unknown.target for unknown in fitted_values]
    placed = numbers.placed(circuit.params, targets, [jnp.asarray(array) for array in arrays])
    fitted = replace(circuit, params=placed)
    numbers.check(fitted, placed)
    spec = circuit.spec
    for (unknown, value), array in zip(fitted_values.items(), arrays, strict=True):
        spec = _in_spec(spec, unknown, value, array)
    wiring = replace(circuit.wiring, part=replace(circuit.wiring.part, spec=spec))
    return replace(fitted, wiring=wiring)


def _in_spec(spec: Spec, unknown: Unknown, value: float, array: Any) -> Spec:
    """A spec with another value of a number."""
    owner = unknown.target.owner
    if unknown.target.group == "weights":
        before = next(p for p in spec.projections if p.name == owner).weight
        factor = value / values.typical(before)
        drawn = isinstance(before, values.Distribution)
        return spec.with_projection(owner, weight=values.scaled(before, factor) if drawn else value)
    populations = []
    for population in spec.populations:
        if population.name == owner:
            leaves, tree = jax.tree.flatten(population.params)
            leaves[unknown.target.leaf] = values.PerCell(array) if np.ndim(array) else value
            population = replace(population, params=jax.tree.unflatten(tree, leaves))
        populations.append(population)
    return replace(spec, populations=tuple(populations))
