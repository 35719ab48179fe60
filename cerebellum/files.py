"""Files of results: their directory, and writing them whole or not at all."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from cerebellum.errors import UsageError


def directory(path: str) -> Path:
    """A writable directory for results; created if it does not exist.

    Raises:
      UsageError: the directory cannot be created or written.
    """
    if not path:
        raise UsageError("--out: ''; a directory")
    out = Path(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out: {path}; {error.strerror}, a writable directory") from None
    return out


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder, whose files move into `folder` when the block ends without an error.

    They are flushed to the disk first, and then replace files of the same names. After an error,
    every file in `folder` is as it was. `folder` is created if it does not exist.

    Raises:
      OSError: the disk refused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as work:
        yield Path(work)
        written = sorted(path for path in Path(work).iterdir() if path.is_file())
        for path in written:
            flush(path)
        for path in written:
            os.replace(path, folder / path.name)
        flush(folder)


def flush(path: Path) -> None:
    """Flush a file, or the directory entries of a folder, to the disk.

    Windows flushes files alone, and those that may be written.
    """
    on_windows = sys.platform == "win32"
    if on_windows and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if on_windows else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: OSError) -> str:
    """What the disk said, without number and path: "No space left on device"."""
    return error.strerror or str(error)


def make_folder(folder: Path) -> None:
    """Create a folder, and its parents that are missing; what root creates, see `keep_owner`.

    Raises:
      OSError: the disk refused.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        keep_owner(path)


def keep_owner(path: Path) -> None:
    """Give a file, or all of a folder, to the owner of the folder that it lies in.

    Only root can, and only root has to: a service that runs as another user could not read or
    replace what root leaves there.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    owner = path.parent.stat()
    paths = [Path(parent, name) for parent, *names in os.walk(path) for name in chain(*names)]
    # A file system without owners, or a root that may not change them, leaves them as they are.
    with suppress(PermissionError):
        for each in (*paths, path):
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)
