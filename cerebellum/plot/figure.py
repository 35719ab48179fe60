"""What all figures share: where panels lie, windows of time, labels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cerebellum.errors import UsageError, is_number, nearest
from cerebellum.plot.look import MARK, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from matplotlib.ticker import Locator

    Target = Axes | Sequence[Axes] | np.ndarray | FigureBase | None
    """Where to draw. None: a new figure of pyplot, of the size that is needed. A figure or a
    subfigure: panels in it; a figure of matplotlib's default size gets the size that is needed.
    Axes: in them; a plot of several panels takes as many, in a list or an array."""

Windows = Mapping[str, tuple[float, float]]
"""Time windows by name, (start, stop) in ms; they are shaded in plots."""

WIDTH = 10.0
"""Width of a figure with panels one below the other, inches."""


@dataclass(frozen=True)
class Panels:
    """The panels of a plot: `panels["golgi"]` or `panels[0]` is the Axes of one."""

    by_name: Mapping[Any, "Axes"]
    """Axes by name: that of what is drawn there, or the names of row and column"""

    @property
    def axes(self) -> list["Axes"]:
        return list(self.by_name.values())

    @property
    def figure(self) -> "Figure":
        """The figure that the panels lie in."""
        figure = self.axes[0].get_figure(root=True)
        assert figure is not None
        return figure

    def savefig(self, path: Any, **options: Any) -> None:
        """Write the figure to a file; `options` are those of matplotlib's `Figure.savefig`."""
        self.figure.savefig(path, **options)

    def __getitem__(self, name: Any) -> "Axes":
        if name in self.by_name:
            return self.by_name[name]
        if isinstance(name, int | np.integer) and -len(self) <= name < len(self):
            return self.axes[name]
        raise KeyError(nearest(name, [str(known) for known in self.by_name], "this plot"))

    def __iter__(self) -> Iterator["Axes"]:
        return iter(self.axes)

    def __len__(self) -> int:
        return len(self.by_name)

    def __repr__(self) -> str:
        return f"Panels({', '.join(map(str, self.by_name))})"


def blank() -> "Figure":
    """An empty figure that pyplot does not know: it opens no window and need not be closed.

    Give it to a plot as `ax`; it gets the size that the plot needs.
    """
    from matplotlib import rcParamsDefault
    from matplotlib.figure import Figure

    return Figure(figsize=rcParamsDefault["figure.figsize"], layout="constrained")


def single(what: str, ax: "Target", size: tuple[float, float]) -> "Axes":
    """The Axes of a plot with one panel.

    Args:
      what: the name of the plot, for messages.
      size: width and height of a new figure, inches.

    Raises:
      UsageError: `ax` is neither one Axes nor a figure.
    """
    given = _given(what, ax, 1, what)
    return given[0] if given else _figure(ax, size).subplots()


def stacked(
    what: str,
    names: Sequence[Any],
    heights: Sequence[float],
    ax: "Target",
    sharex: bool = True,
) -> Panels:
    """Panels one below the other.

    Args:
      what: the name of the plot, for messages.
      names: of the panels.
      heights: of the panels in a new figure, inches.
      sharex: whether the panels have one axis of x.

    Raises:
      UsageError: `ax` is neither a figure nor as many Axes as there are names.
    """
    axes = _given(what, ax, len(names), ", ".join(map(str, names)))
    if not axes:
        figure = _figure(ax, (WIDTH, 1.0 + sum(heights)))
        ratios = {"height_ratios": list(heights)}
        grid = figure.subplots(len(names), 1, sharex=sharex, squeeze=False, gridspec_kw=ratios)
        axes = list(grid[:, 0])
    return Panels(dict(zip(names, axes, strict=True)))


def table(
    what: str,
    rows: Sequence[str],
    columns: Sequence[str],
    size: tuple[float, float],
    ax: "Target",
    **share: Any,
) -> Panels:
    """Panels in rows and columns, by (row, column).

    Args:
      what: the name of the plot, for messages.
      size: width and height of a new figure, inches.
      share: which panels have one axis, as `sharex` and `sharey` of matplotlib's `subplots`.

    Raises:
      UsageError: `ax` is neither a figure nor rows times columns Axes.
    """
    names = [(row, column) for row in rows for column in columns]
    size_text = f"{len(rows)} rows of {len(columns)}"
    axes = _given(what, ax, len(names), size_text)
    if not axes:
        grid = _figure(ax, size).subplots(len(rows), len(columns), squeeze=False, **share)
        axes = list(grid.flat)
    return Panels(dict(zip(names, axes, strict=True)))


def _given(what: str, ax: "Target", count: int, names: str) -> list["Axes"]:
    """The Axes that a user has given; none if a figure must be divided, or made."""
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if ax is None or isinstance(ax, FigureBase):
        return []
    axes = [ax] if isinstance(ax, Axes) else list(np.asarray(ax, object).flat)
    wrong = [each for each in axes if not isinstance(each, Axes)]
    if wrong:
        raise UsageError(f"{what}: ax {wrong[0]!r}; Axes or a figure of matplotlib, or None")
    for each in axes:
        if each.name != "rectilinear":
            raise UsageError(f"{what}: ax is {each.name}; rectilinear Axes, such as of subplots()")
    if len(axes) != count:
        raise UsageError(
            f"{what}: {len(axes)} Axes for {count} panels; one each ({names}), or a figure"
        )
    return axes


def _figure(ax: Any, size: tuple[float, float]) -> Any:
    """The figure or subfigure to divide: a new one, or the one that is given."""
    if ax is None:
        from matplotlib import pyplot

        return pyplot.figure(figsize=size)
    from matplotlib import rcParamsDefault
    from matplotlib.figure import Figure

    if isinstance(ax, Figure):
        default = tuple(rcParamsDefault["figure.figsize"])
        if tuple(ax.get_size_inches()) == default and not ax.axes:
            ax.set_size_inches(*size)
        if ax.get_layout_engine() is None:
            ax.set_layout_engine("constrained")
    return ax


def shade(ax: "Axes", windows: Windows | None) -> None:
    """Shade windows of time in a panel.

    Raises:
      UsageError: these are no windows, or one ends before it begins.
    """
    if windows is not None and not isinstance(windows, Mapping):
        raise UsageError(f"windows: {windows!r}; such as {{'burst': (300, 350)}}, ms")
    for name, window in (windows or {}).items():
        pair = window if isinstance(window, Sequence | np.ndarray) else ()
        if len(pair) != 2 or not all(map(is_number, pair)) or not pair[0] < pair[1]:
            raise UsageError(f"windows: {name!r}: {window!r}; its start and its end, ms")
        start, stop = pair
        ax.axvspan(start, stop, color=MARK, alpha=0.16, linewidth=0, zorder=0)


def few_ticks(most: int = 3) -> "Locator":
    """The locator of a low panel's ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most)


def whole_ticks(ax: "Axes") -> None:
    """Ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def side_label(ax: "Axes", text: str) -> None:
    """Write the label of the y axis of a low panel, upright, beside it."""
    ax.set_ylabel(text, rotation=0, ha="right", va="center")


def legend(ax: "Axes", **options: Any) -> None:
    """A legend in the ink of its panel."""
    ax.legend(labelcolor=ink(ax), frameon=False, **options)


def room(ax: "Axes") -> tuple[float, float]:
    """Width and height of a panel, points, before a layout has been found."""
    box, figure = ax.get_window_extent(), ax.get_figure(root=True)
    assert figure is not None
    return box.width * 72 / figure.dpi, box.height * 72 / figure.dpi


def spoken(name: str) -> str:
    """The name of a population, as a text has it."""
    return name.replace("_", " ")
