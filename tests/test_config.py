"""The configuration: what is right loads, what is wrong is named, a line each."""

import json
import os

import pytest
from conftest import ROOT

from cerebellum import config, configure
from cerebellum.cli import main
from cerebellum.errors import UsageError

CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith(config.PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path):
    def writer(text: str) -> str:
        path = tmp_path / "some.toml"
        path.write_text(text)
        return str(path)

    return writer


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_that_come_with_it_load(path):
    assert config.load(path).neural.granule_size in (1_000, 100_000, 4_000_000)


def test_there_are_three():
    assert [path.stem for path in CONFIGS] == ["default", "development", "production"]


def test_production_is_the_production_circuit():
    settings = config.load(ROOT / "configs/production.toml")
    spec = configure.spec_of(settings)
    sizes = {population.name: population.size for population in spec.populations}
    assert (sizes["granule"], sizes["purkinje"]) == (4_000_000, 15_000)
    assert (sizes["golgi"], sizes["nuclei"]) == (400, 100)
    assert spec.beams == 20
    assert settings.performance.memory_limit == 28_000_000_000


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "[neural]\ngranule_sze = 5",
            "neural.granule_sze: unknown key; perhaps neural.granule_size",
        ),
        ("[performance]\nepochs = 5", "performance.epochs: unknown key; perhaps training.epochs"),
        ("[neurl]\nseed = 1", "neurl: unknown section; perhaps [neural]"),
        ("seed = 1", "seed: unknown section; perhaps [server]"),
        ("neural = 3", "neural: wrong type (3; a section)"),
        ("[neural]\ngranule_size = -4", "neural.granule_size: too small (-4; at least 1)"),
        ("[neural]\ngranule_size = 50", "neural.granule_size: too small (50; at least 100)"),
        ("[neural]\nbeams = 0", "neural.beams: too small (0; at least 1)"),
        ("[neural]\nseed = true", "neural.seed: not a whole number (True; a whole number)"),
        ("[neural]\ngranule_size = 1e5", "neural.granule_size: not a whole number (100000.0; a"),
        ("[neural]\ngranule_size = 'many'", "neural.granule_size: wrong type ('many'; a whole n"),
        ("[neural]\ndt = nan", "neural.dt: not finite (nan; a finite number)"),
        ("[neural]\ndt = 0", "neural.dt: too small (0; above 0"),
        ("[neural]\nsparsity = 1.0", "neural.sparsity: too large (1.0; below 1"),
        (
            "[neural.model]\ngranule = 'lif'",
            "neural.model.granule: unknown choice ('lif'; 'current')",
        ),
        (
            "[performance]\ndevice = 'gpu'",
            "performance.device: unknown choice ('gpu'; 'auto', 'cpu'",
        ),
        (
            "[performance]\nmemory_limit = '20Gb'",
            "performance.memory_limit: not a size ('20Gb'; by",
        ),
        ("[performance]\nmemory_limit = -1", "performance.memory_limit: not a size (-1; bytes, or"),
        ("[server]\nport = 70000", "server.port: too large (70000; at most 65535)"),
        ("[server]\nhost = '0.0.0.0'", 'server: host "0.0.0.0" is not loopback'),
        ("[training.stdp]\nw_min = 3", "training.stdp: w_min 3.0 is not below w_max 1.0"),
        ("[training]\nloss = 'rms'", "training.loss: unknown choice ('rms'; 'mse', 'mae'"),
    ],
)
def test_what_is_wrong_is_named(write, text, line):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[neural]\ndt = = 3", "line 2"), ("[neural]\ndt = [1,", "line 2"), ("x", "line 1")],
)
def test_broken_toml_is_named_with_its_line(write, text, message):
    with pytest.raises(UsageError, match=f"some.toml: not TOML: .*{message}"):
        config.load(write(text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"none.toml: no such file; a configuration in TOML"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="a configuration in TOML"):
        config.load(tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        config.load(tmp_path / "bytes.toml")


def test_every_problem_has_a_line(write, monkeypatch):
    monkeypatch.setenv("CEREBELLAR__SERVER__PORT", "none")
    path = write("[neural]\nbeams = 0\ndt = -1.0\n")
    with pytest.raises(UsageError) as caught:
        config.load(path, {"neural.seed": -2})
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert sum(line.startswith(path) for line in lines) == 2
    assert "CEREBELLAR__SERVER__PORT: server.port: wrong type ('none'; a whole number)" in lines
    assert "--seed: neural.seed: too small (-2; at least 0)" in lines


def test_toml_gives_way_to_the_environment_and_that_to_flags(write, monkeypatch):
    path = write("[neural]\ngranule_size = 1000\nbeams = 2\nseed = 3")
    monkeypatch.setenv("CEREBELLAR__NEURAL__GRANULE_SIZE", "2000")
    monkeypatch.setenv("cerebellar__neural__beams", "4")
    monkeypatch.setenv("CEREBELLAR__TRAINING__STDP__TAU_PRE", "15")
    settings = config.load(path, {"neural.granule_size": 5_000})
    assert settings.neural.granule_size == 5_000
    assert (settings.neural.beams, settings.neural.seed) == (4, 3)
    assert settings.training.stdp.tau_pre == 15


def test_a_variable_with_a_typo_is_refused(monkeypatch):
    monkeypatch.setenv("CEREBELLAR__NEURAL__GRANULE_SZE", "2000")
    with pytest.raises(UsageError) as caught:
        config.load()
    assert str(caught.value) == (
        "CEREBELLAR__NEURAL__GRANULE_SZE: no such key ('2000'; perhaps "
        "CEREBELLAR__NEURAL__GRANULE_SIZE)"
    )


@pytest.mark.parametrize(
    ("text", "size"), [("'20GB'", 20 * 10**9), ("'28 GiB'", 28 * 2**30), ("4096", 4096)]
)
def test_sizes(write, text, size):
    assert (
        config.load(write(f"[performance]\nmemory_limit = {text}")).performance.memory_limit == size
    )


def test_the_schema_describes_every_key(capsys):
    assert main.main(["--dump-schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    for section in schema["$defs"].values():
        for key, field in section["properties"].items():
            assert field.get("description"), key


def test_validation_by_the_program(write, capsys, monkeypatch):
    path = write("[neural]\ngranule_size = 1000")
    for flag in ("--validate-only", "--validate-config"):
        assert main.main(["--config", path, flag]) == 0
        assert capsys.readouterr().out == f"{path}: valid\n"
    assert main.main(["--validate-only"]) == 2
    assert "nothing to validate" in capsys.readouterr().err
    monkeypatch.setenv("CEREBELLAR__PERFORMANCE__DEVICE", "cpu")
    monkeypatch.setattr(configure, "memory_there", lambda: 64 * 10**9)
    assert main.main(["--config", str(ROOT / "configs/production.toml"), "--validate-only"]) == 0


@pytest.mark.parametrize("granules", [None, 10_000_000])
def test_a_circuit_too_large_is_refused_before_it_is_built(granules, capsys, monkeypatch):
    monkeypatch.setenv("CEREBELLAR__PERFORMANCE__DEVICE", "cpu")
    if granules:
        monkeypatch.setenv("CEREBELLAR__NEURAL__GRANULE_SIZE", str(granules))
    monkeypatch.setattr(configure, "memory_there", lambda: 4 * 10**9)
    production = str(ROOT / "configs/production.toml")
    for call in (["--validate-only"], ["simulate", "--config", production]):
        arguments = call if call[0] == "simulate" else ["--config", production, *call]
        assert main.main(arguments) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "neural.granule_size: needs " in err
        assert "this machine has 4,000,000,000" in err


def test_a_gpu_that_is_not_there(write, capsys, monkeypatch):
    def none(_):
        raise RuntimeError("no such backend")

    monkeypatch.setattr(configure.jax, "devices", none)
    monkeypatch.setattr(configure, "memory_there", lambda: 64 * 10**9)
    path = write("[performance]\ndevice = 'cuda'")
    assert main.main(["--config", path, "--validate-only"]) == 2
    assert "performance.device: no CUDA device on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--granule-size", "-5"],
            "--granule-size: neural.granule_size: too small (-5; at least 1",
        ),
        (["--preset", "mouse", "--granule-size", "500"], "--granule-size: 500; only with --preset"),
        (["--config", "none.toml"], "none.toml: no such file; a configuration in TOML"),
    ],
)
def test_simulate_refuses_by_name(flags, line, capsys):
    assert main.main(["simulate", *flags]) == 2
    err = capsys.readouterr().err
    assert line in err
    assert err.count("\n") == 1


def test_simulate_runs_a_configuration(write, tmp_path, capsys):
    path = write("[neural]\ngranule_size = 1000\nbeams = 2\nlearning_rate = 0.001\nseed = 4")
    arguments = ["--config", path, "--duration-ms", "20", "--json", "--no-plots"]
    assert main.main(["simulate", *arguments, "--out", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["preset"], result["seed"]) == ("beams", 4)
    assert result["populations"]["granule"]["cells"] == 1_000
