"""Recordings as files of NWB, SONATA and CSV: written whole or not at all, read by the libraries
of the field, and the same as what was recorded."""

import logging
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import circuits
import h5py
import libsonata
import numpy as np
import pandas as pd
import pynwb
import pytest
from hypothesis import given
from laws import examples
from recorded import example, recordings

import cerebellum as cb
from cerebellum.io import tables
from cerebellum.sim import stream
from cerebellum.sim.record import Raster, Recording

NOBODY = Raster(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))
SILENT = Raster(np.zeros(0), np.zeros(0, np.int64), np.arange(3))


def variants() -> dict[str, Recording]:
    """The example, and what is special about others."""
    whole = example()
    short = replace(whole.traces["v:golgi"], values=np.zeros((0, 2), np.float32), every=5_000)
    mossy = Raster(np.array([25.1]), np.array([2]), np.array([2]))
    return {
        "everything": whole,
        "one step": example(steps=1),
        "silent cells": replace(whole, rasters={"golgi": SILENT}, traces={}, counts={}, counted={}),
        "no cells": replace(
            whole,
            rasters={"golgi": NOBODY},
            counts={"golgi": np.zeros(0, int)},
            counted={"golgi": np.zeros(0, int)},
        ),
        "of an older version": replace(whole, counted={}),
        "no cells and one": replace(whole, rasters={"golgi": NOBODY, "mossy": mossy}),
        "no sample": replace(whole, traces={"v:golgi": short}),
        "rates": replace(whole, rasters={}, traces={}, counts={}, counted={}),
    }


def assert_same(ours: Recording, theirs: Recording) -> None:
    """Every array and number is the same, bit for bit."""
    assert stream.about(ours) == stream.about(theirs)
    one, other = stream.arrays_of(ours), stream.arrays_of(theirs)
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize("name", list(variants()))
def test_nwb_and_back(name, tmp_path):
    recording, path = variants()[name], tmp_path / "r.nwb"
    recording.to_nwb(path)
    if name in ("everything", "no cells"):  # it takes a second
        assert pynwb.validate(path=str(path)) == []
    assert_same(cb.io.load(path), recording)


@given(recordings())
@examples(9)
def test_any_recording_to_nwb_and_back(recording):
    with tempfile.TemporaryDirectory() as folder:
        cb.io.save(recording, Path(folder, "r.nwb"))
        assert_same(cb.io.load(Path(folder, "r.nwb")), recording)


def test_what_pynwb_reads(tmp_path):
    recording, path = example(), tmp_path / "r.nwb"
    start = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    recording.to_nwb(
        path,
        identifier="one of ours",
        session_start_time=start,
        description="three Golgi cells",
        positions={"golgi": np.arange(9.0).reshape(3, 3)},
        lab="ours",
        experimenter=["A. Person"],
    )
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(str(path), "r") as io:
        file = io.read()
        assert (file.identifier, file.session_start_time) == ("one of ours", start)
        assert (file.session_description, file.lab) == ("three Golgi cells", "ours")
        assert file.keywords[:].tolist() == ["simulation", "mossy", "golgi"]
        units = file.units.to_dataframe()
        assert units.population.tolist() == ["golgi"] * 3
        assert units.cell.tolist() == [2, 0, 1]
        assert units.x_um.tolist() == [6.0, 0.0, 3.0]
        assert [len(times) for times in units.spike_times] == [2, 10, 0]
        np.testing.assert_allclose(units.spike_times[0], [0.0251, 0.125])
        np.testing.assert_allclose(units.obs_intervals[2], [[0.025, 0.125]])
        v = file.acquisition["v_golgi"]
        assert (v.unit, v.conversion, v.rate) == ("volts", 1e-3, 1_000.0)
        assert v.starting_time == pytest.approx(0.026)
        np.testing.assert_array_equal(v.data, recording.traces["v:golgi"].values)
        columns = file.processing["simulation"]["columns"].to_dataframe()
        assert columns[columns.series == "v_golgi"].cell.tolist() == [2, 0]
        pairs = columns[columns.series == "weights_mossy_golgi"]
        assert pairs[["cell", "target"]].to_numpy().tolist() == [[3, 0], [1, 2]]
        assert file.processing["simulation"]["spikes_mossy"].data[:].sum() == 200


def test_units_of_a_file_drive_cells(tmp_path):
    recording, path = example(), tmp_path / "r.nwb"
    recording.to_nwb(path)
    raster = recording.rasters["golgi"]
    by_row = cb.drive.from_nwb(path)
    assert np.bincount(by_row.neuron).tolist() == [2, 10], "the first row is that of cell 2"
    of_golgi = cb.drive.from_nwb(path, population="golgi")
    for spikes in (by_row, of_golgi):
        np.testing.assert_allclose(np.sort(spikes.time_ms), raster.time_ms)
    assert np.bincount(of_golgi.neuron).tolist() == np.bincount(raster.cell).tolist()
    with pytest.raises(cb.UsageError, match="population: 'golgy'; perhaps golgi"):
        cb.drive.from_nwb(path, population="golgy")
    theirs = pynwb.NWBFile("of others", "x", datetime.now(UTC))
    theirs.add_unit(spike_times=[0.5])
    with pynwb.NWBHDF5IO(str(tmp_path / "theirs.nwb"), "w") as io:
        io.write(theirs)
    with pytest.raises(cb.UsageError, match="no columns population and cell, leave it out"):
        cb.drive.from_nwb(tmp_path / "theirs.nwb", population="golgi")


def test_two_files_have_two_identifiers(tmp_path):
    found = set()
    for name in ("a.nwb", "b.nwb"):
        example().to_nwb(tmp_path / name)
        with pynwb.NWBHDF5IO(str(tmp_path / name), "r") as io:
            file = io.read()
            found.add(file.identifier)
            assert file.session_description.startswith("simulation of 7 cells for 100 ms")
            assert (datetime.now(UTC) - file.session_start_time).total_seconds() < 600
    assert len(found) == 2


def test_wrong_metadata_is_refused_and_nothing_is_written(tmp_path):
    path = tmp_path / "r.nwb"
    for wrong in ({"laboratory": "ours"}, {"session_start_time": "today"}, {"lab": 3}):
        with pytest.raises(cb.UsageError, match=r"to_nwb: .*fields of pynwb\.NWBFile"):
            example().to_nwb(path, **wrong)
    with pytest.raises(cb.UsageError, match="perhaps golgi"):
        example().to_nwb(path, positions={"golgy": np.zeros((3, 3))})
    with pytest.raises(cb.UsageError, match="in a folder that is there"):
        example().to_nwb(tmp_path / "none" / "r.nwb")
    assert not list(tmp_path.iterdir())


def test_a_file_of_nwb_that_is_not_ours_is_refused_by_load(tmp_path):
    path = tmp_path / "theirs.nwb"
    file = pynwb.NWBFile("of others", "x", datetime.now(UTC))
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    with pytest.raises(cb.UsageError, match=r"not of this package; cb\.drive\.from_nwb reads"):
        cb.io.load(path)
    path.write_bytes(b"what")
    with pytest.raises(cb.UsageError, match=r"theirs\.nwb': not one, or damaged"):
        cb.io.load(path)


@pytest.mark.parametrize("name", list(variants()))
def test_csv_and_back(name, tmp_path):
    """pandas reads of each file what `to_pandas` makes of the recording."""
    recording, folder = variants()[name], tmp_path / "csv"
    recording.to_csv(folder)
    assert {path.stem for path in folder.iterdir()} == set(tables.kinds(recording))
    for path in folder.iterdir():
        ours = recording.to_pandas(path.stem)
        theirs = pd.read_csv(path)
        assert list(ours.columns) == list(theirs.columns)
        for column in ours:
            one, other = ours[column], theirs[column]
            if one.dtype == "float32":
                other = other.astype("float32")
            assert [*one.astype("str")] == [*other.astype(one.dtype).astype("str")], column


def test_what_a_file_of_spikes_looks_like(tmp_path):
    example().to_csv(tmp_path / "csv")
    lines = (tmp_path / "csv" / "raster.csv").read_text().splitlines()
    assert lines[:3] == ["population,cell,time_ms", "golgi,2,25.1", "golgi,0,30.0"]
    v = (tmp_path / "csv" / "v.csv").read_text().splitlines()
    assert v[:2] == ["population,cell,time_ms,value,unit", "golgi,2,26.0,-70.0,mV"]


def test_libsonata_reads_spikes_and_reports(tmp_path, caplog):
    recording, folder = example(), tmp_path / "sonata"
    with caplog.at_level(logging.WARNING):
        recording.to_sonata(folder)
    assert "counts:golgi, weights:mossy_golgi" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == ["spikes.h5", "v_report.h5"]
    spikes = libsonata.SpikeReader(str(folder / "spikes.h5"))
    assert spikes.get_population_names() == ["golgi"]
    assert spikes["golgi"].sorting == "by_time"
    assert spikes["golgi"].time_units == "ms"
    raster = recording.rasters["golgi"]
    read = spikes["golgi"].get_dict()
    np.testing.assert_array_equal(read["timestamps"], raster.time_ms)
    np.testing.assert_array_equal(read["node_ids"], raster.cell)
    report = libsonata.ElementReportReader(str(folder / "v_report.h5"))["golgi"]
    assert (report.time_units, report.data_units, report.sorted) == ("ms", "mV", True)
    frames = report.get()
    trace = recording.traces["v:golgi"]
    assert frames.ids[:, 0].tolist() == [0, 2], "in the order of the cells"
    np.testing.assert_array_equal(frames.data, trace.values[:, [1, 0]])
    np.testing.assert_allclose(frames.times, trace.time_ms, rtol=1e-12)


@given(recordings())
@examples(60)
def test_any_recording_to_sonata(recording):
    """At any step of a run, libsonata finds every spike and every frame."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "sonata")
        recording.to_sonata(folder)
        spikes = libsonata.SpikeReader(str(folder / "spikes.h5"))["cells"].get_dict()
        raster, trace = recording.rasters["cells"], recording.traces["v:cells"]
        np.testing.assert_array_equal(spikes["timestamps"], raster.time_ms)
        np.testing.assert_array_equal(spikes["node_ids"], raster.cell)
        if len(trace.values):
            report = libsonata.SomaReportReader(str(folder / "v_report.h5"))["cells"].get()
            np.testing.assert_array_equal(report.data, trace.values[:, np.argsort(trace.cells)])


def test_the_layout_of_sonata_files(tmp_path):
    """What the developer guide asks for, and the older name of a dataset, which bmtk reads."""
    example().to_sonata(tmp_path / "sonata")
    with h5py.File(tmp_path / "sonata" / "spikes.h5") as file:
        assert (file.attrs["magic"], [*file.attrs["version"]]) == (0x0A7A, [0, 1])
        kind = h5py.check_enum_dtype(file["spikes/golgi"].attrs.get_id("sorting").dtype)
        assert kind == {"none": 0, "by_id": 1, "by_time": 2}
        assert file["spikes/golgi/node_ids"].dtype == np.uint64
    with h5py.File(tmp_path / "sonata" / "v_report.h5") as file:
        mapping = file["report/golgi/mapping"]
        assert mapping["index_pointers"][:].tolist() == [0, 1, 2]
        assert mapping["index_pointer"] == mapping["index_pointers"]
        assert mapping["time"][:].tolist() == [26.0, 126.0, 1.0]


def test_a_recording_without_anything_for_sonata_is_refused(tmp_path):
    recording = replace(example(), rasters={}, traces={})
    with pytest.raises(cb.UsageError, match="to_sonata: no spikes and no variables of cells"):
        recording.to_sonata(tmp_path / "sonata")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_new(tmp_path):
    example().to_csv(tmp_path / "r")
    for write in (example().to_csv, example().to_sonata):
        with pytest.raises(cb.UsageError, match=r"r', which is there already; a new folder"):
            write(tmp_path / "r")
        with pytest.raises(cb.UsageError, match="in a folder that is there"):
            write(tmp_path / "none" / "r")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize(
    ("library", "extra", "write"),
    [("pynwb", "nwb", "to_nwb"), ("h5py", "sonata", "to_sonata")],
)
def test_a_library_that_is_not_installed_is_named(library, extra, write, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(cb.UsageError, match=rf"{write}: needs the {extra} part: .*\[{extra}\]"):
        getattr(example(), write)(tmp_path / ("r.nwb" if extra == "nwb" else "r"))
    assert not list(tmp_path.iterdir())


def test_a_name_without_the_ending_of_its_format_is_refused(tmp_path):
    with pytest.raises(cb.UsageError, match=r"a name that ends with \.nwb"):
        example().to_nwb(tmp_path / "r")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("to", [None, "run"])
def test_a_run_goes_out_and_comes_back(to, tmp_path):
    """In memory, and in memory maps of a folder, which cannot be written to."""
    spec = circuits.feed_forward(60, 40, 10.0, weight=3.0, dt=0.5, plastic=True)
    circuit = cb.build(spec, 0)
    name = spec.projections[0].name
    record = [
        cb.record.of("raster", "input", [7, 3, 50]),
        cb.record.of("counts", "cells", [39, 2]),
        cb.record.of("v", "cells", [7, 3], every_ms=2.5),
        cb.record.weights(name, every_ms=10.0),
    ]
    options = {} if to is None else {"to": tmp_path / to}
    drive = {"input": cb.drive.poisson(80.0)}
    state, first = cb.simulate(circuit, drive=drive, duration_ms=30, record=record)
    recording = cb.simulate(circuit, state, drive, duration_ms=30, record=record, **options)[1]
    assert len(recording.rasters["input"].time_ms) > 2
    assert recording.rasters["input"].time_ms[0] > first.duration_ms
    cb.io.save(recording, tmp_path / "r.nwb")
    assert_same(cb.io.load(tmp_path / "r.nwb"), recording)
    recording.to_sonata(tmp_path / "sonata")
    recording.to_csv(tmp_path / "csv")
    assert recording.to_pandas("counts").cell.tolist() == [39, 2]
    assert recording.to_pandas("v").cell.tolist()[:2] == [7, 3]
    (segment,) = recording.to_neo().segments
    assert [len(train) for train in segment.spiketrains] == [
        len(times) for times in recording.rasters["input"].trains().values()
    ]
