"""The notebooks run from top to bottom, show pictures, and are kept without outputs."""

import nbformat
import pytest
from conftest import ROOT, in_full
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_there_are_three():
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None


LONG = ("02_published_rates", "03_teach_it_to_blink")
"""What they show is measured by other tests, and the last is longer than the guide's script."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=pytest.mark.soak if path.stem in LONG else [], id=path.stem)
        for path in NOTEBOOKS
    ],
)
def test_it_runs_and_shows_pictures(path, tmp_path):
    book = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute(
        env=in_full()
    )
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    pictures = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 2
    assert min(map(len, pictures)) > 10_000
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings"
