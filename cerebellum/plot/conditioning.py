"""Figures of conditioning: responses by block and session, single trials, intervals."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import COLOURS, Windows, few_ticks, shade, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def learning_curve(
    phases: Mapping[str, np.ndarray],
    published: Mapping[str, np.ndarray] | None = None,
    whose: str = "published",
    trials: int = 100,
) -> "Figure":
    """Plot the percentage of conditioned responses by block, phase after phase.

    Args:
      phases: percent [circuits, blocks] by phase; the mean is drawn thickly, each circuit thinly.
      published: percent [blocks] by phase.
      whose: the label of the published values.
      trials: trials to a block.
    """
    figure, (axis,) = stacked(1, [3.2])
    first_block = 1
    for name, values in phases.items():
        block = first_block + np.arange(values.shape[1])
        for circuit_values in values:
            axis.plot(block, circuit_values, color=COLOURS["purkinje"], alpha=0.25, linewidth=0.8)
        mean = values.mean(axis=0)
        label = "model" if first_block == 1 else None
        axis.plot(block, mean, "o-", color=COLOURS["purkinje"], linewidth=1.8, label=label)
        if published and name in published:
            axis.plot(block, published[name], "s--", color=COLOURS["granule"], label=whose)
        axis.axvline(block[-1] + 0.5, color="#cccccc", linewidth=0.8)
        axis.text(block.mean(), 104, name, ha="center", fontsize=9)
        first_block = int(block[-1]) + 1
    axis.set_xlim(0.5, first_block - 0.5)
    axis.set_ylim(-3, 112)
    axis.set_yticks(range(0, 101, 20))
    axis.set_xlabel(f"block of {trials} trials")
    axis.set_ylabel("conditioned responses (%)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="upper left")
    return figure


def single_trials(
    time_ms: np.ndarray, rates: Mapping[str, np.ndarray], windows: Windows | None = None
) -> "Figure":
    """Plot single trials around a stimulus: one panel a condition, a thin line a trial.

    Args:
      time_ms: time from the stimulus, ms, [T].
      rates: rates less their baseline by condition, Hz, [trials, T]; the mean is drawn thickly.
    """
    figure, axes = stacked(len(rates), [1.8] * len(rates))
    # One trial that begins far from the others must not flatten them all.
    limit = 1.3 * max(np.percentile(np.abs(values), 99.5) for values in rates.values())
    for axis, (label, values) in zip(axes, rates.items(), strict=True):
        axis.plot(time_ms, values.T, color=COLOURS["nuclei"], alpha=0.25, linewidth=0.6)
        axis.plot(time_ms, values.mean(axis=0), color="#222222", linewidth=1.8)
        axis.set_ylim(-limit, limit)
        axis.set_ylabel(f"{label}\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(few_ticks())
        axis.spines[["top", "right"]].set_visible(False)
        shade(axis, windows)
    axes[-1].set_xlabel("time from the stimulus (ms)")
    axes[-1].set_xlim(time_ms[0], time_ms[-1])
    return figure


def intervals(curves: Mapping[int, tuple[np.ndarray, np.ndarray]], name: str) -> "Figure":
    """Plot the response of a population to tones with several intervals to the puff.

    One panel an interval: a thin line a circuit, a thick one their mean, and a mark at the puff.

    Args:
      curves: time from the onset of the tone, ms, [T], and change of the rate, Hz, [circuits, T],
        by interval, ms.
      name: of the population.
    """
    figure, axes = stacked(len(curves), [1.6] * len(curves))
    colour = COLOURS.get(name, "#333333")
    for axis, (interval, (time_ms, changes)) in zip(axes, curves.items(), strict=True):
        axis.plot(time_ms, changes.T, color=colour, alpha=0.4, linewidth=0.7)
        axis.plot(time_ms, changes.mean(axis=0), color=colour, linewidth=2)
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axvline(interval, color="#222222", linestyle="--", linewidth=1)
        axis.set_ylabel(f"{interval} ms\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(few_ticks())
        axis.spines[["top", "right"]].set_visible(False)
    longest = max(time_ms[-1] for time_ms, _ in curves.values())
    axes[0].set_title(f"{name}: change of the rate; the puff comes at the dashed line", fontsize=10)
    axes[-1].set_xlim(-100, longest)
    axes[-1].set_xlabel("time from the onset of the tone (ms)")
    return figure


def sessions(curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> "Figure":
    """Plot percent CR by session, of circuits and of mice: one panel a phase.

    Args:
      curves: percent CR of circuits, [circuits, sessions], and of mice, [sessions], by the title of
        the panel.
    """
    figure, axes = stacked(len(curves), [1.3] * len(curves))
    for axis, (title, (circuits, mice)) in zip(axes, curves.items(), strict=True):
        number = np.arange(mice.size) + 1
        axis.plot(number, circuits.T, color=COLOURS["nuclei"], alpha=0.4, linewidth=0.7)
        mean = circuits.mean(axis=0)
        axis.plot(number, mean, color=COLOURS["nuclei"], linewidth=2, label="circuits")
        axis.plot(number, mice, color="#222222", marker="o", linewidth=1, label="mice")
        axis.set_ylim(0, 105)
        axis.set_ylabel(f"{title.replace(': ', ':' + chr(10))}\n(% CR)", fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right", ncol=2)
    axes[-1].set_xlabel("session")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    return figure


def blocks(percent: Mapping[str, np.ndarray], x_label: str) -> "Figure":
    """Plot the percentage of conditioned responses by block: a colour a group.

    Args:
      percent: [circuits, blocks] by group; the mean is drawn thickly, each circuit thinly.
    """
    figure, (axis,) = stacked(1, [3.4])
    styles = zip("os^D", ("#222222", "#1f77b4", "#2ca02c", "#9467bd"), strict=True)
    for (name, values), (marker, colour) in zip(percent.items(), styles, strict=False):
        block = 1 + np.arange(values.shape[1])
        axis.plot(block, values.T, color=colour, alpha=0.25, linewidth=0.8)
        axis.plot(block, values.mean(axis=0), marker + "-", color=colour, linewidth=2, label=name)
        axis.set_xticks(block)
    axis.set_ylim(-3, 103)
    axis.set_xlabel(x_label)
    axis.set_ylabel("conditioned responses (%)")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure
