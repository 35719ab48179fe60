"""Convert a circuit's spec to JSON and back.

The JSON holds the named fields of known classes; nothing in it can be executed.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from cerebellum.errors import UsageError, perhaps
from cerebellum.model import connect, homeostasis, plasticity, short_term, surrogate, values
from cerebellum.model.delays import on_grid
from cerebellum.model.gap_junctions import GapJunctions
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Population, Projection, Spec

_CLASSES = (
    Spec,
    Population,
    Projection,
    GapJunctions,
    plasticity.Rule,
    short_term.ShortTerm,
    homeostasis.Scaling,
    homeostasis.Threshold,
    surrogate.Surrogate,
    *values.OWN,
    values.Scaled,
    *connect.OWN,
)

_KINDS = {
    "Params": "neuron",
    "Rule": "rule",
    "Connect": "connection",
    "Distribution": "distribution",
}
"""What a registered class is registered as, by what is written after its name."""


def _classes() -> dict[str, type]:
    """The classes that a spec may contain, by name; those that a user has registered too."""
    classes = {each.__name__: each for each in _CLASSES}
    classes |= {f"{name}.Params": model.Params for name, model in CIRCUIT_MODELS.items()}
    for suffix, table in (
        ("Rule", plasticity.RULES),
        ("Connect", connect.RULES),
        ("Distribution", values.DISTRIBUTIONS),
    ):
        classes |= {f"{n}.{suffix}": each for n, each in table.items() if each not in _CLASSES}
    return classes


_REMOVED_FIELDS = {"Spec": ("kernels", "path", "whole", "shards")}
"""Fields that older versions wrote: they describe how a circuit ran, not what it is."""


def to_json(spec: Spec) -> dict[str, Any]:
    """A spec as JSON values, without `place`, which is a function: store the edges instead."""
    return _encode(dataclasses.replace(spec, place=None))


def from_json(tree: Any) -> Spec:
    """The spec of JSON values that `to_json` returned.

    Raises:
      UsageError: the values are not those of a spec, or of an impossible one.
    """
    spec = _decode(tree)
    if not isinstance(spec, Spec):
        raise UsageError("spec: not a circuit's; what describe.to_json made")
    return spec


def values_of(params: Any) -> dict[str, Any]:
    """The Params of a population by field, as JSON values."""
    return {field: _encode(value) for field, value in vars(params).items()}


def _on_grid(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec with the delays that it ran with: older versions rounded others."""
    try:
        dt = spec["dt"]
        projections = [{**p, "delay": on_grid(p["delay"], dt)} for p in spec["projections"]]
    except (KeyError, TypeError):
        # Not a spec, which is said where it is made.
        return spec
    return {**spec, "projections": projections}


def _encode(value: Any) -> Any:
    if isinstance(value, values.PerCell):
        return {"is": "PerCell", "values": value.values.tolist()}
    if isinstance(value, float) and math.isinf(value):
        # JSON has no infinite numbers, which the bounds of distributions are.
        return {"is": "Infinite", "sign": 1 if value > 0 else -1}
    if dataclasses.is_dataclass(value):
        fields = {
            field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        names = {each: name for name, each in _classes().items()}
        if type(value) not in names:
            raise UsageError(f"spec: {type(value).__name__}: {_unknown(value)}")
        return {"is": names[type(value)], **fields}
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is not None and not isinstance(value, str | int | float):
        raise UsageError(f"spec: {type(value).__name__}: {_unknown(value)}")
    return value


def _unknown(value: Any) -> str:
    """What would be right instead of a value that cannot be stored."""
    name = type(value).__name__
    for kind, problem in (("connection", connect.wrong), ("distribution", values.wrong)):
        if problem(type(value)) is None:
            return f'not registered; cb.register("{kind}", "{name.lower()}", {name}) first'
    return "cannot be stored; numbers, text, tuples of them, and registered classes"


def _decode(tree: Any) -> Any:
    if isinstance(tree, list):
        return tuple(_decode(each) for each in tree)
    if not isinstance(tree, dict):
        return tree
    fields = dict(tree)
    name = fields.pop("is", None)
    for removed in _REMOVED_FIELDS.get(name, ()):
        fields.pop(removed, None)
    if name == "Spec":
        fields = _on_grid(fields)
    if name == "PerCell":
        return values.PerCell(fields.get("values"))
    if name == "Infinite":
        return math.copysign(math.inf, fields.get("sign", 1))
    classes = _classes()
    if not isinstance(name, str) or name not in classes:
        registered, _, suffix = str(name).partition(".")
        hint = f'cb.register("{_KINDS.get(suffix, "rule")}", "{registered}", ...) first'
        near = perhaps(name, classes)
        raise UsageError(f"spec: {name!r}: not known here; {near and near + ', or '}{hint}")
    try:
        return classes[name](**{key: _decode(each) for key, each in fields.items()})
    except (TypeError, AttributeError) as error:
        raise UsageError(f"spec: {name}: {error}") from None
