"""The description of a population: its cells, their model and their parameters."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

from cerebellum.documented import documented
from cerebellum.errors import UsageError, nearest
from cerebellum.model import gap_junctions, registry, values
from cerebellum.model.gap_junctions import GapJunctions
from cerebellum.model.homeostasis import Scaling, Threshold
from cerebellum.model.neurons import CIRCUIT_MODELS, threshold
from cerebellum.model.values import Distribution


@documented
@dataclass(frozen=True)
class Population:
    """A number of cells of one neuron model."""

    name: str
    size: int
    """number of cells"""
    model: str = ""
    """a name in neurons.CIRCUIT_MODELS; by default the model whose Params `params` are"""
    params: Any = None
    """The Params of that model, or a dictionary of those that differ from the default values. Each
    is one number for all cells, a list or an array of one number a cell, or a distribution
    (`Normal`, `LogNormal`, `Uniform`), from which `build` draws one a cell."""
    _: KW_ONLY
    homeostasis: Threshold | None = None
    """how the thresholds of its cells follow their firing rates"""
    gap_junctions: GapJunctions | None = None
    """electrical synapses among its cells"""

    def __post_init__(self):
        values.plain(self)
        if not self.model:
            object.__setattr__(self, "model", _model_of(self))
        if self.model in CIRCUIT_MODELS and isinstance(self.params, Mapping | None):
            object.__setattr__(self, "params", _params_of(self))
        object.__setattr__(self, "params", values.in_fields(self.params, f"{self.name}.params"))

    @property
    def typical(self) -> Any:
        """The Params with one plain number in each field: the mean where cells differ."""
        return values.typical_fields(self.params)


def _params_of(population: Population) -> Any:
    """The Params of a population's model, with the values of a dictionary."""
    kind, given = CIRCUIT_MODELS[population.model].Params, population.params or {}
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            where = f"{population.name}.params"
            raise UsageError(f"{where} {name!r}: unknown; {nearest(name, known, population.model)}")
    return kind(**given)


def _model_of(population: Population) -> str:
    """The name of the model whose Params a population has."""
    kind = type(population.params)
    names = [name for name, model in CIRCUIT_MODELS.items() if kind is model.Params]
    if len(names) == 1:
        return names[0]
    shown = kind.__name__ if population.params is not None else "not given"
    if names:
        raise UsageError(
            f"{population.name}.model: not given; one of {', '.join(names)}, which share {shown}"
        )
    raise UsageError(
        f"{population.name}.params: {shown}; the Params of a model, or the name of one as model: "
        f"{', '.join(CIRCUIT_MODELS)}"
    )


def check_population(population: Population, dt: float) -> None:
    """Raise UsageError if a population of a circuit with that time step (ms) is impossible."""
    name = population.name
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"population {name!r}: a name is letters, digits and underscores")
    if type(population.size) is not int or population.size < 1:
        raise UsageError(f"{name}.size: {population.size!r}; at least 1 cell, a whole number")
    if not isinstance(population.model, str) or population.model not in CIRCUIT_MODELS:
        known = ", ".join(CIRCUIT_MODELS)
        raise UsageError(f"{name}.model: {population.model!r}; one of {known}")
    if not isinstance(population.params, CIRCUIT_MODELS[population.model].Params):
        raise UsageError(f"{name}.params: not the Params of {population.model}")
    problem = registry.problem("neuron", population.model)
    if problem is not None:
        raise UsageError(f"{name}.model: {population.model!r}: {problem}")
    _check_params(population)
    if population.gap_junctions is not None:
        gap_junctions.check(name, population.size, population.gap_junctions)
        if CIRCUIT_MODELS[population.model].TAKES_SPIKES:
            raise UsageError(f"{name}.gap_junctions: given; {population.model} has no membrane")
    if population.homeostasis is not None:
        if not hasattr(population.params, "v_th"):
            raise UsageError(f"{name}.homeostasis: given; {population.model} has no threshold")
        check_homeostasis(f"{name}.homeostasis", population.homeostasis, Threshold)
    t_ref = getattr(population.params, "t_ref", 0.0)
    most = threshold.counter(CIRCUIT_MODELS[population.model], population.params, dt)[1]
    longest = values.typical(t_ref) if isinstance(t_ref, Distribution) else values.largest(t_ref)
    if longest / dt > most:
        raise UsageError(f"{name}.t_ref: {longest} ms is over {most} steps of {dt} ms")


def _check_params(population: Population) -> None:
    """Check that parameters are numbers, one a cell where there are many, and in their range.

    The names of time constants and capacitances say what these can be.
    """
    name, size = population.name, population.size
    for field in dataclasses.fields(population.params):
        if getattr(population.params, field.name) is None and field.default is not None:
            raise UsageError(f"{name}.params.{field.name}: None; a number")
    for field, value in values.fields(population.params).items():
        where = f"{name}.params.{field}"
        if isinstance(value, values.PerCell):
            if len(value) != size:
                raise UsageError(f"{where}: {len(value)} values; {size}, one a cell")
        elif not isinstance(value, Distribution) and (
            not isinstance(value, (int, float)) or not math.isfinite(value)
        ):
            raise UsageError(
                f"{where}: {value!r}; a finite number, a list or array of one a cell, or a "
                "distribution such as cb.Normal(mean, sd)"
            )
        drawn = isinstance(value, Distribution)
        # What a distribution draws is checked when it is drawn.
        least = values.typical(value) if drawn else values.least(value)
        if (field.startswith("tau") or field == "c_m") and not least > 0:
            raise UsageError(f"{where}: {least:g}; above zero")
        if field == "t_ref" and least < 0:
            raise UsageError(f"{where}: {least:g} ms; zero or more")


def check_homeostasis(where: str, rule: Any, kind: type) -> None:
    """Raise UsageError if a rule is not one of that kind, or its numbers are out of range."""
    if not isinstance(rule, kind):
        raise UsageError(f"{where}: {type(rule).__name__}; a {kind.__name__}")
    for key, value in vars(rule).items():
        if not isinstance(value, (int, float)):
            raise UsageError(f"{where}.{key}: {value!r}; a number")
    if not 0 <= getattr(rule, "gain", 0.0) < math.inf:
        raise UsageError(f"{where}.gain: {rule.gain}; finite, zero or more")
    for key in ("target", "tau", "tau_rate"):
        if not 0 < getattr(rule, key, 1.0) < math.inf:
            raise UsageError(f"{where}.{key}: {getattr(rule, key)}; above zero")
    neutral = 1.0 if isinstance(rule, Scaling) else 0.0
    low, high = rule.lowest, rule.highest
    if not -math.inf < low <= neutral <= high < math.inf or (neutral and low <= 0):
        raise UsageError(f"{where}: from {low} to {high}; around {neutral:g}")
