"""A neuron model from its differential equations: the short way to a model of one's own.

    cb.define_neuron(
        "adex",
        params={"c_m": 200.0, "g_l": 10.0, "e_l": -70.0, "v_peak": 0.0, "tau_exc": 5.0, ...},
        start={"v": "e_l", "w": 0.0},
        slopes=lambda p, cell, current: {"v": (... + cell.exc + current) / p.c_m, "w": ...},
        reset=lambda p, cell: {"v": p.v_reset, "w": cell.w + p.b},
    )
    cb.Population("cells", 100, "adex")

A model that needs another integrator, noise or synapses of another shape has the functions of
`protocol.NeuronModel` instead.
"""

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import new_class
from typing import Any

import jax.numpy as jnp
from flax import struct
from jax import Array, lax

from cerebellum.errors import UsageError, is_number, nearest
from cerebellum.model import registry
from cerebellum.model.functions import known
from cerebellum.model.neurons import threshold
from cerebellum.model.surrogate import through

REFRACTORY = "refractory"
THRESHOLDS = ("v_peak", "v_th")
"""Parameters at which v fires where a model does not say when, the first one that it has."""
RECEPTORS = {"exc": "tau_exc", "inh": "tau_inh"}
"""Receptors of a model that names none, if it has their time constants."""


@struct.dataclass(kw_only=True)
class Input:
    """The input of cells in a step."""

    current: float | Array = 0.0
    """current from outside during the step, [..., n]"""


def define_neuron(
    name: str,
    *,
    params: Mapping[str, float],
    start: Mapping[str, float | str],
    slopes: Callable[[Any, Any, Any], Mapping[str, Any]],
    reset: Callable[[Any, Any], Mapping[str, Any]],
    excess: Callable[[Any, Any], Any] | None = None,
    receptors: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> "Equations":
    """Define a neuron model by its equations, and register it under a name.

    In a step, the variables take an Euler step along their slopes, and the receptors decay exactly.
    Then cells whose `excess` is zero or more fire and are reset, and after that arriving spikes add
    their weights to the receptors. The functions get the parameters `p` and the cells `cell`, whose
    variables and receptors are attributes, all [..., n]; they compute with `jax.numpy`.

    A model that was defined before under the same name is replaced, as in a notebook, unless it is
    the same.

    Args:
      params: parameters with their default values; each may differ between cells. Three have a
        meaning: with `t_ref` (ms), cells do not fire, and the variable v stays as it is, for so
        long after a spike; v_th may be homeostatic; and voltages that are drawn lie between v_reset
        and v_th, if there are both.
      start: the variables with the values they start from: numbers, or names of parameters.
      slopes: `slopes(p, cell, current)` returns the slope of each variable by name, per ms;
        `current` is that of the drive.
      reset: `reset(p, cell)` returns variables by name as they are after a spike.
      excess: `excess(p, cell)` is zero or more where a cell fires: how far it is above threshold,
        on which surrogate gradients depend. By default v minus v_peak, or minus v_th.
      receptors: by name, the parameter that is the time constant of its decay, ms; by default exc
        and inh, if there are the parameters tau_exc and tau_inh.
      units: units of variables and receptors by name, for records and pictures.

    Raises:
      UsageError: a name is no identifier, is used twice or is unknown, or belongs to a model that
        was not defined in this way.
    """
    for each, function in {"slopes": slopes, "reset": reset, "excess": excess}.items():
        if not callable(function) and (each != "excess" or function is not None):
            raise UsageError(f"{each}: {function!r}; a function of parameters and cells")
    if receptors is None:
        receptors = {name: tau for name, tau in RECEPTORS.items() if tau in params}
    if excess is None:
        highest = next((each for each in THRESHOLDS if each in params), None)
        if highest is None or "v" not in start:
            raise UsageError("excess: not given; a function, or v and the parameter v_th or v_peak")
        excess = _Above(highest)
    model = Equations(
        params=params,
        start=start,
        slopes=slopes,
        excess=excess,
        reset=reset,
        receptors=receptors,
        units=units or {},
    )
    return registry.define("neuron", name, model, lambda before: isinstance(before, Equations))


@dataclass(frozen=True)
class _Above:
    """How far v is above the parameter of this name."""

    name: str

    def __call__(self, p: Any, cell: Any) -> Array:
        return cell.v - getattr(p, self.name)


class Equations:
    """A neuron model that its equations define (see `define_neuron`)."""

    TAKES_SPIKES = False
    PASSES_GRADIENTS = True
    DRAWS_NOISE = False
    LONGEST_REFRACTORY = threshold.LONGEST_REFRACTORY
    Input = Input

    def __init__(
        self,
        *,
        params: Mapping[str, float],
        start: Mapping[str, float | str],
        slopes: Callable[[Any, Any, Any], Mapping[str, Array]],
        excess: Callable[[Any, Any], Array],
        reset: Callable[[Any, Any], Mapping[str, Any]],
        receptors: Mapping[str, str],
        units: Mapping[str, str],
    ):
        self.receptor_taus = tuple(receptors.items())
        self.start, self.units = tuple(start.items()), tuple(units.items())
        self.slopes, self.excess, self.reset = slopes, excess, reset
        state = [*start, *dict(self.receptor_taus)]
        _check_identifiers([*params, *state, REFRACTORY])
        for name, value in params.items():
            if not is_number(value):
                raise UsageError(f"params: {name} {value!r}; a number, the default value")
        named = [value for value in start.values() if not is_number(value)]
        for name in [*named, *dict(self.receptor_taus).values()]:
            if name not in params:
                raise UsageError(f"params: without {name!r}; {nearest(name, list(params), 'it')}")
        for name in units:
            if name not in state:
                raise UsageError(f"units: {name!r}; {nearest(name, state, 'the model')}")
        self.holds = "t_ref" in params
        self.FIRES_AT = excess.name if isinstance(excess, _Above) else None
        functions = tuple(known(function) for function in (slopes, excess, reset))
        self.CONTENT = (
            tuple(params.items()),
            self.start,
            self.receptor_taus,
            self.units,
            functions,
        )
        self.Params = _record("Params", {name: float(value) for name, value in params.items()})
        self.State = _record("State", dict.fromkeys([*state, *[REFRACTORY] * self.holds]))

    def init(self, params: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Any:
        """Cells [..., n] at their start values, without synaptic input."""
        values = {
            name: value if is_number(value) else getattr(params, str(value))
            for name, value in self.start
        }
        values |= {name: 0.0 for name, _ in self.receptor_taus}
        arrays = {n: jnp.zeros(shape, dtype) + jnp.asarray(v, dtype) for n, v in values.items()}
        if self.holds:
            arrays[REFRACTORY] = jnp.zeros(shape, jnp.uint8)
        return self.State(**arrays)

    def step(self, params: Any, state: Any, input: Input, dt: float, surrogate: Any = None) -> Any:
        """Advance cells by `dt` ms (see `define_neuron`)."""
        slopes = self.slopes(params, state, input.current)
        _check_variables("slopes", slopes, dict(self.start), every=True)
        silent = state.refractory > 0 if self.holds else False
        moved = {name: getattr(state, name) + dt * slope for name, slope in slopes.items()}
        if self.holds and "v" in moved:
            moved["v"] = jnp.where(silent, state.v, moved["v"])
        for name, tau in self.receptor_taus:
            moved[name] = getattr(state, name) * jnp.exp(-dt / getattr(params, tau))
        state = replace(state, **moved)
        excess = jnp.asarray(self.excess(params, state))
        if excess.dtype == jnp.bool_:
            raise UsageError("excess: true or false; a number, zero or more where a cell fires")
        fired = (excess >= 0) & jnp.logical_not(silent)
        after = self.reset(params, state)
        _check_variables("reset", after, dict(self.start))
        if self.holds:
            period = jnp.round(jnp.asarray(params.t_ref) / dt).astype(state.refractory.dtype)
            left = state.refractory - (state.refractory > 0).astype(state.refractory.dtype)
            state = replace(state, refractory=jnp.where(fired, period, left))
        if surrogate is None:
            values = {n: jnp.where(fired, x, getattr(state, n)) for n, x in after.items()}
            return replace(state, **values), fired.astype(excess.dtype)
        spikes = jnp.where(silent, 0, through(fired.astype(excess.dtype), excess, surrogate))
        turned = spikes if surrogate.reset else lax.stop_gradient(spikes)
        values = {n: getattr(state, n) for n in after}
        values = {n: x + turned * (after[n] - x) for n, x in values.items()}
        return replace(state, **values), spikes

    def outside(self, drive: Any) -> Input:
        """The input for a current from outside."""
        return Input(current=drive)

    def spread(self, params: Any, state: Any, uniform: Array) -> Any:
        """Voltages v drawn between the parameters v_reset and v_th; as they are without these."""
        if not all(hasattr(params, name) for name in ("v_reset", "v_th")) or "v" not in vars(state):
            return state
        return replace(state, v=params.v_reset + uniform * (params.v_th - params.v_reset))

    def receptors(self, state: Any) -> dict[str, Array]:
        """The receptors by name."""
        return {name: getattr(state, name) for name, _ in self.receptor_taus}

    def with_receptors(self, state: Any, values: dict[str, Array]) -> Any:
        """The state with these receptors."""
        return replace(state, **values)

    def variables(self, state: Any) -> dict[str, Array]:
        """Variables and receptors by name."""
        return {name: getattr(state, name) for name in [*dict(self.start), *self.receptors(state)]}

    def unit(self, variable: str) -> str:
        """The unit of a variable or a receptor."""
        return dict(self.units).get(variable, "")


def _record(name: str, fields: Mapping[str, Any]) -> Any:
    """A class of records with these fields and default values."""

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update(fields, __annotations__=dict.fromkeys(fields, Any), __module__=__name__)

    return struct.dataclass(new_class(name, exec_body=fill), kw_only=True)


def _check_identifiers(names: list[str]) -> None:
    for name in names:
        if not str(name).isidentifier() or keyword.iskeyword(name):
            raise UsageError(f"name {name!r}; letters, digits and underscores")
        if names.count(name) > 1:
            raise UsageError(f"name {name!r}: used twice, or by the model itself; another name")


def _check_variables(what: str, given: Any, known: Mapping[str, Any], every: bool = False) -> None:
    """Raise UsageError if a function returned something else than values of variables by name."""
    if not isinstance(given, Mapping):
        raise UsageError(f"{what}: {type(given).__name__}; a dictionary by variable")
    for name in given:
        if name not in known:
            raise UsageError(f"{what}: {name!r}; {nearest(name, list(known), 'the model')}")
    missing = [name for name in known if name not in given]
    if every and missing:
        raise UsageError(f"{what}: without {', '.join(missing)}; the slope of every variable")
