"""`simulate --format`: the same recording in other formats, beside recording.npz."""

import sys
from dataclasses import replace

import libsonata
import numpy as np
import pandas as pd
import pytest

import cerebellum as cb
from cerebellum.cli import exports, main
from cerebellum.model.presets import PRESETS, Preset


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The mouse preset at a fiftieth of its size."""
    preset = PRESETS["mouse"]
    small = Preset(lambda **o: cb.presets.mouse(scale=0.02, **o), preset.protocol)
    monkeypatch.setitem(PRESETS, "mouse", small)


def simulate(run, out, *formats):
    flags = [flag for name in formats for flag in ("--format", name)]
    arguments = ("--preset", "mouse", "--stimulus", "background", "--duration-ms", 100)
    return run("simulate", *arguments, "--dt-ms", 0.2, "--no-plots", "--out", out, *flags)


def names(out):
    return {path.name for path in out.iterdir()}


def test_every_format_has_the_spikes_of_the_recording(run, tmp_path):
    code, out, err = simulate(run, tmp_path, "nwb", "csv", "sonata")
    assert (code, err) == (0, "")
    assert "recording.npz, run.json, recording.nwb, raster.csv, rates.csv, spikes.h5" in out
    written = {"recording.nwb", "raster.csv", "rates.csv", "spikes.h5"}
    assert names(tmp_path) == {"recording.npz", "run.json"} | written
    recording = cb.io.load(tmp_path / "recording.npz")
    again = cb.io.load(tmp_path / "recording.nwb")
    frame = pd.read_csv(tmp_path / "raster.csv")
    spikes = libsonata.SpikeReader(str(tmp_path / "spikes.h5"))
    assert sum(len(raster.cell) for raster in recording.rasters.values()) == len(frame) > 100
    for name, raster in recording.rasters.items():
        np.testing.assert_array_equal(again.rasters[name].time_ms, raster.time_ms)
        rows = frame[frame.population == name]
        np.testing.assert_array_equal(rows.time_ms, raster.time_ms)
        np.testing.assert_array_equal(rows.cell, raster.cell)
        np.testing.assert_array_equal(spikes[name].get_dict()["node_ids"], raster.cell)

    # A run that writes other formats leaves none of an earlier recording, and no other file away.
    (tmp_path / "notes.csv").touch()
    assert simulate(run, tmp_path, "sonata")[0] == 0
    assert names(tmp_path) == {"recording.npz", "run.json", "spikes.h5", "notes.csv"}
    assert simulate(run, tmp_path)[0] == 0
    assert names(tmp_path) == {"recording.npz", "run.json", "notes.csv"}


def test_a_disk_that_refuses_a_format_keeps_the_recording(run, tmp_path, monkeypatch):
    def refuse(recording, folder):
        raise OSError(28, "No space left on device")

    assert simulate(run, tmp_path, "csv")[0] == 0
    refused = replace(exports.FORMATS["csv"], write=refuse)
    monkeypatch.setitem(exports.FORMATS, "csv", refused)
    code, _, err = simulate(run, tmp_path, "sonata", "csv")
    assert code == 1
    assert "No space left on device; the recording is written as recording.npz alone" in err
    assert names(tmp_path) == {"recording.npz", "run.json"}, "no file of the earlier recording"


def test_what_cannot_be_written_is_refused_before_the_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr("cerebellum.cli.simulate.simulate", None)
    code, _, err = simulate(run, tmp_path, "hdf")
    assert code == 2
    assert "invalid choice: 'hdf'" in err
    (tmp_path / "raster.csv").mkdir()
    code, _, err = simulate(run, tmp_path, "csv")
    assert (code, err.count("\n")) == (2, 1)
    assert "has a folder raster.csv; another --out, or rename it" in err
    monkeypatch.setitem(sys.modules, "pynwb", None)
    code, _, err = simulate(run, tmp_path, "nwb")
    assert code == 2
    assert '--format nwb: needs the nwb part: pip install "cerebellar-norse[nwb]"' in err


def test_the_program_knows_every_format():
    """The parser has their names without loading what writes them."""
    for name in exports.FORMATS:
        arguments = main.parser().parse_args(["simulate", "--format", name])
        assert arguments.format == [name]
    assert exports.files(["csv", "csv"]) == ("raster.csv", "rates.csv")
