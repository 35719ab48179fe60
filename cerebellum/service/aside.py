"""States of the service that belong to other circuits or models, set aside and found again.

The folder of a state is renamed when another circuit or model is served, and gets its name back
when its own is served again.
"""

import logging
import re
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from cerebellum import files, store
from cerebellum.store import manifest
from cerebellum.store.manifest import DamagedError

ASIDE = "-of-another-"
"""What stands between a folder's name and the time at which it was set aside."""
MOST = 10
"""The most states that are set aside; the oldest gives way."""

log = logging.getLogger("cerebellum.service.state")


def exchange(folder: Path, digests: Collection[str]) -> None:
    """Set a folder of state aside, if it is there, and bring back the newest of some digests.

    Without one, there is no such folder afterwards.

    Args:
      digests: of the model that is to be served.

    Raises:
      OSError: the disk refused; the state is where it was.
    """
    known = next((path for path in reversed(_asides(folder)) if _digest(path) in digests), None)
    moved = None
    if folder.exists():
        moved = _free(folder)
        folder.rename(moved)
        log.warning(
            "the state that was saved is of another circuit or model: it is set aside as %s, "
            "and comes back when that one is served again",
            moved,
        )
    if known is not None:
        try:
            known.rename(folder)
        except OSError:
            if moved is not None:
                moved.rename(folder)
            raise
        log.warning("the state that was set aside as %s is of this model: it is back", known)
    files.flush(folder.parent)
    _forget_oldest(folder)


def has(folder: Path, digests: Collection[str]) -> bool:
    """Whether a state of one of some digests is set aside."""
    return any(_digest(path) in digests for path in _asides(folder))


def _asides(folder: Path) -> list[Path]:
    """The states that were set aside, the oldest first."""
    return [path for _, _, path in _numbered(folder)]


def _numbered(folder: Path) -> list[tuple[int, int, Path]]:
    """The times at which states were set aside, s, their numbers within that, and the states."""
    pattern = re.compile(rf"{re.escape(folder.name + ASIDE)}(\d+)(?:-(\d+))?")
    found = [(pattern.fullmatch(path.name), path) for path in folder.parent.iterdir()]
    return sorted((int(m[1]), int(m[2] or 0), path) for m, path in found if m and path.is_dir())


def _digest(state: Path) -> str | None:
    """The digest of the model that left a state, as its newest readable checkpoint says."""
    for _, path in store.steps(state / store.FOLDER):
        try:
            return manifest.read(path)["about"]["digest"]
        except (DamagedError, KeyError, TypeError):
            continue
    return None


def _free(folder: Path) -> Path:
    """A path for a folder that is set aside now, which counts as later than all of before."""
    now, number = int(time.time()), 0
    if states := _numbered(folder):
        last, last_number, _ = states[-1]
        if last >= now:
            now, number = last, last_number + 1
    name = f"{folder.name}{ASIDE}{now}"
    return folder.with_name(name if number == 0 else f"{name}-{number}")


def _forget_oldest(folder: Path) -> None:
    for path in _asides(folder)[:-MOST]:
        log.warning("%s: removed; %d states were set aside later", path, MOST)
        shutil.rmtree(path, ignore_errors=True)
