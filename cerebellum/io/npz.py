"""Recordings as a compressed .npz file of NumPy: arrays by name, and a description in JSON."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.sim.record import Raster, Recording, Trace


@dataclass(frozen=True)
class Npz:
    """The format that needs no other package."""

    suffix: str = ".npz"

    def write(self, recording: Recording, path: Path) -> None:
        about = {
            "dt": recording.dt,
            "start_ms": recording.start_ms,
            "steps": recording.steps,
            "sizes": recording.sizes,
            "seconds": recording.seconds,
            "backend": recording.backend,
            "path": recording.path,
            "units": {name: trace.unit for name, trace in recording.traces.items()},
        }
        arrays: dict[str, np.ndarray] = {"about": np.array(json.dumps(about))}
        for name, values in recording.spikes.items():
            arrays[f"spikes/{name}"] = values
        for name, values in recording.counts.items():
            arrays[f"counts/{name}"] = values
        for name, raster in recording.rasters.items():
            arrays[f"raster_time_ms/{name}"] = raster.time_ms
            arrays[f"raster_cell/{name}"] = raster.cell
            arrays[f"raster_cells/{name}"] = raster.cells
        for name, trace in recording.traces.items():
            arrays[f"trace/{name}"] = trace.values
            arrays[f"trace_cells/{name}"] = trace.cells
        with open(path, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    def read(self, path: Path) -> Recording:
        groups: dict[str, dict[str, np.ndarray]] = {}
        try:
            with np.load(path, allow_pickle=False) as file:
                for key in file.files:
                    group, _, name = key.partition("/")
                    groups.setdefault(group, {})[name] = file[key]
            about = json.loads(str(groups["about"][""]))
            return _recording(about, groups)
        except _UNREADABLE as error:
            raise UsageError(
                f"recording: {str(path)!r}: not one, or damaged ({error}); a file of cb.io.save"
            ) from None


_UNREADABLE = (
    *(ValueError, TypeError, AttributeError, KeyError, EOFError, OSError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What NumPy, its zip and JSON raise on bytes that `Npz.write` did not write."""


def _recording(about: dict[str, Any], groups: dict[str, dict[str, np.ndarray]]) -> Recording:
    """The recording of a description and of arrays by group and name."""
    units = about.pop("units", {})
    times, cell = groups.get("raster_time_ms", {}), groups.get("raster_cell", {})
    return Recording(
        **about,
        spikes=groups["spikes"],
        counts=groups.get("counts", {}),
        rasters={
            name: Raster(times[name], cell[name], cells)
            for name, cells in groups.get("raster_cells", {}).items()
        },
        traces={
            name: Trace(groups["trace"][name], cells, units.get(name, ""))
            for name, cells in groups.get("trace_cells", {}).items()
        },
    )


WRITER = Npz()
