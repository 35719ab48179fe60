"""Which model is to be served: the newest intact one, or the untrained circuit, and why.

`served.json` beside the models says which trained model answered last, so that a model that has
gone is missed. Without this file and without a model, the untrained circuit is what was meant.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cerebellum import files, store
from cerebellum.store import choice, copies, manifest
from cerebellum.store.manifest import DamagedError

UNTRAINED = "untrained"
"""The name of a circuit that is not trained."""
RECORD = "served.json"


@dataclass(frozen=True)
class Model:
    """What is to be served."""

    name: str = UNTRAINED
    path: Path | None = None
    """the checkpoint of a trained model, which was verified; None: the untrained circuit"""
    version: str = ""
    """the SHA-256 of the checkpoint's manifest, which tells models of one name apart"""
    problem: str | None = None
    """why this is not the model that should be served, if it is not"""
    missing: bool = False
    """whether the model that should be served is not there"""
    damaged: dict[Path, str] = field(default_factory=dict)
    """newer checkpoints that are damaged, with the first problem of each"""


def find(folder: Path) -> Model:
    """The model that is to be served.

    It is the newest intact one; or, if there is no checkpoint at all, the newest that a restore has
    set aside; or else the untrained circuit.

    Args:
      folder: `storage.models`.

    Raises:
      DamagedError: there are checkpoints, and none is intact.
    """
    checkpoints = folder / store.FOLDER
    if store.steps(checkpoints):
        return newest(folder, checkpoints)
    record = folder / RECORD
    for aside in reversed(copies.replaced(folder)):
        try:
            model = newest(folder, aside)
        except (DamagedError, ValueError):
            continue
        problem = f"{checkpoints}: no model; {model.path}, which was set aside, is served"
        return Model(model.name, model.path, model.version, problem, missing=True)
    if not record.exists():
        return Model()
    problem = (
        f"{checkpoints}: no model, but {_recorded(record)} was served; the untrained circuit is "
        f"served: restore the model, or remove {record} if this is meant"
    )
    return Model(problem=problem, missing=True)


def newest(run: Path, folder: Path) -> Model:
    """The newest intact model in a run's folder of checkpoints.

    Raises:
      UsageError: there is no checkpoint.
      DamagedError: none is intact.
    """
    chosen = choice.select(folder)
    name = f"{run.name}/{choice.step_of(chosen.path)}"
    damaged = {
        path: f"{problems[0].file}: {problems[0].problem}"
        for path, problems in chosen.damaged.items()
    }
    problem = None
    if damaged:
        path, why = next(iter(damaged.items()))
        problem = f"{path} is damaged ({why})"
    return Model(name, chosen.path, version_of(chosen.path), problem, damaged=damaged)


def version_of(path: Path) -> str:
    """The SHA-256 of a checkpoint's manifest."""
    return hashlib.sha256((path / manifest.NAME).read_bytes()).hexdigest()


def expected(folder: Path) -> bool:
    """Whether a trained model is there or should be; nothing is read or verified."""
    return bool(store.steps(folder / store.FOLDER) or copies.replaced(folder))


def record(folder: Path, name: str, version: str) -> None:
    """Note that a trained model is served.

    Raises:
      OSError: the disk refused.
    """
    path = folder / RECORD
    text = json.dumps({"model": name, "manifest": version}) + "\n"
    if path.is_file() and path.read_text() == text:
        return
    work = path.with_name(f".{RECORD}.{os.getpid()}")
    try:
        work.write_text(text)
        files.keep_owner(work)
        files.flush(work)
        work.replace(path)
    except OSError:
        work.unlink(missing_ok=True)
        raise


def _recorded(path: Path) -> str:
    """The name of the model that served last, for a message."""
    try:
        return str(json.loads(path.read_text())["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "a model"
