"""Changes of a reflex's gain by training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import Panels, legend, stacked
from cerebellum.plot.look import COLOURS, faint, styled

if TYPE_CHECKING:
    from cerebellum.plot.figure import Target


@dataclass(frozen=True, kw_only=True)
class Lesions:
    """Changes of a gain by training."""

    tested: Sequence[int]
    """times of the tests, hours"""
    tests: Mapping[str, np.ndarray]
    """change in each test, [circuits, tests], by label: intact circuits, then lesioned ones"""
    course: np.ndarray
    """change in training, [circuits, stretches of equal length that end with the last test]"""


@styled
def lesions(
    groups: Mapping[str, Lesions], published: Mapping[int, float], ax: "Target" = None
) -> Panels:
    """Plot changes of a gain by training: a thin line a circuit, a thick one for their mean.

    Args:
      groups: by the title of the panel.
      published: change by time of the test, hours.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("lesions", list(groups), [2.9] * len(groups), ax)
    colours, published_changes = ("purkinje", "nuclei"), list(published.values())
    for axis, (title, group) in zip(panels, groups.items(), strict=True):
        count = group.course.shape[1]
        middle = (np.arange(count) + 0.5) * (group.tested[-1] / count)
        axis.plot(
            middle, group.course.mean(axis=0), color=faint(axis, 0.35), label="while it learns"
        )
        for (label, values), name in zip(group.tests.items(), colours, strict=True):
            times, values = [0, *group.tested], np.pad(values, ((0, 0), (1, 0)))
            axis.plot(times, values.T, color=COLOURS[name], alpha=0.5, linewidth=0.7)
            axis.plot(times, values.mean(axis=0), "o-", color=COLOURS[name], label=label)
        axis.plot(
            list(published), published_changes, "D", color=COLOURS["granule"], label="monkeys"
        )
        axis.set_title(title)
        axis.set_ylabel("change of the gain")
    legend(panels.axes[0], loc="upper left", bbox_to_anchor=(1, 1))
    panels.axes[-1].set_xlabel("time of training (hours of the animal)")
    return panels
