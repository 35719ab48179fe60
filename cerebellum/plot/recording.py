"""Figures of one recording."""

from typing import TYPE_CHECKING

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.plot.figure import COLOURS, Windows, few_ticks, shade, stacked
from cerebellum.sim.record import Recording, check, rate_course

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def raster(recording: Recording, windows: Windows | None = None) -> "Figure":
    """Plot every recorded raster: one panel for each population, a dot for each spike.

    Raises:
      UsageError: the recording has no raster.
    """
    check(recording)
    names = list(recording.rasters)
    if not names:
        raise UsageError("raster: none recorded; simulate with record=('raster:POPULATION',)")
    heights = [0.5 + 0.9 * np.sqrt(len(recording.rasters[n].cells) / 600) for n in names]
    figure, axes = stacked(len(names), np.clip(heights, 0.6, 2.4).tolist())
    for axis, name in zip(axes, names, strict=True):
        raster = recording.rasters[name]
        recorded, size = len(raster.cells), recording.sizes[name]
        order = np.argsort(raster.cells)
        row = order[np.searchsorted(raster.cells, raster.cell, sorter=order)]
        dot_size = float(np.clip(60 / max(recorded, 1), 0.4, 4))
        colour = COLOURS.get(name, "#333333")
        axis.scatter(raster.time_ms, row, s=dot_size, c=colour, linewidths=0, rasterized=True)
        axis.set_ylim(-0.5, recorded - 0.5)
        axis.set_yticks([])
        share = "" if recorded == size else f"\n{recorded:,} of"
        label = f"{name.replace('_', ' ')}{share}\n{size:,} cells"
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        shade(axis, windows)
    _finish(axes, recording)
    return figure


def rates(
    recording: Recording, bin_ms: float | None = None, windows: Windows | None = None
) -> "Figure":
    """Plot the rate of every active population over time, one panel each.

    Args:
      bin_ms: width of the bins, and what happens without it, as in `record.rate_course`.

    Raises:
      UsageError: the bins are not whole steps, at least one, or are longer than the recording.
    """
    time_ms, courses = rate_course(recording, bin_ms)
    shown = {name: course for name, course in courses.items() if course.any()}
    if not shown:
        shown = courses
    figure, axes = stacked(len(shown), [0.9] * len(shown))
    for axis, (name, course) in zip(axes, shown.items(), strict=True):
        colour = COLOURS.get(name, "#333333")
        axis.fill_between(time_ms, course, step="mid", color=colour, alpha=0.25, linewidth=0)
        axis.step(time_ms, course, where="mid", color=colour, linewidth=1.0)
        axis.set_ylim(0, None)
        axis.yaxis.set_major_locator(few_ticks())
        axis.set_ylabel(f"{name.replace('_', ' ')}\n(Hz)", rotation=0, ha="right", va="center")
        shade(axis, windows)
    _finish(axes, recording)
    return figure


def traces(recording: Recording, windows: Windows | None = None) -> "Figure":
    """Plot every recorded variable over time: one panel each, a line for each cell.

    Raises:
      UsageError: the recording has no trace.
    """
    check(recording)
    names = list(recording.traces)
    if not names:
        raise UsageError("traces: none recorded; simulate with record=('v:POPULATION:0:3',)")
    figure, axes = stacked(len(names), [1.6] * len(names))
    for axis, name in zip(axes, names, strict=True):
        variable, _, population = name.partition(":")
        trace = recording.traces[name]
        time_ms = (
            recording.start_ms + (np.arange(len(trace.values)) + 1) * trace.every * recording.dt
        )
        cells = trace.cells.tolist() or ["mean"]
        for column, cell in zip(trace.values.T, cells, strict=True):
            name = f"{cell[0]} to {cell[1]}" if isinstance(cell, list) else cell
            axis.plot(time_ms, column, linewidth=0.7, label=f"{population} {name}")
        unit = f" ({trace.unit})" if trace.unit else ""
        axis.set_ylabel(f"{population}\n{variable}{unit}")
        if len(trace.cells) <= 6:
            axis.legend(loc="upper right", fontsize=8, frameon=False)
        shade(axis, windows)
    _finish(axes, recording)
    return figure


def _finish(axes: np.ndarray, recording: Recording) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time (ms)")
    start = recording.start_ms
    axes[-1].set_xlim(start, start + recording.duration_ms)
