"""Names that a user's own script gives to models, windows and whatever else has a table.

A table is a dict by name that some module owns; it says here what may stand in it. Nothing is
shadowed without a word: a name that is taken is refused, unless it is to be replaced, and then
circuits that are built afterwards are compiled anew.
"""

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from cerebellum.errors import UsageError


@dataclass(frozen=True)
class Table:
    """A kind of thing that can be registered."""

    things: MutableMapping[str, Any]
    """by name"""
    wrong: Callable[[Any], str | None]
    """what a thing lacks to be one of these, or None"""


_TABLES: dict[str, Table] = {}
_REVISION = [0]


def table(kind: str, things: MutableMapping[str, Any], wrong: Callable[[Any], str | None]) -> None:
    """Open a table for a kind of thing; for the module that owns it."""
    _TABLES[kind] = Table(things, wrong)


def add(kind: str, name: str, thing: Any, replace: bool = False) -> None:
    """Give a thing a name in the table of its kind.

    Raises:
      UsageError: no such kind, a name that is taken or is none, or a thing that lacks something.
    """
    if kind not in _TABLES:
        raise UsageError(f"register: kind {kind!r}; one of {', '.join(sorted(_TABLES))}")
    things, wrong = _TABLES[kind].things, _TABLES[kind].wrong(thing)
    if not name or not name.replace("-", "_").isidentifier():
        raise UsageError(f"register: {kind} {name!r}; letters, digits, underscores and hyphens")
    if wrong is not None:
        raise UsageError(f"register: {kind} {name!r}: {wrong}")
    if name in things and things[name] is not thing:
        if not replace:
            raise UsageError(
                f"register: {kind} {name!r}: taken; another name, or replace=True and build again"
            )
        _REVISION[0] += 1
    things[name] = thing


def revision() -> int:
    """How often something has been replaced so far."""
    return _REVISION[0]
