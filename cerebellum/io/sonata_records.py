"""Recordings as SONATA files of spikes and reports (Dai et al. 2020, PLoS Comput Biol 16:e1007696).

`spikes.h5` has a group /spikes/POPULATION for each raster. A variable such as `v` of any number of
populations is `v_report.h5`, with a group /report/POPULATION of one element a cell. Node ids are
the numbers of cells, times are in ms. The layout is that of the SONATA developer guide, written by
h5py.

SONATA has no place for weights, counts of spikes by cell, and numbers of spikes by step.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.io import tables, whole
from cerebellum.io.sonata_file import MAGIC
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import WEIGHTS

__all__ = ["save"]

SPIKES = "spikes.h5"
VERSION = (0, 1)
SORTING = {"none": 0, "by_id": 1, "by_time": 2}
"""The enumeration of the attribute `sorting`."""

log = logging.getLogger(__name__)


def save(recording: Recording, path: str | Path) -> None:
    """Write a new folder of files: spikes.h5, and a report for each variable.

    What SONATA has no place for is logged by name.

    Raises:
      UsageError: h5py is not installed, the recording has neither spikes nor variables of cells,
        the folder is there already, or the one that it is to be in is not.
      OSError: the disk refused; nothing is left.
    """
    records.check(recording)
    with whole.new_folder(path) as folder:
        write(recording, folder)


def write(recording: Recording, folder: Path) -> list[str]:
    """Write the files of a recording into a folder; their names."""
    h5py = optional("h5py", "sonata", "to_sonata")
    variables = [kind for kind in tables.kinds(recording) if kind not in _WITHOUT_PLACE]
    if not variables:
        raise UsageError(
            "to_sonata: no spikes and no variables of cells recorded; simulate with "
            "record=('raster:POPULATION',)"
        )
    lost = [x for x in tables.labels(recording) if x.partition(":")[0] in _REQUESTED]
    if lost:
        log.warning("to_sonata: %s: not written, SONATA has no place for them", ", ".join(lost))
    names = []
    for kind in variables:
        names.append(SPIKES if kind == "raster" else f"{kind}_report.h5")
        with h5py.File(folder / names[-1], "w-") as file:
            file.attrs["magic"] = np.uint32(MAGIC)
            file.attrs["version"] = np.array(VERSION, np.uint32)
            if kind == "raster":
                _write_spikes(h5py, file, recording)
            else:
                _write_report(file, recording, kind)
    return names


_REQUESTED = ("counts", WEIGHTS)
_WITHOUT_PLACE = (*_REQUESTED, "rates")


def _write_spikes(h5py: Any, file: Any, recording: Recording) -> None:
    """The groups of spikes, in the order of time."""
    sorting = h5py.enum_dtype(SORTING, basetype="u1")
    for name, raster in recording.rasters.items():
        group = file.create_group(f"spikes/{name}")
        group.attrs.create("sorting", SORTING["by_time"], dtype=sorting)
        times = group.create_dataset("timestamps", data=np.asarray(raster.time_ms, np.float64))
        times.attrs["units"] = "ms"
        group.create_dataset("node_ids", data=np.asarray(raster.cell, np.uint64))


def _write_report(file: Any, recording: Recording, kind: str) -> None:
    """The groups of a variable; the cells in ascending order, an element each."""
    for label, trace in recording.traces.items():
        variable, _, name = label.partition(":")
        if variable != kind:
            continue
        order = np.argsort(trace.cells)
        samples, cells = trace.values.shape
        interval = trace.every * recording.dt
        first = (tables.start_step(recording) + trace.every) * recording.dt
        group = file.create_group(f"report/{name}")
        data = group.create_dataset("data", data=np.asarray(trace.values, np.float32)[:, order])
        data.attrs["units"] = trace.unit
        mapping = group.create_group("mapping")
        nodes = mapping.create_dataset("node_ids", data=trace.cells[order].astype(np.uint64))
        nodes.attrs["sorted"] = np.uint8(1)  # libsonata asks for a number
        pointers = np.arange(cells + 1, dtype=np.uint64)
        # bmtk reads the name that earlier versions of the guide had: one dataset, two names.
        mapping["index_pointer"] = mapping.create_dataset("index_pointers", data=pointers)
        # Ones where a node has a single compartment.
        mapping.create_dataset("element_ids", data=np.ones(cells, np.uint32))
        mapping.create_dataset("element_pos", data=np.ones(cells, np.float32))
        # The first sample, the end of the last one's interval, and the interval.
        span = np.array([first, first + samples * interval, interval])
        time = mapping.create_dataset("time", data=span)
        time.attrs["units"] = "ms"
