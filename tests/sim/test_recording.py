"""What a recording holds: chosen cells, sampling intervals, weights, and recordings on the disk."""

import jax
import numpy as np
import pytest
from circuits import feed_forward

import cerebellum as cb
from cerebellum.sim import memory, stream

KEY = jax.random.key(7)
DRIVE = {"input": cb.drive.poisson(80.0)}
NAME = "input_p0_cells"


@pytest.fixture(scope="module")
def circuit():
    return cb.build(feed_forward(60, 40, 20, weight=3.0, dt=0.5, plastic=True), KEY, path="event")


def run(circuit, *record, ms=30.0, **options):
    state = cb.init(circuit, jax.random.key(1))
    return cb.simulate(circuit, state, DRIVE, duration_ms=ms, record=record, **options)[1]


@pytest.fixture(scope="module")
def whole(circuit):
    return run(circuit, "v:cells", "raster:cells", "counts:cells")


@pytest.mark.parametrize(
    "cells",
    [[7, 0, 3], np.arange(40) % 3 == 1, slice(2, 31), 5, range(0, 40, 7), list(range(40))],
)
def test_cells_by_list_mask_and_slice(circuit, whole, cells):
    of = cb.record.of
    part = run(
        circuit, of("v", "cells", cells), of("raster", "cells", cells), of("counts", "cells", cells)
    )
    chosen = np.arange(40)[[cells] if isinstance(cells, int) else cells]
    np.testing.assert_array_equal(part.traces["v:cells"].cells, chosen)
    np.testing.assert_array_equal(
        part.traces["v:cells"].values, whole.traces["v:cells"].values[:, chosen]
    )
    np.testing.assert_array_equal(part.counts["cells"], whole.counts["cells"][chosen])
    np.testing.assert_array_equal(part.counted["cells"], part.rasters["cells"].cells)
    ours, all_cells = part.rasters["cells"], whole.rasters["cells"]
    kept = np.isin(all_cells.cell, chosen)
    assert sorted(zip(ours.time_ms, ours.cell, strict=True)) == sorted(
        zip(all_cells.time_ms[kept], all_cells.cell[kept], strict=True)
    )


@pytest.mark.parametrize("chunk_steps", [1000, 7])
def test_samples_are_every_so_many_steps(circuit, whole, chunk_steps):
    sampled = cb.record.of("v", "cells", [7, 3], every_ms=2.5)
    trace = run(circuit, sampled, chunk_steps=chunk_steps).traces["v:cells"]
    np.testing.assert_array_equal(trace.values, whole.traces["v:cells"].values[4::5, [7, 3]])
    np.testing.assert_array_equal(trace.time_ms, whole.traces["v:cells"].time_ms[4::5])
    assert trace.time_ms[0] == 2.5


def test_weights_of_synapses_and_their_mean(circuit, tmp_path):
    lists = np.asarray(circuit.wiring.fans[NAME].targets)
    pairs = [(3, lists[3, 1]), (0, lists[0, 0])]
    given = np.asarray(circuit.params.weights[NAME]).copy()
    given[3, 1] = 5.0
    changed = circuit.replace(
        params=circuit.params.replace(weights={NAME: jax.numpy.asarray(given)})
    )
    recording = run(changed, cb.record.weights(NAME, pairs, every_ms=10.0))
    trace = recording.traces[f"weights:{NAME}"]
    np.testing.assert_array_equal(trace.values, [[5.0, 3.0]] * 3)
    np.testing.assert_array_equal(trace.cells, pairs)
    assert trace.unit == "nS"
    cb.io.save(recording, tmp_path / "w.npz")
    loaded = cb.io.load(tmp_path / "w.npz").traces[f"weights:{NAME}"]
    np.testing.assert_array_equal(loaded.time_ms, [10, 20, 30])
    mean = run(changed, f"weights:{NAME}").traces[f"weights:{NAME}"].values
    np.testing.assert_allclose(mean, np.full((60, 1), given[lists < 40].mean()), rtol=1e-6)
    assert cb.plot.traces(recording).axes


def test_a_recording_on_the_disk_is_that_in_memory(circuit, whole, tmp_path):
    recorded = "v:cells", "raster:cells", "counts:cells"
    streamed = run(circuit, *recorded, to=tmp_path / "run", chunk_steps=7)
    assert isinstance(streamed.traces["v:cells"].values, np.memmap)
    for recording in (streamed, cb.io.load(tmp_path / "run")):
        for name, array in stream.arrays_of(whole).items():
            np.testing.assert_array_equal(stream.arrays_of(recording)[name], array)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(cb.UsageError, match="which is there already; a new folder"):
        run(circuit, to=tmp_path / "run")


def test_a_recording_without_room_on_the_disk_is_refused(circuit, tmp_path, monkeypatch):
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: type("", (), {"free": 10})())
    with pytest.raises(cb.UsageError, match="10 bytes are free on the disk of"):
        run(circuit, to=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (cb.record.of("v", "cell"), "'cell'; perhaps cells"),
        (cb.record.of("v", "cells", [40]), "cell 40; from 0 to 39"),
        (cb.record.of("v", "cells", [1, 1]), "cell 1 twice"),
        (cb.record.of("v", "cells", [True]), r"a mask of \[1\]; \[40\]"),
        (cb.record.of("v", "cells", [0.5]), "whole numbers"),
        (cb.record.of("v", "cells", every_ms=0.7), "every_ms 0.7; whole steps of 0.5 ms"),
        (cb.record.of("raster", "cells", every_ms=1), "none, spikes are of every step"),
        (cb.record.weights("input_cells"), f"'input_cells'; perhaps {NAME}"),
        (cb.record.weights(NAME, [(0, 40)]), "cell 40 of cells; from 0 to 39"),
        (cb.record.weights(NAME, [0, 1]), "pairs of cells"),
    ],
)
def test_what_cannot_be_recorded_is_refused(circuit, record, message):
    with pytest.raises(cb.UsageError, match=message):
        run(circuit, record)


def test_a_pair_without_a_synapse_is_refused(circuit):
    lists = np.asarray(circuit.wiring.fans[NAME].targets)
    missing = int(np.setdiff1d(np.arange(40), lists[0])[0])
    with pytest.raises(cb.UsageError, match=f"0 to {missing}, no synapse; pairs that have one"):
        run(circuit, cb.record.weights(NAME, [(0, missing)]))


def test_trains_are_the_spikes_of_each_recorded_cell():
    times, cells = np.array([1.0, 2.0, 3.0, 4.0]), np.array([5, 2, 5, 2])
    trains = cb.record.Raster(times, cells, np.array([2, 3, 5])).trains()
    assert {cell: train.tolist() for cell, train in trains.items()} == {
        2: [2.0, 4.0],
        3: [],
        5: [1.0, 3.0],
    }
