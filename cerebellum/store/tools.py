"""Operators' tools for checkpoints: list, verify, back up, restore, convert and export them."""

import errno
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import configure, store
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import csv
from cerebellum.model import anatomy
from cerebellum.model.circuit import Circuit, State, init
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Dtype
from cerebellum.sim import record
from cerebellum.sim.drive import poisson
from cerebellum.sim.simulate import simulate
from cerebellum.store import Checkpoint, manifest, names, snapshot
from cerebellum.store.convert import convert
from cerebellum.store.manifest import DamagedError, Problem

PROBE_MS = 200.0
"""Simulated time in which `validate` measures firing rates, ms."""
PLAUSIBLE_HZ = 500.0
"""Largest plausible mean rate of a population, Hz."""
DERIVED = {"created", "versions", "metrics"}
"""Keys of `Checkpoint.about` that `store.write` adds itself."""


def folder_of(run: str | Path) -> Path:
    """The folder of a run's checkpoints.

    Args:
      run: the run's directory, or that folder itself.

    Raises:
      UsageError: there are no checkpoints.
    """
    path = Path(run)
    for folder in (path / store.FOLDER, path):
        if store.steps(folder):
            return folder
    raise UsageError(f"{path}: no checkpoints; a run's directory, or its {store.FOLDER}")


def listing(run: str | Path) -> list[dict[str, Any]]:
    """Describe every checkpoint of a run, newest first; those set aside as damaged come last.

    Every file of each checkpoint is read.
    """
    folder = folder_of(run)
    damaged = sorted(entry for entry in folder.iterdir() if entry.name.startswith(store.DAMAGED))
    return [_describe(path) for path in [*(path for _, path in store.steps(folder)), *damaged]]


def _describe(path: Path) -> dict[str, Any]:
    """A checkpoint's step, time, size, metrics, and whether and why it is damaged."""
    problems = manifest.check(path)
    about = {} if problems else manifest.read(path)
    return {
        "step": about.get("step", int(path.name.removeprefix(store.DAMAGED).split("-")[0])),
        "created": about.get("created"),
        "bytes": sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        "intact": not problems,
        "reason": "; ".join(f"{each.file}: {each.problem}" for each in problems) or None,
        "metrics": about.get("metrics", {}),
    }


def verify(root: str | Path, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read every checkpoint, backup and training table below a directory, and report problems.

    A table has a problem where `train` would refuse it, and a note where rows would be left out.

    Args:
      columns: header names of the tables, see `csv.read`.

    Raises:
      UsageError: there is no such directory.
    """
    root = Path(root)
    if not root.is_dir():
        raise UsageError(f"{root}: no such directory; one with checkpoints, backups or data")
    checked, problems, notes = 0, [], []

    def unreadable(error: OSError) -> None:
        folder = os.path.relpath(error.filename, root)
        problems.append({"file": folder, "problem": f"cannot be read ({error.strerror})"})

    for parent, folders, files in os.walk(root, onerror=unreadable):
        folder = Path(parent)
        for name in list(folders):
            is_checkpoint = name.isdecimal() and len(name) == store.DIGITS
            if not is_checkpoint and not (folder / name / manifest.NAME).exists():
                continue
            folders.remove(name)
            checked += 1
            for problem in manifest.check(folder / name):
                file = (folder / name / problem.file).relative_to(root)
                problems.append({"file": str(file), "problem": problem.problem})
        for name in sorted(files):
            if csv.is_table(name):
                checked += 1
                problem, note = _read_table(folder / name, columns)
                file = str((folder / name).relative_to(root))
                if problem:
                    problems.append({"file": file, "problem": problem})
                if note:
                    notes.append({"file": file, "note": note})
    return {"ok": not problems, "checked": checked, "problems": problems, "notes": notes}


def _read_table(path: Path, columns: Mapping[str, str] | None) -> tuple[str | None, str | None]:
    """Read a file of ticks as `train` does.

    Returns:
      Why it would be refused, or None; and which of its rows would be left out, or None.
    """
    bad = csv.Bad()
    try:
        for _ in csv.read(path, columns, bad):
            pass
    except UsageError as error:
        return str(error).removeprefix(f"{path}:").strip(), None
    return None, str(bad) if bad.rows else None


def backup(run: str | Path, target: str | Path) -> Path:
    """Copy the newest intact checkpoint of a run to a backup, also while the run goes on.

    Args:
      target: a directory for backups; the copy is `target/checkpoints/STEP`.

    Returns:
      The folder of the copy, which has been verified.

    Raises:
      UsageError: the run has no checkpoints.
      DamagedError: no checkpoint is intact.
      OSError: the disk refused; no partial copy is left behind.
    """
    for _ in range(3):
        path = choose(folder_of(run))
        try:
            return _copy(path, Path(target) / store.FOLDER)
        except (FileNotFoundError, shutil.Error):
            if path.exists():
                raise
            # The run has removed this checkpoint in the meantime.
    raise FileNotFoundError(errno.ENOENT, "removed while it was copied", str(run))


def restore(
    source: str | Path, target: str | Path, *, step: int | None = None, force: bool = False
) -> Path:
    """Restore a checkpoint into a run's directory.

    Args:
      source: a backup, another run, or one checkpoint.
      target: the run's directory.
      step: the step of the checkpoint; by default the newest intact one is restored.
      force: whether checkpoints that the target already has are set aside first.

    Returns:
      The folder of the copy, which has been verified.

    Raises:
      UsageError: there is no such checkpoint, or the target has checkpoints and `force` is false.
      DamagedError: the checkpoint is not intact.
    """
    path = choose(source, step)
    return _copy(path, _empty_folder(target, force))


def restore_as(
    source: str | Path,
    target: str | Path,
    dtype: Dtype,
    *,
    step: int | None = None,
    force: bool = False,
) -> tuple[Path, list[str]]:
    """Restore a checkpoint with its plastic weights converted to another type.

    Returns:
      The folder of the new checkpoint, and a line for each projection that was converted.

    Raises:
      UsageError, DamagedError: see `restore` and `convert`.
    """
    checkpoint = _load(choose(source, step), place=_on_first_device)
    circuit, state, report = convert(*snapshot.restore(checkpoint), dtype)
    arrays = names.translated(checkpoint.arrays, checkpoint.about)
    extra = {name: x for name, x in arrays.items() if not _is_of_circuit(name)}
    replaced = {"spec", "seed", "wiring", *DERIVED}
    rest = {key: value for key, value in checkpoint.about.items() if key not in replaced}
    about = {**rest, **snapshot.about(circuit)}
    tree = {**store.flatten(snapshot.tree(circuit, state)), **extra}
    folder = _empty_folder(target, force)
    path = store.write(folder, checkpoint.step, tree, about, checkpoint.about["metrics"])
    return path, report


def restore_part(
    source: str | Path, target: str | Path, only: str, *, step: int | None = None
) -> tuple[Path, list[str]]:
    """Replace some arrays of a run's newest intact checkpoint by those of another checkpoint.

    The old checkpoint is set aside under another name once the new one is on the disk.

    Args:
      only: names the arrays, as in `selected`.

    Returns:
      The folder of the new checkpoint, and the names of the arrays that were replaced.

    Raises:
      UsageError: `only` names no array of the source, or arrays of other shapes or types.
      DamagedError: one of the two checkpoints is not intact.
    """
    other = _load(choose(source, step), wanted=selected(only))
    replacements = names.translated(other.arrays, other.about)
    path = choose(target)
    checkpoint = _load(path)
    present = names.translated(checkpoint.arrays, checkpoint.about)
    if not replacements:
        raise UsageError(f"--only: {only!r}; params, state, or a projection or population")
    for name, array in replacements.items():
        old = present.get(name)
        if old is None or (old.shape, old.dtype) != (array.shape, array.dtype):
            has = "nothing" if old is None else f"{old.dtype} {list(old.shape)}"
            raise UsageError(f"{name}: {array.dtype} {list(array.shape)}; {target} has {has} there")
    about = {key: value for key, value in checkpoint.about.items() if key not in DERIVED}
    about, arrays = {**about, "names": names.VERSION}, {**present, **replacements}
    written = store.write(path.parent / ".parts", checkpoint.step, arrays, about)
    path.rename(path.with_name(f"replaced-{path.name}-{_timestamp()}"))
    written.rename(path)
    written.parent.rmdir()
    return path, sorted(replacements)


def _empty_folder(target: str | Path, force: bool) -> Path:
    """The folder for a run's checkpoints, without any; existing ones are set aside if `force`."""
    folder = Path(target) / store.FOLDER
    if store.steps(folder):
        if not force:
            raise UsageError(f"{folder}: has checkpoints; --force sets them aside")
        folder.rename(folder.with_name(f"{store.FOLDER}.replaced-{_timestamp()}"))
    return folder


def _timestamp() -> str:
    return time.strftime("%Y%m%dT%H%M%S")


def _is_of_circuit(name: str) -> bool:
    """Whether an array belongs to the circuit or its state, rather than to what trains them."""
    return name.split("/")[0] in ("params", "state", "wiring")


def _on_first_device(name: str, shape: tuple[int, ...]) -> jax.sharding.Sharding:
    """A `Place` that puts every array on the first device."""
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def choose(source: str | Path, step: int | None = None) -> Path:
    """The folder of a verified checkpoint: the one of a step, or the newest that is intact.

    Raises:
      UsageError: there is no such checkpoint.
      DamagedError: it is not intact, or none is.
    """
    path = Path(source)
    candidates = [path] if (path / manifest.NAME).exists() else _candidates(path, step)
    problems: list[Problem] = []
    for candidate in candidates:
        damage = manifest.check(candidate)
        if not damage:
            return candidate
        problems += [Problem(f"{candidate.name}/{each.file}", each.problem) for each in damage]
    raise DamagedError(problems)


def _candidates(run: Path, step: int | None) -> list[Path]:
    """The folders of a run's checkpoints, newest first, or the one of a step."""
    checkpoints = store.steps(folder_of(run))
    candidates = [path for number, path in checkpoints if step in (None, number)]
    if not candidates:
        available = ", ".join(str(number) for number, _ in checkpoints)
        raise UsageError(f"--step: {step}; {run} has {available}")
    return candidates


def _copy(path: Path, folder: Path) -> Path:
    """Copy a checkpoint into another folder of checkpoints, and verify the copy."""
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
    """A function that says whether `--only` selects the array of a name.

    It selects all arrays below a path, or those of a projection or a population; None selects all.
    """

    def wanted(name: str) -> bool:
        # A checkpoint of an earlier version is asked for by present names, too.
        forms = {name, names.present(name)}
        return only is None or any(only in x.split("/") or x.startswith(f"{only}/") for x in forms)

    return wanted


def to_npz(path: Path, file: str | Path, only: str | None = None) -> int:
    """Write the arrays of a verified checkpoint to an npz file; returns their number.

    Raises:
      UsageError: `only` names no array of the checkpoint.
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
    """Restore the circuit and state of a run's newest intact checkpoint, or of one step.

    Raises:
      UsageError, DamagedError: see `choose` and `snapshot.restore`.
    """
    return snapshot.restore(_load(choose(run, step), place=_on_first_device))


def _load(path: Path, **options: Any) -> Checkpoint:
    """Load a checkpoint that `choose` has verified, if it fits into memory."""
    return store.load(path, verify=False, limit=configure.memory_there(), **options)


def validate(run: str | Path) -> dict[str, Any]:
    """Check a model: its files, finite values, shapes of its circuit, and plausible rates."""
    path = choose(run)
    checkpoint = _load(path, place=_on_first_device)
    problems = [
        {"file": name, "problem": "not finite"}
        for name, array in checkpoint.arrays.items()
        if jnp.issubdtype(array.dtype, jnp.floating) and not jnp.isfinite(array).all()
    ]
    try:
        circuit, state = snapshot.restore(checkpoint)
    except UsageError as error:
        problems += [{"file": str(path), "problem": line} for line in str(error).splitlines()]
    else:
        problems = problems or _rate_problems(circuit, state, path)
    return {"ok": not problems, "checked": len(checkpoint.arrays), "problems": problems}


def _rate_problems(circuit: Circuit, state: State, path: Path) -> list[dict[str, str]]:
    """Simulate the circuit with Poisson inputs; report implausible rates, and silence."""
    populations = circuit.spec.populations
    inputs = [p.name for p in populations if CIRCUIT_MODELS[p.model].TAKES_SPIKES]
    drive = {name: poisson(10.0) for name in inputs}
    _, recording = simulate(circuit, state, drive, duration_ms=PROBE_MS, progress=False)
    rates = record.rates(recording)
    problems = [
        {"file": name, "problem": f"{rate:.0f} Hz; at most {PLAUSIBLE_HZ:.0f}"}
        for name, rate in rates.items()
        if not rate <= PLAUSIBLE_HZ
    ]
    if not any(rates[p.name] > 0 for p in populations if p.name not in inputs):
        problems.append({"file": str(path), "problem": f"silent for {PROBE_MS:.0f} ms"})
    return problems


def untrained(settings: Settings) -> tuple[Circuit, State]:
    """The circuit of a configuration, and its state, before it has learned."""
    key, backend = jax.random.key(settings.neural.seed), settings.performance.kernels
    circuit = anatomy.build(configure.spec_of(settings), key, backend=backend)
    return circuit, init(circuit, jax.random.key(settings.neural.seed), spread=True)
