"""A circuit's spec as JSON and back: named fields of known classes, nothing that could run."""

import dataclasses
from typing import Any

from cerebellum.errors import UsageError
from cerebellum.model import homeostasis, plasticity, short_term, surrogate
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Population, Projection, Spec

_PARTS = (
    Spec,
    Population,
    Projection,
    plasticity.Rule,
    short_term.ShortTerm,
    homeostasis.Scaling,
    homeostasis.Threshold,
    surrogate.Surrogate,
)


def _classes() -> dict[str, type]:
    """What a spec may be made of, by name: models that were registered too."""
    parts = {each.__name__: each for each in _PARTS}
    parts |= {f"{name}.Params": model.Params for name, model in CIRCUIT_MODELS.items()}
    rules = plasticity.RULES.items()
    return parts | {f"{name}.Rule": rule for name, rule in rules if rule not in _PARTS}


_GONE = {"Spec": ("kernels", "path", "whole", "shards")}
"""Fields that older versions wrote; they say how a circuit ran, not what it is."""


def to_json(spec: Spec) -> dict[str, Any]:
    """A spec as JSON values, without `place`, which is a program: keep its edges instead."""
    return _encode(dataclasses.replace(spec, place=None))


def from_json(tree: Any) -> Spec:
    """The spec that `to_json` was given.

    Raises:
      UsageError: not the JSON of a spec, or of one that cannot be.
    """
    spec = _decode(tree)
    if not isinstance(spec, Spec):
        raise UsageError("spec: not a circuit's; what describe.to_json made")
    return spec


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {
            field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
        names = {each: name for name, each in _classes().items()}
        return {"is": names[type(value)], **fields}
    if isinstance(value, tuple):
        return [_encode(each) for each in value]
    return value


def _decode(tree: Any) -> Any:
    if isinstance(tree, list):
        return tuple(_decode(each) for each in tree)
    if not isinstance(tree, dict):
        return tree
    fields = dict(tree)
    name = fields.pop("is", None)
    for old in _GONE.get(name, ()):
        fields.pop(old, None)
    known = _classes()
    if not isinstance(name, str) or name not in known:
        raise UsageError(f"spec: {name!r}; one of {', '.join(known)}")
    try:
        return known[name](**{key: _decode(each) for key, each in fields.items()})
    except (TypeError, AttributeError) as error:
        raise UsageError(f"spec: {name}: {error}") from None
