"""`reproduce` on the command line; long protocols run for one seed."""

import json

import numpy as np
import pytest

from cerebellum.reproduce import REPRODUCTIONS, report


def rows(result: dict) -> dict[str, float]:
    """Measured values by quantity."""
    return {row["quantity"]: row["measured"] for row in result["rows"]}


def test_the_list_names_what_there_is(run):
    code, out, _ = run("reproduce", "--list")
    assert code == 0
    documented = {
        *("casali-background", "casali-burst", "eglif-cells", "eglif-basal", "eglif-burst"),
        *("plasticity-kernels", "eyeblink", "complex-spike", "vor"),
    }
    assert documented <= {line.split()[0] for line in out.splitlines()}
    code, out, _ = run("reproduce", "--list", "--json")
    assert set(json.loads(out)) == set(REPRODUCTIONS)


@pytest.mark.parametrize("name", sorted(REPRODUCTIONS))
def test_every_name_leads_to_a_function(name):
    assert callable(REPRODUCTIONS[name].load())


def test_bad_input_is_one_line_and_exit_2(run, tmp_path):
    (tmp_path / "file").touch()
    for arguments, message in [
        (("eyelid",), "reproduce: 'eyelid'; one of casali-background, "),
        ((), "reproduce: no name; one of casali-background, "),
        (("vor", "--seed", "-1"), "--seed: '-1'; an integer from 0 to 2**32 - 1"),
        (("vor", "--out", tmp_path / "file" / "run"), "--out: "),
    ]:
        code, out, err = run("reproduce", *arguments)
        (line,) = err.splitlines()
        assert (code, out) == (2, "")
        assert message in line


def test_a_value_outside_its_tolerance_is_exit_1_and_kept(run, monkeypatch, tmp_path):
    def wrong(seed, say):
        near = report.close("rate", "Hz", [9.0, 11.0], 10.0, rel=0.05)
        far = report.bounded("gain", "", 1.0, above=1.2)
        return report.Report(rows=[near, far], source="nobody", seeds=[seed or 0])

    monkeypatch.setattr("cerebellum.reproduce.vor.adapt", wrong)
    code, out, _ = run("reproduce", "vor", "--seed", 4, "--out", tmp_path)
    assert code == 1
    for text in ("rate", "± 0.5", "over 1.2", "outside", "source: nobody", "seeds: 4"):
        assert text in out
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["passed"] is False
    assert [row["passed"] for row in result["rows"]] == [True, False]
    assert result["rows"][0]["sd"] == pytest.approx(np.sqrt(2))


def test_a_value_that_did_not_occur_is_outside_and_null(run, monkeypatch, tmp_path):
    def never(seed, say):
        rows = [
            report.close("rise", "ms", [100.0, float("nan")], 100.0, rel=0.5),
            report.bounded("peak", "ms", float("nan"), below=10),
            report.bounded("onset", "ms", float("nan"), above=10),
        ]
        return report.Report(rows=rows, source="nobody", seeds=[0])

    monkeypatch.setattr("cerebellum.reproduce.vor.adapt", never)
    code, out, _ = run("reproduce", "vor", "--out", tmp_path)
    assert code == 1
    assert out.count("none") == out.count("outside") == 3
    result = json.loads((tmp_path / "result.json").read_text())
    assert [(row["measured"], row["passed"]) for row in result["rows"]] == 3 * [(None, False)]


@pytest.mark.slow
def test_isolated_cells_and_its_json(run, tmp_path):
    code, out, _ = run("reproduce", "eglif-cells", "--json", "--out", tmp_path)
    result = json.loads(out)
    assert code == 0
    assert set(result) == {
        *("name", "seed", "seeds", "passed", "source", "rows", "note", "output", "seconds")
    }
    assert set(result["rows"][0]) == {
        *("quantity", "unit", "measured", "sd", "published", "reference", "tolerance", "passed")
    }
    assert rows(result)["purkinje, vitro"] == pytest.approx(45.6, rel=0.05)
    assert json.loads((tmp_path / "result.json").read_text()) == result


@pytest.mark.slow
def test_kernels(run, tmp_path):
    code, out, _ = run("reproduce", "plasticity-kernels", "--out", tmp_path)
    assert code == 0, out
    assert (tmp_path / "kernels.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_tenth_of_the_microcircuit_fires_as_nest_makes_it_fire():
    """NEST 3.10 at this size, seeds 1 to 3 of 1 s each: L23E 0.48 Hz, L4E 4.0, L4I 5.0, L6I 7.0."""
    from cerebellum.reproduce import microcircuit
    from cerebellum.sim import record

    rates = record.rates(microcircuit.run(0, scale=0.1, run_ms=500.0))
    nest = {"L23I": 2.07, "L4E": 3.96, "L4I": 5.01, "L5I": 7.8, "L6I": 6.96}
    for name, wanted in nest.items():
        assert abs(rates[name] - wanted) < 0.15 * wanted
    assert 0.3 < rates["L23E"] < 0.7
    assert 0.7 < rates["L6E"] < 1.0
