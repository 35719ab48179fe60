"""The optional parts: what runs without them, and what is said where one is missing."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import hiding
import pytest
from conftest import ROOT
from learn import series
from packaging.requirements import Requirement

import cerebellum as cb
from cerebellum import parts
from cerebellum.config import Settings, Storage
from cerebellum.learn.tasks import ticks
from cerebellum.service import training
from cerebellum.service.requests import Start

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_IMPORTED = {"all", "cuda", "dev", "docs", "nvcc"}
"""Extras that no module of ours asks for by name."""

SMALL = ("--granule-size", "300", "--duration-ms", "5", "--no-plots", "--json")


@pytest.fixture
def without(monkeypatch):
    """Hide all parts from `parts.need`."""
    monkeypatch.setattr(parts, "is_there", lambda part: False)


def names(requirements: list[str]) -> set[str]:
    """Names of distributions, as they are compared."""
    return {re.sub(r"[-_.]+", "-", Requirement(each).name).lower() for each in requirements}


@pytest.mark.parametrize("part", parts.PARTS)
def test_a_part_is_an_extra_that_brings_its_modules(part):
    owners = packages_distributions()
    brought = {owner for module in parts.PARTS[part] for owner in owners[module]}
    assert names(sorted(brought)) == names(EXTRAS[part])
    assert parts.is_there(part)


def test_every_extra_is_a_part_and_in_all():
    assert set(EXTRAS) - NOT_IMPORTED == set(parts.PARTS)
    (whole,) = map(Requirement, EXTRAS["all"])
    assert (whole.name, whole.extras) == (PROJECT["name"], set(parts.PARTS))
    assert f"{PROJECT['name']}[all]" in EXTRAS["dev"]


def test_the_core_alone_imports_and_simulates(tmp_path):
    optional = {module for modules in parts.PARTS.values() for module in modules}
    code = (
        "import cerebellum as cb; assert all(getattr(cb, name) for name in cb.__all__)\n"
        "from cerebellum.cli import main\n"
        f"code = main.main(['simulate', '--out', {str(tmp_path)!r}, *{SMALL!r}])\n"
        "import cerebellum.cli.profile, cerebellum.bench.program, cerebellum.cli.train\n"
        "raise SystemExit(code or main.main(['serve', '--config', 'none.toml']))"
    )
    done = hiding.run(optional | {"starlette", "anyio"}, code)
    assert (tmp_path / "recording.npz").exists(), done.stderr
    assert '"rate_hz"' in done.stdout
    assert done.stderr.splitlines()[-1] == (
        'cerebellar-norse: serve: needs the service part: pip install "cerebellar-norse[service]"'
    )
    assert done.returncode == 2


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("serve",), "service"),
        (("--config", "configs/default.toml"), "service"),
        (("--config", "configs/default.toml", "--validate-only"), "service"),
        (("train", "--data", "ticks.csv", "--out", "run"), "ticks"),
        (("evaluate", "--data", "ticks.csv", "--model", "run"), "ticks,eval"),
    ],
)
def test_a_command_names_the_part_that_it_needs(run, arguments, missing):
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert re.search(rf'needs the .* parts?: pip install "cerebellar-norse\[{missing}\]"$', err)


@pytest.mark.usefixtures("without")
def test_tables_need_their_part(run, tmp_path):
    series.write(tmp_path / "ticks.csv", series.steps(10, 0.9, 0))
    needed = r'needs the ticks part: pip install "cerebellar-norse\[ticks\]"'
    code, _, err = run("--verify-data", tmp_path)
    assert code == 2
    assert re.fullmatch(f"cerebellar-norse: --verify-data: {needed}\n", err)
    with pytest.raises(cb.UsageError, match=rf"ticks\.csv: {needed}"):
        ticks.load(tmp_path / "ticks.csv")


@pytest.mark.usefixtures("without")
def test_a_service_without_ticks_refuses_to_train(tmp_path):
    trainer = training.Trainer(Settings(storage=Storage(models=tmp_path)), None)
    with pytest.raises(training.RefusedError, match=r"training: needs the ticks part"):
        trainer.start(Start())
    assert not trainer.folder.exists()


def test_a_module_put_aside_by_hand_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(cb.UsageError, match="needs the ticks part"):
        parts.need("this", "ticks", "eval")
