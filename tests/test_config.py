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
    assert config.load(path).neural.granule_size in (300, 1_000, 100_000, 4_000_000)


def test_there_are_four():
    assert [path.stem for path in CONFIGS] == ["default", "development", "production", "ticks"]


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
        ("[neural]\nsteps_per_tick = 10001", "neural.steps_per_tick: too large (10001; at most"),
        ("[neural]\nsparsity = 1.0", "neural.sparsity: too large (1.0; below 1"),
        (
            "[neural.model]\ngranule = 'lif'",
            "neural.model: no longer a key ({'granule': 'lif'}; every population of this circuit",
        ),
        ("[performance]\ncuda_streams = 4", "performance.cuda_streams: no longer a key (4; XLA ch"),
        (
            "[performance]\nmemory_pool_enabled = false\nmemory_pool_size = '2GB'",
            "performance: memory_pool_size 2000000000 and memory_pool_enabled = false; one",
        ),
        ("[training]\nvalidation_split = 0.9", "training.validation_split: too large (0.9; at m"),
        ("[training]\nvalidation_split = 0.0", "training.validation_split: too small (0.0; abov"),
        ("[neural]\n'a\\nb' = 1", "neural.a\\nb: unknown key; perhaps neural."),
        (f"[neural]\n{'a' * 5_000} = 1", "'neural.aaaaaaaaaa"),
        (f"[server]\nport = '{'9' * 5_000}'", "server.port: wrong type ('99999999999"),
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
        ("[server]\nhost = '::'", 'server: host "::" is not loopback'),
        (
            "[server]\nallowed_hosts = ['http://a:1']",
            "server.allowed_hosts.0: not a name of a host ('http://a:1'; a name without a port",
        ),
        ("[performance]\nbatch_size = 513", "performance.batch_size: too large (513; at most 512)"),
        ("[training.stdp]\nw_min = 3", "training.stdp.w_min: too large (3; at most 1"),
        ("[training.stdp]\na_plus = -1", "training.stdp.a_plus: too small (-1; at least 0"),
        ("[training.stdp]\ntau_pre = 0", "training.stdp.tau_pre: too small (0; above 0"),
        (
            "[training]\nmethod = 'stdp'\n[training.stdp]\na_minus = 0.02",
            "training: stdp.a_minus 0.02 x tau_post 20.0, which unlearns what a_plus 0.01 x",
        ),
        (
            "[training.stdp]\nw_min = 0.5\nw_max = 0.5",
            "training.stdp: w_min 0.5 and w_max 0.5; w_min below w_max",
        ),
        ("[training]\nloss = 'rms'", "training.loss: unknown choice ('rms'; 'mse', 'mae'"),
    ],
)
def test_what_is_wrong_is_named(write, text, line):
    path = write(text)
    with pytest.raises(UsageError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: {line}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "[" + ".".join(5_000 * ["a"]) + "]", "a = " + 300 * "[" + 300 * "]"],
    ids=["lists", "tables", "closed"],
)
def test_what_is_nested_too_deeply_is_one_line(write, text):
    with pytest.raises(UsageError, match=r"some\.toml: nested too deeply; sections with keys"):
        config.load(write(text))


def test_a_number_of_thousands_of_digits_is_one_line(write):
    with pytest.raises(UsageError, match=r"some\.toml: not TOML: .*5001 digits"):
        config.load(write("[neural]\nseed = 1" + 5_000 * "0"))


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
    monkeypatch.setenv("CEREBELLAR__TRAINING__COLUMNS", '{"price": "last"}')
    settings = config.load(path, {"neural.granule_size": 5_000})
    assert settings.neural.granule_size == 5_000
    assert (settings.neural.beams, settings.neural.seed) == (4, 3)
    assert settings.training.columns == {"price": "last"}


def test_a_variable_with_a_typo_is_refused(monkeypatch):
    monkeypatch.setenv("CEREBELLAR__NEURAL__GRANULE_SZE", "2000")
    with pytest.raises(UsageError) as caught:
        config.load()
    assert str(caught.value) == (
        "CEREBELLAR__NEURAL__GRANULE_SZE: no such key ('2000'; perhaps "
        "CEREBELLAR__NEURAL__GRANULE_SIZE)"
    )


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("TRAINING__STDP__TAU", "15", "no such key ('15'; perhaps CEREBELLAR__TRAINING__STDP__"),
        ("NEURAL__MODEL", "{}", "neural.model: no longer a key ('{}'; every population"),
        ("TRAINING__COLUMNS", "{bad", "training.columns: no table ('{bad'; JSON, such as"),
        ("TRAINING__COLUMNS", "[1]", "training.columns: wrong type ([1]; a table)"),
    ],
)
def test_a_variable_that_sets_nothing_is_refused(monkeypatch, name, value, line):
    monkeypatch.setenv(f"CEREBELLAR__{name}", value)
    with pytest.raises(UsageError) as caught:
        config.load()
    assert str(caught.value).startswith(f"CEREBELLAR__{name}: {line}")
    assert "\n" not in str(caught.value)


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


@pytest.fixture
def _own_paths(tmp_path, monkeypatch):
    """Paths that this user may write in place of those of an installed service."""
    monkeypatch.setenv("CEREBELLAR__LOGGING__FILE", str(tmp_path / "log/application.log"))
    for name in ("models", "backups", "data"):
        monkeypatch.setenv(f"CEREBELLAR__STORAGE__{name.upper()}", str(tmp_path / name))


@pytest.mark.usefixtures("_own_paths")
def test_validation_by_the_program(write, capsys, monkeypatch):
    path = write("[neural]\ngranule_size = 1000")
    for flag in ("--validate-only", "--validate-config"):
        assert main.main(["--config", path, flag]) == 0
        assert capsys.readouterr().out == f"{path}: valid\n"
    assert main.main(["--validate-only"]) == 2
    assert "nothing to validate" in capsys.readouterr().err
    monkeypatch.setenv("CEREBELLAR__PERFORMANCE__DEVICE", "cpu")
    monkeypatch.setattr(configure, "memory_there", lambda: 64 * 10**9)
    capsys.readouterr()
    assert main.main(["--config", str(ROOT / "configs/production.toml"), "--validate-only"]) == 0
    note = "performance.memory_pool_enabled, memory_pool_size: no effect on a CPU"
    assert note in capsys.readouterr().err


@pytest.mark.usefixtures("_own_paths")
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


@pytest.fixture
def places(tmp_path):
    """Files and directories that a configuration may name, for `format`."""
    for name, mode in (("open_key", 0o644), ("key", 0o600), ("file", 0o644)):
        (tmp_path / name).write_text("long-enough-0123456789")
        (tmp_path / name).chmod(mode)
    return {"here": tmp_path, "long": 5_000 * "x"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\napi_key_file = '{here}/open_key'", "server.api_key_file: others may read it"),
        ("[server]\napi_key_file = '{here}'", "server.api_key_file: Is a directory"),
        ("[server]\napi_key_file = '/{long}'", "server.api_key_file: File name too long"),
        ("[storage]\nmodels = '{here}/file'", "storage.models: not a directory"),
        ("[storage]\nmodels = '{here}/file/below'", "storage.models: not a directory"),
        ("[storage]\nmodels = '/{long}'", "storage.models: File name too long"),
        ('[storage]\nmodels = "/a\\u0000"', "storage.models: a zero byte in the name"),
        ("[storage]\nbackups = '/{long}'", "storage.backups: File name too long"),
        ("[logging]\nfile = '{here}'", "logging.file: not writable"),
        ("[logging]\nfile = '{here}/file/a.log'", "logging.file: not a directory"),
        ("[logging]\nfile = '/{long}/{long}'", "logging.file: File name too long"),
        ("[training]\ndata = '/{long}'", "training.data: not readable"),
        ("[neural]\nmossy_fiber_size = 1", "neural.mossy_fiber_size: too few to carry 28"),
        (
            "[server]\nhost = 'evil..host'\napi_key_file = '{here}/key'",
            "server.host: no name of a host ('evil..host'; an address of this machine)",
        ),
        (
            "[server]\nhost = '192.0.2.1'\napi_key_file = '{here}/key'",
            "server.host: Cannot assign requested address (192.0.2.1; an address of this machine)",
        ),
        ("[neural]\npurkinje_size = 4_000_000_000", "neural.granule_size: needs 804,"),
        ("a = " + "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_a_start_refuses_a_check_refuses(write, places, run, text, line):
    path = write(text.format(**places))
    checked, started = run("--config", path, "--validate-only"), run("--config", path)
    assert checked == started
    code, _, err = checked
    assert (code, err.count("\n")) == (2, 1)
    assert f"{path}: {line}" in err
    assert len(err) < 600


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.7.6", "::1", "localhost", "LOCALHOST"])
def test_every_address_of_this_machine_alone_needs_no_keys(host):
    assert config.load(None, {"server.host": host}).server.host == host


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "service.toml"
    path.write_bytes(b"\xef\xbb\xbf[neural]\ngranule_size = 1234\n")
    assert config.load(path).neural.granule_size == 1_234
