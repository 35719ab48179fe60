"""Checkpoints: each is complete or absent, and is verified when it is read."""

from cerebellum.store.background import Store
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
from cerebellum.store.retention import Retention

FOLDER = "checkpoints"
"""The folder of checkpoints in a run's directory."""

__all__ = [
    "DAMAGED",
    "DIGITS",
    "FOLDER",
    "SAVING",
    "Checkpoint",
    "Retention",
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
