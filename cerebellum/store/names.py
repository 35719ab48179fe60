"""Names of arrays in the checkpoints of earlier versions.

Until November 2026 four fields had other names. What reads a circuit or a run translates them; what
shows or verifies a checkpoint shows what is there.
"""

from typing import Any

VERSION = 2
"""The version of names that is written; `about["names"]`, which the first version lacks."""

RENAMED = {
    ("state", "lines"): ("state", "delay_lines"),
    ("state", "debts"): ("state", "rule_states"),
    ("state", "watches"): ("state", "homeostasis"),
    ("params", "rates"): ("params", "learning_gain"),
}
"""Two neighbouring words of a path, as they were and as they are."""


def present(name: str) -> str:
    """The present name of an array of the first version."""
    return _renamed(name, RENAMED)


def original(name: str) -> str:
    """The name in the first version of an array of this one."""
    return _renamed(name, {now: before for before, now in RENAMED.items()})


def translated(arrays: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """Arrays of a circuit or a run by their present names."""
    if about.get("names", 1) >= VERSION:
        return arrays
    return {present(name): array for name, array in arrays.items()}


def _renamed(name: str, words: dict[tuple[str, str], tuple[str, str]]) -> str:
    parts = name.split("/")
    for index in range(len(parts) - 1):
        pair = parts[index], parts[index + 1]
        parts[index : index + 2] = words.get(pair, pair)
    return "/".join(parts)
