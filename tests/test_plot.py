"""Pictures: drawn, labelled, not empty, in the Axes that they are given, on any background."""

from itertools import combinations

import jax
import matplotlib.image
import numpy as np
import pytest
from circuits import feed_forward
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import cerebellum as cb
from cerebellum.plot import figure, look

KEY = jax.random.key(0)
TIME = np.arange(-50.0, 100.0)
STEP = np.where(TIME > 0, 60.0, 40.0)
EPOCHS = [{"epoch": k, "loss": 1 / k, "validation_loss": 2 / k} for k in (1, 2)]
BIN = {"samples": 4, "confidence": 0.5, "accuracy": 0.6}
RESULT = {"mcc": 0.2, "mcc_interval": (0.1, 0.3)}

OTHERS = {
    "around": (
        TIME,
        {"nuclei": {"lone": STEP, "burst": STEP}, "golgi": {"lone": STEP, "burst": STEP}},
    ),
    "blocks": ({"control": np.array([[0.0, 50.0], [10.0, 90.0]])}, "block"),
    "compare": ({"awake": {"golgi": (11.0, 12.0), "purkinje": (90.0, 91.0)}}, "Hz"),
    "curves": ({"up": (TIME, STEP), "down": (TIME, -STEP)}, "cycle", "gain"),
    "evaluation": (
        RESULT
        | {"task": "event", "split": "test", "online": False, "samples": 30}
        | {"baselines": {"majority": RESULT}, "calibration": [BIN], "per_day": {"1": RESULT}},
    ),
    "evoked": (TIME, {"nuclei": {"before": STEP, "after": 2 * STEP}}, {"tone": (0, 50)}),
    "grid": (TIME, {"control": {"nuclei": {"first": STEP, "last": 2 * STEP}}}),
    "history": ([{**epoch, "validation_accuracy": 0.5} for epoch in EPOCHS],),
    "intervals": ({150: (TIME, np.stack([STEP, 2 * STEP]))}, "nuclei"),
    "learning_curve": (
        {"acquisition": np.array([[0.0, 50.0], [10.0, 90.0]]), "extinction": np.zeros((2, 1))},
        {"acquisition": np.array([9.0, 80.0])},
        "mice",
    ),
    "lesions": (
        {
            "both": cb.plot.Lesions(
                tested=[2, 4],
                tests={"intact": np.ones((2, 2)), "lesioned": np.zeros((2, 2))},
                course=np.ones((2, 4)),
            )
        },
        {2: 0.5, 4: 0.6},
    ),
    "sessions": ({"extinction": (np.full((2, 3), 40.0), np.array([50.0, 40.0, 30.0]))},),
    "single_trials": (TIME, {"before": np.stack([STEP, 2 * STEP])}, {"tone": (0, 50)}),
}
"""Arguments of every plot of results."""

OF_CIRCUITS = {"animate", "degrees", "diagram", "projections", "weight_matrix", "weights"}
"""Plots that test_plot_circuits.py draws."""


@pytest.fixture(scope="module")
def recording():
    circuit = cb.build(feed_forward(60, 40, 20, weight=3.0), KEY, path="event")
    _, recording = cb.simulate(
        circuit,
        cb.init(circuit, KEY),
        {"input": cb.drive.poisson(60.0)},
        duration_ms=200,
        record=("raster:input:::2", "raster:cells", "v:cells:0:3"),
    )
    return recording


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


def figure_of(drawn) -> Figure:
    return drawn.figure


def pixels(figure, tmp_path) -> np.ndarray:
    figure.savefig(tmp_path / "x.png")
    return matplotlib.image.imread(tmp_path / "x.png")[..., :3]


@pytest.mark.parametrize("name", ["raster", "rates", "traces"])
def test_every_picture_of_a_recording_is_drawn(recording, name, tmp_path):
    panels = getattr(cb.plot, name)(recording, windows={"burst": (50.0, 90.0)})
    assert all(axis.get_ylabel() for axis in panels)
    assert panels[-1].get_xlabel() == "time (ms)"
    assert len(np.unique(pixels(panels.figure, tmp_path).reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_picture_is_drawn_on_a_figure_of_its_own_and_in_given_axes(name, tmp_path):
    draw = getattr(cb.plot, name)
    drawn = draw(*OTHERS[name])
    figure = figure_of(drawn)
    assert figure.axes[-1].get_ylabel() or figure.axes[-1].get_xlabel()
    assert len(np.unique(pixels(figure, tmp_path).reshape(-1, 3), axis=0)) > 20
    mine, axes = plt.subplots(1, len(figure.axes), squeeze=False)
    texts = [axis.get_ylabel() for axis in figure.axes]
    within = draw(*OTHERS[name], ax=axes if len(texts) > 1 else axes[0, 0])
    assert figure_of(within) is mine
    assert [axis.get_ylabel() for axis in mine.axes] == texts
    with pytest.raises(cb.UsageError, match=f"{name}: {len(texts) + 1} Axes"):
        draw(*OTHERS[name], ax=[axes[0, 0]] * (len(texts) + 1))


def test_every_plot_is_tested():
    drawn = {*OTHERS, "raster", "rates", "traces", *OF_CIRCUITS}
    others = {"Lesions", "Panels", "Windows", "COLOURS", "blank", "style"}
    assert drawn | others == set(cb.plot.__all__)


def test_the_settings_of_matplotlib_stay_as_they_are(recording):
    before = dict(plt.rcParams)
    cb.plot.raster(recording)
    with cb.plot.style("dark"):
        assert plt.rcParams["axes.facecolor"] == look.THEMES["dark"]["axes.facecolor"]
    assert dict(plt.rcParams) == before
    with pytest.raises(cb.UsageError, match="theme: 'sepia'"):
        cb.plot.style("sepia")  # pyright: ignore[reportArgumentType]


def test_a_backend_that_becomes_interactive_within_a_plot_stays_so():
    """As that of notebooks does when the first figure loads it."""
    try:
        with cb.plot.style("light"):
            plt.ion()
        assert plt.isinteractive()
    finally:
        plt.ioff()


def test_what_is_no_axes_is_refused(recording):
    with pytest.raises(cb.UsageError, match="raster: ax 'left'; Axes or a figure"):
        cb.plot.raster(recording, ax="left")  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        cb.UsageError, match=r"raster: 1 Axes for 2 panels; one each \(input, cells"
    ):
        cb.plot.raster(recording, ax=plt.figure().subplots())
    with pytest.raises(cb.UsageError, match="raster: 'cell'; perhaps cells"):
        cb.plot.raster(recording, populations="cell")
    with pytest.raises(KeyError, match="perhaps cells"):
        cb.plot.rates(recording)["cell"]


def test_a_plot_fits_into_a_figure_of_ones_own(recording):
    figure = plt.figure(figsize=(7, 4), layout="constrained")
    left, right = figure.subfigures(1, 2)
    rates = cb.plot.rates(recording, ax=left)
    raster = cb.plot.raster(recording, populations="cells", ax=right.subplots())
    assert [axis.figure for axis in rates] == [left, left]
    assert list(raster.by_name) == ["cells"]
    assert tuple(figure.get_size_inches()) == (7.0, 4.0)
    known, blank = plt.get_fignums(), cb.plot.blank()
    assert cb.plot.traces(recording, ax=blank).figure is blank
    assert blank.get_size_inches()[0] == 10.0
    assert plt.get_fignums() == known


def test_a_raster_has_a_mark_a_spike_and_says_which_cells(recording):
    panels = cb.plot.raster(recording)
    marks = [len(axis.collections[0].get_offsets()) for axis in panels]
    assert marks == [len(r.cell) for r in recording.rasters.values()]
    assert panels["input"].get_ylabel() == "input\n30 of 60 cells,\none in 2"
    alone = cb.plot.raster(recording, populations="input")["input"]
    assert (alone.get_ylabel(), alone.get_title("left")) == (
        "input cell",
        "30 of 60 cells, one in 2",
    )
    ticks = [alone.yaxis.get_major_formatter()(row) for row in (0, 3, 29, 30)]
    assert ticks == ["0", "6", "58", ""]
    few, many = (
        cb.record.Recording(
            **{"dt": 1.0, "start_ms": 0.0, "steps": 9, "sizes": {"x": n}, "spikes": {}},
            rasters={"x": cb.record.Raster(np.arange(3.0), np.arange(3), np.arange(n))},
        )
        for n in (10, 5_000)
    )
    sizes = [cb.plot.raster(r)["x"].collections[0].get_sizes()[0] for r in (few, many)]
    assert sizes[0] > 20 * sizes[1]


def test_pictures_of_what_was_not_recorded_are_refused():
    bare = cb.record.Recording(
        dt=1.0, start_ms=0.0, steps=3, sizes={"x": 1}, spikes={"x": np.zeros(3, np.int32)}
    )
    with pytest.raises(cb.UsageError, match="raster: none recorded"):
        cb.plot.raster(bare)
    with pytest.raises(cb.UsageError, match="traces: none recorded"):
        cb.plot.traces(bare)
    assert len(cb.plot.rates(bare, bin_ms=1.0)) == 1


def test_comparisons_and_courses_show_their_values():
    bars = cb.plot.compare(*OTHERS["compare"])["awake"].patches
    assert [bar.get_height() for bar in bars] == [11.0, 90.0, 12.0, 91.0]
    model, mice = cb.plot.learning_curve(*OTHERS["learning_curve"]).lines[2:4]
    np.testing.assert_allclose(model.get_ydata(), [5.0, 70.0])
    np.testing.assert_allclose(mice.get_ydata(), [9.0, 80.0])


def test_histograms_around_an_event_say_their_baseline_and_what_is_cut():
    time = np.arange(-60, 140) + 0.5
    course = np.where(time < 0, 40.0, 60.0)
    course[62] = 900.0
    rates = {name: {"lone": course, "burst": course / 2} for name in ("purkinje", "nuclei")}
    panels = cb.plot.around(time, rates)
    assert len(panels) == 4
    upper, lower = panels["lone", "purkinje"], panels["burst", "purkinje"]
    texts = [text.get_text() for text in upper.texts]
    assert texts == ["40 Hz before (dashed)", "up to 900 Hz"]
    heights = np.array([bar.get_height() for bar in upper.patches])
    assert heights.max() == upper.get_ylim()[1] == lower.get_ylim()[1] == 75.0
    np.testing.assert_allclose(heights[:60], 40.0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_ink_and_colours_stand_out_from_the_background(theme, recording):
    with cb.plot.style(theme):
        axis = cb.plot.evoked(*OTHERS["evoked"])["nuclei"]
    paper, legend = axis.get_facecolor(), axis.get_legend()
    assert legend is not None
    inks = [axis.xaxis.label.get_color(), *(text.get_color() for text in legend.get_texts())]
    assert min(contrast(matplotlib.colors.to_hex(shown), paper) for shown in inks) > 7
    shown = {*look.COLOURS.values(), *look.CYCLE}
    assert min(contrast(each, paper) for each in shown) >= 2


def linear(colour) -> np.ndarray:
    """Linear RGB of a colour, [3]."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other) -> float:
    """The contrast of two colours (WCAG 2.2): 1 if they are equally light, 21 of black on white."""
    light = sorted(linear(each) @ [0.2126, 0.7152, 0.0722] + 0.05 for each in (one, other))
    return light[1] / light[0]


SIGHT = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""How the colour-blind see linear RGB: Machado, Oliveira & Fernandes 2009, severity 1."""


def lab(rgb) -> np.ndarray:
    """CIELAB of linear RGB, [3]."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    white = xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(white > 0.008856, np.cbrt(white), 7.787 * white + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_the_colour_blind_tell_colours_apart(sight):
    for colours in (set(look.COLOURS.values()), look.CYCLE):
        seen = [lab(SIGHT[sight] @ linear(each)) for each in colours]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


@pytest.mark.parametrize(
    "windows", [(100, 200), [(1, 2)], {"b": 5}, {"b": (200, 100)}, {"b": ("a", "b")}]
)
def test_windows_that_are_none_are_refused(windows):
    with pytest.raises(cb.UsageError, match="windows: "):
        figure.shade(figure.blank().subplots(), windows)


@pytest.mark.parametrize("projection", ["polar", "3d"])
def test_axes_that_are_not_rectilinear_are_refused(projection):
    ax = figure.blank().add_subplot(projection=projection)
    with pytest.raises(cb.UsageError, match=f"ax is {projection}"):
        figure.single("raster", ax, (4, 3))
