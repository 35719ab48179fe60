"""The records of a recording as tidy columns, one observation a row: what frames and CSV hold.

| record | columns |
|---|---|
| raster | population, cell, time_ms |
| counts | population, cell, spikes |
| rates | population, time_ms, spikes: of all cells in the step that ends at time_ms |
| a variable, such as v | population, cell, time_ms, value, unit |
| weights | projection, source, target, time_ms, value, unit |

A column that is absent from a part is None: the ends of a mean of weights, and the cells of counts
of some cells in files of older versions, which do not name them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import SPIKES, WEIGHTS

Columns = Mapping[str, np.ndarray | None]
"""Columns by name, of equal length."""


@dataclass(frozen=True)
class Part:
    """The rows of one population or projection."""

    owner: str
    """the population, or for weights the projection"""
    rows: int
    """the number of rows"""
    columns: Columns
    """the other columns; None for one without values"""
    unit: str | None = None
    """the unit of the column `value`; None where there is no such column"""


def labels(recording: Recording) -> list[str]:
    """What a recording holds, such as "raster:golgi", "v:golgi" and "rates:golgi"."""
    return [
        *(f"raster:{name}" for name in recording.rasters),
        *(f"counts:{name}" for name in recording.counts),
        *recording.traces,
        *(f"rates:{name}" for name in recording.spikes),
    ]


def kinds(recording: Recording) -> list[str]:
    """The kinds of records that a recording holds, such as "raster", "v" and "rates"."""
    return list(dict.fromkeys(label.partition(":")[0] for label in labels(recording)))


def owner_column(kind: str) -> str:
    """The name of the column that says whose rows they are."""
    return "projection" if kind == WEIGHTS else "population"


def parts_of(recording: Recording, record: str) -> list[Part]:
    """The rows of a kind of record, by population or projection.

    Args:
      record: a kind, such as "raster", of all populations; or one record, such as "raster:golgi".

    Raises:
      UsageError: the recording has no such record; the message says which it has.
    """
    known = labels(recording)
    if not isinstance(record, str):
        raise UsageError(f"record: {record!r}; text, such as 'raster' or 'v:golgi'")
    chosen = [label for label in known if record in (label, label.partition(":")[0])]
    kind = record.partition(":")[0]
    if kind in SPIKES and kind not in kinds(recording):
        raise UsageError(f"{kind}: none recorded; simulate with record=('{kind}:POPULATION',)")
    if not chosen:
        near = nearest(record, [*kinds(recording), *known], "the recording")
        raise UsageError(f"record: {record!r} was not recorded; {near}")
    return [_part(recording, label) for label in chosen]


def _part(recording: Recording, label: str) -> Part:
    kind, _, owner = label.partition(":")
    if kind == "raster":
        raster = recording.rasters[owner]
        return Part(owner, len(raster.cell), {"cell": raster.cell, "time_ms": raster.time_ms})
    if kind == "counts":
        counts = recording.counts[owner]
        cells = recording.counted.get(owner)
        if cells is None and len(counts) == recording.sizes[owner]:
            cells = np.arange(len(counts))
        return Part(owner, len(counts), {"cell": cells, "spikes": counts})
    if kind == "rates":
        spikes = recording.spikes[owner]
        return Part(owner, len(spikes), {"time_ms": step_ends_ms(recording), "spikes": spikes})
    trace = recording.traces[label]
    samples, width = trace.values.shape
    ends: Columns
    if kind != WEIGHTS:
        ends = {"cell": np.tile(trace.cells, samples)}
    elif len(trace.cells):
        ends = {
            name: np.tile(trace.cells[:, axis], samples)
            for axis, name in enumerate(("source", "target"))
        }
    else:
        ends = {"source": None, "target": None}
    times = np.repeat(step_ends_ms(recording, trace.every), width)
    columns = {**ends, "time_ms": times, "value": trace.values.ravel()}
    return Part(owner, samples * width, columns, trace.unit)


def step_ends_ms(recording: Recording, every: int = 1) -> np.ndarray:
    """The ends of the steps, or of every so many, ms, float64; equal to the time stamps of spikes.

    Args:
      every: steps from one time to the next; the first is the end of the first so many.
    """
    return (start_step(recording) + np.arange(every, recording.steps + 1, every)) * recording.dt


def start_step(recording: Recording) -> int:
    """The number of the step with which a recording begins."""
    return round(recording.start_ms / recording.dt)


def stop_ms(recording: Recording) -> float:
    """The end of the last step, ms; no time stamp of a spike is later."""
    return (start_step(recording) + recording.steps) * recording.dt
