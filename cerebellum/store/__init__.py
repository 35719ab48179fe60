"""Checkpoints: each is complete or absent, and is verified when it is read."""

from cerebellum.store.background import Store, locked
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
from cerebellum.store.circuits import load_circuit, save_circuit
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
    "load_circuit",
    "locked",
    "newest",
    "publishing",
    "save_circuit",
    "set_aside",
    "steps",
    "unflatten",
    "write",
]
