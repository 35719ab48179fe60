"""Read a TOML file, or say in a line why it cannot be read."""

import tomllib
from pathlib import Path
from typing import Any

from cerebellum.errors import UsageError

Tree = dict[str, Any]
"""Values and tables of values by name."""

DEEPEST = 100
"""Tables within tables that a file may have."""
TOO_DEEP = "nested too deeply; sections with keys"


def read(path: Path) -> Tree:
    """Read the tables of a TOML file.

    Raises:
      UsageError: the file does not exist, cannot be read, or is not TOML.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; a configuration in TOML") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a configuration in TOML") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8; a configuration in TOML") from None
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {len(path.read_text().splitlines())}, the last)"
        message = str(error).replace("(at end of document)", end)
        raise UsageError(f"{path}: not TOML: {message}") from None
    except ValueError as error:
        # An integer of thousands of digits.
        raise UsageError(f"{path}: not TOML: {str(error).split(';')[0]}") from None
    except RecursionError:
        raise UsageError(f"{path}: {TOO_DEEP}") from None
    if _depth(tree) > DEEPEST:
        raise UsageError(f"{path}: {TOO_DEEP}")
    return tree


def _depth(tree: Any) -> int:
    """How many tables and lists lie within each other; counted without recursion."""
    level, depth = [tree], 0
    while level:
        values = [v.values() if isinstance(v, dict) else v for v in level]
        level = [each for value in values for each in value if isinstance(each, dict | list)]
        depth += 1
    return depth
