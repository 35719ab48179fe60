"""The program as its user meets it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model.presets import PRESETS, Preset


@pytest.fixture
def quick(monkeypatch):
    """The mouse preset at a fiftieth of its size."""
    preset = PRESETS["mouse"]
    small = Preset(lambda **o: cb.presets.mouse(scale=0.02, **o), preset.protocol)
    monkeypatch.setitem(PRESETS, "mouse", small)


def program(run, *arguments):
    """Exit code, standard output and standard error of a run of the mouse preset."""
    if "--preset" not in arguments:
        arguments = ("--preset", "mouse", *arguments)
    return run("simulate", *arguments)


def test_a_run_leaves_its_table_pictures_and_what_made_it(quick, run, tmp_path):
    code, out, err = program(run, "--duration-ms", 340, "--seed", 3, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    for text in ("purkinje", "background", "burst", "ref.", "than life"):
        assert text in out
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "raster.png",
        "rates.png",
        "recording.npz",
        "run.json",
    }
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["arguments"]["seed"] == 3
    assert about["versions"]["jax"]
    assert len(about["spec"]["projections"]) == 17
    recording = cb.io.load(tmp_path / "run" / "recording.npz")
    assert recording.duration_ms == pytest.approx(340)
    assert recording.spikes["granule"].sum() > 0


def test_json_is_one_document_with_the_promised_keys(quick, run, tmp_path):
    code, out, _ = program(
        run,
        *("--stimulus", "background", "--duration-ms", 100, "--dt-ms", 0.2, "--no-plots"),
        *("--window", "early:0:50", "--window", "late:50:100", "--json", "--out", tmp_path),
    )
    result = json.loads(out)
    assert code == 0
    assert not list(tmp_path.glob("*.png"))
    promised = {
        *("preset", "seed", "dt_ms", "duration_ms", "steps", "devices", "wall_s"),
        *("realtime_factor", "build_s", "compile_s", "peak_memory_bytes", "populations"),
        *("path", "kernels", "loop"),
        *("windows", "output"),
    }
    assert set(result) == promised
    assert (result["dt_ms"], result["steps"]) == (0.2, 500)
    assert result["peak_memory_bytes"] > 1e7
    assert result["realtime_factor"] == pytest.approx(result["wall_s"] / 0.1)
    assert set(result["populations"]["granule"]) == {"cells", "spikes", "rate_hz", "published_hz"}
    early, late = result["windows"]["early"], result["windows"]["late"]
    assert (early["start_ms"], early["stop_ms"]) == (0, 50)
    mean = (early["rates_hz"]["golgi"] + late["rates_hz"]["golgi"]) / 2
    assert mean == pytest.approx(result["populations"]["golgi"]["rate_hz"])


def test_spikes_from_a_file(quick, run, tmp_path):
    np.savez(tmp_path / "s.npz", neuron=np.arange(100), time_ms=np.linspace(1, 19, 100))
    code, out, _ = program(
        run,
        "--stimulus",
        tmp_path / "s.npz",
        "--duration-ms",
        20,
        "--json",
        "--no-plots",
        "--out",
        tmp_path / "run",
    )
    assert code == 0
    assert json.loads(out)["populations"]["glomerulus"]["spikes"] == 100


def test_bad_input_is_one_line_and_exit_2(quick, run, tmp_path):
    np.savez(tmp_path / "far.npz", neuron=np.array([7_073]), time_ms=np.array([1.0]))
    (tmp_path / "text.npz").write_text("spikes")
    (tmp_path / "file").touch()
    cases = [
        (("--stimulus", tmp_path / "none.npz"), "none.npz: no such file"),
        (("--stimulus", tmp_path / "text.npz"), "text.npz: not an npz"),
        (("--stimulus", tmp_path / "far.npz"), "neuron 7073; cells are numbered 0 to 140"),
        (("--preset", "rat"), "--preset: 'rat'; one of beams, mouse"),
        (("--duration-ms", "-5"), "--duration-ms: '-5'; a number above zero"),
        (("--duration-ms", "nan"), "--duration-ms: 'nan'; a number above zero"),
        (("--duration-ms", "long"), "--duration-ms: 'long'; a number above zero"),
        (("--dt-ms", "0"), "--dt-ms: '0'; a number above zero"),
        (("--dt-ms", "1e-5"), "--dt-ms: 1e-05; granule.t_ref: 1.5 ms is over 65535 steps"),
        (("--dt-ms", "3"), "--dt-ms: 3; golgi_granule.delay: 2.0 ms; at least one step of 3.0"),
        (("--duration-ms", "0.01"), "--duration-ms: 0.01; from one step of 0.1 ms"),
        (("--duration-ms", "1e308"), "--duration-ms: 1e+308; from one step of 0.1 ms"),
        (("--seed", "x"), "--seed: 'x'; an integer from 0 to 2**32 - 1"),
        (("--seed", "9" * 30), "an integer from 0 to 2**32 - 1"),
        (("--stimulus", "brust"), "--stimulus: 'brust'; background, burst or a file"),
        (("--window", "a:0:0.05"), "a:0:0.05; at least one step of 0.1 ms"),
        (("--window", "a:0:9", "--window", "a:9:20"), "a:0:9; a twice, names are unique"),
        (("--out", ""), "--out: ''; a directory"),
        (("--window", "burst:5:1"), "NAME:START:STOP in ms, START before STOP"),
        (("--window", "late:50:90", "--duration-ms", "80"), "late:50:90; the run ends at 80 ms"),
        (("--out", tmp_path / "file" / "run"), "--out: "),
        (("--granules", "5"), "unrecognized arguments: --granules 5"),
    ]
    for arguments, message in cases:
        code, out, err = program(
            run, *arguments, *(() if "--out" in arguments else ("--out", tmp_path / "o"))
        )
        assert code == 2, arguments
        assert out == ""
        (line,) = err.splitlines()
        assert message in line, (line, message)


def test_an_unwritable_directory_is_refused(quick, run, monkeypatch, tmp_path):
    """Also for root, who may write anywhere."""

    def denied(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", denied)
    code, _, err = program(run, "--out", tmp_path)
    assert code == 2
    assert "Permission denied, a writable directory" in err


def test_the_program_itself_starts():
    out = subprocess.run(
        [sys.executable, "-m", "cerebellum.cli", "simulate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--stimulus background|burst|FILE.npz" in out.stdout
    assert "example: cerebellar-norse simulate" in out.stdout


def test_no_command_is_help(run):
    code, out, _ = run()
    assert code == 0
    assert "simulate" in out


def test_a_reader_that_ends_early_is_no_error():
    """As `| head -1` does: the schema is longer than a pipe holds, the version is one line."""
    for flag in ("--dump-schema", "--version"):
        command = [sys.executable, "-m", "cerebellum.cli", flag]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.close()
            assert process.stderr is not None
            assert process.stderr.read() == b""
        assert process.returncode == 141
