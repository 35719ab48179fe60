"""The README's examples run as they stand."""

import re

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_every_python_block_runs(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) >= 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "raster.png").stat().st_size > 10_000
    assert names["spec"].population("granule").size == 400
    names["cb"].build(names["spec"], 0)
