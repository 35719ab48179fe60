"""A training run and an evaluation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def history(epochs: Sequence[Mapping]) -> "Figure":
    """Plot the loss and the accuracy of a training run by epoch.

    Args:
      epochs: the entries of the history of `learn.train`, one for each epoch.
    """
    figure, (above, below) = stacked(2, (2.5, 2.5))
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
    figure, (scores, calibration, days) = stacked(3, (2.0, 2.5, 2.0), sharex=False)
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
