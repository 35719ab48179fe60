"""The examples of the README and of the first page of the documentation run as they stand."""

import re

import pytest
from conftest import ROOT


def run(page: str, folder, monkeypatch) -> dict:
    """The names that the Python blocks of a page leave, run one after the other."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(folder)
    names: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.slow
def test_every_python_block_runs(tmp_path, monkeypatch):
    names = run("README.md", tmp_path, monkeypatch)
    assert (tmp_path / "raster.png").stat().st_size > 10_000
    assert names["spec"].population("granule").size == 400
    names["cb"].build(names["spec"], 0)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly")
def test_five_minutes(tmp_path, monkeypatch, capsys):
    """Rates of the mouse, of granule cells without Golgi cells, and of the first own network."""
    run("docs/start.md", tmp_path, monkeypatch)
    assert (tmp_path / "first.png").stat().st_size > 10_000
    mouse, lesioned, own = capsys.readouterr().out.splitlines()
    granule = {name: float(hz) for name, hz in re.findall(r"'(\w+)': ([\d.]+)", mouse)}["granule"]
    assert float(lesioned) > 2 * granule > 2
    assert all(float(hz) > 1 for hz in re.findall(r"[\d.]+(?=[,}])", own))
