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
    circuit = cb.build(feed_forward(60, 40, 20, weight=3.0), KEY)
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
