"""A training run and an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import Panels, legend, stacked, whole_ticks
from cerebellum.plot.look import CYCLE, faint, styled

if TYPE_CHECKING:
    from cerebellum.plot.figure import Target


@styled
def history(epochs: Sequence[Mapping], ax: "Target" = None) -> Panels:
    """Plot the loss and the accuracy of a training run by epoch.

    Args:
      epochs: the entries of the history of `learn.train`, one for each epoch.
      ax: where to draw, as for every plot: None (a new figure), a figure, or two Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("history", ["loss", "accuracy"], [2.5, 2.5], ax)
    above, below = panels
    epoch = [each["epoch"] for each in epochs]
    losses = [each["loss"] for each in epochs]
    above.plot(epoch, losses, color=CYCLE[0], marker="o", label="training")
    losses = [each["validation_loss"] for each in epochs]
    above.plot(epoch, losses, color=CYCLE[1], marker="s", label="validation")
    above.set_ylabel("loss")
    legend(above)
    accuracy = [100 * each["validation_accuracy"] for each in epochs]
    below.plot(epoch, accuracy, color=CYCLE[1], marker="s")
    below.set_ylabel("validation accuracy (%)")
    below.set_xlabel("epoch")
    whole_ticks(below)
    return panels


@styled
def evaluation(result: Mapping, ax: "Target" = None) -> Panels:
    """Plot the MCC next to that of the baselines, the calibration, and the MCC by day.

    Args:
      result: the JSON that `cerebellar-norse evaluate --json` prints.
      ax: where to draw, as for every plot: None (a new figure), a figure, or three Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    names, heights = ["scores", "calibration", "days"], [2.0, 2.5, 2.0]
    panels = stacked("evaluation", names, heights, ax, sharex=False)
    scores, calibration, days = panels
    rows = {**result["baselines"], "this model": result}
    for position, row in enumerate(rows.values()):
        low, high = row["mcc_interval"]
        colour = CYCLE[1] if row is result else CYCLE[-1]
        scores.plot([low, high], [position, position], color=colour, linewidth=2)
        scores.plot([row["mcc"]], [position], color=colour, marker="o")
    scores.set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows])
    scores.set_ylim(-0.5, len(rows) - 0.5)
    part = "the test part" if result["split"] == "test" else "all parts"
    learning = "learning on" if result["online"] else "frozen"
    scores.set_title(f"{result['task']}, {learning}: {result['samples']:,} samples of {part}")
    scores.axvline(0, color=faint(scores, 0.25), linewidth=1)
    scores.set_xlabel("Matthews correlation, 95 % interval")
    bins = result["calibration"]
    calibration.plot([0, 1], [0, 1], color=faint(calibration, 0.25), linewidth=1)
    sizes = np.array([each["samples"] for each in bins])
    calibration.scatter(
        [each["confidence"] for each in bins],
        [each["accuracy"] for each in bins],
        s=10 + 150 * sizes / sizes.max(),
        color=CYCLE[1],
    )
    calibration.set_xlabel("confidence")
    calibration.set_ylabel("accuracy")
    names = list(result["per_day"])
    days.bar(names, [result["per_day"][name]["mcc"] for name in names], color=CYCLE[0], width=0.5)
    days.set_xlim(-1, len(names))
    days.set_ylabel("MCC by day")
    return panels
