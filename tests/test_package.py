"""The package as others get it: its version, the files that describe it, wheel and sdist."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner
from conftest import ROOT
from hatchling import build

import cerebellum as cb
from cerebellum import program

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security", "Withdrawn", "Not there"}
"""Those of Keep a Changelog, and two of ours: figures that were wrong, and what users miss."""
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))


def test_the_version_is_written_once():
    assert cb.__version__ == program.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == program.__version__
    newest = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest
    assert newest[1] == program.__version__


def test_the_changelog_has_the_form_that_it_names():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.M)
    form = r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d|Unreleased)"
    assert versions
    assert all(re.fullmatch(form, each) for each in versions)
    assert set(re.findall(r"^### (.*)$", text, re.M)) <= KINDS
    for link in re.findall(r"\]\((docs/.*?)\)", text):
        assert (ROOT / link).is_file(), link


def valid(schema: str, *paths: Path) -> tuple[int, str]:
    """The exit code and the output of check-jsonschema, by a schema that it brings."""
    arguments = ["--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    result = CliRunner().invoke(check_jsonschema.main, arguments)
    return result.exit_code, result.output


def test_the_citation_and_the_issue_forms_are_valid(tmp_path):
    citation = ROOT / "CITATION.cff"
    assert valid("citation-file-format", citation) == (0, "ok -- validation done\n")
    without = tmp_path / "CITATION.cff"
    without.write_text(re.sub(r"^authors:\n(  .*\n)+", "", citation.read_text(), flags=re.M))
    code, said = valid("citation-file-format", without)
    assert code == 1
    assert "'authors' is a required property" in said
    forms = [path for path in FORMS if path.name != "config.yml"]
    assert len(forms) >= 3
    assert valid("github-issue-forms", *forms)[0] == 0
    assert valid("github-issue-config", ROOT / ".github/ISSUE_TEMPLATE/config.yml")[0] == 0


@pytest.fixture
def clone(tmp_path) -> Path:
    """A copy of what a wheel is made of, in a folder that has the package's name."""
    folder = tmp_path / "cerebellum"
    shutil.copytree(ROOT / "cerebellum", folder / "cerebellum")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_an_editable_install_is_found_beside_a_clone_of_its_name(clone, tmp_path, monkeypatch):
    monkeypatch.chdir(clone)
    wheel = build.build_editable(str(tmp_path))
    site = make_environment(tmp_path / "venv")
    with zipfile.ZipFile(tmp_path / wheel) as file:
        file.extractall(site)
    done = run_in(
        tmp_path / "venv", tmp_path, "import cerebellum as cb; print(cb.__file__, cb.Spec)"
    )
    assert done.stdout.split()[0] == str(clone / "cerebellum/__init__.py"), done.stderr


def test_kernels_and_types_are_in_the_wheel(clone, tmp_path, monkeypatch):
    monkeypatch.chdir(clone)
    wheel = build.build_wheel(str(tmp_path))
    names = zipfile.ZipFile(tmp_path / wheel).namelist()
    ours = {name for name in names if name.startswith("cerebellum/")}
    files = {path for path in (clone / "cerebellum").rglob("*") if path.is_file()}
    files = {path for path in files if path.suffix != ".pyc"}
    assert ours == {path.relative_to(clone).as_posix() for path in files}
    assert len([name for name in ours if name.endswith(".cc")]) >= 6
    # The digest of the program covers every source that runs.
    others = {path.name for path in files if path.suffix not in program.SOURCES}
    assert others == {"py.typed"}


def make_environment(folder: Path) -> Path:
    """Make an environment with the packages of this one, but ours; returns its site-packages."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    # What is named in a file of paths is searched, but not for more such files, as ours is one.
    (site / "others.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    return site


def run_in(
    environment: Path, folder: Path, code: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run code in an environment, from a folder."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [environment / "bin/python", "-c", code],
        cwd=folder,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.slow
def test_wheel_and_sdist_build_install_and_simulate_elsewhere(tmp_path):
    """The wheel is built from the sdist; the kernels are compiled from what is in the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "dist", ROOT]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as file:
        names = {Path(name).name for name in file.getnames()}
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "py.typed"} <= names
    site = make_environment(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel]
    subprocess.run(pip, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ["simulate", "--granule-size", "10000", "--duration-ms", "20", "--out", "out"]
    code = f"import cerebellum.cli.main as cli; print(cli.__file__); cli.main({arguments})"
    done = run_in(tmp_path / "venv", elsewhere, code, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.stdout.startswith(str(site)), done.stderr
    for name in ("recording.npz", "run.json", "raster.png", "rates.png"):
        assert (elsewhere / "out" / name).stat().st_size > 0
    (kernels,) = (tmp_path / "cache/cerebellum").glob("kernels-*.so")
    assert f"compiling the C++ kernels with {shutil.which('c++')}, once, into {kernels}" in (
        done.stderr
    )
