"""What is wrong with settings, a line each: where, which key, its value, what would be right."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cerebellum.config.sections import PREFIX, Settings

LONGEST = 200
"""Characters of a value that a message shows."""

REMOVED = {
    "neural.model": "every population of this circuit has the model 'current'; a `Spec` in Python "
    "has others",
    "performance.cuda_streams": "XLA chooses its streams itself; performance.batch_size puts more "
    "markets into a call",
}
"""Keys of earlier versions that nothing read, and what to use instead."""


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not without end."""
    text = str(value) if isinstance(value, Path) else repr(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _keys(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that can be set."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _keys(section, (*prefix, name))
        else:
            yield (*prefix, name)


def unknown_variables() -> list[str]:
    """A line for each environment variable that sets nothing; pydantic-settings ignores these."""
    known = ["__".join(key).upper() for key in _keys(Settings)]
    problems = []
    for variable, value in os.environ.items():
        if variable.upper().startswith(PREFIX):
            key = variable.upper().removeprefix(PREFIX)
            removed = _removed(tuple(key.lower().split("__")))
            if removed is not None:
                problems.append(f"{variable}: {_gone(removed, value)}")
            elif key not in known:
                near = difflib.get_close_matches(key, known, 1, 0)
                problems.append(
                    f"{variable}: no such key ({shown(value)}; perhaps {PREFIX}{near[0]})"
                )
    return problems


def no_tables() -> list[str]:
    """A line for each environment variable that stands for a table and is not one in JSON."""
    problems = []
    for variable, value in os.environ.items():
        if variable.upper() == f"{PREFIX}TRAINING__COLUMNS":
            remedy = 'JSON, such as {"price": "last"}'
            problems.append(f"{variable}: training.columns: no table ({shown(value)}; {remedy})")
    return problems


def _removed(key: tuple[str, ...]) -> str | None:
    """The name in `REMOVED` of a key, or of a table that it is in; None if it is not there."""
    names = (".".join(key[:length]) for length in range(1, len(key) + 1))
    return next((name for name in names if name in REMOVED), None)


def _gone(name: str, value: Any) -> str:
    return f"{name}: no longer a key ({shown(value)}; {REMOVED[name]})"


def line(error: Any, places: Mapping[tuple[str, ...], str], file: str) -> str:
    """An error of pydantic as a line."""
    key = tuple(str(name) for name in error["loc"] if name != "[key]")
    place = next((place for path, place in places.items() if path[: len(key)] == key), file)
    name, value = ".".join(key), error["input"]
    name = name if name.isprintable() and len(name) <= LONGEST else shown(name)
    kind, context = error["type"], error.get("ctx", {})
    removed = _removed(key) if kind == "extra_forbidden" else None
    if removed is not None:
        return f"{place}: {_gone(removed, value)}"
    if kind == "extra_forbidden":
        return f"{place}: {name}: unknown {_suggest(key)}"
    if kind == "value_error" and isinstance(value, Mapping | BaseModel):
        return f"{place}: {name}: {context['error']}"
    problem, remedy = _problem(kind, context), _remedy(kind, context)
    return f"{place}: {name}: {problem} ({shown(value)}; {remedy})"


def _suggest(key: tuple[str, ...]) -> str:
    """The kind of an unknown key, and the known key that is nearest to it."""
    keys = list(_keys(Settings))
    if len(key) == 1:
        near = difflib.get_close_matches(key[0], Settings.model_fields, 1, 0)
        return f"section; perhaps [{near[0]}]"
    same_section = [".".join(each) for each in keys if each[: len(key) - 1] == key[:-1]]
    same_name = [".".join(each) for each in keys if each[-1] == key[-1]]
    near = same_name or difflib.get_close_matches(".".join(key), same_section, 1, 0)
    return f"key; perhaps {near[0]}" if near else "key"


_PROBLEMS = {
    "greater_than": "too small",
    "greater_than_equal": "too small",
    "less_than": "too large",
    "less_than_equal": "too large",
    "finite_number": "not finite",
    "literal_error": "unknown choice",
    "string_too_short": "empty",
}
_REMEDIES = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "dict_type": "a table",
    "byte_size": 'bytes, or a size such as "20GB"',
    "byte_size_unit": 'bytes, or a size such as "20GB"',
}


def _problem(kind: str, context: Mapping[str, Any]) -> str:
    """What is wrong with a value, by the type of pydantic's error."""
    if kind == "value_error":
        return str(context["error"])
    return _PROBLEMS.get(kind, "wrong type")


def _remedy(kind: str, context: Mapping[str, Any]) -> str:
    """What value would be right, by the type of pydantic's error."""
    if kind != "value_error":
        return _REMEDIES.get(kind, "another value").format(**context)
    message = str(context["error"])
    if message == "not a size":
        return 'bytes, or a size such as "20GB"'
    if message == "not a name of a host":
        return 'a name without a port, such as "signals.example.com"'
    return "a whole number" if message == "not a whole number" else "a number"
