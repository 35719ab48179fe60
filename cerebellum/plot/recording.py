"""Figures of one recording."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.plot.figure import (
    Panels,
    Windows,
    few_ticks,
    legend,
    room,
    shade,
    side_label,
    spoken,
    stacked,
)
from cerebellum.plot.look import CYCLE, colour, faint, styled
from cerebellum.sim.record import Raster, Recording, check, rate_course

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cerebellum.plot.figure import Target

TICKED = 3.0
"""Spikes are upright strokes if each cell has so much height, points, and dots if it has less."""


@styled
def raster(
    recording: Recording,
    windows: Windows | None = None,
    populations: Sequence[str] | str | None = None,
    ax: "Target" = None,
) -> Panels:
    """Plot recorded rasters: one panel for each population, a stroke or a dot for each spike.

    The recorded cells lie one above the other without gaps, in the order of their numbers, which
    the ticks show. The label says how many of a population were recorded, and which.

    Args:
      populations: whose rasters; None for all that were recorded.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: the recording has no raster, or not of these populations, or `ax` does not fit.
    """
    check(recording)
    if not recording.rasters:
        raise UsageError("raster: none recorded; simulate with record=('raster:POPULATION',)")
    names = chosen("raster", populations, list(recording.rasters))
    heights = [0.5 + 0.9 * np.sqrt(len(recording.rasters[n].cells) / 600) for n in names]
    low, high = (0.7, 2.4) if len(names) > 1 else (1.8, 3.4)
    panels = stacked("raster", names, np.clip(heights, low, high).tolist(), ax)
    for name, axis in zip(names, panels, strict=True):
        _spikes(axis, name, recording.rasters[name])
        which = _which(recording.rasters[name].cells, recording.sizes[name])
        if len(names) > 1:
            side_label(axis, f"{spoken(name)}\n{which}")
        else:
            axis.set_ylabel(f"{spoken(name)} cell")
            axis.set_title(which.replace("\n", " "))
        shade(axis, windows)
    _finish(panels.axes, recording)
    return panels


def chosen(what: str, wanted: Sequence[str] | str | None, known: Sequence[str]) -> list[str]:
    """The names of what is drawn."""
    if wanted is None:
        return list(known)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise UsageError(f"{what}: {name!r}; {nearest(name, list(known), 'the recording')}")
    if not names:
        raise UsageError(f"{what}: no populations; at least one, or None for all")
    return names


def _spikes(axis: "Axes", name: str, raster: Raster) -> None:
    """Draw the spikes of a population, sized to the room that there is."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    recorded = max(len(raster.cells), 1)
    ordered = np.sort(raster.cells)
    row = np.searchsorted(ordered, raster.cell)
    wide, tall = room(axis)
    height = tall / recorded
    common = {"c": colour(name), "rasterized": True}
    if height >= TICKED:
        length = min(0.8 * height, 12.0)
        axis.scatter(raster.time_ms, row, s=length**2, marker="|", linewidths=1.1, **common)
    else:
        share = wide * tall / max(row.size, 1)
        width = np.clip(min(1.6 * height, 0.9 * np.sqrt(share)), 1.1, 2.4)
        axis.scatter(raster.time_ms, row, s=width**2, linewidths=0, **common)
    if not row.size:
        where = {"transform": axis.transAxes, "ha": "center", "va": "center"}
        axis.text(0.5, 0.5, "no spikes", color=faint(axis), **where)
    axis.set_ylim(-0.5, recorded - 0.5)
    axis.yaxis.set_major_locator(MaxNLocator(min(5, max(1, int(tall / 14))), integer=True))
    axis.yaxis.set_major_formatter(
        FuncFormatter(
            lambda place, _: f"{ordered[round(place)]:,}" if 0 <= place < ordered.size else ""
        )
    )


def _which(cells: np.ndarray, size: int) -> str:
    """How many cells of a population are shown, and which, in words and two lines at most."""
    count, ordered = len(cells), np.sort(cells)
    if count == size:
        return f"{size:,} cells"
    if count < 2:
        return f"cell {', '.join(map(str, cells)) or 'none'}\nof {size:,}"
    gaps = np.unique(np.diff(ordered))
    first, last = ordered[0], ordered[-1]
    if gaps.size == 1 and gaps[0] == 1:
        return f"cells {first:,} to {last:,}\nof {size:,}"
    if gaps.size == 1:
        return f"{count:,} of {size:,} cells,\none in {gaps[0]}"
    return f"{count:,} of {size:,} cells,\nfrom {first:,} to {last:,}"


@styled
def rates(
    recording: Recording,
    bin_ms: float | None = None,
    windows: Windows | None = None,
    populations: Sequence[str] | str | None = None,
    ax: "Target" = None,
) -> Panels:
    """Plot the rate of populations over time, one panel each.

    Args:
      bin_ms: width of the bins, and what happens without it, as in `record.rate_course`.
      populations: whose rates; None for all that were active.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: the bins are not whole steps, at least one, or are longer than the recording; the
        recording lacks a population, or `ax` does not fit.
    """
    time_ms, courses = rate_course(recording, bin_ms)
    active = [name for name, course in courses.items() if course.any()] or list(courses)
    names = active if populations is None else chosen("rates", populations, list(courses))
    panels = stacked("rates", names, [0.9 if len(names) > 1 else 2.0] * len(names), ax)
    for name, axis in zip(names, panels, strict=True):
        course, shown = courses[name], colour(name)
        axis.fill_between(time_ms, course, step="mid", color=shown, alpha=0.25, linewidth=0)
        axis.step(time_ms, course, where="mid", color=shown, linewidth=1.0)
        axis.set_ylim(0, None)
        axis.yaxis.set_major_locator(few_ticks())
        if len(names) > 1:
            side_label(axis, f"{spoken(name)}\n(Hz)")
        else:
            axis.set_ylabel(f"{spoken(name)} (Hz)")
        shade(axis, windows)
    _finish(panels.axes, recording)
    return panels


@styled
def traces(
    recording: Recording,
    windows: Windows | None = None,
    names: Sequence[str] | str | None = None,
    ax: "Target" = None,
) -> Panels:
    """Plot recorded variables over time: one panel each, a line for each cell.

    Args:
      names: of the traces, such as "v:golgi"; None for all that were recorded.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: the recording has no trace, or none of these names, or `ax` does not fit.
    """
    check(recording)
    if not recording.traces:
        raise UsageError("traces: none recorded; simulate with record=('v:POPULATION:0:3',)")
    names = chosen("traces", names, list(recording.traces))
    panels = stacked("traces", names, [1.6 if len(names) > 1 else 2.4] * len(names), ax)
    for name, axis in zip(names, panels, strict=True):
        variable, _, population = name.partition(":")
        trace = recording.traces[name]
        time_ms = (
            recording.start_ms + (np.arange(len(trace.values)) + 1) * trace.every * recording.dt
        )
        cells = trace.cells.tolist() or ["mean"]
        for k, (column, cell) in enumerate(zip(trace.values.T, cells, strict=True)):
            label = f"{cell[0]} to {cell[1]}" if isinstance(cell, list) else cell
            shown = CYCLE[k % len(CYCLE)]
            axis.plot(time_ms, column, color=shown, linewidth=0.8, label=f"{population} {label}")
        unit = f" ({trace.unit})" if trace.unit else ""
        axis.set_ylabel(f"{population}\n{variable}{unit}")
        if len(cells) <= 6:
            legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        else:
            axis.set_title(f"{len(cells)} lines, in the order of the recorded cells")
        shade(axis, windows)
    _finish(panels.axes, recording)
    return panels


def _finish(axes: Sequence["Axes"], recording: Recording) -> None:
    axes[-1].set_xlabel("time (ms)")
    for axis in axes:
        axis.set_xlim(recording.start_ms, recording.start_ms + recording.duration_ms)
