"""The pages for those who come from another simulator: our column runs as it stands."""

import re
import runpy

import pytest
from conftest import ROOT

PAGES = sorted((ROOT / "docs/coming-from").glob("[!R]*.md"))
columns = runpy.run_path(str(ROOT / "scripts/peers/tables.py"))["columns"]


@pytest.fixture
def _neurons_as_they_were():
    from cerebellum.model.neurons import CIRCUIT_MODELS

    before = dict(CIRCUIT_MODELS)
    yield
    CIRCUIT_MODELS.clear()
    CIRCUIT_MODELS.update(before)


def test_there_are_four_with_the_same_ten_things():
    assert [path.stem for path in PAGES] == ["brian2", "jaxley", "nest", "norse"]
    for path in PAGES:
        text = path.read_text()
        theirs, ours = columns(text)
        assert len(theirs) == len(ours) == 10
        titles = re.findall(r"<th colspan=\"2\">\d+\. (.*)</th>", text)
        assert titles == re.findall(r"<th colspan=\"2\">\d+\. (.*)</th>", PAGES[0].read_text())
        for program in (theirs, ours):
            compile("\n".join(program), path.name, "exec")


def run(name, folder, monkeypatch, without=()) -> dict:
    """The names that our column of a page leaves, without some of its rows."""
    monkeypatch.chdir(folder)
    _, rows = columns((ROOT / f"docs/coming-from/{name}.md").read_text())
    program = "\n".join(row for number, row in enumerate(rows, 1) if number not in without)
    names: dict = {}
    exec(compile(program, f"{name}.md", "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.usefixtures("_neurons_as_they_were", "broadcasting", "compiled_quickly")
@pytest.mark.parametrize("name", ["nest", "brian2", "jaxley"])
def test_our_column_of_circuits_runs(name, tmp_path, monkeypatch):
    """The row of `fit` is the same on two of the pages, and run on one."""
    names = run(name, tmp_path, monkeypatch, without={8} if name != "nest" else ())
    assert len(names["times"]) > 10
    assert names["voltages"].shape == (200, 2)
    assert set(names["learned"].weight.tolist()) != {4.0}, "the synapses learn"
    assert names["own"].model == "quadratic"
    assert int(names["state"].step) == 2_000
    if name == "nest":
        assert names["fitted"].values["mossy_cells.weight"] != 4.0


@pytest.mark.slow
@pytest.mark.usefixtures("_neurons_as_they_were", "broadcasting", "compiled_quickly")
def test_our_column_of_layers_runs(tmp_path, monkeypatch):
    names = run("norse", tmp_path, monkeypatch)
    assert names["hidden"].shape == (200, 50, 50)
    assert names["hidden"].sum() > 1_000
    assert names["voltages"].shape == names["hidden"].shape
    assert float(names["loss"]) < 0.75
    assert set(names["weights"]) == {"input_hidden"}
