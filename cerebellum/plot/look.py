"""The look of all plots: colours, a style sheet, and ink for a light or a dark background."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from cerebellum.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes

CYCLE = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#5E5E5E")
"""Colours of lines that are no populations, in this order: those of Okabe & Ito 2008 without black
and yellow, which vanish on a dark or a light background, and a grey."""

COLOURS = {
    "mossy_fiber": "#5E5E5E",
    "glomerulus": "#5E5E5E",
    "granule": "#D55E00",
    "golgi": "#0072B2",
    "brush_on": "#A77DFF",
    "brush_off": "#8112EC",
    "purkinje": "#009E73",
    "basket": "#E69F00",
    "stellate": "#915E3D",
    "nuclei": "#56B4E9",
    "nuclei_inhibitory": "#75AC4D",
    "inferior_olive": "#CC79A7",
}
"""The colour of each population, the same in every plot. The colour-blind can tell them apart, and
each has a contrast of 2 with white and with black. Mossy fibres and glomeruli share one."""

MARK = CYCLE[3]
"""The colour of what is pointed out, such as a window of time."""

SHEET: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.2,
    "lines.markersize": 5.0,
    "image.cmap": "viridis",
    "figure.constrained_layout.use": True,
}
"""Settings of matplotlib that all plots share; they leave the background and the ink alone."""


def _theme(background: str, text: str) -> dict[str, Any]:
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    on_paper = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
    return {**dict.fromkeys(inked, text), **dict.fromkeys(on_paper, background)}


THEMES = {"light": _theme("#ffffff", "#1a1a1a"), "dark": _theme("#15171c", "#e4e6eb")}
"""Background and ink of a light and a dark picture."""

P = ParamSpec("P")
R = TypeVar("R")


def style(theme: Literal["light", "dark"] | None = None) -> "AbstractContextManager[None]":
    """Within `with cb.plot.style():`, plots of your own look as those of this package.

    Settings of matplotlib are as before afterwards.

    Args:
      theme: the background of what is drawn within, also by this package: "light" or "dark". None
        leaves it as it is set.

    Raises:
      UsageError: there is no such theme.
    """
    from cycler import cycler

    if theme is not None and theme not in THEMES:
        raise UsageError(f"theme: {theme!r}; 'light', 'dark' or None")
    sheet: Any = SHEET | {"axes.prop_cycle": cycler(color=CYCLE)} | THEMES.get(theme or "", {})
    return _applied(sheet)


@contextmanager
def _applied(sheet: Any) -> Iterator[None]:
    """Settings of matplotlib for the time of a block, but for whether pyplot is interactive.

    The first figure makes pyplot load its backend, and that of notebooks switches it on, for good.
    """
    import matplotlib

    interactive = matplotlib.is_interactive()
    try:
        with matplotlib.rc_context(sheet):
            try:
                yield
            finally:
                interactive = matplotlib.is_interactive()
    finally:
        matplotlib.interactive(interactive)


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """A function that draws, within the style of this package."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with style():
            return draw(*args, **kwargs)

    return drawn


def colour(population: str, place: int | None = None) -> str:
    """The colour of a population; of one that has none, that of its place in a list, or a grey."""
    other = CYCLE[-1] if place is None else CYCLE[place % len(CYCLE)]
    return COLOURS.get(population, other)


def ink(ax: "Axes") -> str:
    """The colour of the text of a panel."""
    from matplotlib.colors import to_hex

    return to_hex(ax.xaxis.label.get_color())


def paper(ax: "Axes") -> tuple[float, float, float]:
    """The colour of the background of a panel, RGB from 0 to 1."""
    from matplotlib.colors import to_rgba

    colour = to_rgba(ax.get_facecolor())
    red, green, blue, _ = to_rgba(ax.figure.get_facecolor()) if colour[3] == 0 else colour
    return red, green, blue


def seen_colours(ax: "Axes") -> Any:
    """Matplotlib's viridis without the end that vanishes on the background of a panel."""
    import matplotlib
    import numpy as np
    from matplotlib.colors import ListedColormap

    low, high = (0.25, 1.0) if sum(paper(ax)) < 1.5 else (0.0, 0.85)
    return ListedColormap(matplotlib.colormaps["viridis"](np.linspace(low, high, 256)))


def faint(ax: "Axes", share: float = 0.5) -> str:
    """The ink of a panel, thinned: with a share of 0 it is the background."""
    import numpy as np
    from matplotlib.colors import to_hex, to_rgb

    mixed = share * np.array(to_rgb(ink(ax))) + (1 - share) * np.array(paper(ax))
    return to_hex(mixed.tolist())
