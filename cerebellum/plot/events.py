"""Rates around an event: a stimulus or a complex spike."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import (
    Panels,
    Windows,
    few_ticks,
    legend,
    shade,
    side_label,
    spoken,
    stacked,
    table,
)
from cerebellum.plot.look import MARK, colour, faint, ink, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cerebellum.plot.figure import Target


@styled
def evoked(
    time_ms: np.ndarray,
    rates: Mapping[str, Mapping[str, np.ndarray]],
    windows: Windows | None = None,
    smooth_ms: float = 5.0,
    ax: "Target" = None,
) -> Panels:
    """Plot mean rates around a stimulus: one panel a population, a line a condition.

    Args:
      time_ms: time from the stimulus, ms, in equal steps, [T].
      rates: rates by population and condition, Hz, [T].
      smooth_ms: standard deviation of the Gaussian that smooths the lines, ms.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    from scipy.ndimage import gaussian_filter1d

    panels = stacked("evoked", list(rates), [1.5] * len(rates), ax)
    width = smooth_ms / (time_ms[1] - time_ms[0])
    for (name, courses), axis in zip(rates.items(), panels, strict=True):
        smooth = {label: gaussian_filter1d(course, width) for label, course in courses.items()}
        _conditions(axis, name, time_ms, smooth)
        side_label(axis, f"{spoken(name)}\n(Hz)")
        axis.yaxis.set_major_locator(few_ticks())
        axis.set_xlim(time_ms[0], time_ms[-1])
        shade(axis, windows)
    legend(panels.axes[0], loc="upper left")
    panels.axes[-1].set_xlabel("time from the stimulus (ms)")
    return panels


@styled
def around(
    time_ms: np.ndarray, rates: Mapping[str, Mapping[str, np.ndarray]], ax: "Target" = None
) -> Panels:
    """Plot histograms around an event: a row for each kind of event, a column for each population.

    The dashed line is the mean before the event. Panels of a population have one scale, which
    leaves out bins of over three times that mean; their height is written beside them.

    Args:
      time_ms: middle of the bins, ms from the event, in equal steps, [bins].
      rates: rates by population and kind of event, Hz, [bins].
      ax: where to draw: None (a new figure), a figure, or Axes, [kinds, populations].

    Raises:
      UsageError: `ax` does not fit.
    """
    kinds = list(next(iter(rates.values())))
    size = (5.5 * len(rates), 0.8 + 2.4 * len(kinds))
    panels = table("around", kinds, list(rates), size, ax, sharex=True, sharey="col")
    for name, courses in rates.items():
        base = np.mean([course[time_ms < 0].mean() for course in courses.values()])
        inside = [course[course <= 3 * base].max(initial=base) for course in courses.values()]
        for kind, course in courses.items():
            _histogram(panels[kind, name], name, time_ms, course, 1.25 * max(inside))
        panels[kinds[0], name].set_title(spoken(name).capitalize())
        panels[kinds[-1], name].set_xlabel("time from the complex spike (ms)")
    for kind in kinds:
        panels[kind, next(iter(rates))].set_ylabel(f"{kind}\nHz")
    return panels


def _histogram(
    axis: "Axes", name: str, time_ms: np.ndarray, course: np.ndarray, top: float
) -> None:
    """Bars up to a height, their mean before the event, and how high the highest is."""
    width, base = time_ms[1] - time_ms[0], course[time_ms < 0].mean()
    box = {"facecolor": axis.get_facecolor(), "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    bars = {"color": colour(name), "alpha": 0.75, "linewidth": 0}
    axis.bar(time_ms, np.minimum(course, top), width, **bars)
    axis.axhline(base, color=MARK, linestyle="--", linewidth=1.6)
    note = {"transform": axis.transAxes, "ha": "right", "va": "top", "bbox": box}
    axis.text(0.99, 0.98, f"{base:.0f} Hz before (dashed)", color=ink(axis), **note)
    if course.max() > top:
        beside = {"xytext": (14, -3), "textcoords": "offset points", "ha": "left", "va": "top"}
        peak = time_ms[np.argmax(course)]
        text = f"up to {course.max():.0f} Hz"
        axis.annotate(text, (peak, top), color=ink(axis), bbox=box, **beside)
    axis.axvline(0, color=faint(axis), linewidth=0.8, zorder=0)
    axis.set_ylim(0, top)
    axis.set_ylabel("Hz")
    axis.set_xlim(time_ms[0], time_ms[-1])


@styled
def grid(
    time_ms: np.ndarray,
    rates: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]],
    windows: Windows | None = None,
    mark_ms: float = 0.0,
    ax: "Target" = None,
) -> Panels:
    """Plot rates around a stimulus: a column a group, a row a population, a line a condition.

    Args:
      time_ms: time from the stimulus, ms, [T].
      rates: rates by group, population and condition, Hz, [T].
      mark_ms: time of the dashed line.
      ax: where to draw: None (a new figure), a figure, or Axes, [populations, groups].

    Raises:
      UsageError: `ax` does not fit.
    """
    names = list(next(iter(rates.values())))
    size = (3.0 * len(rates), 2.0 * len(names))
    panels = table("grid", names, list(rates), size, ax, sharex=True, sharey="row")
    for group, courses in rates.items():
        for name, lines in courses.items():
            axis = panels[name, group]
            _conditions(axis, name, time_ms, lines)
            axis.axvline(mark_ms, color=ink(axis), linestyle="--", linewidth=0.8)
            shade(axis, windows)
        panels[names[0], group].set_title(group)
        panels[names[-1], group].set_xlabel("time from the tone (ms)")
    for name in names:
        axis = panels[name, next(iter(rates))]
        axis.set_ylabel(f"{spoken(name)} (Hz)")
        axis.set_ylim(0, None)
        legend(axis, fontsize=7)
    return panels


def _conditions(
    axis: "Axes", name: str, time_ms: np.ndarray, courses: Mapping[str, np.ndarray]
) -> None:
    """A line a condition: the first in grey, the second in the colour of the population."""
    styles = ((faint(axis, 0.55), "--"), (colour(name), "-"))
    for (shown, dashes), (label, course) in zip(styles, courses.items(), strict=False):
        axis.plot(time_ms, course, dashes, color=shown, label=label)
