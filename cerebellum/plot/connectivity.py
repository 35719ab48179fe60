"""Pictures of a circuit: its populations and projections, degrees, and weights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.model import events
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.projection import Projection
from cerebellum.plot.figure import Panels, legend, room, single, spoken, stacked
from cerebellum.plot.look import CYCLE, colour, faint, ink, seen_colours, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from cerebellum.plot.figure import Target

SIGNS = {"inh": CYCLE[0], "exc": CYCLE[1]}
"""The colours of inhibition and excitation."""


SMALLEST = 4.0
"""Numbers are left out where they would be smaller, points."""

LOOP = np.array([0.13, 0.2])
"""Where the line of a population onto itself ends, from the middle of its box."""


def _colour_of(circuit: Circuit, projection: Projection) -> str:
    """The colour of the sign of a projection; grey where its receptor does not say it."""
    target = circuit.spec.population(projection.target)
    reversal = getattr(circuit.params.cells[target.name], "e_rev", None)
    if projection.receptor in SIGNS:
        return SIGNS[projection.receptor]
    if reversal is not None and projection.receptor[1:].isdigit():
        potential = np.mean(np.asarray(reversal[int(projection.receptor[1:]) - 1]))
        return SIGNS["exc" if potential > -40.0 else "inh"]
    return CYCLE[-1]


def synapses_of(circuit: Circuit, projection: Projection) -> int:
    """The number of synapses of a projection; of rows that the state holds, the expected one."""
    spec, fan = circuit.spec, circuit.wiring.fans[projection.name]
    targets = spec.population(projection.target).size
    if isinstance(fan, events.FanOut):
        return int((np.asarray(fan.targets) < targets).sum())
    weights = np.asarray(circuit.params.weights[projection.name])
    return int(np.count_nonzero(weights)) if weights.ndim else round(projection.in_degree * targets)


def _projection(what: str, circuit: Circuit, name: str) -> Projection:
    if not isinstance(circuit, Circuit):
        raise UsageError(f"{what}: {type(circuit).__name__}; a circuit")
    known = {p.name: p for p in circuit.spec.projections}
    if name not in known:
        raise UsageError(f"{what}: {name!r}; {nearest(name, list(known), circuit.spec.name)}")
    return known[name]


@styled
def projections(circuit: Circuit, ax: "Target" = None) -> "Axes":
    """Plot the projections of a circuit as a matrix: sources are rows, targets are columns.

    A square has the mean number of synapses that a target cell receives, in the colour of
    excitation or inhibition, the stronger the more synapses there are. Several projections of two
    populations are added; a square of both signs is halved. Squares that are too small for numbers
    have none.

    Args:
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: the circuit has no projections, or `ax` does not fit.
    """
    from matplotlib.patches import Rectangle

    spec = circuit.spec
    if not spec.projections:
        raise UsageError(f"projections: {spec.name} has none")
    names = [p.name for p in spec.populations]
    cells: dict[tuple[str, str], dict[str, int]] = {}
    for projection in spec.projections:
        square = cells.setdefault((projection.source, projection.target), {})
        shown = _colour_of(circuit, projection)
        square[shown] = square.get(shown, 0) + synapses_of(circuit, projection)
    side = 1.6 + 0.62 * len(names)
    axis = single("projections", ax, (side + 0.6, side))
    letters = min(8.0, 0.3 * min(room(axis)) / len(names))
    most = math.log10(max(max(square.values()) for square in cells.values()) + 2)
    for (source, target), square in cells.items():
        row, column = names.index(source), names.index(target)
        for k, (shown, count) in enumerate(square.items()):
            width, left = 1 / len(square), column - 0.5 + k / len(square)
            alpha = 0.15 + 0.65 * math.log10(count + 1) / most
            axis.add_patch(Rectangle((left, row - 0.5), width, 1, color=shown, alpha=alpha, lw=0))
            mean = count / spec.population(target).size
            text = f"{mean:.3g}" if mean < 1000 else f"{mean:,.0f}"
            where = {"ha": "center", "va": "center", "fontsize": letters / len(square) ** 0.4}
            if letters >= SMALLEST:
                axis.text(left + width / 2, row, text, color=ink(axis), **where)
    axis.set_xlim(-0.5, len(names) - 0.5)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_aspect("equal")
    labels = [spoken(name) for name in names]
    axis.set_xticks(range(len(names)), labels, rotation=40, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), labels)
    axis.set_xlabel("to")
    axis.set_ylabel("from")
    axis.set_title("synapses of a target cell")
    _key(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axis


def _key(axis: "Axes", **options: Any) -> None:
    """The legend of excitation and inhibition."""
    from matplotlib.patches import Patch

    words = {"exc": "excitatory", "inh": "inhibitory"}
    patches = [Patch(color=SIGNS[sign], label=word) for sign, word in words.items()]
    legend(axis, handles=patches, **options)


@styled
def diagram(circuit: Circuit, ax: "Target" = None) -> "Axes":
    """Plot a circuit as a diagram: boxes are populations with their sizes, arrows projections.

    An arrow is excitatory, a line that ends in a bar inhibitory; the wider, the more synapses.
    Populations stand in columns, in the order in which spikes reach them; loops go back.

    Args:
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: `ax` does not fit.
    """
    from matplotlib.patches import FancyArrowPatch

    spec = circuit.spec
    places = _places(circuit)
    columns = 1 + max(x for x, _ in places.values())
    tallest = 1 + max(abs(y) for _, y in places.values())
    size = (1.6 * columns + 0.8, max(2.4, 1.9 * tallest))
    axis = single("diagram", ax, size)
    longest = max(len(name) for name in places)
    letters = min(9.0, room(axis)[0] / columns / (0.62 * longest + 2))
    for population in spec.populations:
        name = population.name
        box = {
            "boxstyle": "round,pad=0.45",
            "fc": axis.get_facecolor(),
            "ec": colour(name),
            "lw": 2,
        }
        text = f"{spoken(name)}\n{population.size:,}"
        middle = {"ha": "center", "va": "center", "zorder": 3, "fontsize": letters}
        axis.text(*places[name], text, color=ink(axis), bbox=box, **middle)
    most = math.log10(max([synapses_of(circuit, p) for p in spec.projections], default=1) + 2)
    seen: dict[tuple[str, str], int] = {}
    for projection in spec.projections:
        pair = projection.source, projection.target
        seen[pair] = seen.get(pair, 0) + 1
        shown = _colour_of(circuit, projection)
        start, stop = (np.array(places[name], float) for name in pair)
        bend = 0.1 + 0.12 * seen[pair]
        if pair[0] == pair[1]:
            start, stop, bend = start + LOOP * [-1, 1], stop + LOOP, -1.3
        width = 0.6 + 2.0 * math.log10(synapses_of(circuit, projection) + 1) / most
        inhibits = shown == SIGNS["inh"]
        axis.add_patch(
            FancyArrowPatch(
                tuple(start),
                tuple(stop),
                arrowstyle="|-|,widthA=0,widthB=0.45" if inhibits else "-|>",
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=0 if pair[0] == pair[1] else 26,
                shrinkB=2 if pair[0] == pair[1] else 26,
                mutation_scale=11,
                color=shown,
                lw=width,
                alpha=0.85,
                zorder=2,
            )
        )
    heights = [y for _, y in places.values()]
    axis.set_xlim(-0.6, columns - 0.4)
    axis.set_ylim(min(heights) - 0.55, max(heights) + 0.75)
    axis.set_axis_off()
    _key(axis, loc="lower center", bbox_to_anchor=(0.5, -0.04), ncol=2)
    return axis


def _places(circuit: Circuit) -> dict[str, tuple[float, float]]:
    """Where the populations of a diagram stand, by name: column and height."""
    spec = circuit.spec
    after: dict[str, list[str]] = {p.name: [] for p in spec.populations}
    for projection in spec.projections:
        if projection.source != projection.target:
            after[projection.source].append(projection.target)
    heard = {target for targets in after.values() for target in targets}
    roots = [name for name in after if name not in heard]
    forward, done, path = {name: [] for name in after}, set(), []

    def visit(name: str) -> None:
        path.append(name)
        for target in after[name]:
            if target not in path:
                forward[name].append(target)
                if target not in done:
                    visit(target)
        path.pop()
        done.add(name)

    for name in [*roots, *after]:
        if name not in done:
            visit(name)
    columns = dict.fromkeys(after, 0)
    for _ in after:
        for source, targets in forward.items():
            for target in targets:
                columns[target] = max(columns[target], columns[source] + 1)
    places = {}
    for column in sorted(set(columns.values())):
        members = [name for name, place in columns.items() if place == column]
        for k, name in enumerate(members):
            # Neighbouring columns stand at different heights, so that long arrows pass between.
            places[name] = (column, (len(members) - 1) / 2 - k + 0.25 * (-1) ** column)
    return places


@styled
def degrees(circuit: Circuit, projection: str, ax: "Target" = None) -> Panels:
    """Plot how many synapses the cells at both ends of a projection have: "in" and "out".

    Args:
      projection: its name.
      ax: where to draw: None (a new figure), a figure, or two Axes.

    Raises:
      UsageError: the circuit has no such projection, the state alone holds its weights, or `ax`
        does not fit.
    """
    held = _projection("degrees", circuit, projection)
    edges, spec = circuit.edges(projection), circuit.spec
    panels = stacked("degrees", ["in", "out"], [2.0, 2.0], ax, sharex=False)
    for axis, cells, name, end in (
        (panels["in"], edges.post, held.target, "synapses of a target cell"),
        (panels["out"], edges.pre, held.source, "synapses of a source cell"),
    ):
        counts = np.bincount(cells, minlength=spec.population(name).size)
        low, high = counts.min(), counts.max()
        step = max(1, math.ceil((high - low + 1) / 40))
        bins = np.arange(low, high + step + 1, step) - 0.5
        axis.hist(counts, bins, color=colour(name), alpha=0.85)
        axis.axvline(counts.mean(), color=ink(axis), linestyle="--", linewidth=1)
        mean, spread = (
            f"{x:,.0f}" if x >= 100 else f"{x:.3g}" for x in (counts.mean(), counts.std())
        )
        axis.set_title(f"{spoken(name)}: {mean} ± {spread}")
        axis.set_xlabel(end)
        axis.set_ylabel("cells")
    return panels


@styled
def weights(circuit: Circuit, projection: str, states: Any = (), ax: "Target" = None) -> "Axes":
    """Plot the weights of a projection as a histogram, before and after a state was reached.

    Args:
      projection: its name.
      states: a state, or states by label, whose weights are drawn beside those of the circuit.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: the circuit has no such projection, or `ax` does not fit.
    """
    held = _projection("weights", circuit, projection)
    named = {"after": states} if isinstance(states, State) else dict(states)
    shown = {}
    if held.dtype != "uint16" or np.ndim(circuit.params.weights[projection]):
        shown["before" if named else "weights"] = circuit.edges(projection).weight
    shown |= {label: circuit.edges(projection, state).weight for label, state in named.items()}
    if not shown:
        raise UsageError(
            f"weights: {projection} has uint16 rows, which a state holds; states=state"
        )
    axis = single("weights", ax, (6.4, 3.4))
    high = max(float(np.max(values, initial=0.0)) for values in shown.values()) or 1.0
    low = min(float(np.min(values, initial=high)) for values in shown.values())
    margin = 0.02 * (high - low) or 0.05 * high
    bins = np.linspace(max(low - margin, 0.0), high + margin, 61).tolist()
    peaks = [np.histogram(values, bins)[0].max() for values in shown.values()]
    if max(peaks) > 10 * min(peaks):
        axis.set_yscale("log")
    for k, (label, values) in enumerate(shown.items()):
        line = {"histtype": "step", "linewidth": 1.6, "linestyle": ("-", "--", ":", "-.")[k % 4]}
        axis.hist(values, bins, color=CYCLE[k % len(CYCLE)], label=label, **line)
    axis.set_xlabel(f"weight ({_unit(circuit, held)})")
    axis.set_ylabel("synapses")
    axis.set_title(projection)
    if len(shown) > 1:
        legend(axis)
    return axis


def _unit(circuit: Circuit, projection: Projection) -> str:
    return "mV" if circuit.spec.population(projection.target).model == "current" else "nS"


@styled
def weight_matrix(
    circuit: Circuit,
    projection: str,
    sources: Sequence[int] | np.ndarray | None = None,
    targets: Sequence[int] | np.ndarray | None = None,
    state: State | None = None,
    ax: "Target" = None,
) -> "Axes":
    """Plot the weights between chosen cells as a matrix: sources are rows, targets are columns.

    Pairs without a synapse have the background's colour; several synapses of a pair are added.

    Args:
      projection: its name.
      sources, targets: numbers of cells; None for the first hundred at most.
      state: the state whose weights are drawn; None for those of the circuit.
      ax: where to draw: None (a new figure), a figure, or Axes.

    Raises:
      UsageError: the circuit has no such projection or cells, or `ax` does not fit.
    """
    held = _projection("weight_matrix", circuit, projection)
    edges = circuit.edges(projection, state)
    rows = _cells("sources", sources, circuit.spec.population(held.source).size)
    columns = _cells("targets", targets, circuit.spec.population(held.target).size)
    place = [np.full(circuit.spec.population(end).size, -1) for end in (held.source, held.target)]
    place[0][rows], place[1][columns] = np.arange(rows.size), np.arange(columns.size)
    row, column = place[0][edges.pre], place[1][edges.post]
    inside = (row >= 0) & (column >= 0)
    matrix, there = np.zeros((rows.size, columns.size)), np.zeros((rows.size, columns.size), bool)
    weight = np.broadcast_to(edges.weight, edges.pre.shape)
    np.add.at(matrix, (row[inside], column[inside]), weight[inside])
    there[row[inside], column[inside]] = True
    wide = float(np.clip(0.6 + columns.size / 12, 3.0, 9.0))
    axis = single("weight_matrix", ax, (wide + 1.6, float(np.clip(rows.size / 12, 2.4, 8.0)) + 0.8))
    shown = {"cmap": seen_colours(axis), "aspect": "auto", "interpolation": "nearest"}
    image = axis.imshow(np.where(there, matrix, np.nan), **shown)
    bar = axis.figure.colorbar(image, ax=axis)
    bar.set_label(f"weight ({_unit(circuit, held)})", color=ink(axis))
    bar.ax.tick_params(colors=ink(axis))
    bar.outline.set_edgecolor(faint(axis))  # pyright: ignore[reportCallIssue]
    for ticks, cells in ((axis.set_yticks, rows), (axis.set_xticks, columns)):
        some = np.unique(np.linspace(0, cells.size - 1, min(cells.size, 6)).round().astype(int))
        ticks(some, [f"{cells[k]:,}" for k in some])
    axis.set_ylabel(f"{spoken(held.source)} cell")
    axis.set_xlabel(f"{spoken(held.target)} cell")
    return axis


def _cells(what: str, wanted: Any, size: int) -> np.ndarray:
    """Chosen cells, int64, or UsageError."""
    cells = np.arange(min(size, 100)) if wanted is None else np.asarray(wanted)
    if cells.ndim != 1 or not cells.size or cells.dtype.kind not in "iu":
        raise UsageError(f"{what}: {wanted!r}; a list of cell numbers")
    outside = cells[(cells < 0) | (cells >= size)]
    if outside.size:
        raise UsageError(f"{what}: cell {outside[0]}; numbered 0 to {size - 1}")
    return cells.astype(np.int64)
