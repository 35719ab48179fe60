"""The schema of all settings. Flags override the environment, which overrides a TOML file.

`load` returns the settings, or raises an error with a line for each problem that names its place.
Keys left out of [neural] are derived from `granule_size`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError

from cerebellum.config.problems import REMOVED, line, no_tables, shown, unknown_variables
from cerebellum.config.sections import (
    PREFIX,
    Logging,
    Neural,
    Performance,
    Server,
    Settings,
    Stdp,
    Storage,
    Training,
)
from cerebellum.config.toml import Tree, read
from cerebellum.config.values import is_loopback
from cerebellum.errors import UsageError

__all__ = [
    "PREFIX",
    "REMOVED",
    "Logging",
    "Neural",
    "Performance",
    "Server",
    "Settings",
    "Stdp",
    "Storage",
    "Training",
    "is_loopback",
    "load",
    "read",
    "schema",
    "shown",
]


def load(path: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings of a file, overridden by the environment, overridden by flags.

    Args:
      path: a TOML file; None for the defaults.
      flags: values by dotted key, such as "neural.granule_size".

    Raises:
      UsageError: the message has a line for each problem, `place: section.key: problem (value; what
        would be right)`.
    """
    file_values = {} if path is None else read(Path(path))
    problems = unknown_variables()
    try:
        variables = {} if problems else EnvSettingsSource(Settings)()
    except SettingsError:
        variables, problems = {}, no_tables()
    flag_values = {tuple(key.split(".")): value for key, value in (flags or {}).items()}
    merged: Tree = {}
    places: dict[tuple[str, ...], str] = {}
    layers = (
        (_leaves(file_values), lambda key: str(path)),
        (_leaves(variables), lambda key: PREFIX + "__".join(key).upper()),
        (flag_values.items(), lambda key: "--" + key[-1].replace("_", "-")),
    )
    for leaves, place in layers:
        for key, value in leaves:
            _put(merged, key, value)
            places[key] = place(key)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [line(each, places, str(path)) for each in error.errors()]
    else:
        if not problems:
            return settings
    raise UsageError("\n".join(problems))


def schema() -> Tree:
    """The JSON Schema of the configuration."""
    return Settings.model_json_schema()


def _leaves(tree: Tree, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of nested tables, each with its key as a path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _put(tree: Tree, key: tuple[str, ...], value: Any) -> None:
    """Set a value in nested tables, making the tables on its path."""
    for name in key[:-1]:
        table = tree.get(name)
        if not isinstance(table, dict):
            table = tree[name] = {}
        tree = table
    tree[key[-1]] = value
