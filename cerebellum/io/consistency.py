"""Whether the parts of a recording that was read from a file fit each other."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cerebellum.errors import is_number, is_whole
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import WEIGHTS


def problem(recording: Recording) -> str | None:
    """What does not fit in a recording, its value and what would be right; None where all fits."""
    return next(_problems(recording), None)


def _problems(recording: Recording) -> Iterator[str]:
    """The problems, most basic first: each is looked for only where those before it are absent."""
    dt, steps, sizes = recording.dt, recording.steps, recording.sizes
    if not _is_number(dt) or dt <= 0:
        yield f"dt {dt!r}; a number above zero, ms"
    if not _is_number(recording.start_ms):
        yield f"start_ms {recording.start_ms!r}; a number, ms"
    if not _is_count(steps):
        yield f"steps {steps!r}; a whole number, zero or more"
    if not isinstance(sizes, Mapping):
        yield f"sizes {sizes!r}; the number of cells by population"
    for name, size in sizes.items():
        if not _is_count(size) or size < 1:
            yield f"sizes: {size!r} cells in {name}; a whole number, at least 1"
    seconds = recording.seconds
    if not isinstance(seconds, Mapping) or not all(map(_is_number, seconds.values())):
        yield f"seconds {seconds!r}; wall times by name, s"
    for name in ("backend", "path", "loop"):
        if not isinstance(getattr(recording, name), str):
            yield f"{name} {getattr(recording, name)!r}; text"
    if recording.spikes.keys() != sizes.keys():
        names = ", ".join(recording.spikes) or "no population"
        yield f"spikes of {names}; of {', '.join(sizes) or 'no population'}, as sizes has"
    for name, spikes in recording.spikes.items():
        yield from _misshapen(f"spikes of {name}", spikes, (steps,))
    yield from _of_records(recording)


def _of_records(recording: Recording) -> Iterator[str]:
    """The problems of counts, rasters and traces."""
    owners = [*recording.counts, *recording.rasters]
    cells = {n: x for n, x in recording.traces.items() if n.partition(":")[0] != WEIGHTS}
    owners += [name.partition(":")[2] for name in cells]
    for name in owners:
        if name not in recording.sizes:
            yield f"records of {name!r}; of {', '.join(recording.sizes)}, as sizes has"
    for name, counts in recording.counts.items():
        yield from _misshapen(
            f"counts of {name}", counts, (min(counts.size, recording.sizes[name]),)
        )
    for name, counted in recording.counted.items():
        if name not in recording.counts:
            yield f"cells of the counts of {name!r}; of {', '.join(recording.counts) or 'none'}"
        yield from _no_cells(f"counts of {name}", counted, recording.sizes[name])
        yield from _misshapen(f"counts of {name}", recording.counts[name], counted.shape)
    for name, raster in recording.rasters.items():
        yield from _no_cells(f"raster of {name}", raster.cells, recording.sizes[name])
        yield from _misshapen(
            f"times of the raster of {name}", raster.time_ms, raster.cell.shape[:1]
        )
        yield from _misshapen(f"cells of the raster of {name}", raster.cell, raster.time_ms.shape)
        if not np.isin(raster.cell, raster.cells).all():
            yield f"raster of {name}: spikes of cells that it did not record"
    for name, trace in recording.traces.items():
        columns = len(trace.cells)
        if name in cells:
            yield from _no_cells(name, trace.cells, recording.sizes[name.partition(":")[2]])
        else:
            pairs = trace.cells
            if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
                yield f"{name}: synapses {pairs.dtype} {list(pairs.shape)}; whole numbers, [n, 2]"
            columns = columns or 1
        if not _is_count(trace.every) or trace.every < 1:
            yield f"{name}: every {trace.every!r} steps; a whole number, at least 1"
        shape = (recording.steps // trace.every, columns)
        yield from _misshapen(f"trace of {name}", trace.values, shape)


def _misshapen(what: str, array: np.ndarray, shape: tuple[int, ...]) -> Iterator[str]:
    if array.dtype.kind not in "iuf":
        yield f"{what}: {array.dtype}; numbers"
    if array.shape != shape:
        yield f"{what}: {list(array.shape)}; {list(shape)}"


def _no_cells(what: str, cells: np.ndarray, size: int) -> Iterator[str]:
    """That an array is not of numbers of cells of a population of `size` cells."""
    if cells.ndim != 1 or cells.dtype.kind not in "iu":
        yield f"{what}: cells {cells.dtype} {list(cells.shape)}; a row of whole numbers"
    if cells.size and not 0 <= cells.min() <= cells.max() < size:
        yield f"{what}: cells {cells.min()} to {cells.max()}; from 0 to {size - 1}"


def _is_number(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return is_whole(value) and int(value) >= 0
