"""Rates around an event: a stimulus or a complex spike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import COLOURS, Windows, blank, few_ticks, shade, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def evoked(
    time_ms: np.ndarray,
    rates: Mapping[str, Mapping[str, np.ndarray]],
    windows: Windows | None = None,
    smooth_ms: float = 5.0,
) -> "Figure":
    """Plot mean rates around a stimulus: one panel a population, a line a condition.

    Args:
      time_ms: time from the stimulus, ms, in equal steps, [T].
      rates: rates by population and condition, Hz, [T].
      smooth_ms: standard deviation of the Gaussian that smooths the lines, ms.
    """
    from scipy.ndimage import gaussian_filter1d

    figure, axes = stacked(len(rates), [1.5] * len(rates))
    width = smooth_ms / (time_ms[1] - time_ms[0])
    for axis, (name, courses) in zip(axes, rates.items(), strict=True):
        colours = ("#999999", COLOURS.get(name, "#333333"))
        for colour, (label, course) in zip(colours, courses.items(), strict=False):
            axis.plot(time_ms, gaussian_filter1d(course, width), color=colour, label=label)
        axis.set_ylabel(f"{name.replace('_', ' ')}\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(few_ticks())
        axis.spines[["top", "right"]].set_visible(False)
        shade(axis, windows)
    axes[0].legend(frameon=False, fontsize=8, loc="upper left")
    axes[-1].set_xlabel("time from the stimulus (ms)")
    axes[-1].set_xlim(time_ms[0], time_ms[-1])
    return figure


def around(time_ms: np.ndarray, rates: Mapping[str, Mapping[str, np.ndarray]]) -> "Figure":
    """Plot histograms around an event: a row for each kind of event, a column for each population.

    The dashed line is the mean before the event. Panels of a population have one scale, which
    leaves out bins of over three times that mean; their height is written beside them.

    Args:
      time_ms: middle of the bins, ms from the event, in equal steps, [bins].
      rates: rates by population and kind of event, Hz, [bins].
    """
    kinds = list(next(iter(rates.values())))
    figure = blank(5.5 * len(rates), 0.8 + 2.4 * len(kinds))
    axes = figure.subplots(len(kinds), len(rates), sharex=True, sharey="col", squeeze=False)
    for column, (name, courses) in enumerate(rates.items()):
        base = np.mean([course[time_ms < 0].mean() for course in courses.values()])
        inside = [course[course <= 3 * base].max(initial=base) for course in courses.values()]
        top = 1.25 * max(inside)
        for axis, kind in zip(axes[:, column], kinds, strict=True):
            course = courses[kind]
            axis.bar(
                time_ms,
                np.minimum(course, top),
                time_ms[1] - time_ms[0],
                color=COLOURS.get(name, "#333333"),
                alpha=0.75,
                linewidth=0,
            )
            before = course[time_ms < 0].mean()
            axis.axhline(before, color="#ff7f0e", linestyle="--", linewidth=1.6)
            axis.text(
                *(0.99, 0.98, f"{before:.0f} Hz before (dashed)"),
                transform=axis.transAxes,
                ha="right",
                va="top",
                fontsize=9,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            )
            if course.max() > top:
                peak = time_ms[np.argmax(course)]
                label = f"up to {course.max():.0f} Hz"
                axis.annotate(
                    *(label, (peak, top)),
                    xytext=(14, -3),
                    textcoords="offset points",
                    ha="left",
                    va="top",
                    fontsize=9,
                    bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
                )
            axis.axvline(0, color="#888888", linewidth=0.8, zorder=0)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_ylim(0, top)
            axis.set_ylabel(f"{kind}\nHz" if column == 0 else "Hz")
        axes[0, column].set_title(name.replace("_", " ").capitalize())
        axes[-1, column].set_xlabel("time from the complex spike (ms)")
    axes[0, 0].set_xlim(time_ms[0], time_ms[-1])
    return figure


def grid(
    time_ms: np.ndarray,
    rates: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    windows: Windows | None = None,
    mark_ms: float = 0.0,
) -> "Figure":
    """Plot rates around a stimulus: a column a group, a row a population, a line a condition.

    Args:
      time_ms: time from the stimulus, ms, [T].
      rates: rates by group, population and condition, Hz, [T].
      mark_ms: time of the dashed line.
    """
    names = list(next(iter(rates.values())))
    figure = blank(3 * len(rates), 2 * len(names))
    axes = figure.subplots(len(names), len(rates), sharex=True, sharey="row", squeeze=False)
    for column, (group, courses) in zip(axes.T, rates.items(), strict=True):
        column[0].set_title(group, fontsize=10)
        for axis, (name, lines) in zip(column, courses.items(), strict=True):
            colours = ("#999999", COLOURS.get(name, "#333333"))
            for colour, (label, course) in zip(colours, lines.items(), strict=False):
                axis.plot(time_ms, course, color=colour, linewidth=1.2, label=label)
            axis.axvline(mark_ms, color="#222222", linestyle="--", linewidth=0.8)
            axis.spines[["top", "right"]].set_visible(False)
            shade(axis, windows)
        column[-1].set_xlabel("time from the tone (ms)")
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(f"{name.replace('_', ' ')} (Hz)")
        axis.set_ylim(0, None)
        axis.legend(frameon=False, fontsize=7)
    return figure
