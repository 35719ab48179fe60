"""Checkpoints on Orbax: whole or not there, checked when they are read, never silently wrong.

A checkpoint is a folder named after its step:

    000000001000/
      arrays/         Orbax's, one entry for each array, named by its path in the tree
      manifest.json   SHA-256 of every file, and what the checkpoint is; written last

It is written beside its name, synced to the disk, and renamed: a folder of that name is whole.
One that is found damaged later is renamed too, and never deleted.
"""

import copy
import fcntl
import logging
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from cerebellum.errors import UsageError
from cerebellum.ops import manifest
from cerebellum.ops.manifest import DamagedError, Problem

FOLDER = "checkpoints"
"""Of a run's directory: where its checkpoints are."""

ARRAYS = "arrays"
SAVING, DAMAGED, REMOVING, LOCK = ".saving-", "damaged-", ".removing-", ".lock"
DIGITS = 12
DTYPES = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "bfloat16"),
}
"""Types that are read: numbers, nothing that could hold a program."""

PIECE = 2**26
"""Bytes of an array that are written or read in one piece."""

AT_ONCE = 2**28
"""Bytes under way at once."""

log = logging.getLogger(__name__)

Place = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read."""

    path: Path
    step: int
    arrays: dict[str, Any]
    """by path in the tree, such as "state/cells/granule/v" """
    about: dict[str, Any]
    """JSON values that were given to `save`, beside "created", "versions" and "metrics" """


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Which checkpoints stay."""

    newest: int = 5
    best: str | None = None
    """metric whose lowest value stays; with a minus before it, whose highest"""
    every: int | None = None
    """steps: multiples of it stay"""


def flatten(tree: Any) -> dict[str, Any]:
    """Arrays of a tree by their paths, "a/b/c"."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def unflatten(template: Any, arrays: Mapping[str, Any], prefix: str = "") -> Any:
    """A tree like `template` of arrays that `flatten` gave; those of other prefixes are left out.

    Args:
      template: a tree of arrays or of their shapes (see `jax.eval_shape`).
      prefix: what stands before each path, "state" for "state/cells/...".

    Raises:
      UsageError: an array is missing, too many, or of another shape or type; names all.
    """
    wanted = flatten({prefix: template} if prefix else template)
    start = f"{prefix}/" if prefix else ""
    there = {name for name in arrays if name == prefix or name.startswith(start)}
    problems = [f"{name}: missing" for name in wanted if name not in there]
    problems += [f"{name}: not in this circuit" for name in sorted(there - wanted.keys())]
    for name in wanted.keys() & there:
        ours, theirs = wanted[name], arrays[name]
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            has = f"{theirs.dtype} {list(theirs.shape)}"
            problems.append(f"{name}: {has}; {ours.dtype} {list(ours.shape)} is wanted")
    if problems:
        raise UsageError("\n".join(sorted(problems)))
    return jax.tree.unflatten(jax.tree.structure(template), [arrays[name] for name in wanted])


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
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}
    shapes = {
        name: {"shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in arrays.items()
    }
    with publishing(final) as work:
        _save_arrays(work / ARRAYS, {k: v for k, v in arrays.items() if v.size})
        manifest.seal(
            work,
            {
                "step": step,
                "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "versions": _versions(),
                "metrics": dict(metrics or {}),
                "arrays": shapes,
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


def _save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    context = ocp.Context()
    context.array.saving.storage_options.chunk_byte_size = PIECE
    context.array.saving.use_compression = False
    context.memory.write_concurrent_bytes = AT_ONCE
    context.memory.deepcopy_host_arrays = False
    try:
        with context:
            ocp.save(str(path.absolute()), arrays)
    except ValueError as error:  # TensorStore's way of saying that the disk refused
        raise OSError(f"{path}: {error}") from error


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
        declared = {name: (tuple(x["shape"]), str(x["dtype"])) for name, x in shapes.items()}
        about = {**told["about"], **{k: told[k] for k in ("created", "versions", "metrics")}}
    except (KeyError, TypeError, ValueError):
        raise DamagedError([Problem(manifest.NAME, "does not say what the arrays are")]) from None
    _check_declared(declared, limit)
    arrays = _load_arrays(path, declared, wanted, place)
    return Checkpoint(path=path, step=step, arrays=arrays, about=about)


def _check_declared(declared: dict[str, tuple[tuple, str]], limit: int | None) -> None:
    total = 0
    for name, (shape, dtype) in declared.items():
        if dtype not in DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise DamagedError([Problem(name, f"{dtype} {list(shape)}; numbers in a shape")])
        total += _bytes((shape, dtype))
    if limit is not None and total > limit:
        raise DamagedError([Problem(manifest.NAME, f"arrays of {total} bytes; at most {limit}")])


def _bytes(told: tuple[tuple[int, ...], str]) -> int:
    """Bytes of an array of a shape and type, exact however large it claims to be."""
    return math.prod(told[0]) * np.dtype(told[1]).itemsize


def _load_arrays(path: Path, declared, wanted, place: Place | None) -> dict[str, Any]:
    def problem(name: str, text: str) -> DamagedError:
        return DamagedError([Problem(f"{ARRAYS}: {name}", text)])

    full = {name: told for name, told in declared.items() if 0 not in told[0]}
    try:
        found: Any = ocp.metadata(str((path / ARRAYS).absolute())).metadata if full else {}
        there = {name: (tuple(x.shape), np.dtype(x.dtype).name) for name, x in found.items()}
    except Exception as error:  # whatever a parser says of bytes that are none of Orbax's
        raise problem("index", f"not Orbax's ({type(error).__name__})") from error
    for name in full.keys() | there.keys():
        if there.get(name) != full.get(name):
            raise problem(name, f"holds {there.get(name)}; {full.get(name)} is declared")
    abstract: dict[str, Any] = {}
    for name, (shape, dtype) in full.items():
        if not wanted(name):
            abstract[name] = ocp.PLACEHOLDER
        elif place is None:
            abstract[name] = found[name]
        else:
            abstract[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=place(name, shape))
    context = ocp.Context()
    # An array that goes onto a device is read as one piece.
    largest = max((_bytes(told) for told in full.values()), default=0)
    context.memory.read_concurrent_bytes = AT_ONCE + largest
    try:
        with context:
            loaded: Any = ocp.load(str((path / ARRAYS).absolute()), abstract) if full else {}
    except Exception as error:
        raise problem("data", f"cannot be read ({error})".splitlines()[0]) from error
    out = {}
    for name, (shape, dtype) in declared.items():
        if not wanted(name):
            continue
        array = loaded[name] if name in full else np.zeros(shape, dtype)
        out[name] = array if place is None or name in full else jax.device_put(array)
    return out


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


def _kept(found: list[tuple[int, Path]], keep: Keep) -> set[Path]:
    """Checkpoints that stay."""
    stay = {path for _, path in found[: keep.newest]}
    if keep.every:
        stay |= {path for step, path in found if step % keep.every == 0}
    if keep.best:
        name, sign = keep.best.lstrip("-"), -1 if keep.best.startswith("-") else 1
        values = [(_metric(path, name), path) for _, path in found]
        scored = [(sign * value, path) for value, path in values if value is not None]
        stay |= {min(scored)[1]} if scored else set()
    return stay


def _metric(path: Path, name: str) -> float | None:
    try:
        return manifest.read(path)["metrics"].get(name)
    except DamagedError:
        return None


@dataclass
class Store:
    """Checkpoints of a run that goes on: saved beside it, and only as many as wanted.

    The disk may fail: the run is told by the log, and goes on. `close` raises where the last try
    failed.
    """

    folder: Path
    keep: Keep = Keep()
    beside: bool = True
    """whether `save` copies what it is given and returns; otherwise it returns when all is on
    the disk, and takes no copy"""
    failures: int = 0
    last_success: float | None = None
    """seconds since the epoch"""
    blocked_s: float = 0.0
    """how long `save` has held the run up, together"""
    _failed: BaseException | None = None
    _under_way: Future | None = None
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _lock: Any = None

    def __post_init__(self):
        self.folder = Path(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{self.folder}: another process saves there; one at a time") from None
        except OSError as error:
            raise UsageError(f"{self.folder}: {error.strerror}; a writable directory") from None
        for entry in self.folder.iterdir():
            if entry.name.startswith((SAVING, REMOVING)):
                shutil.rmtree(entry, ignore_errors=True)

    def save(
        self,
        step: int,
        tree: Any,
        about: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Save what `write` saves; False where the one before is still being written.

        Never raises for the disk: see `failures`.
        """
        if self._under_way is not None and not self._under_way.done():
            log.warning("checkpoint %d: left out, the one before is still being written", step)
            return False
        began = time.perf_counter()
        if self.beside:
            about, metrics = copy.deepcopy((about, metrics))
            tree = jax.tree.map(lambda leaf: np.array(leaf, copy=True), tree)
            self._under_way = self._pool.submit(self._write, step, tree, about, metrics)
        else:
            self._write(step, tree, about, metrics)
        self.blocked_s += time.perf_counter() - began
        return True

    def wait(self) -> None:
        """Until nothing is being written."""
        if self._under_way is not None:
            self._under_way.result()

    def close(self) -> None:
        """Finish what is being written.

        Raises:
          OSError: the last try failed: the run is about to end with something not saved.
        """
        self.wait()
        self._pool.shutdown()
        self._lock.close()
        if self._failed is not None:
            raise OSError(f"{self.folder}: {self._failed}") from self._failed

    def _write(self, step: int, tree: Any, about, metrics) -> None:
        try:
            write(self.folder, step, tree, about, metrics)
        except Exception as error:
            self.failures, self._failed = self.failures + 1, error
            log.error("checkpoint %d: not saved (%s); the run goes on", step, error)
            return
        self._failed, self.last_success = None, time.time()
        self._remove()

    def _remove(self) -> None:
        """What is not to be kept; a name first goes, then its files."""
        found = steps(self.folder)
        stay = _kept(found, self.keep)
        for _, path in found:
            if path in stay:
                continue
            doomed = path.with_name(REMOVING + path.name)
            try:
                path.rename(doomed)
            except OSError as error:
                log.warning("checkpoint %s cannot be removed (%s)", path, error.strerror)
                continue
            shutil.rmtree(doomed, ignore_errors=True)
