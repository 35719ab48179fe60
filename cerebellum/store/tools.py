"""Operators' tools for checkpoints: list, verify, validate and export them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import configure, parts, store
from cerebellum.config import Settings
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import csv
from cerebellum.model import anatomy
from cerebellum.model.circuit import Circuit, State, init
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.sim import record
from cerebellum.sim.drive import poisson
from cerebellum.sim.simulate import simulate
from cerebellum.store import choice, manifest, snapshot

PROBE_MS = 200.0
"""Simulated time in which `validate` measures firing rates, ms."""
PLAUSIBLE_HZ = 500.0
"""Largest plausible mean rate of a population, Hz."""


def listing(run: str | Path) -> list[dict[str, Any]]:
    """Describe every checkpoint of a run, newest first; those set aside as damaged come last.

    Every file of each checkpoint is read.
    """
    folder = choice.folder_of(run)
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
      UsageError: there is no such directory, or there is a table in it and the part `ticks`, which
        reads tables, is not installed.
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
                parts.need("--verify-data", "ticks")
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


def to_npz(path: Path, file: str | Path, only: str | None = None) -> int:
    """Write the arrays of a verified checkpoint to an npz file; returns their number.

    Raises:
      UsageError: `only` names no array of the checkpoint.
    """
    arrays = choice.read(path, wanted=choice.selected(only)).arrays
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
    return snapshot.restore(choice.read(choice.choose(run, step), place=choice.on_first_device))


def validate(run: str | Path) -> dict[str, Any]:
    """Check a model: its files, finite values, shapes of its circuit, and plausible rates."""
    path = choice.choose(run)
    checkpoint = choice.read(path, place=choice.on_first_device)
    problems = [
        {"file": name, "problem": "not finite"}
        for name, array in checkpoint.arrays.items()
        if jnp.issubdtype(array.dtype, jnp.floating) and not jnp.isfinite(array).all()
    ]
    try:
        circuit, state = snapshot.restore(checkpoint)
    except UsageError as error:
        lines = [line.removeprefix(f"{path}: ") for line in str(error).splitlines()]
        problems += [{"file": str(path), "problem": line} for line in lines]
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
