"""Recordings as frames of pandas and as blocks of Neo: what goes out is what was recorded."""

import sys
from dataclasses import replace

import neo
import numpy as np
import pandas as pd
import pytest
import quantities as pq
from hypothesis import given
from laws import examples
from recorded import example, recordings

import cerebellum as cb
from cerebellum.sim.record import Raster


def test_a_frame_of_spikes_has_a_row_for_each():
    recording = example()
    frame = recording.to_pandas()
    assert list(frame.columns) == ["population", "cell", "time_ms"]
    raster = recording.rasters["golgi"]
    np.testing.assert_array_equal(frame.time_ms, raster.time_ms)
    np.testing.assert_array_equal(frame.cell, raster.cell)
    assert frame.groupby("cell").size().to_dict() == {0: 10, 2: 2}
    # The first step of the recording ends at 25.1 ms, the last one at 125 ms.
    assert frame[frame.cell == 2].time_ms.tolist() == [25.1, 125.0]
    assert frame.population.dtype == "category"


def test_frames_of_the_other_records():
    recording = example()
    counts = recording.to_pandas("counts")
    assert counts.groupby("population", observed=True).spikes.sum().to_dict() == {
        "mossy": 200,
        "golgi": 11,
    }
    assert counts[counts.population == "golgi"].cell.tolist() == [0, 2]
    # Older versions did not write which of the cells were counted.
    old = replace(recording, counted={}).to_pandas("counts")
    assert old.cell.isna().sum() == 2
    assert old[old.population == "mossy"].cell.tolist() == [0, 1, 2, 3]
    v = recording.to_pandas("v")
    assert list(v.columns) == ["population", "cell", "time_ms", "value", "unit"]
    assert v.iloc[:3].time_ms.tolist() == [26.0, 26.0, 27.0]
    assert v.pivot(index="time_ms", columns="cell", values="value").loc[26.0].to_dict() == {
        2: -70.0,
        0: -69.0,
    }
    assert set(v.unit) == {"mV"}
    weights = recording.to_pandas("weights:mossy_golgi")
    assert weights.iloc[1].drop("time_ms").to_dict() == {
        "projection": "mossy_golgi",
        "source": 1,
        "target": 2,
        "value": 31.0,
        "unit": "nS",
    }
    both = recording.to_pandas("weights")
    assert both.source.isna().sum() == 100, "the mean over all synapses has no source"
    rates = recording.to_pandas("rates")
    assert rates.groupby("population", observed=True).spikes.sum()["mossy"] == 200
    assert rates[rates.spikes > 0].time_ms.iloc[0] == 25.1


def test_what_was_not_recorded_is_refused_with_what_was():
    recording = example()
    with pytest.raises(cb.UsageError, match=r"'g_exc' was not recorded; the recording has raster"):
        recording.to_pandas("g_exc")
    with pytest.raises(cb.UsageError, match=r"'raster:golgy' .*; perhaps raster:golgi"):
        recording.to_pandas("raster:golgy")
    with pytest.raises(cb.UsageError, match=r"record: 3; text"):
        recording.to_pandas(3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        cb.UsageError, match=r"raster: none recorded; simulate with record=\('raster:POPU"
    ):
        replace(recording, rasters={}).to_pandas()


@pytest.mark.parametrize("library", ["pandas", "neo"])
def test_a_library_that_is_not_installed_is_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(cb.UsageError) as problem:
        getattr(example(), f"to_{library}")()
    assert str(problem.value) == (
        f'to_{library}: needs the {library} part: pip install "cerebellar-norse[{library}]"'
    )


def test_a_block_has_trains_signals_and_groups():
    recording = example()
    block = recording.to_neo(positions={"golgi": np.arange(9.0).reshape(3, 3)})
    block.check_relationships()
    (segment,) = block.segments
    trains = segment.spiketrains
    assert [train.annotations["cell"] for train in trains] == [2, 0, 1]
    assert [len(train) for train in trains] == [2, 10, 0]
    for train in trains:
        assert (train.t_start, train.t_stop) == (25 * pq.ms, 125 * pq.ms)
        assert train.annotations["population"] == "golgi"
    assert trains[0].annotations["position_um"] == [6.0, 7.0, 8.0]
    by_name = {signal.name: signal for signal in segment.analogsignals}
    assert set(by_name) == {*recording.traces, "rates:mossy", "rates:golgi"}
    v = by_name["v:golgi"]
    assert v.units == pq.mV
    np.testing.assert_array_equal(v.magnitude, recording.traces["v:golgi"].values)
    np.testing.assert_allclose(v.times.rescale("ms").magnitude, recording.traces["v:golgi"].time_ms)
    assert v.array_annotations["cell"].tolist() == [2, 0]
    weights = by_name["weights:mossy_golgi"]
    assert weights.array_annotations["source"].tolist() == [3, 1]
    assert weights.array_annotations["target"].tolist() == [0, 2]
    assert by_name["rates:mossy"].sum() == 200
    np.testing.assert_array_equal(segment.annotations["counts:golgi"], [9, 2])
    np.testing.assert_array_equal(segment.annotations["counted:golgi"], [0, 2])
    groups = {group.name: group for group in block.groups}
    assert len(groups["golgi"].spiketrains) == 3
    assert [signal.name for signal in groups["mossy"].analogsignals] == ["rates:mossy"]


def test_a_block_is_written_and_read_by_neo(tmp_path):
    """NIX and NWB need more libraries; pickles are what Neo itself has."""
    block = example().to_neo()
    path = str(tmp_path / "block.pkl")
    neo.PickleIO(path).write_block(block)
    (segment,) = neo.PickleIO(path).read_block().segments
    assert [len(train) for train in segment.spiketrains] == [2, 10, 0]
    assert segment.spiketrains[0].annotations["population"] == "golgi"


def test_a_batch_is_a_block_of_segments():
    recording = example()
    block = cb.io.neo.block([recording, recording])
    assert [len(segment.spiketrains) for segment in block.segments] == [3, 3]
    assert len(block.groups[1].spiketrains) == 6
    with pytest.raises(cb.UsageError, match=r"recordings: .*dt 0\.2 ms; .*as in the first"):
        cb.io.neo.block([recording, replace(recording, dt=0.2)])
    with pytest.raises(cb.UsageError, match="recordings: none; at least one"):
        cb.io.neo.block([])


def test_positions_that_do_not_fit_are_refused():
    with pytest.raises(cb.UsageError, match=r"positions: population 'golgy'; perhaps golgi"):
        example().to_neo(positions={"golgy": np.zeros((3, 3))})
    with pytest.raises(cb.UsageError, match=r"float64 \[2, 3\]; finite numbers, um \[3, 3\]"):
        example().to_neo(positions={"golgi": np.zeros((2, 3))})


def test_a_unit_that_neo_does_not_know_is_kept_as_text():
    recording = example()
    trace = replace(recording.traces["v:golgi"], unit="kicks")
    (signal, *_) = replace(recording, traces={"x:golgi": trace}).to_neo().segments[0].analogsignals
    assert signal.units == pq.dimensionless
    assert signal.annotations["unit"] == "kicks"


def test_a_signal_that_is_changed_leaves_the_recording_as_it_was():
    recording = example()
    (segment,) = recording.to_neo().segments
    for item in (*segment.analogsignals, segment.spiketrains[0]):
        item[0] = item[0] * 0 + item[1]
    for label, trace in example().traces.items():
        np.testing.assert_array_equal(recording.traces[label].values, trace.values)
    np.testing.assert_array_equal(recording.rasters["golgi"].time_ms[0], 25.1)


def test_no_cell_and_no_sample():
    recording = example()
    nobody = Raster(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
    short = replace(recording.traces["v:golgi"], values=np.zeros((0, 2), np.float32), every=5_000)
    empty = replace(recording, rasters={"golgi": nobody}, traces={"v:golgi": short})
    assert len(empty.to_pandas()) == len(empty.to_pandas("v")) == 0
    (segment,) = empty.to_neo().segments
    assert len(segment.spiketrains) == 0
    assert segment.analogsignals[0].shape == (0, 2)


@given(recordings())
@examples(60)
def test_spikes_and_samples_go_out_as_they_are(recording):
    """At any step of a run: no time is later than the end of its train, none is rounded."""
    raster, trace = recording.rasters["cells"], recording.traces["v:cells"]
    (segment,) = recording.to_neo().segments
    trains = {train.annotations["cell"]: train for train in segment.spiketrains}
    assert list(trains) == raster.cells.tolist()
    for cell, times in raster.trains().items():
        np.testing.assert_array_equal(trains[cell].magnitude, times)
    frame = recording.to_pandas()
    again = cb.drive.from_neo(segment)
    assert len(frame) == len(raster.time_ms) == len(again.time_ms)
    np.testing.assert_array_equal(np.sort(again.time_ms), raster.time_ms)
    values = recording.to_pandas("v")
    np.testing.assert_array_equal(values.value, trace.values.ravel())
    np.testing.assert_allclose(values.time_ms.unique(), trace.time_ms, rtol=1e-15)
    assert isinstance(values, pd.DataFrame)
    times = segment.analogsignals[0].times.rescale("ms").magnitude
    np.testing.assert_allclose(times, trace.time_ms, rtol=1e-12)
    assert recording.to_pandas("rates").spikes.sum() == len(frame)
