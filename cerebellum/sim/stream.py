"""A recording as arrays by name and a description; and as a folder that a run writes as it goes.

A folder holds one .npy file an array, to which each chunk is appended, and `about.json`. It is
written under a hidden name next to its place and renamed when it is whole.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.sim.record import Raster, Recording, Trace

ABOUT = "about.json"


def about(recording: Recording) -> dict[str, Any]:
    """The description of a recording, for JSON."""
    return {
        "dt": recording.dt,
        "start_ms": recording.start_ms,
        "steps": recording.steps,
        "sizes": recording.sizes,
        "seconds": recording.seconds,
        "backend": recording.backend,
        "path": recording.path,
        "loop": recording.loop,
        "units": {name: trace.unit for name, trace in recording.traces.items()},
        "every": {name: x.every for name, x in recording.traces.items() if x.every > 1},
    }


def arrays_of(recording: Recording) -> dict[str, np.ndarray]:
    """The arrays of a recording, by group and name, such as "spikes/golgi"."""
    arrays: dict[str, np.ndarray] = {}
    for name, values in recording.spikes.items():
        arrays[f"spikes/{name}"] = values
    for name, values in recording.counts.items():
        arrays[f"counts/{name}"] = values
    for name, cells in recording.counted.items():
        arrays[f"counts_cells/{name}"] = cells
    for name, raster in recording.rasters.items():
        arrays[f"raster_time_ms/{name}"] = raster.time_ms
        arrays[f"raster_cell/{name}"] = raster.cell
        arrays[f"raster_cells/{name}"] = raster.cells
    for name, trace in recording.traces.items():
        arrays[f"trace/{name}"] = trace.values
        arrays[f"trace_cells/{name}"] = trace.cells
    return arrays


def recording_of(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> Recording:
    """The inverse of `about` and `arrays_of`; files of older versions lack some of both."""
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = array
    about = dict(about)
    units, every = about.pop("units", {}), about.pop("every", {})
    times, cell = groups.get("raster_time_ms", {}), groups.get("raster_cell", {})
    clock = about["start_ms"], about["dt"]
    return Recording(
        **about,
        spikes=groups["spikes"],
        counts=groups.get("counts", {}),
        counted=groups.get("counts_cells", {}),
        rasters={
            name: Raster(times[name], cell[name], cells)
            for name, cells in groups.get("raster_cells", {}).items()
        },
        traces={
            name: Trace(
                groups["trace"][name], cells, units.get(name, ""), every.get(name, 1), *clock
            )
            for name, cells in groups.get("trace_cells", {}).items()
        },
    )


class Appended:
    """An .npy file that grows along its first axis."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]):
        self.path, self.dtype, self.shape, self.count = path, np.dtype(dtype), shape, 0
        self.file = open(path, "w+b")  # noqa: SIM115, it stays open from chunk to chunk
        self._header()
        self.start = self.file.tell()

    def _header(self) -> None:
        """Write the header, which has room for any number of rows."""
        self.file.seek(0)
        descr = np.lib.format.dtype_to_descr(self.dtype)
        fields = {"descr": descr, "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, fields)

    def append(self, values: np.ndarray) -> None:
        np.ascontiguousarray(values, self.dtype).tofile(self.file)
        self.count += len(values)

    def array(self) -> np.ndarray:
        """All rows, as a memory map."""
        self._header()
        assert self.file.tell() == self.start
        self.file.seek(0, os.SEEK_END)
        self.file.flush()
        os.fsync(self.file.fileno())
        return _mapped(self.path)


def _mapped(path: Path) -> np.ndarray:
    """The array of a file as a memory map that cannot be written to; an empty one in memory."""
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape = np.lib.format.read_array_header_1_0(file)[0]
    # Nothing cannot be mapped.
    return np.load(path, mmap_mode="r" if 0 not in shape else None, allow_pickle=False)


class Folder:
    """Where the arrays of a recording are kept while it grows: on the disk.

    Raises:
      UsageError: the path is there already, or its folder is not.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = check_place(path)
        self.hidden = self.path.parent / f".{self.path.name}.{os.getpid()}"
        shutil.rmtree(self.hidden, ignore_errors=True)
        self.hidden.mkdir()
        self.files: dict[str, Appended] = {}

    def rows(self, name: str, dtype: Any, shape: tuple[int, ...], count: int | None) -> Appended:
        self.files[name] = Appended(self.hidden / file_name(name), dtype, shape)
        return self.files[name]

    def finish(self, recording: Recording) -> Recording:
        """Complete the folder and rename it; the recording with the arrays that lie in it."""
        arrays = arrays_of(recording)
        for name, array in arrays.items():
            if name in self.files:
                self.files[name].file.close()
            else:
                np.save(self.hidden / file_name(name), array, allow_pickle=False)
        description = {**about(recording), "arrays": list(arrays)}
        (self.hidden / ABOUT).write_text(json.dumps(description, indent=1))
        self.hidden.rename(self.path)
        return read(self.path)

    def discard(self) -> None:
        """Remove what was written, unless it was finished."""
        for file in self.files.values():
            file.file.close()
        shutil.rmtree(self.hidden, ignore_errors=True)


def file_name(array: str) -> str:
    """The file of an array: "trace/v:golgi" is in trace.v.golgi.npy."""
    return array.replace("/", ".").replace(":", ".") + ".npy"


def check_place(path: Any) -> Path:
    """The place of a folder that is to be written, which is not there yet."""
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"to: {path!r}; the path of a folder that is not there yet")
    place = Path(path)
    if place.exists():
        raise UsageError(f"to: {str(path)!r}, which is there already; a new folder")
    if not place.parent.is_dir():
        raise UsageError(f"to: {str(path)!r}; in a folder that is there")
    return place


def read(path: Path) -> Recording:
    """Read a folder; its arrays stay on the disk.

    Raises:
      UsageError: it is no recording, or a damaged one.
    """
    try:
        description = json.loads((path / ABOUT).read_text())
        names = description.pop("arrays")
        arrays = {name: _mapped(path / file_name(name)) for name in names}
        return recording_of(description, arrays)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, EOFError) as error:
        raise UsageError(
            f"recording: {str(path)!r}: not one, or damaged ({error}); a folder of "
            "cb.simulate(..., to=folder)"
        ) from None
