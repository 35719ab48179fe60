"""The choice of a checkpoint: the newest intact one of a run, or the one of a step."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from cerebellum import configure, store
from cerebellum.errors import UsageError
from cerebellum.store import Checkpoint, manifest, names
from cerebellum.store.manifest import DamagedError, Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """A checkpoint that was verified, and what was passed over for it."""

    path: Path
    damaged: dict[Path, list[Problem]]
    """newer checkpoints that are not intact, with their problems"""


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


def select(source: str | Path, step: int | None = None) -> Chosen:
    """Verify checkpoints from the newest on, until one is intact.

    Args:
      source: a run's directory, its folder of checkpoints, or one checkpoint.
      step: the step of the checkpoint that is wanted; None for any.

    Raises:
      UsageError: there is no such checkpoint.
      DamagedError: it is not intact, or none is.
    """
    path = Path(source)
    alone = (path / manifest.NAME).exists()
    candidates = [path] if alone else _candidates(path, step)
    damaged: dict[Path, list[Problem]] = {}
    for candidate in candidates:
        problems = manifest.check(candidate)
        if not problems:
            if alone and step not in (None, step_of(candidate)):
                raise UsageError(f"--step: {step}; {path} is of step {step_of(candidate)}")
            return Chosen(candidate, damaged)
        damaged[candidate] = problems
    raise DamagedError(
        [
            Problem(f"{candidate.resolve().name}/{each.file}", each.problem)
            for candidate, problems in damaged.items()
            for each in problems
        ]
    )


def choose(source: str | Path, step: int | None = None) -> Path:
    """The folder of the checkpoint that `select` gives; a warning names each that is damaged.

    Raises:
      UsageError, DamagedError: see `select`.
    """
    chosen = select(source, step)
    for path, problems in chosen.damaged.items():
        first = f"{problems[0].file}: {problems[0].problem}"
        log.warning("checkpoint %s is damaged (%s); %s is used", path, first, chosen.path.name)
    return chosen.path


def step_of(path: Path) -> int:
    """The step of a checkpoint, as its verified manifest says, whatever its folder is called.

    Raises:
      DamagedError: the manifest has no step.
    """
    step = manifest.read(path).get("step")
    if type(step) is not int or not 0 <= step < 10**store.DIGITS:
        file = f"{path.resolve().name}/{manifest.NAME}"
        raise DamagedError([Problem(file, "does not say which step it is of")])
    return step


def _candidates(run: Path, step: int | None) -> list[Path]:
    """The folders of a run's checkpoints, newest first, or the one of a step."""
    checkpoints = store.steps(folder_of(run))
    candidates = [path for number, path in checkpoints if step in (None, number)]
    if not candidates:
        available = ", ".join(str(number) for number, _ in checkpoints)
        raise UsageError(f"--step: {step}; {run} has {available}")
    return candidates


def read(path: Path, **options: Any) -> Checkpoint:
    """Load a checkpoint that `choose` has verified, if it fits into memory."""
    return store.load(path, verify=False, limit=configure.memory_there(), **options)


def on_first_device(name: str, shape: tuple[int, ...]) -> jax.sharding.Sharding:
    """A `Place` that puts every array on the first device."""
    return jax.sharding.SingleDeviceSharding(jax.devices()[0])


def selected(only: str | None):
    """A function that says whether `--only` selects the array of a name.

    It selects all arrays below a path, or those of a projection or a population; None selects all.
    """

    def wanted(name: str) -> bool:
        # A checkpoint of an earlier version is asked for by present names, too.
        forms = {name, names.present(name)}
        return only is None or any(only in x.split("/") or x.startswith(f"{only}/") for x in forms)

    return wanted
