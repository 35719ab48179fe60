"""Recordings as files: `save` and `load` in a format that the name's suffix says.

`cerebellum.register("writer", name, writer)` adds a format from outside.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

from cerebellum.errors import UsageError
from cerebellum.io import npz
from cerebellum.model import registry
from cerebellum.sim.record import Recording


class Writer(Protocol):
    """A format of recordings."""

    @property
    def suffix(self) -> str:
        """How the names of its files end: ".npz"."""
        ...

    def write(self, recording: Recording, path: Path) -> None:
        """Write a recording to a file that is not there yet."""
        ...

    def read(self, path: Path) -> Recording:
        """Read what `write` wrote. One that only writes raises UsageError, saying so."""
        ...


NAMES = ("suffix", "write", "read")

WRITERS: dict[str, Writer] = {"npz": npz.WRITER}
"""Formats by name; of two with the same suffix the newest is taken."""


def _wrong(thing: Any) -> str | None:
    lacking = [name for name in NAMES if not hasattr(thing, name)]
    if lacking:
        return f"without {', '.join(lacking)}; what io.Writer asks for"
    if not thing.suffix.startswith("."):
        return f"suffix {thing.suffix!r}; with a dot before it"
    return None


registry.table("writer", WRITERS, _wrong)


def writer_of(path: str | Path) -> Writer:
    """The format that a file's name says.

    Raises:
      UsageError: there is none of that suffix.
    """
    for writer in reversed(WRITERS.values()):
        if Path(path).name.endswith(writer.suffix):
            return writer
    known = ", ".join(sorted({writer.suffix for writer in WRITERS.values()}))
    raise UsageError(f"recording: {str(path)!r}; a name that ends in one of {known}")


def save(recording: Recording, path: str | Path) -> None:
    """Write a recording, whole or not at all: a file that was there stays until it is done.

    Raises:
      UsageError: no format of that suffix.
    """
    path, writer = Path(path), writer_of(path)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        writer.write(recording, written)
        os.replace(written, path)


def load(path: str | Path) -> Recording:
    """Read a recording that `save` wrote.

    Raises:
      UsageError: no format of that suffix, no such file, or not a recording.
    """
    writer = writer_of(path)
    if not Path(path).is_file():
        raise UsageError(f"recording: {str(path)!r}; a file that is there")
    return writer.read(Path(path))
