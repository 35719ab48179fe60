"""Files of results: their directory, and writing them whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Flush a file, or the directory entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def reason(error: OSError) -> str:
    """What the disk said, without number and path: "No space left on device"."""
    return error.strerror or str(error)
