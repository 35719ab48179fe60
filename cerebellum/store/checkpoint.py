"""Checkpoints on Orbax: whole or not there, checked when they are read, never silently wrong.

A checkpoint is a folder named after its step:

    000000001000/
      arrays/         Orbax's: every array by its path in the tree; large ones in pieces of rows
      manifest.json   SHA-256 of every file, and what the checkpoint is; written last

It is written beside its name, synced to the disk, and renamed: a folder of that name is whole.
One that is found damaged later is renamed too, and never deleted.
"""

import logging
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cerebellum.errors import UsageError
from cerebellum.store import arrays, manifest
from cerebellum.store.arrays import Declared, Place
from cerebellum.store.manifest import DamagedError, Problem

SAVING, DAMAGED = ".saving-", "damaged-"
DIGITS = 12

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read."""

    path: Path
    step: int
    arrays: dict[str, Any]
    """by path in the tree, such as "state/cells/granule/v" """
    about: dict[str, Any]
    """JSON values that were given to `save`, beside "created", "versions" and "metrics" """


def flatten(tree: Any) -> dict[str, Any]:
    """Arrays of a tree by their paths, "a/b/c"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(template: Any, held: Mapping[str, Any], prefix: str = "") -> Any:
    """A tree like `template` of arrays that `flatten` gave; those of other prefixes are left out.

    Args:
      held: the arrays by path.
      template: a tree of arrays or of their shapes (see `jax.eval_shape`).
      prefix: what stands before each path, "state" for "state/cells/...".

    Raises:
      UsageError: an array is missing, too many, or of another shape or type; names all.
    """
    wanted = flatten({prefix: template} if prefix else template)
    start = f"{prefix}/" if prefix else ""
    there = {name for name in held if name == prefix or name.startswith(start)}
    problems = [f"{name}: missing" for name in wanted if name not in there]
    problems += [f"{name}: not in this circuit" for name in sorted(there - wanted.keys())]
    for name in wanted.keys() & there:
        ours, theirs = wanted[name], held[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            has = f"{theirs.dtype} {list(theirs.shape)}"
            problems.append(f"{name}: {has}; {ours.dtype} {list(ours.shape)} is wanted")
    if problems:
        raise UsageError("\n".join(sorted(problems)))
    return jax.tree.unflatten(jax.tree.structure(template), [held[name] for name in wanted])


def write(
    folder: Path,
    step: int,
    tree: Any,
    about: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Save a tree of arrays; when this returns it is on the disk, and was not there before.

    Args:
      folder: where checkpoints are; made if need be.
      step: names it; one that is there already stays as it is.
      tree: arrays of JAX or NumPy.
      about, metrics: JSON values that are kept beside it.

    Raises:
      OSError: the disk refused; nothing is left behind.
    """
    final = folder / f"{step:0{DIGITS}}"
    if final.exists():
        return final
    held = {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}
    with publishing(final) as work:
        declared = arrays.save(work / arrays.FOLDER, held)
        manifest.seal(
            work,
            {
                "step": step,
                "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "versions": _versions(),
                "metrics": dict(metrics or {}),
                "arrays": {name: asdict(each) for name, each in declared.items()},
                "about": dict(about or {}),
            },
        )
    return final


@contextmanager
def publishing(final: Path) -> Iterator[Path]:
    """A folder to fill and flush, which then gets the name `final`; nothing is left of it if not.

    Raises:
      OSError: the disk refused.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    work = final.with_name(f"{SAVING}{final.name}-{os.getpid()}")
    work.mkdir()
    try:
        yield work
        work.rename(final)
        manifest.flush(final.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _versions() -> dict[str, str]:
    packages = ("cerebellar-norse", "jax", "orbax-checkpoint", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def load(
    path: Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    place: Place | None = None,
    verify: bool = True,
    limit: int | None = None,
) -> Checkpoint:
    """Read a checkpoint.

    Args:
      path: its folder.
      wanted: which arrays, by name; all by default.
      place: sharding of an array by name and shape: then they are JAX's; otherwise NumPy's.
      verify: whether every file is read and compared with the manifest first.
      limit: most bytes of arrays that are accepted.

    Raises:
      DamagedError: not what was written, or declares what cannot be; names the file.
    """
    told = manifest.read(path)
    problems = manifest.check(path) if verify else []
    if problems:
        raise DamagedError(problems)
    try:
        step, shapes = int(told["step"]), dict(told["arrays"])
        declared = {
            name: Declared(tuple(x["shape"]), str(x["dtype"]), x["rows"])
            for name, x in shapes.items()
        }
        about = {**told["about"], **{k: told[k] for k in ("created", "versions", "metrics")}}
    except (KeyError, TypeError, ValueError):
        raise DamagedError([Problem(manifest.NAME, "does not say what the arrays are")]) from None
    found = arrays.read(path / arrays.FOLDER, declared, wanted, place, limit)
    return Checkpoint(path=path, step=step, arrays=found, about=about)


def steps(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints of a folder that are whole or were once, newest first."""
    if not folder.is_dir():
        return []
    named = [entry for entry in folder.iterdir() if re.fullmatch(rf"\d{{{DIGITS}}}", entry.name)]
    return sorted(((int(entry.name), entry) for entry in named), reverse=True)


def newest(folder: Path, **options: Any) -> Checkpoint | None:
    """The newest checkpoint that is intact; newer ones that are not are set aside.

    Args:
      folder: where checkpoints are.
      options: of `load`.

    Returns:
      None where there is none.
    """
    for _, path in steps(folder):
        try:
            return load(path, **options)
        except DamagedError as error:
            moved = set_aside(path)
            said = str(error).replace("\n", "; ")
            log.error("checkpoint %s is damaged (%s); set aside as %s", path, said, moved.name)
    return None


def set_aside(path: Path) -> Path:
    """Rename a damaged checkpoint, so that nobody takes it for a good one; it is not deleted.

    Where the disk does not let it be renamed it stays, and its name is returned.
    """
    for number in range(1, 1_000):
        moved = path.with_name(f"{DAMAGED}{path.name}" + (f"-{number}" if number > 1 else ""))
        if not moved.exists():
            try:
                path.rename(moved)
            except OSError as error:
                log.warning("checkpoint %s cannot be renamed (%s)", path, error.strerror)
                return path
            return moved
    return path
