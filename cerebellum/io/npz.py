"""Recordings as a compressed .npz file of NumPy: arrays by name, and a description in JSON."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.sim import stream
from cerebellum.sim.record import Recording


@dataclass(frozen=True)
class Npz:
    """The format that needs no other package."""

    suffix: str = ".npz"

    def write(self, recording: Recording, path: Path) -> None:
        arrays = stream.arrays_of(recording)
        about = {"about": np.array(json.dumps(stream.about(recording)))}
        with open(path, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **about, **arrays)

    def read(self, path: Path) -> Recording:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
            return stream.recording_of(json.loads(str(arrays.pop("about"))), arrays)
        except _UNREADABLE as error:
            raise UsageError(
                f"recording: {str(path)!r}: not one, or damaged ({error}); a file of cb.io.save"
            ) from None


_UNREADABLE = (
    *(ValueError, TypeError, AttributeError, KeyError, EOFError, OSError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy, its zip and JSON raise on bytes that `Npz.write` did not write."""


WRITER = Npz()
