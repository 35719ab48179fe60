"""Pictures of circuits, of their weights, and of activity on the sheet: what they show is right."""

from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

import cerebellum as cb
from cerebellum.plot import connectivity, look

SPEC = cb.Spec(
    "pictured",
    (
        cb.Population("mossy_fiber", 20, "relay"),
        cb.Population("granule", 40, "conductance"),
        cb.Population("golgi", 8, "conductance"),
        cb.Population("purkinje", 4, "current"),
    ),
    (
        cb.Projection("mossy_fiber", "granule", "exc", weight=9.0, delay=1.0, in_degree=4),
        cb.Projection("granule", "golgi", "exc", weight=1.0, delay=1.0, in_degree=10),
        cb.Projection("golgi", "granule", "inh", weight=1.0, delay=1.0, in_degree=2),
        cb.Projection("golgi", "golgi", "inh", weight=1.0, delay=1.0, in_degree=3),
        cb.Projection(
            "granule", "purkinje", "exc", weight=0.5, delay=1.0, in_degree=20, plastic=True
        ),
    ),
    dt=1.0,
)


@pytest.fixture(scope="module")
def circuit():
    return cb.build(SPEC, 0, path="event")


@pytest.fixture(scope="module")
def recording(circuit):
    drive = {"mossy_fiber": cb.drive.poisson(80.0)}
    watched = ["raster:granule:::2", "raster:golgi"]
    return cb.simulate(circuit, cb.init(circuit, 0), drive, duration_ms=100, record=watched)[1]


@pytest.fixture(autouse=True)
def _no_figure_stays():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def um():
    rng = np.random.default_rng(0)
    return {name: rng.uniform(0, 100, (n, 3)) for name, n in (("granule", 40), ("golgi", 8))}


def not_empty(figure, tmp_path):
    figure.savefig(tmp_path / "x.png")
    pixels = matplotlib.image.imread(tmp_path / "x.png")[..., :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("projections", ()),
        ("diagram", ()),
        ("degrees", ("granule_golgi",)),
        ("weights", ("granule_golgi",)),
        ("weight_matrix", ("mossy_fiber_granule",)),
    ],
)
def test_pictures_of_a_circuit_are_drawn(circuit, name, arguments, theme, tmp_path):
    draw = getattr(cb.plot, name)
    with cb.plot.style(theme):
        not_empty(draw(circuit, *arguments).figure, tmp_path)
    axes = plt.figure().subplots(2 if name == "degrees" else 1)
    assert draw(circuit, *arguments, ax=axes).figure is plt.gcf()


def test_the_matrix_of_projections_has_in_degrees_and_signs(circuit):
    axis = cb.plot.projections(circuit)
    texts = {text.get_position(): text.get_text() for text in axis.texts}
    assert texts == {(1, 0): "4", (2, 1): "10", (1, 2): "2", (2, 2): "3", (3, 1): "20"}
    squares = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    colours = [to_hex(square.get_facecolor()).upper() for square in squares]
    assert colours == [connectivity.SIGNS[sign] for sign in ("exc", "exc", "inh", "inh", "exc")]
    both = replace(SPEC.projections[1], receptor="inh", label="too")
    halved = cb.build(replace(SPEC, projections=(*SPEC.projections, both)), 0)
    assert len(cb.plot.projections(halved).texts) == 6


def test_the_diagram_has_a_box_a_population_and_a_line_a_projection(circuit):
    axis = cb.plot.diagram(circuit)
    boxes = {text.get_text(): text.get_position() for text in axis.texts}
    assert list(boxes) == ["mossy fiber\n20", "granule\n40", "golgi\n8", "purkinje\n4"]
    assert [place[0] for place in boxes.values()] == [0, 1, 2, 2]
    assert len(set(boxes.values())) == 4
    assert sum(isinstance(patch, FancyArrowPatch) for patch in axis.patches) == 5


def test_degrees_are_those_of_the_edges(circuit):
    panels = cb.plot.degrees(circuit, "granule_golgi")
    assert panels["in"].get_title("left") == "golgi: 10 ± 0"
    heights = [bar.get_height() for bar in panels["out"].patches]
    out = np.bincount(circuit.edges("granule_golgi").pre, minlength=40)
    assert heights == np.bincount(out - out.min()).tolist()
    with pytest.raises(cb.UsageError, match="degrees: 'granule_golg'; perhaps granule_golgi"):
        cb.plot.degrees(circuit, "granule_golg")


def test_weights_before_and_after_are_drawn_beside_each_other(circuit):
    state = cb.init(circuit, 0)
    name = "granule_purkinje"
    grown = replace(state, weights={name: 3 * state.weights[name]})
    axis = cb.plot.weights(circuit, name, grown)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["before", "after"]
    assert axis.get_xlabel() == "weight (mV)"
    for patch, middle in zip(axis.patches, (0.5, 1.5), strict=True):
        x, y = patch.get_xy().T
        assert abs(x[np.argmax(y)] - middle) < 0.05
        assert y.max() == 80
    named = cb.plot.weights(circuit, name, {"one": state, "two": grown})
    assert len(named.get_legend().get_texts()) == 3


def test_a_matrix_of_weights_has_those_of_the_chosen_cells(circuit):
    name = "mossy_fiber_granule"
    axis = cb.plot.weight_matrix(circuit, name, sources=[3, 1], targets=range(10, 30))
    shown = np.ma.filled(axis.images[0].get_array(), np.nan)
    held = circuit.edges(name)
    want = np.full((2, 20), np.nan)
    for row, source in enumerate([3, 1]):
        for target in held.post[held.pre == source]:
            if 10 <= target < 30:
                want[row, target - 10] = 9.0
    np.testing.assert_array_equal(shown, want)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["3", "1"]
    with pytest.raises(cb.UsageError, match="targets: cell 40; numbered 0 to 39"):
        cb.plot.weight_matrix(circuit, name, targets=[40])
    with pytest.raises(cb.UsageError, match=r"sources: 'x'; a list of cell numbers"):
        cb.plot.weight_matrix(circuit, name, sources="x")  # pyright: ignore[reportArgumentType]


def test_an_animation_lights_up_the_cells_that_fired(recording, um, tmp_path):
    span = {"frame_ms": 10.0, "fade_ms": 10.0, "span_ms": (0.0, 50.0)}
    animation = cb.plot.animate(recording, um, "granule", **span)
    animation.save(tmp_path / "x.gif", writer="pillow", dpi=40)
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.n_frames == 5
    axis = plt.gcf().axes[0]
    raster = recording.rasters["granule"]
    fired = np.unique(raster.cell[raster.time_ms <= 50.0])
    lit = axis.collections[1]
    np.testing.assert_allclose(np.sort(lit.get_offsets()[:, 0]), np.sort(um["granule"][fired, 0]))
    last = raster.time_ms[raster.time_ms <= 50.0].max()
    assert lit.get_facecolors()[:, 3].max() == pytest.approx(np.exp((last - 50.0) / 10.0))
    assert axis.get_title("left") == "50 ms"
    page = cb.plot.animate(recording, um, span_ms=(0.0, 10.0), view="xz").to_jshtml()
    assert "data:image/png" in page


def test_animations_that_cannot_be_are_refused(recording, um):
    for options, message in (
        ({"frame_ms": 0.01}, "frame_ms: 0.01, 10,000 frames"),
        ({"fade_ms": 0.0}, "fade_ms: 0.0; a time in ms"),
        ({"view": "xx"}, "view: 'xx'; two axes"),
        ({"populations": "purkinje"}, "animate: 'purkinje'; "),
    ):
        with pytest.raises(cb.UsageError, match=message):
            cb.plot.animate(recording, um, **options)
    with pytest.raises(cb.UsageError, match="a population with both"):
        cb.plot.animate(recording, {})
    with pytest.raises(cb.UsageError, match=r"positions of golgi: \[2, 3\]; um, \[8, 3\]"):
        cb.plot.animate(recording, {"golgi": np.zeros((2, 3))})


def test_presets_in_space_have_positions():
    um = cb.presets.positions(cb.presets.mouse_eglif("awake"), 3)
    assert um["purkinje"].shape == (69, 3)
    assert cb.presets.positions(cb.presets.mouse(wiring="space"), 3)["golgi"].shape == (219, 3)
    with pytest.raises(cb.UsageError, match="positions: mouse is not laid out in space"):
        cb.presets.positions(cb.presets.mouse(), 3)


def test_dark_and_light_matrices_leave_out_the_end_that_vanishes():
    shades = []
    for theme in ("light", "dark"):
        with cb.plot.style(theme):
            shades.append(look.seen_colours(plt.figure().subplots())([0.0, 1.0]))
    assert shades[0][1, :3].sum() < shades[1][1, :3].sum()
    assert shades[0][0, :3].sum() < shades[1][0, :3].sum()
