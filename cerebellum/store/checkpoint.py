"""Checkpoints on Orbax: each is complete or absent, and is verified when it is read.

A checkpoint is a folder named after its step:

    000000001000/
      arrays/         Orbax's: every array by its path in the tree; large ones in pieces of rows
      manifest.json   SHA-256 of every file, and the description of the checkpoint; written last

It is written under a temporary name, synced to the disk, and renamed, so that a folder named after
a step is always complete. A checkpoint that is later found to be damaged is renamed, and is never
deleted.
"""

import logging
import operator
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
import jax.numpy as jnp
import numpy as np

from cerebellum import files, program
from cerebellum.errors import UsageError
from cerebellum.store import arrays, manifest
from cerebellum.store.arrays import Declaration, Place
from cerebellum.store.manifest import DamagedError, Problem

SAVING = ".saving-"
DAMAGED = "damaged-"
REPLACED = ".replaced-"
"""Prefixes of the names of checkpoints that are being written, of damaged ones, and of those whose
place a new one is just taking."""
DIGITS = 12
"""Digits of the step in the name of a checkpoint."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint that was read."""

    path: Path
    step: int
    arrays: dict[str, Any]
    """arrays by their path in the tree, such as "state/cells/granule/v"; those of NumPy are
    read-only, because what is restored from them may share their memory"""
    about: dict[str, Any]
    """the JSON values passed to `save`, and "created", "versions" and "metrics" """


def flatten(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by their paths, such as "a/b/c"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(template: Any, saved: Mapping[str, Any], prefix: str = "") -> Any:
    """Build a tree like `template` from arrays by path; the inverse of `flatten`.

    Args:
      template: a tree of arrays or of their shapes (see `jax.eval_shape`).
      saved: the arrays by path; arrays with another prefix are ignored.
      prefix: the first part of each path: "state" for "state/cells/...".

    Raises:
      UsageError: an array is missing, is not in the template, or has another shape or type; the
        message has a line for each such array.
    """
    expected = flatten({prefix: template} if prefix else template)
    start = f"{prefix}/" if prefix else ""
    names = {name for name in saved if name == prefix or name.startswith(start)}
    problems = [f"{name}: missing" for name in expected if name not in names]
    problems += [f"{name}: not in this circuit" for name in sorted(names - expected.keys())]
    for name in expected.keys() & names:
        wanted, array = expected[name], saved[name]
        if wanted.shape != array.shape or wanted.dtype != array.dtype:
            actual = f"{array.dtype} {list(array.shape)}"
            problems.append(f"{name}: {actual}; {wanted.dtype} {list(wanted.shape)} is wanted")
    if problems:
        raise UsageError("\n".join(sorted(problems)))
    return jax.tree.unflatten(jax.tree.structure(template), [saved[name] for name in expected])


def write(
    folder: str | Path,
    step: int,
    tree: Any,
    about: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Path:
    """Save a tree of arrays as a checkpoint, and return its folder.

    The checkpoint gets its name only when all of it is on the disk.

    Args:
      folder: the folder of checkpoints; created if it does not exist.
      step: the step that names the checkpoint; it replaces an existing checkpoint of that step.
      tree: arrays of JAX or NumPy.
      about, metrics: JSON values that are stored in the manifest.

    Raises:
      UsageError: the step is no number from 0 on, or the tree has arrays that cannot be read back
        or that were donated to a run.
      OSError: the disk refused; no partial checkpoint is left behind, and an existing one stays.
    """
    step, leaves = check(step, tree)
    leaves = {name: np.asarray(leaf) for name, leaf in leaves.items()}
    folder = Path(folder)
    final = folder / f"{step:0{DIGITS}}"
    recover(folder)
    with publishing(final) as work:
        declarations = arrays.save(work / arrays.FOLDER, leaves)
        manifest.seal(
            work,
            {
                "step": step,
                "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "versions": _versions(),
                "metrics": dict(metrics or {}),
                "arrays": {name: asdict(each) for name, each in declarations.items()},
                "about": dict(about or {}),
            },
        )
    return final


def check(step: Any, tree: Any) -> tuple[int, dict[str, Any]]:
    """The step as an integer, and the arrays of a tree by path; nothing is copied.

    Raises:
      UsageError: the step is no whole number of at most `DIGITS` digits, an array was donated to a
        run or is of a type that `load` does not read, or two have the same path.
    """
    try:
        number = -1 if isinstance(step, bool | np.bool_) else operator.index(step)
    except TypeError:
        number = -1
    if not 0 <= number < 10**DIGITS:
        raise UsageError(f"step: {step!r}; a whole number from 0 to {DIGITS} digits")
    leaves = flatten(tree)
    if len(leaves) < len(jax.tree.leaves(tree)):
        raise UsageError("tree: two arrays have the same path; names without a slash")
    for name, leaf in leaves.items():
        if isinstance(leaf, jax.Array) and leaf.is_deleted():
            raise UsageError(
                f"{name}: given to a run, which has used it up; the state that the run returned"
            )
        dtype = getattr(leaf, "dtype", None) or np.asarray(leaf).dtype
        if jnp.issubdtype(dtype, jax.dtypes.prng_key):
            raise UsageError(
                f"{name}: a typed random key; jax.random.key_data(key) has its numbers"
            )
        if dtype.name not in arrays.DTYPES:
            raise UsageError(f"{name}: {dtype}; one of {', '.join(sorted(arrays.DTYPES))}")
    return number, leaves


@contextmanager
def publishing(final: str | Path) -> Iterator[Path]:
    """A temporary folder, renamed to `final` when the block ends without an error.

    The block writes the folder's files and flushes them to the disk. After an error the folder is
    deleted. An older `final` is put aside for the rename, and deleted after it. What root writes
    belongs to the owner of the folder that it lies in.

    Raises:
      OSError: the disk refused.
    """
    final = Path(final)
    files.make_folder(final.parent)
    work = final.with_name(f"{SAVING}{final.name}-{os.getpid()}")
    work.mkdir()
    old = final.with_name(f"{REPLACED}{final.name}")
    try:
        yield work
        files.keep_owner(work)
        if final.exists():
            final.rename(old)
        work.rename(final)
        files.flush(final.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        recover(final.parent)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Finish replacements in a folder of checkpoints that a killed process had begun."""
    for old in folder.glob(f"{REPLACED}*"):
        final = old.with_name(old.name.removeprefix(REPLACED))
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(final)


def _versions() -> dict[str, str]:
    """The versions of Python and of the packages that wrote a checkpoint."""
    packages = {name: version(name) for name in ("jax", "orbax-checkpoint", "numpy")}
    return {
        "python": platform.python_version(),
        program.NAME: program.__version__,
        **packages,
    }


def load(
    path: str | Path,
    *,
    wanted: Callable[[str], bool] = lambda name: True,
    place: Place | None = None,
    verify: bool = True,
    limit: int | None = None,
) -> Checkpoint:
    """Read a checkpoint.

    Args:
      path: the checkpoint's folder.
      wanted: selects arrays by name; by default all are read.
      place: the sharding of an array by its name and shape. With it, arrays are JAX arrays;
        without it, NumPy arrays.
      verify: whether every file is first read and compared with the manifest.
      limit: the largest accepted size of all arrays together, bytes.

    Raises:
      UsageError: there is no such folder.
      DamagedError: the files are not those that were written, or the manifest declares arrays that
        are impossible; the message names the file.
    """
    path = Path(path)
    if not path.is_dir():
        raise UsageError(f"checkpoint: {str(path)!r}; a folder that is there")
    description = manifest.read(path)
    problems = manifest.check(path) if verify else []
    if problems:
        raise DamagedError(problems)
    try:
        step, shapes = int(description["step"]), dict(description["arrays"])
        declarations = {
            name: Declaration(tuple(x["shape"]), str(x["dtype"]), x["rows"])
            for name, x in shapes.items()
        }
        more = {key: description[key] for key in ("created", "versions", "metrics")}
        about = {**description["about"], **more}
    except (KeyError, TypeError, ValueError):
        raise DamagedError([Problem(manifest.NAME, "does not say what the arrays are")]) from None
    values = arrays.read(path / arrays.FOLDER, declarations, wanted, place, limit)
    return Checkpoint(path=path, step=step, arrays=values, about=about)


def steps(folder: str | Path) -> list[tuple[int, Path]]:
    """The step and the folder of each checkpoint in a folder, newest first.

    They are not verified: a checkpoint may have been damaged since it was written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return []
    paths = [entry for entry in folder.iterdir() if re.fullmatch(rf"\d{{{DIGITS}}}", entry.name)]
    return sorted(((int(path.name), path) for path in paths), reverse=True)


def newest(folder: str | Path, **options: Any) -> Checkpoint | None:
    """Load the newest intact checkpoint; damaged ones that are newer are set aside.

    Args:
      folder: the folder of checkpoints.
      options: the keyword arguments of `load`.

    Returns:
      None where no checkpoint is intact.
    """
    for _, path in steps(folder):
        try:
            return load(path, **options)
        except DamagedError as error:
            moved = set_aside(path)
            message = str(error).replace("\n", "; ")
            log.error("checkpoint %s is damaged (%s); set aside as %s", path, message, moved.name)
    return None


def set_aside(path: str | Path) -> Path:
    """Rename a damaged checkpoint, so that it is not read again; it is not deleted.

    Returns:
      The new path, or the old one where the disk refuses to rename it.
    """
    path = Path(path)
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
