"""Activity on the sheet, as an animation."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.plot.figure import legend, single, spoken
from cerebellum.plot.look import colour, faint, ink, styled
from cerebellum.plot.recording import chosen
from cerebellum.sim.record import Recording, check

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation

    from cerebellum.plot.figure import Target

MOST_FRAMES = 2_000
"""An animation of more frames is refused: it would take minutes to draw."""


@styled
def animate(
    recording: Recording,
    positions: Mapping[str, Any],
    populations: Sequence[str] | str | None = None,
    *,
    frame_ms: float = 5.0,
    fade_ms: float = 15.0,
    span_ms: tuple[float, float] | None = None,
    view: str = "xy",
    fps: int = 20,
    ax: "Target" = None,
) -> "FuncAnimation":
    """Animate the spikes of recorded cells where they lie: a cell lights up and fades.

    The animation is matplotlib's: `animate(...).save("activity.gif", writer="pillow", dpi=80)`, or
    `IPython.display.HTML(animate(...).to_jshtml())` in a notebook.

    Args:
      recording: with rasters of the populations.
      positions: positions of all cells, um [cells, 3], by population.
      populations: which to draw; None for all that have a raster and positions.
      frame_ms: time from one frame to the next, ms.
      fade_ms: time in which a cell fades to 1/e after a spike, ms.
      span_ms: first and last time, ms; None for all of the recording.
      view: the two axes to look at: "xy" from above, "xz" or "yz" from a side.
      fps: frames a second.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: no population has a raster and positions, positions are not one for each cell,
        there would be no frames or more than `MOST_FRAMES`, or `ax` does not fit.
    """
    from matplotlib.animation import FuncAnimation
    from matplotlib.colors import to_rgb

    check(recording)
    both = [name for name in recording.rasters if name in positions]
    if not both:
        named = ", ".join(positions) or "none"
        raise UsageError(
            f"animate: rasters of {', '.join(recording.rasters) or 'none'}, positions "
            f"of {named}; a population with both"
        )
    names = chosen("animate", populations, both)
    columns = _columns(view)
    times = _frames(recording, frame_ms, fade_ms, span_ms)
    # Many cells lie at the bottom, few on top of them.
    names = sorted(names, key=lambda name: -len(recording.rasters[name].cells))
    places = {name: _places(recording, positions, name)[:, columns] for name in names}
    low, high = (edge(np.concatenate(list(places.values())), axis=0) for edge in (np.min, np.max))
    wide = 6.4
    tall = float(np.clip(wide * (high[1] - low[1]) / max(high[0] - low[0], 1.0), 2.0, 8.0))
    axis = single("animate", ax, (wide + 1.6, tall + 0.9))
    drawn = []
    for name in names:
        count = len(places[name])
        size = float(np.clip(4000 / max(count, 1), 4.0, 60.0))
        dots = {"s": size, "linewidths": 0, "label": spoken(name)}
        axis.scatter(*places[name].T, s=size, linewidths=0, color=faint(axis, 0.14))
        lit = axis.scatter(*places[name].T, color=colour(name), **dots)
        glow = _glow(recording, name, times, fade_ms)
        drawn.append((lit, places[name], np.array(to_rgb(colour(name))), glow))
    axis.set_aspect("equal")
    margin = 0.02 * (high - low) + 1.0
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axis.set_xlabel(f"{view[0]} (um)")
    axis.set_ylabel(f"{view[1]} (um)")
    title = axis.set_title("", color=ink(axis))
    legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    def draw(frame: int) -> list[Any]:
        for lit, where, rgb, glow in drawn:
            bright = glow(frame)
            seen = bright > 0.02
            lit.set_offsets(where[seen])
            shades = np.broadcast_to(rgb, (int(seen.sum()), 3))
            lit.set_facecolors(np.column_stack([shades, bright[seen]]))
        title.set_text(f"{times[frame]:.0f} ms")
        return [lit for lit, *_ in drawn]

    figure = axis.get_figure(root=True)
    assert figure is not None
    if ax is None:
        # The layout is that of the first frame; to find it anew takes longer than to draw one.
        draw(0)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    return FuncAnimation(figure, draw, frames=len(times), interval=1000 / fps, repeat=True)


def _columns(view: str) -> list[int]:
    """The columns of positions that a view shows, or UsageError."""
    if len(view) != 2 or not set(view) <= set("xyz") or view[0] == view[1]:
        raise UsageError(f"view: {view!r}; two axes, such as 'xy'")
    return ["xyz".index(axis) for axis in view]


def _frames(
    recording: Recording, frame_ms: Any, fade_ms: Any, span_ms: tuple[float, float] | None
) -> np.ndarray:
    """The time of each frame, ms, float64 [frames], or UsageError."""
    for name, value in (("frame_ms", frame_ms), ("fade_ms", fade_ms)):
        if not is_number(value) or not 0 < value < math.inf:
            raise UsageError(f"{name}: {value!r}; a time in ms, above zero")
    start = recording.start_ms
    first, last = (start, start + recording.duration_ms) if span_ms is None else span_ms
    count = int((last - first) / frame_ms + 1e-9)
    if not 0 < count <= MOST_FRAMES:
        raise UsageError(
            f"frame_ms: {frame_ms:g}, {count:,} frames from {first:g} to {last:g} ms; 1 to "
            f"{MOST_FRAMES:,}"
        )
    return first + frame_ms * (1 + np.arange(count))


def _places(recording: Recording, positions: Mapping[str, Any], name: str) -> np.ndarray:
    """Positions of the recorded cells of a population, [cells, 3], or UsageError."""
    um, size = np.asarray(positions[name], np.float64), recording.sizes[name]
    if um.shape != (size, 3):
        raise UsageError(f"positions of {name}: {list(um.shape)}; um, [{size}, 3]")
    return um[np.sort(recording.rasters[name].cells)]


def _glow(recording: Recording, name: str, times: np.ndarray, fade_ms: float) -> Any:
    """How bright the recorded cells of a population are in a frame, from 0 to 1, [cells]."""
    raster = recording.rasters[name]
    cells = np.sort(raster.cells)
    row, step = np.searchsorted(cells, raster.cell), times[1] - times[0] if len(times) > 1 else 1.0
    after = np.searchsorted(raster.time_ms, times, "right")
    before = np.searchsorted(raster.time_ms, times - max(5 * fade_ms, step), "right")

    def glow(frame: int) -> np.ndarray:
        recent = slice(before[frame], after[frame])
        last = np.full(cells.size, -np.inf)
        np.maximum.at(last, row[recent], raster.time_ms[recent])
        return np.exp(np.minimum(last - times[frame], 0.0) / fade_ms)

    return glow
