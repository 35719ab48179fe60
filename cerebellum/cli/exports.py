"""`simulate --format`: the recording in formats of other programs, beside recording.npz."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cerebellum.cli import saves
from cerebellum.errors import UsageError
from cerebellum.files import replacing
from cerebellum.io import csv, nwb, sonata_records
from cerebellum.parts import optional
from cerebellum.sim.record import Recording


@dataclass(frozen=True)
class Format:
    """A format that `simulate` writes."""

    files: tuple[str, ...]
    """the names of its files"""
    write: Callable[[Recording, Path], object]
    """writes them into a folder"""
    library: str | None = None
    """the optional library that writes it; the extra that installs it has the name of the format"""


def _write_nwb(recording: Recording, folder: Path) -> None:
    nwb.write(recording, folder / "recording.nwb")


FORMATS = {
    "csv": Format(("raster.csv", "rates.csv"), csv.write),
    "nwb": Format(("recording.nwb",), _write_nwb, "pynwb"),
    "sonata": Format((sonata_records.SPIKES,), sonata_records.write, "h5py"),
}


def check(out: Path, names: Sequence[str]) -> None:
    """Check, before a run, that these formats can be written after it.

    Raises:
      UsageError: a library is not installed, or a folder has the name of a file.
    """
    for name in names:
        library = FORMATS[name].library
        if library is not None:
            optional(library, name, f"--format {name}")
    for file in files(names):
        if (out / file).is_dir():
            raise UsageError(f"--out: {out} has a folder {file}; another --out, or rename it")


def files(names: Sequence[str]) -> tuple[str, ...]:
    """Names of the files of some formats."""
    return tuple(file for name in dict.fromkeys(names) for file in FORMATS[name].files)


def write(recording: Recording, out: Path, names: Sequence[str]) -> None:
    """Write a recording in these formats: all of their files, or none.

    Raises:
      OSError: the disk refused.
    """
    if not names:
        return
    with replacing(out) as work:
        for name in dict.fromkeys(names):
            FORMATS[name].write(recording, work)


def earlier(out: Path) -> tuple[str, ...]:
    """Names of the files that the run before wrote in its formats, as its description says."""
    try:
        names = json.loads((out / saves.DESCRIPTION).read_text())["arguments"]["format"]
        return files([name for name in names if name in FORMATS])
    except (OSError, ValueError, TypeError, KeyError):
        return ()
