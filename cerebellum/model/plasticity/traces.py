"""A learning rule from traces of spikes: the short way to a rule of one's own.

    Stdp = cb.define_rule(
        "stdp",
        params={"a_plus": 0.01, "a_minus": 0.012, "tau_plus": 20.0, "tau_minus": 20.0},
        pre={"x": "tau_plus"},
        post={"y": "tau_minus"},
        on_pre=lambda p, w, pre, post: -p.a_minus * post.y,
        on_post=lambda p, w, pre, post: p.a_plus * pre.x,
    )
    cb.Projection("granule", "golgi", "exc", ..., rule=Stdp(a_plus=0.02), w_max=2.0)

A rule that reads voltages, or keeps an array for each synapse, has the methods of `protocol.Rule`
instead.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import make_dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.errors import UsageError, is_number, nearest
from cerebellum.model import registry
from cerebellum.model.functions import known
from cerebellum.model.plasticity.protocol import Moment, Sizes, Synapses

Change = Callable[[Any, Array, Any, Any], Any]
"""A function of parameters, weights, and the traces of both cells: the change of the weights."""


def define_rule(
    name: str,
    *,
    params: Mapping[str, float],
    pre: Mapping[str, str] | None = None,
    post: Mapping[str, str] | None = None,
    teacher: Mapping[str, str] | None = None,
    on_pre: Change | None = None,
    on_post: Change | None = None,
    on_teacher: Change | None = None,
) -> Any:
    """Define a learning rule by traces of spikes, and register it under a name.

    A trace decays with its time constant and grows by one at each spike of its cell. A change is
    added to a weight at each spike; the traces are those before that spike is added. The functions
    get the parameters `p`, the weights `w`, and the traces of both cells of each synapse, `pre`
    and `post`, whose names are attributes; all have the shape of the weights. They compute with
    `jax.numpy`.

    With `teacher` or `on_teacher`, the rule has a field `teacher`: the name of another projection
    onto the same target, such as climbing fibres, or of the target. The traces of its spikes are
    attributes of `post`.

    A rule that was defined before under the same name is replaced, as in a notebook, unless it is
    the same.

    Args:
      params: parameters with their default values, which are fields of the rule.
      pre, post, teacher: traces of the spikes of the source cell (as they arrive), of the target
        cell, and of the teacher: by name, the parameter that is the time constant, ms.
      on_pre, on_post, on_teacher: `on_pre(p, w, pre, post)` returns the change of the weights when
        a spike of the source arrives, when the target fires, and when the teacher fires.

    Returns:
      The class of the rule: `rule=Stdp()`, or `rule=Stdp(a_plus=0.02)`.

    Raises:
      UsageError: a name is no identifier, is used twice or is unknown, or belongs to a rule that
        was not defined in this way.
    """
    traces = tuple(tuple((given or {}).items()) for given in (pre, post, teacher))
    constants = [each for group in traces for each in group]
    taught = bool(teacher) or on_teacher is not None
    names = [*params, *(trace for trace, _ in constants), *["teacher"] * taught]
    for each in names:
        if not str(each).isidentifier() or names.count(each) > 1:
            raise UsageError(f"name {each!r}; letters, digits and underscores, used once")
    for each, value in params.items():
        if not is_number(value):
            raise UsageError(f"params: {each} {value!r}; a number, the default value")
    for trace, tau in constants:
        if tau not in params:
            raise UsageError(f"{trace}: without {tau!r}; {nearest(tau, list(params), 'params')}")
    changes = {"on_pre": on_pre, "on_post": on_post, "on_teacher": on_teacher}
    for each, function in changes.items():
        if function is not None and not callable(function):
            raise UsageError(f"{each}: {function!r}; a function (p, w, pre, post)")
    fields: list[Any] = [("teacher", str)] if taught else []
    fields += [(each, float, float(value)) for each, value in params.items()]
    functions = {each.upper(): function or _nothing for each, function in changes.items()}
    content = tuple(params.items()), traces, taught, tuple(map(known, functions.values()))
    rule = make_dataclass(
        name,
        fields,
        bases=(TraceRule,),
        namespace={
            **{each: staticmethod(function) for each, function in functions.items()},
            "TRACES": traces,
            "CONTENT": content,
            "__module__": __name__,
        },
        frozen=True,
        kw_only=True,
    )
    return registry.define("rule", name, rule, _is_ours)


def _is_ours(rule: Any) -> bool:
    return isinstance(rule, type) and issubclass(rule, TraceRule)


def _nothing(p: Any, w: Array, pre: Any, post: Any) -> float:
    return 0.0


class TraceRule:
    """A rule that `define_rule` made."""

    KEEPS_BOUNDS: ClassVar[bool] = False
    CONTENT: ClassVar[Any] = None
    """what `define_rule` made it from"""
    TRACES: ClassVar[Any] = ((), (), ())
    """the traces of source, target and teacher, each with the name of its time constant"""
    ON_PRE: ClassVar[Any] = staticmethod(_nothing)
    ON_POST: ClassVar[Any] = staticmethod(_nothing)
    ON_TEACHER: ClassVar[Any] = staticmethod(_nothing)

    @property
    def teachers(self) -> tuple[str, ...]:
        return (vars(self)["teacher"],) if "teacher" in vars(self) else ()

    def history(self, dt: float) -> int:
        return 0

    def problem(self, projection: Any) -> str | None:
        for _, tau in (each for traces in self.TRACES for each in traces):
            value = getattr(self, tau)
            if not is_number(value) or not (value > 0 and math.isfinite(value)):
                return f"{tau}: {value!r} ms; above zero"
        if projection.dtype != "float32":
            return f"dtype: {projection.dtype!r}; such a rule is for float32 weights"
        return None

    def axes(self) -> dict[str, str]:
        ends = ("source", "target", "target")
        return {n: end for end, traces in zip(ends, self.TRACES, strict=True) for n, _ in traces}

    def begin(self, sizes: Sizes, dt: float) -> dict[str, Array]:
        cells = {"source": sizes.sources, "target": sizes.targets}
        return {name: jnp.zeros(cells[end]) for name, end in self.axes().items()}

    def learn(
        self, weights: Array, state: dict[str, Array], moment: Moment, synapses: Synapses
    ) -> tuple[Array, dict[str, Array]]:
        """Change the weights by the spikes of a step, and then the traces."""
        teaching = jnp.zeros_like(moment.fired)
        for name in self.teachers:
            teaching = moment.teaching_spikes[name]
        spikes = (moment.arrived, moment.fired, teaching)
        faded, after = {}, {}
        for traces, fired in zip(self.TRACES, spikes, strict=True):
            for name, tau in traces:
                faded[name] = state[name] * np.exp(-synapses.dt / getattr(self, tau))
                after[name] = faded[name] + fired

        def at_targets(values: Array) -> Array:
            sources, width = weights.shape
            return synapses.at_targets(values, (sources, width))

        of_source, of_target, of_teacher = ([name for name, _ in each] for each in self.TRACES)
        pre = SimpleNamespace(**{name: faded[name][:, None] for name in of_source})
        there = [*of_target, *of_teacher]
        post = SimpleNamespace(**{name: at_targets(faded[name]) for name in there})
        change = moment.arrived[:, None] * self.ON_PRE(self, weights, pre, post)
        change += at_targets(moment.fired) * self.ON_POST(self, weights, pre, post)
        if self.teachers:
            change += at_targets(teaching) * self.ON_TEACHER(self, weights, pre, post)
        return weights + moment.gain * change, after
