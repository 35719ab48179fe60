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
"""Their outputs are committed; `scripts/docs notebook` makes them anew."""


def pictures_in(book) -> list[str]:
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"], "warnings"
    return [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("name", LONG)
def test_outputs_that_are_kept_are_those_of_the_notebook(name):
    """The cells are the same, and each that computes something has its number."""
    book, kept = (
        nbformat.read(ROOT / folder / f"{name}.ipynb", as_version=4)
        for folder in ("notebooks", "notebooks/executed")
    )
    assert [cell.source for cell in book.cells] == [cell.source for cell in kept.cells]
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code")
    assert kept.metadata.run.date
    assert len(pictures_in(kept)) >= 2


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("name", LONG)
def test_it_runs_and_shows_pictures(name, tmp_path):
    book = nbformat.read(ROOT / f"notebooks/{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=resources).execute(
        env=in_full()
    )
    assert len(pictures_in(book)) >= 2
    assert min(map(len, pictures_in(book))) > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_site_shows_its_pictures(path, site):
    """The first one ran when the site was built, which fails where it warns."""
    pictures = sorted((site / "notebooks" / path.stem).glob("*.png"))
    assert len(pictures) >= 2
    assert min(picture.stat().st_size for picture in pictures) > 7_000
    page = (site / f"notebooks/{path.stem}.html").read_text()
    assert ("Run on 20" in page) == (path.stem in LONG)
