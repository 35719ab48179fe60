"""The scripts of the guide run, and what they print is what it should be.

The numbers are looked up in what a script prints, and the limits are wide: they fail where a
population is silent or runs away, where a lesion has no effect, or where a file is empty.
"""

import re
import runpy
import sys
from collections.abc import Callable

import pytest
from conftest import ROOT

from cerebellum.learn.tasks import eyeblink
from cerebellum.model import neurons, plasticity

GUIDE = ROOT / "docs/guide"
BY_OTHERS = {"fit", "own_data"}
"""Scripts that tests/learn runs."""


def numbers(line: str) -> list[float]:
    """The numbers in a line of text."""
    return [float(each) for each in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", line)]


def network(lines, folder):
    rates = [numbers(line)[0] for line in lines]
    assert [line.split()[0] for line in lines] == ["mossy", "granule", "golgi"]
    assert 37 < rates[0] < 43
    assert 5 < rates[1] < 30
    assert 5 < rates[2] < 30


def neuron(lines, folder):
    with_current, without = (numbers(line) for line in lines)
    assert 50 < with_current[0] < 90
    assert 3 < without[0] < 30
    assert with_current[-1] > with_current[1], "the cells adapt"


def rule(lines, folder):
    spreads = [numbers(line)[-1] for line in lines]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 0.08
    assert all(0.4 < numbers(line)[2] < 0.6 for line in lines)


def stimuli(lines, folder):
    mossy, silent, *driven = lines
    assert 20 < numbers(mossy)[0] < 28
    assert mossy.endswith("[100.  102.5]")
    assert numbers(silent)[0] == 0.0
    assert len(driven) == 4
    assert all(4 < numbers(line)[0] < 60 for line in driven)


def recording(lines, folder):
    rate, v, g_exc, weights = lines
    assert 5 < numbers(rate)[0] < 40
    assert "v:golgi [mV]: 1000 samples of 3" in v
    assert -80 < numbers(v)[-1] < -40
    assert "g_exc:golgi [nS]: 1000 samples of 3" in g_exc
    assert 0.2 < numbers(g_exc)[-1] < 1.0
    assert "weights:mossy_golgi [nS]: 100 samples of 2" in weights
    assert 0.5 < numbers(weights)[-1] < 2.0
    assert numbers(weights)[-1] != 1.0, "the synapses learn"
    assert (folder / "result").is_dir()


def analysis(lines, folder):
    rate, intervals, psth, correlation, _ = lines
    assert 4 < numbers(rate)[0] < 14
    mean_ms, cv = numbers(intervals)
    assert 70 < mean_ms < 200
    assert 0.3 < cv < 1.2
    peak, at_ms, later = numbers(psth)
    assert at_ms < 20
    assert peak > 5 * later
    at_once, _, after, _ = numbers(correlation)
    assert at_once > 0.2 > abs(after)
    assert (folder / "result.png").stat().st_size > 5_000


def export(lines, folder):
    frame, neo, nwb = lines
    spikes, cells = numbers(frame)
    assert cells == 20
    assert spikes > 300
    rate, tiling, peak = numbers(neo)
    assert rate == pytest.approx(spikes / 20 / 2, rel=0.1)
    assert 0.05 < tiling < 0.6, "two cells with common input"
    assert peak < 50
    assert nwb.endswith("the same spikes when it is read: True")
    assert {path.name for path in (folder / "result").iterdir()} == {
        "recording.nwb",
        "sonata",
        "csv",
    }


def lesions(lines, folder):
    control, silenced, halved, threshold = (numbers(line) for line in lines)
    assert silenced[0] > 1.5 * control[0]
    assert halved[0] > control[0]
    assert threshold[1] > control[0]
    assert {row[-1] for row in (control, silenced, halved, threshold)} == {0.0}, "nothing compiles"


def sweep(lines, folder):
    rows = [numbers(line) for line in lines]
    assert len(rows) == 6
    assert [row[:2] for row in rows[::2]] == [[0.0, -44.0], [1.0, -44.0], [2.0, -44.0]]
    granule = [row[2] for row in rows]
    assert granule[0] > granule[2] > granule[4] > 2
    assert granule[4] > granule[5]


def checkpoint(lines, folder):
    assert numbers(lines[0])[0] > 1_000
    assert lines[0].endswith("the same as in one run: True")
    assert list((folder / "result").iterdir())


def eyeblink_timing(lines, folder):
    before, after = numbers(lines[1]), numbers(lines[3])
    assert after[-1] > before[-1] + 2, "the nuclei fire more before the puff"
    assert after[-1] > after[-3] + 2, "and not at the onset of the tone"
    peak, pause = numbers(lines[4])
    assert 200 <= peak <= 330
    assert pause > 15


CHECKS: dict[str, Callable] = {
    "own_network": network,
    "own_neuron": neuron,
    "own_rule": rule,
    "stimuli": stimuli,
    "recording": recording,
    "analysis": analysis,
    "export": export,
    "lesions": lesions,
    "sweep": sweep,
    "checkpoint": checkpoint,
    "eyeblink_timing": eyeblink_timing,
}
SLOW = {"own_rule", "sweep", "checkpoint", "eyeblink_timing"}


@pytest.fixture
def _tables_as_they_were():
    tables = neurons.CIRCUIT_MODELS, plasticity.RULES
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_every_script_is_checked():
    assert {path.stem for path in GUIDE.glob("*.py")} - BY_OTHERS == set(CHECKS)


def test_every_script_is_in_the_readme():
    text = (GUIDE / "README.md").read_text()
    for path in GUIDE.glob("*.py"):
        assert f"[{path.name}]({path.name})" in text


@pytest.mark.usefixtures("_tables_as_they_were")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else [], id=name)
        for name in CHECKS
    ],
)
def test_it_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "result")])
    if name == "analysis":
        monkeypatch.setenv("MPLBACKEND", "agg")
        monkeypatch.setattr(sys, "argv", [f"{name}.py", str(tmp_path / "result.png")])
    if name == "eyeblink_timing":
        monkeypatch.setattr(eyeblink, "PROBES", 6)  # instead of 20: they are most of its trials
    runpy.run_path(str(GUIDE / f"{name}.py"))
    CHECKS[name](capsys.readouterr().out.splitlines(), tmp_path)


def test_the_readme_has_the_lengths_of_the_scripts():
    """And no script is longer than the same in the other simulator."""
    lengths = runpy.run_path(str(ROOT / "scripts/peers/guide/lengths.py"))
    rows = lengths["table"]()
    assert len(rows) >= 12
    text = (GUIDE / "README.md").read_text()
    for job, ours, theirs, peer in rows:
        assert f"| `{job}.py` | {ours} | {peer} | {theirs} |" in text
        assert ours <= theirs
