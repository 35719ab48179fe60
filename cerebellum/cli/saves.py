"""What a run of `simulate` has saved in its folder: from where it goes on, and saving on the way.

    RUN/checkpoints/STEP   the circuit and its state at a step
    RUN/parts/STEP.npz     the recording between the checkpoint before and that step

A part is on the disk before its checkpoint. Nothing in a folder is ever deleted to begin again.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebellum import files, io, store, system
from cerebellum.errors import FailedError, UsageError
from cerebellum.model.spec import Spec
from cerebellum.sim import record
from cerebellum.sim.record import Recording
from cerebellum.store import describe

PARTS = "parts"
"""The folder in a run's directory that holds the recording up to each checkpoint."""

RECORDING, DESCRIPTION = "recording.npz", "run.json"
PICTURES = ("raster.png", "rates.png")

log = logging.getLogger(__name__)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder; file systems that cannot lock a folder let them in.

    Raises:
      UsageError: another run is writing there, or a folder has the name of a file of results.
    """
    for name in (RECORDING, DESCRIPTION, *PICTURES):
        if (out / name).is_dir():
            raise UsageError(f"--out: {out} has a folder {name}; another --out, or rename it")
    for name in (PARTS, store.FOLDER):
        if (out / name).exists() and not (out / name).is_dir():
            raise UsageError(f"--out: {out} has a file {name}; another --out, or rename it")
    try:
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        # Windows opens no folders.
        log.debug("%s cannot be locked (%s)", out, error)
        yield
        return
    try:
        system.lock(handle)
    except BlockingIOError:
        os.close(handle)
        raise UsageError(f"--out: {out}; another run is writing there, another --out") from None
    except OSError as error:
        log.debug("%s cannot be locked (%s)", out, error)
    try:
        yield
    finally:
        os.close(handle)


def begin(out: Path) -> None:
    """Check that a run may begin in a folder from its first step.

    Raises:
      UsageError: an earlier run has left something there that can be resumed.
    """
    steps = store.steps(out / store.FOLDER)
    if steps:
        raise UsageError(
            f"--out: {out} has checkpoints; --resume goes on from the newest, of step "
            f"{steps[0][0]:,}, another --out begins"
        )
    left = [*_parts(out), *(out / store.FOLDER).glob(f"{store.DAMAGED}*")]
    if left:
        raise UsageError(
            f"--out: {out} has parts of an interrupted run ({_names(left)}); another --out begins"
        )


def resume(
    arguments: argparse.Namespace, spec: Spec, out: Path
) -> tuple[store.Checkpoint | None, list[Recording]]:
    """The checkpoint from which a run goes on, with the recording up to it.

    Returns:
      None and no recording where nothing was saved yet, and the run begins.

    Raises:
      UsageError: the checkpoint is of another run or is past the end of this one, it is not
        intact, or its recording is not.
    """
    checkpoint = store.newest(out / store.FOLDER)
    if checkpoint is None:
        _check_nothing_saved(out)
        return None, []
    # Compare with values that have been through JSON, as those of the checkpoint have.
    current = {**json.loads(json.dumps(describe.to_json(spec))), **identity(arguments)}
    saved = {**checkpoint.about.get("spec", {}), **checkpoint.about.get("simulate", {})}
    for key, value in current.items():
        # Older versions compared the name of a file of spikes, not its content.
        same = saved.get(key) in (value, arguments.stimulus if key == "stimulus" else value)
        if not same:
            raise UsageError(f"--resume: {out} has another {key}; the same command goes on")
    if checkpoint.step > round(arguments.duration_ms / spec.dt):
        reached_ms = checkpoint.step * spec.dt
        raise UsageError(
            f"--duration-ms: {arguments.duration_ms:g}; {out} has come to {reached_ms:g}"
        )
    return checkpoint, recorded(out, checkpoint.step)


def _check_nothing_saved(out: Path) -> None:
    """Raise UsageError if a folder without an intact checkpoint holds more than a first part.

    A run that was killed before its first checkpoint may have left that part.
    """
    folder, parts = out / store.FOLDER, _parts(out)
    others = [entry for entry in folder.glob("*") if not entry.name.startswith(".")]
    if others or len(parts) > 1 or (parts and not folder.is_dir()):
        raise UsageError(
            f"--resume: {out} has no intact checkpoint, but {_names([*others, *parts])}; restore "
            "a backup there, or begin again in another --out"
        )


def _parts(out: Path) -> list[Path]:
    """The parts of a recording in a folder, by their last steps."""
    paths = [path for path in (out / PARTS).glob("*.npz") if path.stem.isdecimal()]
    return sorted(paths, key=lambda path: int(path.stem))


def _names(paths: list[Path]) -> str:
    """The first and the last of some paths, in the folder of their run."""
    names = [f"{path.parent.name}/{path.name}" for path in paths]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def recorded(out: Path, step: int) -> list[Recording]:
    """The recording of the first steps of a run, in consecutive parts.

    The part that ends at a step says where it begins; there the one before ends. Results of an
    earlier, shorter run stand for its parts.

    Raises:
      UsageError: a part is missing or damaged.
    """
    parts: list[Recording] = []
    end = step
    while end > 0 and (out / PARTS / f"{end}.npz").exists():
        part = io.load(out / PARTS / f"{end}.npz")
        parts.insert(0, part)
        end -= part.steps
    if end > 0 and (out / RECORDING).exists():
        whole = io.load(out / RECORDING)
        if (whole.steps, whole.start_ms) == (end, 0):
            return [whole, *parts]
    if end != 0:
        raise UsageError(
            f"--resume: {out / PARTS} has not all of the {step} steps; another --out begins again"
        )
    return parts


def is_in_parts(out: Path, parts: list[Recording]) -> bool:
    """Whether the first of some parts is on the disk as a part, not as the results of a run."""
    return (out / PARTS / f"{parts[0].steps}.npz").exists()


def identity(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a resumed run must have in common with the run that wrote the checkpoint."""
    stimulus, path = arguments.stimulus, Path(arguments.stimulus)
    if stimulus not in ("background", "burst") and path.is_file():
        stimulus = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    return {"stimulus": stimulus, "seed": arguments.seed}


@dataclass
class Saves:
    """Saves the recording and the state of a run on its way.

    The disk may fail: the run goes on, and what was not saved is saved the next time.
    """

    out: Path
    about: Mapping[str, Any]
    in_parts: bool
    """whether recordings are saved, too"""
    unsaved: list[Recording] = field(default_factory=list)
    """the recording since the last part on the disk"""
    checkpoints: store.Store = field(init=False)
    _problem: str | None = None
    """why the last part could not be saved, if it could not"""

    def __post_init__(self):
        # Only a run that began in an empty folder may remove older checkpoints.
        retention = store.Retention(newest=2 if self.in_parts else sys.maxsize)
        self.checkpoints = store.Store(self.out / store.FOLDER, retention=retention, beside=False)

    def save(self, step: int, tree: Any) -> None:
        """Save what was recorded up to a step, then a checkpoint.

        Args:
          tree: the arrays of the checkpoint.
        """
        try:
            self._save_part(step)
        except OSError as error:
            self._problem = files.reason(error)
            log.error("%s: step %d: not saved (%s); the run goes on", self.out, step, self._problem)
            return
        self._problem = None
        self.checkpoints.save(step, tree, self.about)

    def finish(self, step: int, tree: Any, part: bool) -> None:
        """Save the last checkpoint of a run.

        Args:
          part: whether what was recorded since the last part is saved before it.

        Raises:
          FailedError: the disk refused.
        """
        try:
            if part:
                self._save_part(step)
            self.checkpoints.save_last(step, tree, self.about)
        except OSError as error:
            raise FailedError(
                f"--checkpoint: {self.out}: {files.reason(error)}; a disk with room"
            ) from None

    def close(self) -> None:
        """End without another checkpoint.

        Raises:
          FailedError: the last checkpoint could not be written.
        """
        problem = self._problem
        try:
            self.checkpoints.close()
        except OSError as error:
            problem = files.reason(error)
        if problem is not None:
            raise FailedError(f"--checkpoint: {self.out}: {problem}; a disk with room")

    def _save_part(self, step: int) -> None:
        if self.unsaved:
            (self.out / PARTS).mkdir(parents=True, exist_ok=True)
            io.save(record.join(self.unsaved), self.out / PARTS / f"{step}.npz")
            self.unsaved.clear()
