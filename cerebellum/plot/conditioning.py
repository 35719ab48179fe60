"""Figures of conditioning: responses by block and session, single trials, intervals."""

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
    single,
    spoken,
    stacked,
    whole_ticks,
)
from cerebellum.plot.look import COLOURS, CYCLE, colour, faint, ink, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cerebellum.plot.figure import Target


@styled
def learning_curve(
    phases: Mapping[str, np.ndarray],
    published: Mapping[str, np.ndarray] | None = None,
    whose: str = "published",
    trials: int = 100,
    ax: "Target" = None,
) -> "Axes":
    """Plot the percentage of conditioned responses by block, phase after phase.

    Args:
      phases: percent [circuits, blocks] by phase; the mean is drawn thickly, each circuit thinly.
      published: percent [blocks] by phase.
      whose: the label of the published values.
      trials: trials to a block.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    axis = single("learning_curve", ax, (10.0, 4.2))
    first_block = 1
    for name, values in phases.items():
        block = first_block + np.arange(values.shape[1])
        for circuit_values in values:
            axis.plot(block, circuit_values, color=COLOURS["purkinje"], alpha=0.5, linewidth=0.8)
        mean = values.mean(axis=0)
        label = "model" if first_block == 1 else None
        axis.plot(block, mean, "o-", color=COLOURS["purkinje"], linewidth=1.8, label=label)
        if published and name in published:
            axis.plot(block, published[name], "s--", color=COLOURS["granule"], label=whose)
        axis.axvline(block[-1] + 0.5, color=faint(axis, 0.25), linewidth=0.8)
        axis.text(block.mean(), 104, name, ha="center", color=ink(axis))
        first_block = int(block[-1]) + 1
    axis.set_xlim(0.5, first_block - 0.5)
    axis.set_xlabel(f"block of {trials} trials")
    whole_ticks(axis)
    _percent(axis, 112)
    legend(axis, loc="upper left")
    return axis


@styled
def single_trials(
    time_ms: np.ndarray,
    rates: Mapping[str, np.ndarray],
    windows: Windows | None = None,
    ax: "Target" = None,
) -> Panels:
    """Plot single trials around a stimulus: one panel a condition, a thin line a trial.

    Args:
      time_ms: time from the stimulus, ms, [T].
      rates: rates less their baseline by condition, Hz, [trials, T]; the mean is drawn thickly.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("single_trials", list(rates), [1.8] * len(rates), ax)
    # One trial that begins far from the others must not flatten them all.
    limit = 1.3 * max(np.percentile(np.abs(values), 99.5) for values in rates.values())
    for (label, values), axis in zip(rates.items(), panels, strict=True):
        axis.plot(time_ms, values.T, color=COLOURS["nuclei"], alpha=0.6, linewidth=0.6)
        axis.plot(time_ms, values.mean(axis=0), color=ink(axis), linewidth=1.8)
        axis.set_ylim(-limit, limit)
        side_label(axis, f"{label}\n(Hz)")
        axis.yaxis.set_major_locator(few_ticks())
        shade(axis, windows)
        axis.set_xlim(time_ms[0], time_ms[-1])
    panels[-1].set_xlabel("time from the stimulus (ms)")
    return panels


@styled
def intervals(
    curves: Mapping[int, tuple[np.ndarray, np.ndarray]], name: str, ax: "Target" = None
) -> Panels:
    """Plot the response of a population to tones with several intervals to the puff.

    One panel an interval: a thin line a circuit, a thick one their mean, and a mark at the puff.

    Args:
      curves: time from the onset of the tone, ms, [T], and change of the rate, Hz, [circuits, T],
        by interval, ms.
      name: of the population.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("intervals", list(curves), [1.6] * len(curves), ax)
    longest = max(time_ms[-1] for time_ms, _ in curves.values())
    for (interval, (time_ms, changes)), axis in zip(curves.items(), panels, strict=True):
        axis.plot(time_ms, changes.T, color=colour(name), alpha=0.5, linewidth=0.7)
        axis.plot(time_ms, changes.mean(axis=0), color=colour(name), linewidth=2)
        axis.axhline(0, color=faint(axis, 0.3), linewidth=0.8, zorder=0)
        axis.axvline(interval, color=ink(axis), linestyle="--", linewidth=1)
        side_label(axis, f"{interval} ms\n(Hz)")
        axis.yaxis.set_major_locator(few_ticks())
        axis.set_xlim(-100, longest)
    title = f"{spoken(name)}: change of the rate; the puff comes at the dashed line"
    panels.axes[0].set_title(title)
    panels.axes[-1].set_xlabel("time from the onset of the tone (ms)")
    return panels


@styled
def sessions(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], ax: "Target" = None) -> Panels:
    """Plot percent CR by session, of circuits and of mice: one panel a phase.

    Args:
      curves: percent CR of circuits, [circuits, sessions], and of mice, [sessions], by the title of
        the panel.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("sessions", list(curves), [1.3] * len(curves), ax)
    for (title, (circuits, mice)), axis in zip(curves.items(), panels, strict=True):
        number = np.arange(mice.size) + 1
        axis.plot(number, circuits.T, color=COLOURS["nuclei"], alpha=0.5, linewidth=0.7)
        mean = circuits.mean(axis=0)
        axis.plot(number, mean, color=COLOURS["nuclei"], linewidth=2, label="circuits")
        axis.plot(number, mice, color=ink(axis), marker="o", linewidth=1, label="mice")
        axis.set_ylim(0, 105)
        axis.set_ylabel(f"{title.replace(': ', ':' + chr(10))}\n(% CR)", fontsize=8)
    legend(panels[0], loc="upper right", ncol=2)
    panels[-1].set_xlabel("session")
    whole_ticks(panels[-1])
    return panels


@styled
def blocks(percent: Mapping[str, np.ndarray], x_label: str, ax: "Target" = None) -> "Axes":
    """Plot the percentage of conditioned responses by block: a colour and a marker a group.

    Args:
      percent: [circuits, blocks] by group; the mean is drawn thickly, each circuit thinly.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    axis = single("blocks", ax, (10.0, 4.4))
    styles = zip("os^D", CYCLE, strict=False)
    for (name, values), (marker, shown) in zip(percent.items(), styles, strict=False):
        block = 1 + np.arange(values.shape[1])
        axis.plot(block, values.T, color=shown, alpha=0.5, linewidth=0.8)
        axis.plot(block, values.mean(axis=0), marker + "-", color=shown, linewidth=2, label=name)
        axis.set_xticks(block)
    axis.set_xlabel(x_label)
    _percent(axis, 103)
    legend(axis, loc="upper left", bbox_to_anchor=(1, 1))
    return axis


def _percent(axis: "Axes", top: float) -> None:
    """The y axis of conditioned responses."""
    axis.set_ylim(-3, top)
    axis.set_yticks(range(0, 101, 20))
    axis.set_ylabel("conditioned responses (%)")
