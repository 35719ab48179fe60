"""Registration of models, windows, rules, connections, backends and formats under names.

A table is a dict by name that belongs to some module, which declares here what the table may
contain. A name that exists already is refused unless the caller asks to replace it; circuits that
are built after a replacement are compiled anew.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, is_dataclass
from inspect import signature
from types import MappingProxyType, ModuleType
from typing import Any

from cerebellum.errors import UsageError
from cerebellum.model.functions import known


@dataclass(frozen=True)
class Table:
    """A kind of thing that can be registered."""

    things: MutableMapping[str, Any]
    """the registered things by name"""
    wrong: Callable[[Any], str | None]
    """a function that says what a thing lacks to be in this table, or None"""
    taken: Callable[[str, Any], str | None]
    """a function of a name and a thing: the name of another thing whose place it would take"""
    own: Mapping[str, Any]
    """the things of the package itself, by name"""


_TABLES: dict[str, Table] = {}
_REVISION = [0]


def table(
    kind: str,
    things: MutableMapping[str, Any],
    wrong: Callable[[Any], str | None],
    taken: Callable[[str, Any], str | None] = lambda name, thing: None,
) -> None:
    """Add a table for a kind of thing. The module that owns the table calls this."""
    _TABLES[kind] = Table(things, wrong, taken, dict(things))


def lacking(thing: Any, names: Iterable[str], protocol: str) -> str | None:
    """Which of the names of a protocol a thing lacks, or None.

    Args:
      protocol: a phrase that says where the names are from.
    """
    missing = [name for name in names if not hasattr(thing, name)]
    return f"without {', '.join(missing)}; {protocol}" if missing else None


def uncallable(
    thing: Any,
    methods: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str | None:
    """Which method of a thing cannot be called as it will be, or None.

    Args:
      methods: names of the arguments of each method, which are given by position.
      optional: those of methods that may be lacking or None.
    """
    for name, arguments in {**methods, **optional}.items():
        method = getattr(thing, name, None)
        if method is None and name in optional:
            continue
        wanted = f"a method {name}({', '.join(arguments)})"
        if not callable(method):
            return f"{name} {method!r}; {wanted}"
        try:
            parameters = signature(method, follow_wrapped=False)
        except (TypeError, ValueError, NameError):
            continue  # It does not say what it takes.
        try:
            parameters.bind(*arguments)
        except TypeError as error:
            return f"{name}: {error}; {wanted}"
    return None


def no_object(thing: Any) -> str | None:
    """That a thing is a class where an object of it is wanted, or None."""
    if isinstance(thing, type):
        return f"{thing.__name__}; an object of the class, not the class"
    return None


def no_record(thing: Any) -> str | None:
    """That a thing is no class of frozen dataclasses, whose objects can be compared, or None."""
    if not isinstance(thing, type):
        return f"{type(thing).__name__}; a class"
    if not is_dataclass(thing) or thing.__hash__ is None:
        return f"{thing.__name__}; a frozen dataclass"
    return None


def add(kind: str, name: str, thing: Any, replace: bool = False) -> None:
    """Register a thing under a name in the table of its kind.

    Raises:
      UsageError: the kind is unknown, the name is taken or is not a name, or the thing lacks
        something.
    """
    if not isinstance(kind, str) or kind not in _TABLES:
        raise UsageError(f"register: kind {kind!r}; one of {', '.join(sorted(_TABLES))}")
    things, problem = _TABLES[kind].things, _TABLES[kind].wrong(thing)
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
        raise UsageError(f"register: {kind} {name!r}; letters, digits, underscores and hyphens")
    if problem is not None:
        raise UsageError(f"register: {kind} {name!r}: {problem}")
    other = _TABLES[kind].taken(name, thing)
    if other is not None and not replace:
        raise UsageError(
            f"register: {kind} {name!r}: it takes the place of {other!r}; replace=True if it may"
        )
    if name in things and things[name] is not thing:
        if not replace:
            raise UsageError(
                f"register: {kind} {name!r}: taken; another name, or replace=True and build again"
            )
        _REVISION[0] += 1
    things[name] = thing


def define(kind: str, name: str, thing: Any, ours: Callable[[Any], bool]) -> Any:
    """Register what a shorthand has made; it replaces only what the same shorthand made before.

    Args:
      thing: its attribute `CONTENT` is what it consists of, by which equal ones are known.
      ours: whether a thing was made by this shorthand.

    Returns:
      What is registered: the thing from before if it consists of the same, so that circuits, states
      and programs of before stay right.
    """
    before = _TABLES[kind].things.get(name)
    if before is not None and ours(before):
        if before.CONTENT == thing.CONTENT:
            return before
        add(kind, name, thing, replace=True)
    else:
        add(kind, name, thing)
    return thing


def problem(kind: str, name: str) -> str | None:
    """What the thing of that name lacks, or None; it may have come in by another way than `add`."""
    return _TABLES[kind].wrong(_TABLES[kind].things[name])


def added(kind: str, name: str | None) -> bool:
    """Whether a thing of that name is registered and is not the package's own."""
    things, own = _TABLES[kind].things, _TABLES[kind].own
    return name is not None and name in things and things[name] is not own.get(name)


def equations(kinds: Mapping[str, Iterable[str]]) -> tuple[Hashable, ...]:
    """What a compiled program depends on beside its arrays: what registered things consist of.

    Args:
      kinds: names by kind. The package's own things are left out, because they do not change.

    Returns:
      The functions and constants of each thing. A function that is edited in a notebook, or reads
      another value now, is another one (see `functions`), so the result differs.
    """
    things = [
        (kind, name, *_parts(_TABLES[kind].things[name]))
        for kind, names in kinds.items()
        for name in dict.fromkeys(names)
        if added(kind, name)
    ]
    return (revision(), *things)


def _parts(thing: Any) -> list[Hashable]:
    """The functions and constants in a module, an object or a class, by name."""
    owners = [thing, *type(thing).__mro__, *(thing.__mro__ if isinstance(thing, type) else ())]
    return [
        (name, known(value) if callable(value) else value)
        for owner in owners
        if not any(owner is each for each in (object, type, ModuleType))
        for name, value in sorted(getattr(owner, "__dict__", {}).items())
        if not name.startswith("__")
        and (callable(value) or isinstance(value, (bool, int, float, str, tuple)))
        and _hashable(value)
    ]


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def revision() -> int:
    """The number of replacements so far in this process."""
    return _REVISION[0]
