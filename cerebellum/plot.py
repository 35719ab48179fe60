"""Plots of recordings and results.

Every function returns a matplotlib figure; save it with `savefig`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.sim.record import Recording, check, rate_course

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "mossy_fiber": "#7f7f7f",
    "glomerulus": "#7f7f7f",
    "granule": "#d62728",
    "golgi": "#1f77b4",
    "brush_on": "#17becf",
    "brush_off": "#0b7285",
    "purkinje": "#2ca02c",
    "basket": "#ff7f0e",
    "stellate": "#e0a800",
    "nuclei": "#111111",
    "nuclei_inhibitory": "#8c564b",
    "inferior_olive": "#9467bd",
}
"""The colour of each population, the same in every plot."""

Windows = Mapping[str, tuple[float, float]]
"""Time windows by name, (start, stop) in ms; they are shaded in plots."""


def _figure(
    rows: int, heights: Sequence[float], sharex: bool = True
) -> tuple["Figure", np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 1.0 + sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(
        rows, 1, sharex=sharex, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    return figure, axes[:, 0]


def _shade(axis, windows: Windows | None) -> None:
    for start, stop in (windows or {}).values():
        axis.axvspan(start, stop, color="#f2d7a0", alpha=0.5, linewidth=0, zorder=0)


def _finish(axes: np.ndarray, recording: Recording) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("time (ms)")
    start = recording.start_ms
    axes[-1].set_xlim(start, start + recording.duration_ms)


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
    figure, axes = _figure(len(names), np.clip(heights, 0.6, 2.4).tolist())
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
        _shade(axis, windows)
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
    figure, axes = _figure(len(shown), [0.9] * len(shown))
    for axis, (name, course) in zip(axes, shown.items(), strict=True):
        colour = COLOURS.get(name, "#333333")
        axis.fill_between(time_ms, course, step="mid", color=colour, alpha=0.25, linewidth=0)
        axis.step(time_ms, course, where="mid", color=colour, linewidth=1.0)
        axis.set_ylim(0, None)
        axis.yaxis.set_major_locator(_few_ticks())
        axis.set_ylabel(f"{name.replace('_', ' ')}\n(Hz)", rotation=0, ha="right", va="center")
        _shade(axis, windows)
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
    figure, axes = _figure(len(names), [1.6] * len(names))
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
        _shade(axis, windows)
    _finish(axes, recording)
    return figure


def compare(groups: Mapping[str, Mapping[str, tuple[float, float]]], unit: str) -> "Figure":
    """Plot measured next to published values: one panel a group, a pair of bars a quantity.

    Args:
      groups: (measured, published) by group and quantity.
    """
    figure, axes = _figure(len(groups), [2.2] * len(groups), sharex=False)
    longest = max(map(len, groups.values()))
    for axis, (group, values) in zip(axes, groups.items(), strict=True):
        position = np.arange(len(values))
        for shift, index in ((-0.2, 0), (0.2, 1)):
            heights = [pair[index] for pair in values.values()]
            colours = [COLOURS.get(name, "#333333") for name in values]
            bars = {"color": colours} if index == 0 else {"color": "none", "edgecolor": colours}
            axis.bar(position + shift, heights, 0.38, **bars)
        axis.set_xticks(position, [name.replace("_", "\n") for name in values], fontsize=8)
        axis.set_ylabel(f"{group}\n({unit})")
        axis.set_xlim(-0.6, longest - 0.4)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_title("filled: measured; outlined: published", fontsize=9, loc="left")
    return figure


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]], x_label: str, y_label: str
) -> "Figure":
    """Plot lines over one axis.

    Args:
      lines: (x, y) by label.
    """
    figure, (axis,) = _figure(1, [3.2])
    for label, (x, y) in lines.items():
        axis.plot(x, y, linewidth=1.3, label=label)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    return figure


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
    figure, (axis,) = _figure(1, [3.2])
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

    figure, axes = _figure(len(rates), [1.5] * len(rates))
    width = smooth_ms / (time_ms[1] - time_ms[0])
    for axis, (name, courses) in zip(axes, rates.items(), strict=True):
        colours = ("#999999", COLOURS.get(name, "#333333"))
        for colour, (label, course) in zip(colours, courses.items(), strict=False):
            axis.plot(time_ms, gaussian_filter1d(course, width), color=colour, label=label)
        axis.set_ylabel(f"{name.replace('_', ' ')}\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(_few_ticks())
        axis.spines[["top", "right"]].set_visible(False)
        _shade(axis, windows)
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = list(next(iter(rates.values())))
    figure = Figure(figsize=(5.5 * len(rates), 0.8 + 2.4 * len(kinds)), layout="constrained")
    FigureCanvasAgg(figure)
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


def single_trials(
    time_ms: np.ndarray, rates: Mapping[str, np.ndarray], windows: Windows | None = None
) -> "Figure":
    """Plot single trials around a stimulus: one panel a condition, a thin line a trial.

    Args:
      time_ms: time from the stimulus, ms, [T].
      rates: rates less their baseline by condition, Hz, [trials, T]; the mean is drawn thickly.
    """
    figure, axes = _figure(len(rates), [1.8] * len(rates))
    # One trial that begins far from the others must not flatten them all.
    limit = 1.3 * max(np.percentile(np.abs(values), 99.5) for values in rates.values())
    for axis, (label, values) in zip(axes, rates.items(), strict=True):
        axis.plot(time_ms, values.T, color=COLOURS["nuclei"], alpha=0.25, linewidth=0.6)
        axis.plot(time_ms, values.mean(axis=0), color="#222222", linewidth=1.8)
        axis.set_ylim(-limit, limit)
        axis.set_ylabel(f"{label}\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(_few_ticks())
        axis.spines[["top", "right"]].set_visible(False)
        _shade(axis, windows)
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
    figure, axes = _figure(len(curves), [1.6] * len(curves))
    colour = COLOURS.get(name, "#333333")
    for axis, (interval, (time_ms, changes)) in zip(axes, curves.items(), strict=True):
        axis.plot(time_ms, changes.T, color=colour, alpha=0.4, linewidth=0.7)
        axis.plot(time_ms, changes.mean(axis=0), color=colour, linewidth=2)
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axis.axvline(interval, color="#222222", linestyle="--", linewidth=1)
        axis.set_ylabel(f"{interval} ms\n(Hz)", rotation=0, ha="right", va="center")
        axis.yaxis.set_major_locator(_few_ticks())
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
    figure, axes = _figure(len(curves), [1.3] * len(curves))
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
    figure, (axis,) = _figure(1, [3.4])
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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(next(iter(rates.values())))
    figure = Figure(figsize=(3 * len(rates), 2 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(names), len(rates), sharex=True, sharey="row", squeeze=False)
    for column, (group, courses) in zip(axes.T, rates.items(), strict=True):
        column[0].set_title(group, fontsize=10)
        for axis, (name, lines) in zip(column, courses.items(), strict=True):
            colours = ("#999999", COLOURS.get(name, "#333333"))
            for colour, (label, course) in zip(colours, lines.items(), strict=False):
                axis.plot(time_ms, course, color=colour, linewidth=1.2, label=label)
            axis.axvline(mark_ms, color="#222222", linestyle="--", linewidth=0.8)
            axis.spines[["top", "right"]].set_visible(False)
            _shade(axis, windows)
        column[-1].set_xlabel("time from the tone (ms)")
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(f"{name.replace('_', ' ')} (Hz)")
        axis.set_ylim(0, None)
        axis.legend(frameon=False, fontsize=7)
    return figure


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Changes of a gain by training."""

    tested: Sequence[int]
    """times of the tests, hours"""
    tests: Mapping[str, np.ndarray]
    """change in each test, [circuits, tests], by label: intact circuits, then lesioned ones"""
    course: np.ndarray
    """change in training, [circuits, stretches of equal length that end with the last test]"""


def lesions(groups: Mapping[str, Lesions], published: Mapping[int, float]) -> "Figure":
    """Plot changes of a gain by training: a thin line a circuit, a thick one for their mean.

    Args:
      groups: by the title of the panel.
      published: change by time of the test, hours.
    """
    figure, axes = _figure(len(groups), [2.9] * len(groups))
    colours, published_changes = ("purkinje", "nuclei"), list(published.values())
    for axis, (title, group) in zip(axes, groups.items(), strict=True):
        count = group.course.shape[1]
        middle = (np.arange(count) + 0.5) * (group.tested[-1] / count)
        axis.plot(middle, group.course.mean(axis=0), color="#bbbbbb", label="while it learns")
        for (label, values), name in zip(group.tests.items(), colours, strict=True):
            times, values = [0, *group.tested], np.pad(values, ((0, 0), (1, 0)))
            axis.plot(times, values.T, color=COLOURS[name], alpha=0.35, linewidth=0.7)
            axis.plot(times, values.mean(axis=0), "o-", color=COLOURS[name], label=label)
        axis.plot(
            list(published), published_changes, "D", color=COLOURS["granule"], label="monkeys"
        )
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_ylabel("change of the gain")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=8, loc="upper right", ncol=2)
    axes[-1].set_xlabel("time of training (hours of the animal)")
    return figure


def _few_ticks():
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)


def history(epochs: Sequence[Mapping]) -> "Figure":
    """Plot the loss and the accuracy of a training run by epoch.

    Args:
      epochs: the entries of the history of `learn.train`, one for each epoch.
    """
    figure, (above, below) = _figure(2, (2.5, 2.5))
    epoch = [each["epoch"] for each in epochs]
    above.plot(
        epoch, [each["loss"] for each in epochs], color="#1f77b4", marker="o", label="training"
    )
    losses = [each["validation_loss"] for each in epochs]
    above.plot(epoch, losses, color="#d62728", marker="o", label="validation")
    above.set_ylabel("loss")
    above.legend(frameon=False)
    accuracy = [100 * each["validation_accuracy"] for each in epochs]
    below.plot(epoch, accuracy, color="#d62728", marker="o")
    below.set_ylabel("validation accuracy (%)")
    below.set_xlabel("epoch")
    below.xaxis.get_major_locator().set_params(integer=True)
    for axis in (above, below):
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def evaluation(result: Mapping) -> "Figure":
    """Plot the MCC next to that of the baselines, the calibration, and the MCC by day.

    Args:
      result: the JSON that `cerebellar-norse evaluate --json` prints.
    """
    figure, (scores, calibration, days) = _figure(3, (2.0, 2.5, 2.0), sharex=False)
    rows = {**result["baselines"], "this model": result}
    for position, row in enumerate(rows.values()):
        low, high = row["mcc_interval"]
        colour = "#d62728" if row is result else "#7f7f7f"
        scores.plot([low, high], [position, position], color=colour, linewidth=2)
        scores.plot([row["mcc"]], [position], color=colour, marker="o")
    scores.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    scores.axvline(0, color="#cccccc", linewidth=1)
    scores.set_xlabel("Matthews correlation, 95 % interval")
    bins = result["calibration"]
    calibration.plot([0, 1], [0, 1], color="#cccccc", linewidth=1)
    sizes = np.array([each["samples"] for each in bins])
    calibration.scatter(
        [each["confidence"] for each in bins],
        [each["accuracy"] for each in bins],
        s=10 + 150 * sizes / sizes.max(),
        color="#d62728",
    )
    calibration.set_xlabel("confidence")
    calibration.set_ylabel("accuracy")
    names = list(result["per_day"])
    days.bar(names, [result["per_day"][name]["mcc"] for name in names], color="#1f77b4", width=0.5)
    days.set_xlim(-1, len(names))
    days.set_ylabel("MCC by day")
    for axis in (scores, calibration, days):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
