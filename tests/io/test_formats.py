"""Recordings as files: whole or not at all, in a format of the package or of a user's script."""

from dataclasses import dataclass
from pathlib import Path

import circuits
import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import io

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def recording():
    circuit = cb.build(circuits.feed_forward(60, 40, 20, weight=3.0), KEY)
    drive = {"input": cb.drive.poisson(50.0)}
    return cb.simulate(
        circuit, cb.init(circuit, KEY), drive, duration_ms=30, record="raster:input"
    )[1]


@pytest.fixture(autouse=True)
def _writers_as_they_were():
    before = dict(io.WRITERS)
    yield
    io.WRITERS.clear()
    io.WRITERS.update(before)


@dataclass(frozen=True)
class Csv:
    """Spikes as lines of time and cell, for other programs to read."""

    suffix: str = ".spikes.csv"

    def write(self, recording, path: Path) -> None:
        raster = recording.rasters["input"]
        rows = np.column_stack([raster.time_ms, raster.cell])
        np.savetxt(path, rows, fmt=["%.1f", "%d"], delimiter=",", header="time_ms,cell")

    def read(self, path: Path):
        raise cb.UsageError(f"recording: {str(path)!r}; such files are written only")


def test_a_format_from_outside(recording, tmp_path):
    path = tmp_path / "input.spikes.csv"
    with pytest.raises(
        cb.UsageError, match=r"input\.spikes\.csv'; a name that ends in one of \.npz"
    ):
        cb.io.save(recording, path)
    cb.register("writer", "csv", Csv())
    cb.io.save(recording, path)
    spikes = np.loadtxt(path, delimiter=",")
    np.testing.assert_allclose(spikes[:, 0], recording.rasters["input"].time_ms, atol=0.05)
    np.testing.assert_array_equal(spikes[:, 1], recording.rasters["input"].cell)
    with pytest.raises(cb.UsageError, match="written only"):
        cb.io.load(path)
    # The format of the package is as it was.
    cb.io.save(recording, tmp_path / "r.npz")
    assert cb.io.load(tmp_path / "r.npz").steps == 30


def test_what_is_no_format_is_refused():
    with pytest.raises(cb.UsageError, match="writer 'x': without suffix, write, read"):
        cb.register("writer", "x", object())
    with pytest.raises(cb.UsageError, match="writer 'x': suffix 'csv'; text with a dot before it"):
        cb.register("writer", "x", Csv(suffix="csv"))
    with pytest.raises(cb.UsageError, match="writer 'x': Csv; an object of the class"):
        cb.register("writer", "x", Csv)


def test_a_write_that_fails_leaves_what_was_there(recording, tmp_path):
    @dataclass(frozen=True)
    class Broken(Csv):
        suffix: str = ".npz"

        def write(self, recording, path: Path) -> None:
            path.write_text("half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "r.npz"
    cb.io.save(recording, path)
    before = path.read_bytes()
    with pytest.raises(cb.UsageError, match="'broken': it takes the place of 'npz'"):
        cb.register("writer", "broken", Broken())
    cb.register("writer", "broken", Broken(), replace=True)
    with pytest.raises(OSError, match="No space left"):
        cb.io.save(recording, path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["r.npz"]


def test_a_file_goes_into_a_folder_that_is_there_under_its_own_name(recording, tmp_path):
    @dataclass(frozen=True)
    class Other(Csv):
        suffix: str = ".txt"

        def write(self, recording, path: Path) -> None:
            path.with_suffix(".dat").touch()

    cb.register("writer", "other", Other())
    with pytest.raises(cb.UsageError, match=r"r\.txt': its format has written r\.dat"):
        cb.io.save(recording, tmp_path / "r.txt")
    with pytest.raises(cb.UsageError, match=r"r\.npz'; in a folder that is there"):
        cb.io.save(recording, tmp_path / "none" / "r.npz")


@pytest.mark.parametrize("content", [b"", b"what", None])
def test_what_is_no_recording_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "r.npz"
    if content is None:
        np.savez(path, x=np.ones(3))
    else:
        path.write_bytes(content)
    with pytest.raises(cb.UsageError, match=r"^recording: '.*r\.npz': not one"):
        cb.io.load(path)
    with pytest.raises(cb.UsageError, match=r"none\.npz'; a file that is there"):
        cb.io.load(tmp_path / "none.npz")
