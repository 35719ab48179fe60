"""What operators do with checkpoints: list, verify, copy out, bring back, look at the weights."""

import errno
import gzip
import os
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cerebellum as cb
from cerebellum import configure, store
from cerebellum.errors import UsageError
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Dtype
from cerebellum.store import Checkpoint, manifest, snapshot
from cerebellum.store.convert import convert
from cerebellum.store.manifest import DamagedError, Problem

TABLES = (".csv", ".csv.gz")
PROBE_MS = 200.0
PLAUSIBLE_HZ = 500.0
"""No population fires faster than this for long."""


def folder_of(run: str | Path) -> Path:
    """Where the checkpoints of a run are: below it, or it is that folder itself.

    Raises:
      UsageError: there are none.
    """
    path = Path(run)
    for folder in (path / store.FOLDER, path):
        if store.steps(folder):
            return folder
    raise UsageError(f"{path}: no checkpoints; a run's directory, or its {store.FOLDER}")


def listing(run: str | Path) -> list[dict[str, Any]]:
    """Every checkpoint of a run, newest first, those that were set aside last; all are read."""
    folder = folder_of(run)
    aside = sorted(entry for entry in folder.iterdir() if entry.name.startswith(store.DAMAGED))
    found = []
    for path in [*(path for _, path in store.steps(folder)), *aside]:
        problems = manifest.check(path)
        told = {} if problems else manifest.read(path)
        found.append(
            {
                "step": told.get("step", int(path.name.removeprefix(store.DAMAGED).split("-")[0])),
                "created": told.get("created"),
                "bytes": sum(each.stat().st_size for each in path.rglob("*") if each.is_file()),
                "intact": not problems,
                "reason": "; ".join(f"{each.file}: {each.problem}" for each in problems) or None,
                "metrics": told.get("metrics", {}),
            }
        )
    return found


def verify(root: str | Path) -> dict[str, Any]:
    """Every checkpoint, backup and training table below a directory, read from end to end.

    Raises:
      UsageError: no such directory.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root}: no such directory; one with checkpoints, backups or data")
    checked, problems = 0, []
    for inside, folders, files in os.walk(root):
        here = Path(inside)
        for name in list(folders):
            numbered = name.isdecimal() and len(name) == store.DIGITS
            if not numbered and not (here / name / manifest.NAME).exists():
                continue
            folders.remove(name)
            checked += 1
            for each in manifest.check(here / name):
                file = (here / name / each.file).relative_to(root)
                problems.append({"file": str(file), "problem": each.problem})
        for name in sorted(files):
            if name.endswith(TABLES):
                checked += 1
                problem = _unreadable(here / name)
                if problem:
                    file = (here / name).relative_to(root)
                    problems.append({"file": str(file), "problem": problem})
    return {"ok": not problems, "checked": checked, "problems": problems}


def _unreadable(path: Path) -> str | None:
    """What is wrong with a text file, compressed or not."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            first = file.readline()
            while file.read(2**20):
                pass
    except UnicodeDecodeError:
        return "not UTF-8"
    except (EOFError, gzip.BadGzipFile) as error:
        return f"not whole ({error})"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    return None if first.strip() else "empty"


def backup(run: str | Path, target: str | Path) -> Path:
    """Copy the newest intact checkpoint of a run out, also while the run goes on.

    Args:
      target: a directory for backups; the copy is `target/checkpoints/STEP`.

    Returns:
      The copy, verified.

    Raises:
      UsageError: nothing there to copy.
      DamagedError: nothing intact.
      OSError: the disk refused; nothing is left behind.
    """
    for _ in range(3):
        path = choose(folder_of(run))
        try:
            return _copy(path, Path(target) / store.FOLDER)
        except (FileNotFoundError, shutil.Error):
            if path.exists():
                raise
            # A run that goes on has removed it.
    raise FileNotFoundError(errno.ENOENT, "removed while it was copied", str(run))


def restore(
    source: str | Path, target: str | Path, *, step: int | None = None, force: bool = False
) -> Path:
    """Bring a checkpoint back into a run's directory.

    Args:
      source: a backup, another run, or one checkpoint.
      target: the run's directory. With `force`, checkpoints that are there are set aside first.
      step: which; the newest intact one by default.

    Returns:
      The copy, verified.

    Raises:
      UsageError: no such checkpoint; something there already and no `force`.
      DamagedError: it is not intact.
    """
    path = choose(source, step)
    return _copy(path, _vacant(target, force))


def restore_as(
    source: str | Path,
    target: str | Path,
    dtype: Dtype,
    *,
    step: int | None = None,
    force: bool = False,
) -> tuple[Path, list[str]]:
    """`restore` with plastic weights of another type: the new checkpoint, and what was done.

    Raises:
      UsageError, DamagedError: see `restore` and `convert`.
    """
    found = _load(choose(source, step), place=_here)
    circuit, state, said = convert(*snapshot.restore(found), dtype)
    told = {"spec", "seed", "wiring", "created", "versions", "metrics"}
    extra = {name: array for name, array in found.arrays.items() if not _of_model(name)}
    rest = {key: value for key, value in found.about.items() if key not in told}
    about, metrics = {**rest, **snapshot.about(circuit)}, found.about["metrics"]
    tree = {**store.flatten(snapshot.tree(circuit, state)), **extra}
    folder = _vacant(target, force)
    return store.write(folder, found.step, tree, about, metrics), said


def restore_part(
    source: str | Path, target: str | Path, only: str, *, step: int | None = None
) -> tuple[Path, list[str]]:
    """Bring some arrays of a checkpoint into the newest intact one of a run.

    That one is set aside, under another name, once the new one is on the disk.

    Args:
      only: as in `selected`.

    Returns:
      The new checkpoint, and the names of what was brought.

    Raises:
      UsageError: `only` names nothing there, or arrays of other shapes or types.
      DamagedError: one of the two is not intact.
    """
    given = _load(choose(source, step), wanted=selected(only)).arrays
    old = choose(target)
    mine = _load(old)
    if not given:
        raise UsageError(f"--only: {only!r}; params, state, or a projection or population")
    for name, array in given.items():
        there = mine.arrays.get(name)
        if there is None or (there.shape, there.dtype) != (array.shape, array.dtype):
            has = "nothing" if there is None else f"{there.dtype} {list(there.shape)}"
            raise UsageError(f"{name}: {array.dtype} {list(array.shape)}; {target} has {has} there")
    told = {"created", "versions", "metrics"}
    about = {key: value for key, value in mine.about.items() if key not in told}
    made = store.write(old.parent / ".parts", mine.step, {**mine.arrays, **given}, about)
    old.rename(old.with_name(f"replaced-{old.name}-{_now()}"))
    made.rename(old)
    made.parent.rmdir()
    return old, sorted(given)


def _vacant(target: str | Path, force: bool) -> Path:
    """Where a run's checkpoints go, with none there: those that were are set aside."""
    folder = Path(target) / store.FOLDER
    if store.steps(folder):
        if not force:
            raise UsageError(f"{folder}: has checkpoints; --force sets them aside")
        folder.rename(folder.with_name(f"{store.FOLDER}.replaced-{_now()}"))
    return folder


def _now() -> str:
    return time.strftime("%Y%m%dT%H%M%S")


def _of_model(name: str) -> bool:
    return name.split("/")[0] in ("params", "state", "wiring")


def _here(name: str, shape: tuple[int, ...]) -> jax.sharding.Sharding:
    """Every array on the first device."""
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def choose(source: str | Path, step: int | None = None) -> Path:
    """A checkpoint's folder, verified: the one of that step, or the newest that is intact.

    Raises:
      UsageError: none such.
      DamagedError: it is not intact, or none is.
    """
    path = Path(source)
    found = [path] if (path / manifest.NAME).exists() else _numbered(path, step)
    problems: list[Problem] = []
    for each in found:
        bad = manifest.check(each)
        if not bad:
            return each
        problems += [Problem(f"{each.name}/{one.file}", one.problem) for one in bad]
    raise DamagedError(problems)


def _numbered(run: Path, step: int | None) -> list[Path]:
    """A run's checkpoints, newest first, or the one of a step."""
    found = store.steps(folder_of(run))
    chosen = [path for number, path in found if step in (None, number)]
    if not chosen:
        there = ", ".join(str(number) for number, _ in found)
        raise UsageError(f"--step: {step}; {run} has {there}")
    return chosen


def _copy(path: Path, folder: Path) -> Path:
    """A checkpoint in another folder, whole or not there."""
    final = folder / path.name
    if final.exists():
        problems = manifest.check(final)
        if not problems:
            return final
        store.set_aside(final)
    with store.publishing(final) as work:
        shutil.copytree(path, work, symlinks=True, dirs_exist_ok=True)
        problems = manifest.check(work)
        if problems:
            raise DamagedError(problems)
        manifest.flush_all(work)
    return final


def selected(only: str | None):
    """Which arrays `--only` names: all below a path, or those of a projection or population."""

    def wanted(name: str) -> bool:
        return only is None or only in name.split("/") or name.startswith(f"{only}/")

    return wanted


def to_npz(path: Path, file: str | Path, only: str | None = None) -> int:
    """Write a chosen checkpoint's arrays for people without JAX: how many there were.

    Raises:
      UsageError: `only` names nothing in it.
    """
    arrays = _load(path, wanted=selected(only)).arrays
    if not arrays:
        raise UsageError(f"--only: {only!r}; params, state, or a projection or population")
    target = Path(file)
    work = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with work.open("wb") as out:
            np.savez(out, **arrays)
        work.replace(target)
    except BaseException:
        work.unlink(missing_ok=True)
        raise
    return len(arrays)


def load(run: str | Path, step: int | None = None) -> tuple[Circuit, State]:
    """The circuit and state of a run's newest intact checkpoint, or of one step.

    Raises:
      UsageError, DamagedError: see `choose` and `snapshot.restore`.
    """
    return snapshot.restore(_load(choose(run, step), place=_here))


def _load(path: Path, **options: Any) -> Checkpoint:
    """What `choose` gave and has verified, if it fits into memory."""
    return store.load(path, verify=False, limit=configure.memory_there(), **options)


def validate(run: str | Path) -> dict[str, Any]:
    """Whether a model is intact, finite, of its own circuit's shapes, and fires plausibly."""
    path = choose(run)
    found = _load(path, place=_here)
    problems = [
        {"file": name, "problem": "not finite"}
        for name, array in found.arrays.items()
        if jnp.issubdtype(array.dtype, jnp.floating) and not jnp.isfinite(array).all()
    ]
    try:
        circuit, state = snapshot.restore(found)
    except UsageError as error:
        told = [{"file": str(path), "problem": line} for line in str(error).splitlines()]
        return {"ok": False, "checked": len(found.arrays), "problems": [*problems, *told]}
    if not problems:
        relays = [p.name for p in circuit.spec.populations if CIRCUIT_MODELS[p.model].TAKES_SPIKES]
        drive = {name: cb.drive.poisson(10.0) for name in relays}
        _, recording = cb.simulate(circuit, state, drive, duration_ms=PROBE_MS, progress=False)
        rates = cb.record.rates(recording)
        problems = [
            {"file": name, "problem": f"{rate:.0f} Hz; at most {PLAUSIBLE_HZ:.0f}"}
            for name, rate in rates.items()
            if not rate <= PLAUSIBLE_HZ
        ]
        if not any(rates[p.name] > 0 for p in circuit.spec.populations if p.name not in relays):
            problems.append({"file": str(path), "problem": f"silent for {PROBE_MS:.0f} ms"})
    return {"ok": not problems, "checked": len(found.arrays), "problems": problems}


def untrained(settings) -> tuple[Circuit, State]:
    """The circuit of a configuration as it is before it has learned."""
    key, backend = jax.random.key(settings.neural.seed), settings.performance.kernels
    circuit = cb.build(configure.spec_of(settings), key, backend=backend)
    return circuit, cb.init(circuit, jax.random.key(settings.neural.seed), spread=True)
