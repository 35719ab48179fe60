"""Convert a circuit's spec to JSON and back, by pydantic.

The JSON holds the named fields of known classes; nothing in it can be executed.
"""

import dataclasses
import math
from typing import Annotated, Any, cast

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    PlainSerializer,
    SerializationInfo,
    Tag,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticSerializationError
from typing_extensions import TypeAliasType

from cerebellum.errors import UsageError, perhaps
from cerebellum.model import connect, homeostasis, plasticity, short_term, surrogate, values
from cerebellum.model.delays import on_grid
from cerebellum.model.gap_junctions import GapJunctions
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

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


_STORED = "numbers, text, tuples of them, and registered classes"
"""What a spec may hold, for messages."""

_REMOVED_FIELDS = {"Spec": ("kernels", "path", "whole", "shards")}
"""Fields that older versions wrote: they describe how a circuit ran, not what it is."""


def to_json(spec: Spec) -> dict[str, Any]:
    """A spec as JSON values, without `place`, which is a function: store the edges instead.

    Raises:
      UsageError: something in it cannot be stored.
    """
    return _dumped(dataclasses.replace(spec, place=None))


def from_json(tree: Any) -> Spec:
    """The spec of JSON values that `to_json` returned.

    Raises:
      UsageError: the values are not those of a spec, or of an impossible one.
    """
    try:
        spec = _VALUE.validate_python(tree)
    except ValidationError as error:
        raise UsageError(_first_problem(error)) from None
    if not isinstance(spec, Spec):
        raise UsageError("spec: not a circuit's; what describe.to_json made")
    return spec


def values_of(params: Any) -> dict[str, Any]:
    """The Params of a population by field, as JSON values."""
    return {field: _dumped(value) for field, value in vars(params).items()}


def _on_grid(spec: dict[str, Any]) -> dict[str, Any]:
    """The fields of a spec with the delays that it ran with: older versions rounded others."""
    try:
        dt = spec["dt"]
        projections = [{**p, "delay": on_grid(p["delay"], dt)} for p in spec["projections"]]
    except (KeyError, TypeError):
        # Not a spec, which is said where it is made.
        return spec
    return {**spec, "projections": projections}


def _as_now(record: Any) -> Any:
    """The fields of a record as this version writes them."""
    if not isinstance(record, dict):
        return record
    name = record.get("is")
    removed = _REMOVED_FIELDS.get(name, ()) if isinstance(name, str) else ()
    fields = {key: value for key, value in record.items() if key not in removed}
    return _on_grid(fields) if name == "Spec" else fields


def _made(record: dict[str, Any]) -> Any:
    """What a record stands for; the values of its fields are made already."""
    fields = dict(record)
    name = fields.pop("is", None)
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
        return classes[name](**fields)
    except (TypeError, AttributeError) as error:
        raise UsageError(f"spec: {name}: {error}") from None


def _record(value: Any, info: SerializationInfo) -> dict[str, Any]:
    """The record that stands for a value: its fields by name, and what it is.

    What cannot be stored goes to the list of problems that is the context.
    """
    if isinstance(value, values.PerCell):
        return {"is": "PerCell", "values": tuple(value.values.tolist())}
    if isinstance(value, float):
        # JSON has no infinite numbers, which the bounds of distributions are.
        return {"is": "Infinite", "sign": 1 if value > 0 else -1}
    name = {each: name for name, each in _classes().items()}.get(type(value))
    if name is None:
        cast(list[str], info.context).append(f"spec: {type(value).__name__}: {_unknown(value)}")
        return {}
    return {"is": name, **{x.name: getattr(value, x.name) for x in dataclasses.fields(value)}}


def _unknown(value: Any) -> str:
    """What would be right instead of a value that cannot be stored."""
    name = type(value).__name__
    for kind, problem in (("connection", connect.wrong), ("distribution", values.wrong)):
        if problem(type(value)) is None:
            return f'not registered; cb.register("{kind}", "{name.lower()}", {name}) first'
    return f"cannot be stored; {_STORED}"


def _kind(value: Any) -> str:
    """Which of the three kinds of values one is, in Python or in JSON."""
    if isinstance(value, list | tuple):
        return "list"
    if isinstance(value, float) and math.isinf(value):
        return "record"
    return "plain" if isinstance(value, str | int | float | np.generic | None) else "record"


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


_Plain = Annotated[str | bool | int | float | None, PlainSerializer(_number)]
_List = tuple["_Value", ...]
_Fields = TypeAliasType("_Fields", dict[str, "_Value"])  # pyright: ignore[reportInvalidTypeForm]
_Record = Annotated[
    _Fields,
    BeforeValidator(_as_now),
    AfterValidator(_made),
    PlainSerializer(_record, return_type=_Fields),
]
_Value = TypeAliasType(
    "_Value",
    Annotated[
        Annotated[_Plain, Tag("plain")]
        | Annotated[_List, Tag("list")]
        | Annotated[_Record, Tag("record")],
        Discriminator(_kind),
    ],
)
_VALUE = TypeAdapter(_Value)
"""Values of specs as JSON. A class of ours, or a registered one, is a record: an object with its
name as "is" and its fields. Types of fields are not part of it: a field that is declared as a
number may also hold a distribution, or a number for each cell."""


def _dumped(value: Any) -> Any:
    """A value as JSON values.

    Raises:
      UsageError: it cannot be stored.
    """
    problems: list[str] = []
    try:
        tree = _VALUE.dump_python(value, mode="json", context=problems, warnings="error")
    except PydanticSerializationError:
        raise UsageError(f"spec: a value of another type; {_STORED}") from None
    if problems:
        raise UsageError(problems[0])
    return tree


def _first_problem(error: ValidationError) -> str:
    """The first problem of values that are no spec, in a line."""
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, UsageError):
        return str(cause)
    place = ".".join(str(each) for each in problem["loc"] if each not in ("list", "record"))
    return f"spec: {place}: {problem['msg']}"
