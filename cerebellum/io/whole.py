"""Files and folders that are written whole or not at all: under another name, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cerebellum import files
from cerebellum.errors import UsageError


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Where to write a file, which takes the name `path` when the block ends without an error.

    A file of that name stays until then, and after an error.

    Raises:
      UsageError: the path is none or that of a folder, its folder is not there, or the block has
        written another file.
      OSError: the disk refused.
    """
    path = _checked(path)
    if path.is_dir():
        raise UsageError(f"recording: {str(path)!r}: a folder; the name of a file")
    with files.replacing(path.parent) as folder:
        scratch = folder / "scratch"
        scratch.mkdir()
        yield scratch / path.name
        if not (scratch / path.name).is_file():
            written = ", ".join(entry.name for entry in scratch.iterdir()) or "nothing"
            raise UsageError(
                f"recording: {str(path)!r}: its format has written {written}; exactly that name"
            )
        (scratch / path.name).rename(folder / path.name)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """A folder to write files into, which takes the name `path` when the block ends well.

    Raises:
      UsageError: the path is none, is there already, or its folder is not there.
      OSError: the disk refused.
    """
    path = _checked(path)
    if path.exists():
        raise UsageError(f"recording: {str(path)!r}, which is there already; a new folder")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as work:
        folder = Path(work, path.name)
        folder.mkdir()
        yield folder
        for entry in sorted(folder.iterdir()):
            files.flush(entry)
        folder.rename(path)
        files.flush(path.parent)


def _checked(path: str | Path) -> Path:
    """A path in a folder that is there."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"recording: {type(path).__name__}; the path of a file or a folder")
    path = Path(path)
    if not path.parent.is_dir():
        raise UsageError(f"recording: {str(path)!r}; in a folder that is there")
    return path
