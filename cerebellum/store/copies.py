"""Copies of checkpoints: back up, restore, restore with other weights or in part.

A copy is whole and verified before anything that it replaces is moved, and nothing that it replaces
is deleted. Root leaves every file to the owner of the folder that it lies in.
"""

import errno
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path

from cerebellum import files, store
from cerebellum.errors import UsageError
from cerebellum.model.projection import Dtype
from cerebellum.store import choice, manifest, names, snapshot
from cerebellum.store.convert import convert
from cerebellum.store.manifest import DamagedError

DERIVED = {"created", "versions", "metrics"}
"""Keys of `Checkpoint.about` that `store.write` adds itself."""
RESTORING = ".restoring-"
"""Prefix of the name of a folder of checkpoints that is being made."""
ASIDE = ".replaced-"
"""What stands between the name of a folder of checkpoints that was replaced and the time."""


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
        path = choice.choose(choice.folder_of(run))
        try:
            return _copy(path, Path(target) / store.FOLDER)
        except FileNotFoundError:
            if path.exists():
                raise
            # The run has removed this checkpoint in the meantime.
    raise FileNotFoundError(errno.ENOENT, "removed while it was copied", str(run))


def restore(
    source: str | Path, target: str | Path, *, step: int | None = None, force: bool = False
) -> Path:
    """Restore a checkpoint into a run's directory.

    Args:
      source: a backup, another run, the same run, or one checkpoint.
      target: the run's directory.
      step: the step of the checkpoint; by default the newest intact one is restored.
      force: whether checkpoints that the target already has are set aside, once the copy is there.

    Returns:
      The folder of the copy, which has been verified.

    Raises:
      UsageError: there is no such checkpoint, the target has checkpoints and `force` is false, or
        another process saves there.
      DamagedError: the checkpoint is not intact.
      OSError: the disk refused; the target is as it was.
    """
    path = choice.choose(source, step)
    with _replacing(target, force) as folder:
        copy = _copy(path, folder)
    return Path(target) / store.FOLDER / copy.name


def replaced(run: str | Path) -> list[Path]:
    """The folders of checkpoints that restores have set aside in a run, the oldest first."""

    def order(path: Path) -> tuple[str, int]:
        time_, _, number = path.name.partition(ASIDE)[2].partition("-")
        return time_, int(number) if number.isdecimal() else 0

    return sorted(Path(run).glob(f"{store.FOLDER}{ASIDE}*"), key=order)


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
    checkpoint = choice.read(choice.choose(source, step), place=choice.on_first_device)
    circuit, state, report = convert(*snapshot.restore(checkpoint), dtype)
    arrays = names.translated(checkpoint.arrays, checkpoint.about)
    extra = {name: x for name, x in arrays.items() if not _is_of_circuit(name)}
    replaced = {"spec", "seed", "wiring", *DERIVED}
    rest = {key: value for key, value in checkpoint.about.items() if key not in replaced}
    about = {**rest, **snapshot.about(circuit)}
    tree = {**store.flatten(snapshot.tree(circuit, state)), **extra}
    with _replacing(target, force) as folder:
        path = store.write(folder, checkpoint.step, tree, about, checkpoint.about["metrics"])
    return Path(target) / store.FOLDER / path.name, report


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
      UsageError: `only` names no array of the source, or arrays of other shapes or types; or a
        process saves into the run.
      DamagedError: one of the two checkpoints is not intact.
    """
    other = choice.read(choice.choose(source, step), wanted=choice.selected(only))
    replacements = names.translated(other.arrays, other.about)
    path = choice.choose(target)
    with store.locked(path.parent):
        checkpoint = choice.read(path)
        present = names.translated(checkpoint.arrays, checkpoint.about)
        if not replacements:
            raise UsageError(f"--only: {only!r}; params, state, or a projection or population")
        for name, array in replacements.items():
            old = present.get(name)
            if old is None or (old.shape, old.dtype) != (array.shape, array.dtype):
                has = "nothing" if old is None else f"{old.dtype} {list(old.shape)}"
                expected = f"{array.dtype} {list(array.shape)}"
                raise UsageError(f"{name}: {expected}; {target} has {has} there")
        about = {key: value for key, value in checkpoint.about.items() if key not in DERIVED}
        about, arrays = {**about, "names": names.VERSION}, {**present, **replacements}
        written = store.write(path.parent / ".parts", checkpoint.step, arrays, about)
        _swap(written, path, path.with_name(f"replaced-{path.name}-{_timestamp()}"))
        written.parent.rmdir()
    return path, sorted(replacements)


def _is_of_circuit(name: str) -> bool:
    """Whether an array belongs to the circuit or its state, rather than to what trains them."""
    return name.split("/")[0] in ("params", "state", "wiring")


def _timestamp() -> str:
    return time.strftime("%Y%m%dT%H%M%S")


@contextmanager
def _replacing(target: str | Path, force: bool) -> Iterator[Path]:
    """A folder for a copy, which is the target's folder of checkpoints when the block has ended.

    Checkpoints that the target already has are set aside then. After an error they are as before.

    Raises:
      UsageError: the target has checkpoints and `force` is false, or a process saves there.
      OSError: the disk refused.
    """
    folder = Path(target) / store.FOLDER
    replaces = bool(store.steps(folder))
    if replaces and not force:
        raise UsageError(f"{folder}: has checkpoints; --force sets them aside")
    with store.locked(folder) if folder.is_dir() else nullcontext():
        for killed in folder.parent.glob(f"{RESTORING}*"):
            shutil.rmtree(killed, ignore_errors=True)
        if not replaces:
            yield folder
            return
        work = folder.with_name(f"{RESTORING}{os.getpid()}")
        try:
            yield work
            _swap(work, folder, folder.with_name(f"{folder.name}{ASIDE}{_timestamp()}"))
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise


def _swap(new: Path, folder: Path, aside: Path) -> None:
    """Set a folder aside and give its name to a new one; or change nothing.

    Args:
      aside: the name of the old one from now on; with a number behind it if that name is taken.

    Raises:
      OSError: the disk refused.
    """
    aside = _free(aside)
    folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    files.flush(folder.parent)


def _free(path: Path) -> Path:
    """A path at which nothing lies: this one, or else it with a number."""
    names = (f"{path.name}-{number}" if number > 1 else path.name for number in count(1))
    return next(each for each in map(path.with_name, names) if not each.exists())


def _copy(path: Path, folder: Path) -> Path:
    """Copy a checkpoint into a folder of checkpoints under the name of its step; verify the copy.

    Another checkpoint of that step is set aside.
    """
    final = folder / f"{choice.step_of(path):0{store.DIGITS}}"
    if final.exists():
        same = (final / manifest.NAME).read_bytes() == (path / manifest.NAME).read_bytes()
        if same and not manifest.check(final):
            return final
    with store.publishing(final) as work:
        _copy_files(path, work)
        problems = manifest.check(work)
        if problems:
            raise DamagedError(problems)
        manifest.flush_all(work)
        if final.exists():
            final.rename(_free(final.with_name(f"replaced-{final.name}-{_timestamp()}")))
    return final


def _copy_files(source: Path, target: Path) -> None:
    """Copy the files of a verified checkpoint, which are regular, into an empty folder.

    Their modes are kept; their owner may write them.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names_here in os.walk(source, onerror=fail):
        place = target / Path(parent).relative_to(source)
        place.mkdir(exist_ok=True)
        for name in names_here:
            mode = stat.S_IMODE(Path(parent, name).stat().st_mode)
            shutil.copyfile(Path(parent, name), place / name)
            (place / name).chmod(mode | stat.S_IRUSR | stat.S_IWUSR)
