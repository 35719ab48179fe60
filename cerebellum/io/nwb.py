"""Recordings as files of Neurodata Without Borders (Rubel et al. 2022, eLife 11:e78362), optional.

The table `units` has a row for each cell of a raster, silent ones too: its population, its number,
its spike times, the time of the run as its observation interval, and its position where that is
known. `acquisition` has a TimeSeries for each trace, in V, A or S by its conversion.
`processing/simulation` has the number of spikes of each population in each step, and tables of
the columns of traces and of counts. `scratch/cerebellum` is what else a recording is, in JSON:
`read` makes the recording again, bit for bit.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from cerebellum.errors import UsageError, first_line
from cerebellum.io import tables, whole
from cerebellum.io.neo import Positions, placed_um
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim import stream
from cerebellum.sim.record import Raster, Recording, Trace
from cerebellum.sim.recorders import WEIGHTS

__all__ = ["save"]

SI = {"mV": ("volts", 1e-3), "nS": ("siemens", 1e-9), "pA": ("amperes", 1e-12)}
"""The unit in the file and the factor to it, by the unit of a trace; others stay as they are."""
MODULE = "simulation"
ABOUT = "cerebellum"
NONE = -1
"""A cell of the table of columns that there is none of."""


@dataclass(frozen=True)
class Nwb:
    """The format with its default metadata; `write` has them as arguments."""

    suffix: str = ".nwb"

    def write(self, recording: Recording, path: Path) -> None:
        write(recording, path)

    def read(self, path: Path) -> Recording:
        return read(path)


WRITER = Nwb()


def save(recording: Recording, path: str | Path, **about: Any) -> None:
    """Write a recording to a file, whole or not at all.

    Args:
      about: the arguments of `recording.to_nwb`.

    Raises:
      UsageError: as for `recording.to_nwb`.
      OSError: the disk refused; a file of that name is as it was.
    """
    records.check(recording)
    if isinstance(path, str | os.PathLike) and Path(path).suffix != ".nwb":
        raise UsageError(f"to_nwb: {os.fspath(path)!r}; a name that ends with .nwb")
    with whole.new_file(path) as scratch:
        write(recording, scratch, **about)


def write(
    recording: Recording,
    path: Path,
    *,
    identifier: str | None = None,
    session_start_time: datetime | None = None,
    description: str | None = None,
    positions: Positions | None = None,
    **metadata: Any,
) -> None:
    """Write a recording to a file that does not exist yet.

    Args:
      identifier: a text that no other file has; by default a UUID of version 4.
      session_start_time: the date and time of time zero, with its time zone; by default now.
      description: of the session; by default the number of cells, the duration and the version.
      positions: um [cells, 3] by population.
      metadata: other fields of `pynwb.NWBFile`, such as `lab` or `experimenter`.

    Raises:
      UsageError: pynwb is not installed, or it refuses the metadata.
    """
    pynwb = optional("pynwb", "nwb", "to_nwb")
    placed = placed_um(recording, positions)
    release = version("cerebellar-norse")
    cells = f"{sum(recording.sizes.values()):,} cells"
    fields = {
        "identifier": str(uuid4()) if identifier is None else identifier,
        "session_start_time": session_start_time or datetime.now(UTC),
        "session_description": description
        or f"simulation of {cells} for {recording.duration_ms:g} ms, cerebellar-norse {release}",
        "keywords": ["simulation", *recording.sizes],
        "source_script": f"cerebellar-norse {release}",
        "source_script_file_name": "cerebellum",
    } | metadata
    try:
        file = pynwb.NWBFile(**fields)
    except (TypeError, ValueError) as error:
        raise UsageError(f"to_nwb: {first_line(error)}; fields of pynwb.NWBFile") from None
    module = file.create_processing_module(MODULE, "what a simulation counts")
    if any(len(raster.cells) for raster in recording.rasters.values()):
        file.units = _units(pynwb, recording, placed)
    for series in _traces(pynwb, recording):
        file.add_acquisition(series)
    for name, spikes in recording.spikes.items():
        text = f"number of spikes of all {recording.sizes[name]:,} cells of {name} in each step"
        module.add(
            _series(pynwb, recording, f"spikes_{name}", spikes, "spikes", 1, description=text)
        )
    for table in _column_tables(recording):
        module.add(table)
    rest = stream.about(recording) | {
        "rasters": [*recording.rasters],
        "counts": {name: len(counts) for name, counts in recording.counts.items()},
        "counted": [*recording.counted],
    }
    file.add_scratch(
        json.dumps(rest),
        name=ABOUT,
        description="the rest of the recording, in JSON, for cerebellum.io.load",
    )
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def _units(pynwb: Any, recording: Recording, placed: dict[str, np.ndarray]) -> Any:
    """The table of the recorded cells, population by population."""
    common = optional("hdmf.common", "nwb", "to_nwb")
    trains = [
        (population, cell, times)
        for population, raster in recording.rasters.items()
        for cell, times in raster.trains().items()
    ]
    seconds = np.concatenate([np.zeros(0), *(times * 1e-3 for *_, times in trains)])
    ends = np.cumsum([len(times) for *_, times in trains], dtype=np.uint64)
    span = np.array([recording.start_ms, tables.stop_ms(recording)]) * 1e-3
    rows = np.arange(1, len(trains) + 1, dtype=np.uint64)

    spikes = _column("spike_times", "ends of the steps in which the cell fired, s", seconds)
    observed = _column(
        "obs_intervals", "the time of the run, s", np.tile(span, (len(trains), 1)).reshape(-1, 2)
    )
    columns = [
        spikes,
        common.VectorIndex(name="spike_times_index", data=ends, target=spikes),
        observed,
        common.VectorIndex(name="obs_intervals_index", data=rows, target=observed),
        _column("population", "the population of the cell", [name for name, *_ in trains]),
        _column(
            "cell",
            "the number of the cell in its population",
            np.array([cell for _, cell, _ in trains], np.int64),
        ),
    ]
    if placed:
        unknown = np.full(3, np.nan)
        um = np.array(
            [placed[name][cell] if name in placed else unknown for name, cell, _ in trains]
        )
        columns += [
            _column(f"{axis}_um", f"{axis} of the cell, um", um.reshape(-1, 3)[:, index])
            for index, axis in enumerate("xyz")
        ]
    return pynwb.misc.Units(
        name="units",
        description="the recorded cells",
        id=common.ElementIdentifiers(name="id", data=np.arange(len(trains))),
        columns=columns,
        colnames=[each.name for each in columns if not each.name.endswith("_index")],
        resolution=recording.dt * 1e-3,
    )


def _names(labels: Iterable[str]) -> dict[str, str]:
    """Names of the series of traces by label: "v_golgi" for "v:golgi", as NWB has no colons."""
    names: dict[str, str] = {}
    for label in labels:
        name = label.replace(":", "_").replace("/", "_")
        while name in names.values():
            name += "_"
        names[label] = name
    return names


def _traces(pynwb: Any, recording: Recording) -> Iterator[Any]:
    for label, name in _names(recording.traces).items():
        trace = recording.traces[label]
        unit, factor = SI.get(trace.unit, (trace.unit or "a.u.", 1.0))
        about = {"conversion": factor, "description": f"{label}, {trace.unit or 'no unit'}"}
        yield _series(pynwb, recording, name, trace.values, unit, trace.every, **about)


def _series(
    pynwb: Any,
    recording: Recording,
    name: str,
    values: np.ndarray,
    unit: str,
    every: int,
    **about: Any,
) -> Any:
    """Samples at the ends of every so many steps; those of large arrays are compressed."""
    values = np.asarray(values)
    first = (tables.start_step(recording) + every) * recording.dt
    return pynwb.TimeSeries(
        name=name,
        data=pynwb.H5DataIO(values, compression="gzip") if values.size > 1_000 else values,
        unit=unit,
        rate=1e3 / (every * recording.dt),
        starting_time=first * 1e-3,
        comments=f"samples at the ends of steps, one of {every}",
        **about,
    )


def _column_tables(recording: Recording) -> Iterator[Any]:
    """The tables that say what the columns of traces are, and the counts of spikes by cell."""
    common = optional("hdmf.common", "nwb", "to_nwb")
    series: list[str] = []
    ends = [np.zeros((0, 2), np.int64)]
    for label, name in _names(recording.traces).items():
        cells = np.asarray(recording.traces[label].cells)
        if not label.startswith(f"{WEIGHTS}:"):
            cells = np.column_stack([cells, np.full(len(cells), NONE)])
        series += [name] * len(cells)
        ends.append(cells)
    pairs = np.concatenate(ends)
    if len(pairs):
        yield common.DynamicTable(
            name="columns",
            description="what the columns of the series in acquisition are, from left to right",
            columns=[
                _column("series", "the series", series),
                _column("cell", "the cell, or the source cell of the synapse", pairs[:, 0]),
                _column("target", f"the target cell of the synapse; {NONE} of a cell", pairs[:, 1]),
            ],
        )
    counts = recording.counts
    cells = [recording.counted.get(name, np.full(len(c), NONE)) for name, c in counts.items()]
    if sum(map(len, counts.values())):
        yield common.DynamicTable(
            name="counts",
            description="spikes of the recorded cells in the whole run",
            columns=[
                _column("population", "the population", [n for n, c in counts.items() for _ in c]),
                _column("cell", f"the cell; {NONE} if it is not known", np.concatenate(cells)),
                _column("spikes", "the number of spikes", np.concatenate([*counts.values()])),
            ],
        )


def _column(name: str, description: str, data: Any) -> Any:
    """A column of a table."""
    common = optional("hdmf.common", "nwb", "to_nwb")
    return common.VectorData(name=name, description=description, data=data)


def read(path: Path) -> Recording:
    """Read a file of `write`.

    Raises:
      UsageError: pynwb is not installed, this is no file of NWB, or another program wrote it.
    """
    pynwb = optional("pynwb", "nwb", "load")
    try:
        with pynwb.NWBHDF5IO(str(path), "r") as io:
            file = io.read()
            if ABOUT not in file.scratch:
                raise UsageError(
                    f"recording: {str(path)!r}: not of this package; "
                    "cb.drive.from_nwb reads the spikes of others"
                )
            return _recording(file, json.loads(str(file.get_scratch(ABOUT))))
    except UsageError:
        raise
    except Exception as error:  # of h5py, hdmf and pynwb, which have no class in common
        raise UsageError(
            f"recording: {str(path)!r}: not one, or damaged ({first_line(error)}); "
            "a file of recording.to_nwb"
        ) from None


def _recording(file: Any, about: dict[str, Any]) -> Recording:
    module = file.processing[MODULE]
    units, every = about.pop("units"), about.pop("every")
    rasters, lengths, counted = (about.pop(name) for name in ("rasters", "counts", "counted"))
    cells_of = _counts(module, lengths, "cell")
    clock = about["start_ms"], about["dt"]
    traces = {}
    for label, name in _names(units).items():
        cells = _cells(module, name, label.startswith(f"{WEIGHTS}:"))
        values = np.asarray(file.acquisition[name].data[()], np.float32)
        traces[label] = Trace(values, cells, units[label], every.get(label, 1), *clock)
    return Recording(
        **about,
        spikes={
            name: np.asarray(module[f"spikes_{name}"].data[()], np.int32) for name in about["sizes"]
        },
        rasters=dict(_rasters(file.units, about["dt"], rasters)),
        counts=_counts(module, lengths, "spikes"),
        counted={name: cells_of[name] for name in counted},
        traces=traces,
    )


def _rasters(units: Any, dt: float, names: list[str]) -> Iterator[tuple[str, Raster]]:
    """The rasters, with their spikes in the order of time and then of the recorded cells."""
    for name in names:
        if units is None:  # no cell was recorded
            none = np.zeros(0, np.int64)
            yield name, Raster(np.zeros(0), none, none)
            continue
        rows = np.flatnonzero(np.asarray(units["population"].data[()]).astype(str) == name)
        cells = np.asarray(units["cell"].data[()], np.int64)[rows]
        ends = np.asarray(units["spike_times"].data[()], np.int64)
        starts = np.concatenate([[0], ends[:-1]])[rows]
        seconds = np.asarray(units["spike_times"].target.data[()], np.float64)
        counts = ends[rows] - starts
        index = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        step = np.round(seconds[starts[index] + within] * 1e3 / dt).astype(np.int64)
        order = np.lexsort((index, step))
        yield name, Raster(step[order] * dt, cells[index[order]], cells)


def _counts(module: Any, lengths: dict[str, int], column: str) -> dict[str, np.ndarray]:
    """A column of the table of counts by population, of so many cells each."""
    if not sum(lengths.values()):
        return {name: np.zeros(0, np.int64) for name in lengths}
    values = np.asarray(module["counts"][column].data[()], np.int64)
    ends = np.cumsum([*lengths.values()])[:-1]
    return dict(zip(lengths, np.split(values, ends), strict=True))


def _cells(module: Any, series: str, pairs: bool) -> np.ndarray:
    """The cells of the columns of a series, or the pairs of cells of its synapses."""
    if "columns" not in module.data_interfaces:
        return np.zeros((0, 2) if pairs else 0, np.int64)
    table = module["columns"]
    rows = np.asarray(table["series"].data[()]).astype(str) == series
    ends = [np.asarray(table[name].data[()], np.int64)[rows] for name in ("cell", "target")]
    return np.column_stack(ends) if pairs else ends[0]
