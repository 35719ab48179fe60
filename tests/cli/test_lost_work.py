"""No run of `simulate` takes away what an earlier one has left, or what it has computed itself."""

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import circuits
import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import files, store
from cerebellum.cli import saves
from cerebellum.cli import simulate as command
from cerebellum.model.presets import PRESETS, Preset
from cerebellum.sim import loop

PROTOCOL = replace(
    PRESETS["mouse"].protocol, input="input", background_hz=50.0, reference_hz={}, published_hz={}
)
SAVING = "--checkpoint-ms", 10
CHUNK = 10
"""Steps of 1 ms in the chunk of every run here, so that one program is compiled."""


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    """A circuit of a hundred cells is the preset, and runs in chunks of `CHUNK` steps."""

    def spec(**changes):
        return replace(circuits.feed_forward(60, 40, 20, weight=3.0), **changes)

    monkeypatch.setitem(PRESETS, "mouse", Preset(spec, PROTOCOL))
    monkeypatch.setattr(command, "simulate", partial(cb.simulate, chunk_steps=CHUNK))


@pytest.fixture
def simulate(run):
    """The command, for a number of ms into a folder: exit code, output, lines of errors."""

    def call(out: Path, duration_ms: float, *flags, plots=False) -> tuple[int, str, list[str]]:
        given = "--preset", "mouse", "--stimulus", "background", "--out", out
        given = given if plots else (*given, "--no-plots")
        code, text, errors = run("simulate", *given, "--duration-ms", duration_ms, *flags)
        return code, text, errors.splitlines()

    return call


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A folder in which a run has come to 20 ms, and was then killed."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"

    def copy(target: Path, call) -> Path:
        if not folder.exists():
            assert call(folder, 20, *SAVING)[0] == 0
            for name in (saves.RECORDING, saves.DESCRIPTION):
                (folder / name).unlink()
        return Path(shutil.copytree(folder, target))

    return copy


def digests(folder: Path) -> dict[str, str]:
    """The content of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def same(one: cb.record.Recording, other: cb.record.Recording) -> None:
    assert (one.start_ms, one.steps) == (other.start_ms, other.steps)
    jax.tree.map(np.testing.assert_array_equal, one.spikes, other.spikes)
    for name, raster in one.rasters.items():
        np.testing.assert_array_equal(raster.time_ms, other.rasters[name].time_ms)
        np.testing.assert_array_equal(raster.cell, other.rasters[name].cell)


def test_an_interrupted_run_is_not_written_over_and_goes_on(simulate, interrupted, tmp_path):
    out = interrupted(tmp_path / "r", simulate)
    before = digests(out)
    for flags in ((), ("--checkpoint",), SAVING, ("--seed", 4)):
        code, text, (line,) = simulate(out, 10, *flags)
        assert (code, text) == (2, "")
        assert f"{out} has checkpoints; --resume goes on from the newest, of step 20" in line
    assert digests(out) == before
    assert simulate(out, 40, *SAVING, "--resume")[0] == 0
    assert simulate(tmp_path / "whole", 40)[0] == 0
    same(*(cb.io.load(each / saves.RECORDING) for each in (out, tmp_path / "whole")))


def test_it_goes_on_at_another_interval_over_what_was_left_after_a_kill(
    simulate, interrupted, tmp_path
):
    """The part of step 20 is there, its checkpoint is not; a file of the user's is, too."""
    out = interrupted(tmp_path / "r", simulate)
    shutil.rmtree(out / store.FOLDER / f"{20:012}")
    (out / saves.PARTS / "notes.npz").touch()
    assert simulate(out, 30, "--checkpoint-ms", 30, "--resume")[0] == 0
    (out / saves.RECORDING).unlink()
    assert simulate(out, 40, "--resume")[0] == 0
    assert simulate(tmp_path / "whole", 40)[0] == 0
    same(*(cb.io.load(each / saves.RECORDING) for each in (out, tmp_path / "whole")))


def test_a_run_that_saved_only_its_end_goes_on(simulate, tmp_path):
    for duration, flags in ((10, ()), (20, ("--resume",)), (30, ("--resume", *SAVING))):
        assert simulate(tmp_path / "r", duration, "--checkpoint", *flags)[0] == 0
    assert simulate(tmp_path / "r", 40, "--resume")[0] == 0
    assert simulate(tmp_path / "whole", 40)[0] == 0
    same(*(cb.io.load(tmp_path / name / saves.RECORDING) for name in ("r", "whole")))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "flags", "message"),
    [
        (lambda out: (out / "checkpoints").rename(out / "old"), ("--resume",), "no intact check"),
        (lambda out: (out / "checkpoints").rename(out / "old"), (), "parts of an interrupted run"),
        (
            lambda out: [cut(path / "manifest.json") for path in (out / "checkpoints").glob("0*")],
            ("--resume",),
            "no intact checkpoint, but checkpoints/damaged-",
        ),
        (lambda out: cut(out / "parts/20.npz"), ("--resume",), "20.npz': not one, or damaged"),
        (lambda out: (out / "parts/10.npz").unlink(), ("--resume",), "not all of the 20 steps"),
        (lambda out: None, ("--resume", "--seed", 3), "has another seed"),
        (lambda out: (out / "recording.npz").mkdir(), ("--resume",), "has a folder recording.npz"),
        (lambda out: (out / "raster.png").mkdir(), ("--resume",), "has a folder raster.png"),
        (
            lambda out: ((out / "parts").rename(out / "p"), (out / "parts").touch()),
            ("--resume",),
            "has a file parts",
        ),
    ],
)
def test_what_cannot_go_on_is_refused_before_it_is_touched(
    simulate, interrupted, tmp_path, damage, flags, message
):
    out = interrupted(tmp_path / "r", simulate)
    damage(out)
    before = set(digests(out).values())
    code, text, lines = simulate(out, 40, *flags)
    assert (code, text) == (2, "")
    assert message in lines[-1]
    assert set(digests(out).values()) == before


def test_other_spikes_in_the_same_file_do_not_go_on(simulate, tmp_path):
    for times in ([1.0, 2.0], [1.0, 3.0]):
        np.savez(tmp_path / "s.npz", neuron=np.array([0, 1]), time_ms=np.array(times))
        given = "--stimulus", tmp_path / "s.npz", *SAVING, "--resume"
        code, _, lines = simulate(tmp_path / "r", 10, *given)
    assert code == 2
    assert "has another stimulus" in lines[0]


def test_one_run_in_a_folder_at_a_time(simulate, tmp_path):
    with saves.locked(files.directory(str(tmp_path))):
        code, _, (line,) = simulate(tmp_path, 10)
    assert code == 2
    assert "another run is writing there" in line
    assert simulate(tmp_path, 10)[0] == 0


def test_a_folder_that_vanishes_is_made_again(simulate, tmp_path, monkeypatch):
    out, load = tmp_path / "r", loop.jax.block_until_ready

    def vanish(state):
        shutil.rmtree(out, ignore_errors=True)
        return load(state)

    monkeypatch.setattr(loop.jax, "block_until_ready", vanish)
    assert simulate(out, 10, "--checkpoint")[0] == 0
    assert cb.io.load(out / saves.RECORDING).steps == 10
    assert [step for step, _ in store.steps(out / store.FOLDER)] == [10]


def test_a_full_disk_leaves_the_results_before(simulate, tmp_path, monkeypatch):
    """Each way to write is refused in turn, as by a disk that is full."""
    out = tmp_path / "r"
    assert simulate(out, 10)[0] == 0
    before = digests(out)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for owner, name in ((np, "savez_compressed"), (Path, "write_text"), (files, "flush")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            code, text, (line,) = simulate(out, 20)
        assert code == 1
        assert line.endswith(
            f"{out}: No space left on device; no result is written, a disk with room"
        )
        assert "cells" in text
        assert digests(out) == before
    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", full)
        code, _, (line,) = simulate(out, 20, "--checkpoint", plots=True)
    assert code == 1
    assert line.endswith("No space left on device; the recording is written, its pictures are not")
    assert cb.io.load(out / saves.RECORDING).steps == 20
    assert [step for step, _ in store.steps(out / store.FOLDER)] == [20]


def test_a_disk_that_is_full_for_a_while_does_not_end_a_run(
    simulate, tmp_path, monkeypatch, caplog
):
    """Neither what is recorded nor the later checkpoints are lost; --resume needs them."""
    out, write, failing = tmp_path / "r", np.savez_compressed, [True, False]

    def full_once(*arguments, **arrays):
        if failing and failing.pop(0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments, **arrays)

    monkeypatch.setattr(np, "savez_compressed", full_once)
    assert simulate(out, 30, *SAVING)[0] == 0
    assert "step 10: not saved (No space left on device); the run goes on" in caplog.text
    assert [step for step, _ in store.steps(out / store.FOLDER)] == [30, 20]
    (out / saves.RECORDING).unlink()
    assert simulate(out, 40, "--resume")[0] == 0
    assert simulate(tmp_path / "whole", 40)[0] == 0
    same(*(cb.io.load(each / saves.RECORDING) for each in (out, tmp_path / "whole")))


def test_an_interrupt_is_saved_where_checkpoints_are_and_goes_on(simulate, tmp_path, monkeypatch):
    """SIGINT arrives while the first of two chunks runs."""
    out, advance = tmp_path / "r", loop.advance

    def hit(*operands):
        os.kill(os.getpid(), signal.SIGTERM if flags else signal.SIGINT)
        return advance(*operands)

    for flags, message in (
        ((), "nothing is saved, --checkpoint-ms saves"),
        (("--checkpoint",), "; saved, --"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "advance", hit)
            code, text, (line,) = simulate(out, 20, *flags)
        assert (code, text) == (1, "")
        assert "interrupted at 10 of 20 ms" in line
        assert message in line
    assert simulate(out, 20, "--resume")[0] == 0
    assert simulate(tmp_path / "whole", 20)[0] == 0
    same(*(cb.io.load(each / saves.RECORDING) for each in (out, tmp_path / "whole")))


def test_a_recording_says_how_it_was_made(simulate, tmp_path):
    code, text, _ = simulate(tmp_path, 10, "--json")
    recording = cb.io.load(tmp_path / saves.RECORDING)
    result = json.loads(text)
    assert code == 0
    assert (result["path"], result["kernels"]) == (recording.path, recording.backend)
    assert recording.path in ("event", "dense")
    assert recording.backend in ("native", "xla")
    assert result["loop"] == recording.loop == "a scan of single steps"
    text = simulate(tmp_path / "r", 10)[1]
    assert f"{recording.path} path, {recording.backend} kernels" in text


def test_a_limit_of_the_system_leaves_the_files_before(simulate, tmp_path):
    """A real limit on the size of files, not an injected one."""
    assert simulate(tmp_path, 10)[0] == 0
    before = digests(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    try:
        code, _, (line,) = simulate(tmp_path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert line.endswith("File too large; no result is written, a disk with room")
    assert digests(tmp_path) == before
    assert not list(tmp_path.glob(".writing-*"))
