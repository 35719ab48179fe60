"""Pictures: drawn, labelled, not empty."""

import jax
import matplotlib.image
import numpy as np
import pytest
from circuits import feed_forward

import cerebellum as cb

KEY = jax.random.key(0)


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


@pytest.mark.parametrize("name", ["raster", "rates", "traces"])
def test_every_picture_is_drawn(recording, name, tmp_path):
    figure = getattr(cb.plot, name)(recording, windows={"burst": (50.0, 90.0)})
    assert all(axis.get_ylabel() for axis in figure.axes)
    assert figure.axes[-1].get_xlabel() == "time (ms)"
    figure.savefig(tmp_path / "x.png")
    pixels = matplotlib.image.imread(tmp_path / "x.png")[..., :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


def test_a_raster_has_a_dot_a_spike(recording):
    figure = cb.plot.raster(recording)
    dots = [len(axis.collections[0].get_offsets()) for axis in figure.axes]
    assert dots == [len(r.cell) for r in recording.rasters.values()]
    assert "30 of" in figure.axes[0].get_ylabel()


def test_pictures_of_what_was_not_recorded_are_refused(recording):
    bare = cb.record.Recording(
        dt=1.0, start_ms=0.0, steps=3, sizes={"x": 1}, spikes={"x": np.zeros(3, np.int32)}
    )
    with pytest.raises(cb.UsageError, match="raster: none recorded"):
        cb.plot.raster(bare)
    with pytest.raises(cb.UsageError, match="traces: none recorded"):
        cb.plot.traces(bare)
    assert len(cb.plot.rates(bare, bin_ms=1.0).axes) == 1


def test_comparisons_and_courses_are_drawn(tmp_path):
    time = np.arange(-50.0, 100.0)
    learned = {"acquisition": np.array([[0.0, 50.0], [10.0, 90.0]]), "extinction": np.zeros((2, 1))}
    step = np.where(time > 0, 60.0, 40.0)
    figures = [
        cb.plot.compare({"awake": {"golgi": (11.0, 12.0), "purkinje": (90.0, 91.0)}}, "Hz"),
        cb.plot.curves({"up": (time, step), "down": (time, -step)}, "cycle", "gain"),
        cb.plot.learning_curve(learned, {"acquisition": np.array([9.0, 80.0])}, "mice"),
        cb.plot.single_trials(time, {"before": np.stack([step, 2 * step])}, {"tone": (0, 50)}),
        cb.plot.evoked(time, {"nuclei": {"before": step, "after": 2 * step}}, {"tone": (0, 50)}),
    ]
    for figure in figures:
        assert figure.axes[-1].get_ylabel()
        figure.savefig(tmp_path / "x.png")
        pixels = matplotlib.image.imread(tmp_path / "x.png")[..., :3]
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
    heights = [bar.get_height() for bar in figures[0].axes[0].patches]
    assert heights == [11.0, 90.0, 12.0, 91.0]
    model, mice = figures[2].axes[0].lines[2:4]
    np.testing.assert_allclose(model.get_ydata(), [5.0, 70.0])
    np.testing.assert_allclose(mice.get_ydata(), [9.0, 80.0])


def test_histograms_around_an_event_say_their_baseline_and_what_is_cut(tmp_path):
    time = np.arange(-60, 140) + 0.5
    course = np.where(time < 0, 40.0, 60.0)
    course[62] = 900.0
    rates = {name: {"lone": course, "burst": course / 2} for name in ("purkinje", "nuclei")}
    figure = cb.plot.around(time, rates)
    assert len(figure.axes) == 4
    upper = figure.axes[0]
    texts = [text.get_text() for text in upper.texts]
    assert texts == ["40 Hz before (dashed)", "up to 900 Hz"]
    heights = np.array([bar.get_height() for bar in upper.patches])
    assert heights.max() == upper.get_ylim()[1] == figure.axes[2].get_ylim()[1] == 75.0
    np.testing.assert_allclose(heights[:60], 40.0)
    figure.savefig(tmp_path / "x.png")
