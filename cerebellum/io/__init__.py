"""Recordings as files: `save` and `load`, in a format that the suffix of the file name selects.

`cerebellum.register("writer", name, writer)` adds a format from a user's script. The modules `neo`
and `pandas` give recordings as objects of these libraries; `nwb`, `csv` and `sonata_records` write
them as files for other programs. `sonata` and `bsb` read the synapses of networks that other
programs have built; `nir` turns layers and circuits of current-based cells into graphs of NIR, and
back.
"""

import os
from pathlib import Path
from typing import Any, Protocol

from cerebellum.errors import UsageError
from cerebellum.io import (
    bsb,
    consistency,
    csv,
    neo,
    nir,
    npz,
    nwb,
    pandas,
    sonata,
    sonata_records,
    whole,
)
from cerebellum.model import registry
from cerebellum.sim import record, stream
from cerebellum.sim.record import Recording

__all__ = [
    "NAMES",
    "WRITERS",
    "Writer",
    "bsb",
    "csv",
    "load",
    "neo",
    "nir",
    "nwb",
    "pandas",
    "save",
    "sonata",
    "sonata_records",
    "writer_of",
]


class Writer(Protocol):
    """A format of recordings."""

    @property
    def suffix(self) -> str:
        """The end of the names of its files, such as ".npz"."""
        ...

    def write(self, recording: Recording, path: Path) -> None:
        """Write a recording to a file that does not exist yet."""
        ...

    def read(self, path: Path) -> Recording:
        """Read a file of `write`. A format without a reader raises UsageError, which says so."""
        ...


METHODS = {"write": ("recording", "path"), "read": ("path",)}
"""The methods that a format must have, and what they are given."""
NAMES = ("suffix", *METHODS)
"""The attributes that a format must have."""

WRITERS: dict[str, Writer] = {"npz": npz.WRITER, "nwb": nwb.WRITER}
"""Formats by name. If two have the same suffix, the one that was added last is used."""


def _wrong(thing: Any) -> str | None:
    problem = registry.lacking(thing, NAMES, "what io.Writer asks for") or registry.no_object(thing)
    if problem is not None:
        return problem
    if not isinstance(thing.suffix, str) or not thing.suffix.startswith("."):
        return f"suffix {thing.suffix!r}; text with a dot before it, such as '.csv'"
    return registry.uncallable(thing, METHODS)


def _taken(name: str, thing: Any) -> str | None:
    """The name of another format with the same suffix, or None."""
    others = (other for other, writer in WRITERS.items() if writer.suffix == thing.suffix)
    return next((other for other in others if other != name), None)


registry.table("writer", WRITERS, _wrong, _taken)


def writer_of(path: str | Path) -> Writer:
    """The format that the name of a file selects.

    Raises:
      UsageError: there is no format with that suffix, or the path is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"path: {type(path).__name__}; the path of a file")
    for writer in reversed(WRITERS.values()):
        if Path(path).name.endswith(writer.suffix):
            return writer
    known = ", ".join(sorted({writer.suffix for writer in WRITERS.values()}))
    raise UsageError(f"recording: {str(path)!r}; a name that ends in one of {known}")


def save(recording: Recording, path: str | Path) -> None:
    """Write a recording completely or not at all.

    An existing file of that name stays until the new one is complete.

    Raises:
      UsageError: this is no recording, there is no format with that suffix, no such folder, the
        path is a folder, or the format has written another file.
      OSError: the disk refused.
    """
    if isinstance(path, Recording):
        raise UsageError(f"recording: {recording!r}; first the recording, then the path")
    record.check(recording)
    writer = writer_of(path)
    with whole.new_file(path) as scratch:
        writer.write(recording, scratch)


def load(path: str | Path) -> Recording:
    """Read a recording that `save` wrote, or the folder to which a run wrote (`simulate(to=...)`).

    The arrays of a folder stay on the disk (memory maps, which cannot be written to).

    Raises:
      UsageError: there is no format with that suffix, the file does not exist, or it is not a
        recording, or one whose parts do not fit each other.
    """
    if isinstance(path, str | os.PathLike) and Path(path).is_dir():
        recording = stream.read(Path(path))
    else:
        writer = writer_of(path)
        if not Path(path).is_file():
            raise UsageError(f"recording: {str(path)!r}; a file that is there")
        recording = writer.read(Path(path))
    problem = consistency.problem(recording)
    if problem is not None:
        raise UsageError(f"recording: {str(path)!r}: {problem}")
    return recording
