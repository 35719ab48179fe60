"""`bench` on the command line, and comparison with a baseline."""

import json
import os

import numpy as np
import pytest

from cerebellum.bench import BENCHMARKS, program, result
from cerebellum.bench.result import Result


@pytest.fixture(autouse=True)
def _any_core(monkeypatch, tmp_path):
    """Keep the test process on all its cores, and baselines in a temporary folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "_pin", lambda cores: None)


def timed(median: float, iqr: float = 0.001, **params) -> Result:
    """A result with these times, s."""
    return Result(name="network", params=params or {"size": "M"}, median_s=median, iqr_s=iqr, n=7)


def test_every_benchmark_can_be_loaded():
    for benchmark in BENCHMARKS.values():
        assert callable(benchmark.load())


def test_bad_input_is_one_line_and_exit_2(run, tmp_path):
    (tmp_path / "results" / "bench").mkdir(parents=True)
    (tmp_path / "results" / "bench" / "torn.json").write_text("{")
    for arguments, message in [
        (("speed",), "bench: 'speed'; one of neuron_step, "),
        (("network", "--size", "XL"), "--size: invalid choice: 'XL'"),
        (("network", "--cores", "0"), f"--cores: 0; from 1 to the {len(os.sched_getaffinity(0))}"),
        (("network", "--baseline", "none"), "--baseline: 'none'; results/bench has torn"),
        (("network", "--baseline", "torn"), "torn.json; not a baseline that bench saved"),
        (("network", "--save-baseline", "../x"), "baseline '../x'; a name of letters"),
    ]:
        code, out, err = run("bench", *arguments)
        (line,) = err.splitlines()
        assert (code, out) == (2, "")
        assert message in line


@pytest.mark.parametrize(
    ("now", "iqr", "verdict"),
    [
        (1.5, 0.01, "slower"),
        (0.5, 0.01, "faster"),
        (1.5, 2.0, None),
        (1.03, 0.0, None),
    ],
)
def test_a_change_counts_beyond_the_noise(now, iqr, verdict):
    baseline = {"results": [timed(1.0).as_json(), timed(9.0, size="L").as_json()]}
    (change,) = program.compare(baseline, [timed(now, iqr), timed(1.0, size="S")])
    assert change["percent"] == pytest.approx(100 * (now - 1))
    assert change["slower"] == (verdict == "slower")
    assert change["faster"] == (verdict == "faster")


def test_a_regression_is_exit_1(run, monkeypatch):
    speed = {"seconds": 1.0}
    monkeypatch.setattr(
        "cerebellum.bench.network.run", lambda options: iter([timed(speed["seconds"])])
    )
    monkeypatch.setattr(program, "machine", lambda cores: {"cores": cores})
    assert run("bench", "network", "--save-baseline", "before")[0] == 0
    assert run("bench", "network", "--baseline", "before")[0] == 0
    speed["seconds"] = 2.0
    code, out, _ = run("bench", "network", "--baseline", "before")
    assert code == 1
    assert "+100.0 %" in out
    assert "slower" in out


def test_the_clock_and_the_machine_s_memory():
    seconds = result.clock(lambda x: np.sqrt(x), (np.ones(10),), 5)
    assert len(seconds) == 5
    assert 0 < result.summary(seconds)["median_s"] < 1
    assert 1e8 < result.bandwidth(2**20) < 1e13


@pytest.mark.slow
def test_a_network_and_its_json(run, monkeypatch):
    monkeypatch.setattr(result.Options, "repeats", 1)
    code, out, _ = run("bench", "network", "--size", "S", "--network", "common", "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document) == {"machine", "results"}
    results = document["results"]
    assert {measured["params"]["path"] for measured in results} >= {"xla"}
    for measured in results:
        assert set(measured) >= {
            *("name", "params", "median_s", "iqr_s", "n", "per", "floor_s", "rates_hz")
        }
        assert measured["params"]["size"] == "S"
        assert measured["median_s"] > 0
        assert measured["floor_s"] > 0
        assert measured["per"]["step_ns"] == pytest.approx(measured["median_s"] * 1e6)
        assert 1.5 < measured["rates_hz"]["granule"] < 2.7
