"""Recordings of runs, and what is computed from them; `of` and `weights` say what to record."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import import_module
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.sim.requests import of, parse, weights

__all__ = [
    "BIN_MS",
    "Raster",
    "Recording",
    "Trace",
    "bin_steps",
    "check",
    "join",
    "of",
    "parse",
    "rate_course",
    "rates",
    "weights",
]

BIN_MS = 5.0
"""Width of the bins of a rate course where none is given, ms."""


@documented
@dataclass(frozen=True)
class Raster:
    """The spikes of the recorded cells of a population."""

    time_ms: np.ndarray
    """time stamp of each spike, ms, float64 [spikes], ascending"""
    cell: np.ndarray
    """cell that emitted each spike, int64 [spikes]"""
    cells: np.ndarray
    """the recorded cells"""

    def trains(self) -> dict[int, np.ndarray]:
        """The spike times of each recorded cell by its number, ms, ascending."""
        order = np.argsort(self.cell, kind="stable")
        first = np.searchsorted(self.cell[order], self.cells, "left")
        after = np.searchsorted(self.cell[order], self.cells, "right")
        times = self.time_ms[order]
        return {int(cell): times[a:b] for cell, a, b in zip(self.cells, first, after, strict=True)}


@documented
@dataclass(frozen=True)
class Trace:
    """A variable of the recorded cells of a population, or weights of a projection, over time."""

    values: np.ndarray
    """values at the end of each step, or of every so many steps, float32 [samples, cells]; the mean
    of all weights is one column"""
    cells: np.ndarray
    """the recorded cells, [cells]; of weights, the pairs (source, target), [cells, 2], or none if
    it is their mean"""
    unit: str = ""
    every: int = 1
    """steps from one sample to the next"""
    start_ms: float = 0.0
    """time at which the recording begins, ms"""
    dt: float = math.nan
    """time step, ms; NaN in a trace that is not of a run"""

    @property
    def time_ms(self) -> np.ndarray:
        """The time of each sample, ms, float64 [samples]."""
        return self.start_ms + (np.arange(len(self.values)) + 1) * self.every * self.dt


@documented
@dataclass(frozen=True)
class Recording:
    """The records of a run, in NumPy. Step k of the recording ends at start_ms + (k + 1) dt."""

    dt: float
    """time step, ms"""
    start_ms: float
    """time at which the recording begins, ms"""
    steps: int
    """number of steps"""
    sizes: dict[str, int]
    """number of cells by population"""
    spikes: dict[str, np.ndarray]
    """number of spikes of all cells in each step, by population, int32 [steps]"""
    rasters: dict[str, Raster] = field(default_factory=dict)
    """rasters by population"""
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    """number of spikes of each recorded cell in the whole run, by population, int64 [cells]"""
    traces: dict[str, Trace] = field(default_factory=dict)
    """traces by "variable:population", and by "weights:projection" """
    seconds: dict[str, float] = field(default_factory=dict)
    """wall time in seconds: "compile" and "run" """
    backend: str = ""
    """name of the backend that ran the circuit; empty in files of older versions"""
    path: str = ""
    """the path of the circuit that ran, "event" or "dense"; empty in files of older versions"""
    loop: str = ""
    """how the backend took many steps: single steps in a scan of XLA, or many in one launch on a
    device; empty in files of older versions"""
    counted: dict[str, np.ndarray] = field(default_factory=dict)
    """the cells of the counts, by population; absent from files of older versions"""

    @property
    def duration_ms(self) -> float:
        return self.steps * self.dt

    def to_pandas(self, record: str = "raster") -> Any:
        """One kind of record as a tidy DataFrame: a row for each spike, count or sample.

        Args:
          record: "raster" (population, cell, time_ms), "counts" (population, cell, spikes),
            "rates" (population, time_ms, spikes: of all cells in the step that ends then), a
            variable such as "v" (population, cell, time_ms, value, unit) or "weights"
            (projection, source, target, time_ms, value, unit), of all populations that have it;
            or one record, such as "v:golgi".

        Raises:
          UsageError: pandas is not installed, or there is no such record.
        """
        return _format("pandas").frame(self, record)

    def to_neo(self, positions: Mapping[str, Any] | None = None) -> Any:
        """The recording as a `neo.Block` of one segment, as `cb.io.neo.block` describes it.

        Args:
          positions: um [cells, 3] by population, which become annotations of the spike trains.

        Raises:
          UsageError: neo is not installed, or positions do not fit the populations.
        """
        return _format("neo").block(self, positions=positions)

    def to_nwb(
        self,
        path: str | Path,
        *,
        identifier: str | None = None,
        session_start_time: datetime | None = None,
        description: str | None = None,
        positions: Mapping[str, Any] | None = None,
        **metadata: Any,
    ) -> None:
        """Write the recording to a file of NWB, whole or not at all; `cb.io.load` reads it again.

        Args:
          path: of the file; its name may have any ending, `cb.io.load` wants .nwb.
          identifier: a text that no other file has; by default a UUID.
          session_start_time: date and time of time zero, with its time zone; by default now.
          description: of the session; by default the number of cells, the duration, the version.
          positions: um [cells, 3] by population, columns of the table of units.
          metadata: other fields of `pynwb.NWBFile`, such as `lab` or `experimenter`.

        Raises:
          UsageError: pynwb is not installed or refuses the metadata, positions do not fit, or the
            folder of the file is not there.
          OSError: the disk refused.
        """
        _format("nwb").save(
            self,
            path,
            identifier=identifier,
            session_start_time=session_start_time,
            description=description,
            positions=positions,
            **metadata,
        )

    def to_csv(self, folder: str | Path) -> None:
        """Write the recording to a new folder: raster.csv, counts.csv, rates.csv, v.csv and so on.

        The columns are those of `to_pandas`.

        Raises:
          UsageError: the folder is there already, or the one that it is to be in is not.
          OSError: the disk refused.
        """
        _format("csv").save(self, folder)

    def to_sonata(self, folder: str | Path) -> None:
        """Write the spikes and the variables of cells to a new folder of files of SONATA.

        They are spikes.h5, and v_report.h5 and so on. Weights and counts have no place in SONATA:
        the log names those that are not written.

        Raises:
          UsageError: h5py is not installed, there are neither spikes nor variables, the folder is
            there already, or the one that it is to be in is not.
          OSError: the disk refused.
        """
        _format("sonata_records").save(self, folder)


def _format(name: str) -> Any:
    """A module of `cerebellum.io`, which stands above this one: loaded when it is called."""
    return import_module(f"cerebellum.io.{name}")


def join(parts: Sequence[Recording]) -> Recording:
    """Join the recordings of consecutive parts of a run; wall times are added up.

    Raises:
      UsageError: there is no part, a part does not begin where the part before it ends, or the
        parts are of circuits of other sizes, of another time step or with other records.
    """
    if not isinstance(parts, Sequence) or not parts:
        given = "an empty list" if isinstance(parts, Sequence) else type(parts).__name__
        raise UsageError(f"parts: {given}; a list of recordings, at least one")
    for part in parts:
        check(part)
    first = parts[0]
    if len(parts) == 1:
        return first
    for before, after in pairwise(parts):
        for name, ours, theirs in zip(_ALIKE, _alike(before), _alike(after), strict=True):
            if ours != theirs:
                raise UsageError(f"parts: {name} {theirs}; {ours}, as in the part before")
        if round((after.start_ms - before.start_ms) / before.dt) != before.steps:
            raise UsageError(
                f"recording: one begins at {after.start_ms:g} ms; "
                f"{before.start_ms + before.duration_ms:g} ms, where the one before ends"
            )
        for name, trace in before.traces.items():
            if before.steps % trace.every:
                raise UsageError(
                    f"parts: {name} of every {trace.every * before.dt:g} ms in a part of "
                    f"{before.duration_ms:g} ms; parts of whole intervals, except for the last"
                )

    def concatenate(get: Callable[[Recording], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(part) for part in parts])

    return replace(
        first,
        steps=sum(part.steps for part in parts),
        spikes={n: concatenate(lambda part, n=n: part.spikes[n]) for n in first.spikes},
        rasters={
            n: Raster(
                concatenate(lambda part, n=n: part.rasters[n].time_ms),
                concatenate(lambda part, n=n: part.rasters[n].cell),
                raster.cells,
            )
            for n, raster in first.rasters.items()
        },
        counts={n: np.sum([part.counts[n] for part in parts], axis=0) for n in first.counts},
        traces={
            n: replace(trace, values=concatenate(lambda part, n=n: part.traces[n].values))
            for n, trace in first.traces.items()
        },
        seconds={n: sum(part.seconds[n] for part in parts) for n in first.seconds},
        backend=_names([part.backend for part in parts]),
        path=_names([part.path for part in parts]),
        loop=_names([part.loop for part in parts]),
    )


_ALIKE = ("dt", "sizes", "records")


def _alike(part: Recording) -> tuple[Any, ...]:
    """What the parts of a run have in common, by the names of `_ALIKE`; of records, their cells."""
    rasters = [f"raster:{name} of {_cells(x.cells)}" for name, x in part.rasters.items()]
    counts = [
        f"counts:{name} of {_cells(part.counted[name])}"
        if name in part.counted
        else f"counts:{name} of {len(counts)} cells"
        for name, counts in part.counts.items()
    ]
    traces = [
        f"{name} of {_cells(x.cells)}" + (f" every {x.every} steps" if x.every > 1 else "")
        for name, x in part.traces.items()
    ]
    return part.dt, part.sizes, ", ".join(sorted(rasters + counts + traces)) or "none"


def _cells(cells: np.ndarray) -> str:
    """Cells or synapses for a message, which differs where they differ."""
    if not len(cells):
        return "all synapses" if cells.ndim == 2 else "no cells"
    if cells.ndim == 2:
        return f"synapses {', '.join(f'{pre}-{post}' for pre, post in cells.tolist())}"
    stride = int(cells[1] - cells[0]) if len(cells) > 1 else 1
    if stride < 1 or (np.diff(cells) != stride).any():
        return f"cells {', '.join(map(str, cells.tolist()))}"
    return f"cells {int(cells[0])}:{int(cells[-1]) + 1}:{stride}"


def check(recording: Any) -> None:
    """Raise UsageError if what should be a recording is something else."""
    if isinstance(recording, Recording):
        return
    raise UsageError(
        f"recording: {type(recording).__name__}; a recording; "
        "state, recording = cb.simulate(...) gives one"
    )


def _number(name: str, value: Any) -> float:
    """A finite number of ms, or UsageError."""
    given = value.item() if isinstance(value, np.ndarray | Array) and not value.ndim else value
    if not isinstance(given, Real) or isinstance(given, bool) or not math.isfinite(given):
        raise UsageError(f"{name}: {value!r}; a finite number, ms")
    return float(given)


def _names(names: Sequence[str]) -> str:
    """The different names among these, joined: "native", or "native, xla"."""
    return ", ".join(dict.fromkeys(name for name in names if name))


def rates(
    recording: Recording, start_ms: float | None = None, stop_ms: float | None = None
) -> dict[str, float]:
    """Mean firing rate of each population between two times of the run, Hz.

    The times are rounded to steps and limited to those of the recording; None is its beginning or
    its end. The rate is NaN if no step lies between them.

    Raises:
      UsageError: a time is not a finite number, or the first is later than the second.
    """
    check(recording)
    start, stop = 0, recording.steps
    if start_ms is not None:
        start = round((_number("start_ms", start_ms) - recording.start_ms) / recording.dt)
    if stop_ms is not None:
        stop = round((_number("stop_ms", stop_ms) - recording.start_ms) / recording.dt)
    if start_ms is not None and stop_ms is not None and start_ms > stop_ms:
        raise UsageError(f"start_ms: {start_ms:g}; at most stop_ms, {stop_ms:g}")
    start, stop = max(start, 0), min(stop, recording.steps)
    if stop <= start:
        return dict.fromkeys(recording.spikes, float("nan"))
    seconds = (stop - start) * recording.dt * 1e-3
    return {
        name: float(spikes[start:stop].sum() / recording.sizes[name] / seconds)
        for name, spikes in recording.spikes.items()
    }


def rate_course(
    recording: Recording, bin_ms: float | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Population rates over time: centres of the bins (ms), and rates by population, Hz [bins].

    Steps at the end that do not fill a bin are left out.

    Args:
      bin_ms: width of the bins, whole steps; by default the whole steps nearest to `BIN_MS`, or
        the whole recording if that is shorter.

    Raises:
      UsageError: the bins are not whole steps, at least one, or are longer than the recording.
    """
    check(recording)
    if bin_ms is None:
        width = max(1, min(round(BIN_MS / recording.dt), recording.steps))
    else:
        width = bin_steps(recording, bin_ms)
    bins = recording.steps // width
    centres = recording.start_ms + (np.arange(bins) + 0.5) * width * recording.dt
    scale = 1.0 / (width * recording.dt * 1e-3)
    return centres, {
        name: spikes[: bins * width].reshape(bins, width).sum(axis=1)
        * (scale / recording.sizes[name])
        for name, spikes in recording.spikes.items()
    }


def bin_steps(recording: Recording, bin_ms: float, name: str = "bin_ms") -> int:
    """The number of steps of a bin of so many ms.

    Args:
      name: of the argument, for messages.

    Raises:
      UsageError: it is not whole steps, at least one, or is longer than the recording.
    """
    steps = _number(name, bin_ms) / recording.dt
    if steps < 0.5 or abs(steps - round(steps)) > 1e-6 * steps:
        raise UsageError(f"{name}: {bin_ms:g}; whole steps of {recording.dt:g} ms, at least one")
    if round(steps) > recording.steps:
        raise UsageError(
            f"{name}: {bin_ms:g}; at most {recording.duration_ms:g}, the length of the recording"
        )
    return round(steps)
