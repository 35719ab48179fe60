"""What all figures share: sizes, colours, windows of time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

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


def blank(width: float, height: float) -> "Figure":
    """An empty figure of this size, inches, that can be saved."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def stacked(
    rows: int, heights: Sequence[float], sharex: bool = True
) -> tuple["Figure", np.ndarray]:
    """A figure with panels one below the other, and the panels, [rows].

    Args:
      heights: of the panels, inches.
      sharex: whether the panels have one axis of x.
    """
    figure = blank(10, 1.0 + sum(heights))
    axes = figure.subplots(
        rows, 1, sharex=sharex, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    return figure, axes[:, 0]


def shade(axis, windows: Windows | None) -> None:
    """Shade windows of time in a panel."""
    for start, stop in (windows or {}).values():
        axis.axvspan(start, stop, color="#f2d7a0", alpha=0.5, linewidth=0, zorder=0)


def few_ticks():
    """The locator of a low panel's ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)
