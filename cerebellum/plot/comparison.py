"""Measured beside published values, and lines over one axis."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import Panels, legend, single, stacked
from cerebellum.plot.look import CYCLE, colour, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cerebellum.plot.figure import Target


@styled
def compare(
    groups: Mapping[str, Mapping[str, tuple[float, float]]], unit: str, ax: "Target" = None
) -> Panels:
    """Plot measured next to published values: one panel a group, a pair of bars a quantity.

    Args:
      groups: (measured, published) by group and quantity.
      ax: where to draw, as for every plot: None (a new figure), a figure, or Axes, one a panel.

    Raises:
      UsageError: `ax` does not fit.
    """
    panels = stacked("compare", list(groups), [2.2] * len(groups), ax, sharex=False)
    longest = max(map(len, groups.values()))
    for (group, values), axis in zip(groups.items(), panels, strict=True):
        position = np.arange(len(values))
        for shift, index in ((-0.2, 0), (0.2, 1)):
            heights = [pair[index] for pair in values.values()]
            colours = [colour(name) for name in values]
            filled = colours if index == 0 else "none"
            axis.bar(
                position + shift, heights, 0.38, color=filled, edgecolor=colours, linewidth=1.2
            )
        axis.set_xticks(position, [name.replace("_", "\n") for name in values])
        axis.set_ylabel(f"{group}\n({unit})")
        axis.set_xlim(-0.6, longest - 0.4)
    panels[0].set_title("filled: measured; outlined: published")
    return panels


@styled
def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    x_label: str,
    y_label: str,
    ax: "Target" = None,
) -> "Axes":
    """Plot lines over one axis.

    Args:
      lines: (x, y) by label.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    axis = single("curves", ax, (10.0, 4.2))
    for k, (label, (x, y)) in enumerate(lines.items()):
        style = ("-", "--", ":", "-.")[k // len(CYCLE) % 4]
        axis.plot(x, y, style, color=CYCLE[k % len(CYCLE)], linewidth=1.3, label=label)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    legend(axis)
    return axis
