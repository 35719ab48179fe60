"""Checkpoints: whole or not there, checked when they are read, never silently wrong."""

from cerebellum.store.checkpoint import (
    DAMAGED,
    DIGITS,
    SAVING,
    Checkpoint,
    flatten,
    load,
    newest,
    publishing,
    set_aside,
    steps,
    unflatten,
    write,
)
from cerebellum.store.keep import Keep, Store

FOLDER = "checkpoints"
"""Of a run's directory: where its checkpoints are."""

__all__ = [
    "DAMAGED",
    "DIGITS",
    "FOLDER",
    "SAVING",
    "Checkpoint",
    "Keep",
    "Store",
    "flatten",
    "load",
    "newest",
    "publishing",
    "set_aside",
    "steps",
    "unflatten",
    "write",
]
