"""Measured beside published values, and lines over one axis."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.plot.figure import COLOURS, stacked

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def compare(groups: Mapping[str, Mapping[str, tuple[float, float]]], unit: str) -> "Figure":
    """Plot measured next to published values: one panel a group, a pair of bars a quantity.

    Args:
      groups: (measured, published) by group and quantity.
    """
    figure, axes = stacked(len(groups), [2.2] * len(groups), sharex=False)
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
    figure, (axis,) = stacked(1, [3.2])
    for label, (x, y) in lines.items():
        axis.plot(x, y, linewidth=1.3, label=label)
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, fontsize=8)
    return figure
