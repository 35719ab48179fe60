"""The benchmark of a GPU: its table, its limits, and a whole call on a processor."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from cerebellum.bench import network
from cerebellum.bench.gpu import circuits, laws, main, table
from cerebellum.bench.gpu.cases import BARS, PATHS, Case, bars, cases
from cerebellum.bench.gpu.lines import Lines

MACHINE = {
    "event": "machine",
    "device": "NVIDIA H200",
    "quick": False,
    "platform": "gpu",
    "client": "cuda 13000",
    "flags": "--xla_gpu_enable_command_buffer=",
    "versions": {"jax": "0.11.2"},
    "bandwidth_bytes_s": 4.3e12,
}


def result(case: Case, us: float, rate: float) -> dict:
    """A line of results."""
    return {
        "event": "result",
        "case": case.name,
        "rate_hz": rate,
        "granule_hz": 1.04,
        "us": us,
        "least_us": us - 1,
        "most_us": us + 1,
        "n": 5,
        "floor_us": 2.0,
        "peak_bytes": 8 * 2**30,
        "ran": "many steps in one launch",
    }


def test_the_most_important_cases_come_first_and_every_bar_has_one():
    those = cases()
    assert [case.subject for case in those[:6]] == ["production"] * 6
    assert [case.path for case in those[:3]] == list(PATHS)
    assert len({case.name for case in those}) == len(those)
    have = {(case.subject, case.learning, case.path) for case in those}
    assert {key[:3] for key in BARS} <= have
    assert bars("production", False, "cuda", 5.0) == (60, 20)
    assert bars("production", True, "xla", 1.0) is None


def test_a_table_has_a_line_for_every_case(tmp_path):
    fast, single, slow, never = cases()[:4]
    lines = [
        MACHINE,
        result(fast, 18.0, 1.0),
        result(fast, 61.0, 5.0),
        {"event": "skipped", "case": single.name, "why": "no nvcc"},
        {"event": "failed", "case": slow.name, "why": "exit code -11"},
    ]
    path = tmp_path / "bench.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "resu')
    text = table.text(Lines(path).read(), [fast, single, slow, never]).splitlines()
    at_1, at_5 = (line for line in text if line.startswith(f"{fast.name} "))
    assert at_1.split()[-3:] == ["20", "10", "bar"]
    assert at_5.split()[-3:] == ["60", "20", "missed"]
    assert "18.0 us a step" in at_1
    assert "9.0" in at_1.split()
    assert "8.00" in at_1.split()
    assert f"{single.name}  skipped: no nvcc" in text
    assert f"{slow.name}  failed: exit code -11" in text
    assert f"{never.name}  skipped: the budget is spent" in text
    assert "XLA_FLAGS: --xla_gpu_enable_command_buffer=" in text
    assert f"{fast.name}: many steps in one launch" in text


def test_a_verdict_needs_tests_that_passed(tmp_path):
    log = tmp_path / "log"
    passed = laws.verdict("gpu", 0, "....\n==== 4 passed, 2 deselected in 3.1s ====\n", log)
    assert passed.holds
    assert passed.line == "laws: PASS on gpu: 4 passed, 2 deselected in 3.1s"
    failed = laws.verdict(
        "gpu", 1, "FAILED tests/x.py::test_sweep[cuda] - a\n1 failed, 3 passed", log
    )
    assert not failed.holds
    assert "test_sweep[cuda]" in failed.line
    assert not laws.verdict("gpu", 5, "no tests ran in 0.1s", log).holds
    skipped = laws.verdict(
        "gpu", 0, "SKIPPED [3] x.py:4: cuda: no nvcc\n3 passed, 3 skipped in 1s", log
    )
    assert not skipped.holds
    assert "cuda: no nvcc" in skipped.line


WORKER = """
import json, os, sys, time
job = json.loads(sys.argv[1])
for case in job["cases"]:
    name = " ".join((case["subject"], "off", case["path"]))
    def write(event, **fields):
        with open(job["out"], "a") as file:
            line = {"event": event, "case": name, "at": time.time(), **fields}
            file.write(json.dumps(line) + "\\n")
    write("begin")
    if case["path"] == "hangs":
        time.sleep(60)
    if case["path"] == "fails":
        write("failed", why="XlaRuntimeError: misaligned address")
        sys.exit(3)
    if case["path"] == "crashes":
        sys.exit("an illegal memory access")
    write("result", us=1.0)
    write("end")
"""


def test_a_case_that_hangs_or_crashes_costs_its_own_figure_alone(tmp_path, monkeypatch):
    (tmp_path / "fake.py").write_text(WORKER)
    real, commands = subprocess.Popen, []

    def start(command, **options):
        commands.append(command)
        return real([sys.executable, str(tmp_path / "fake.py"), command[-1]], **options)

    monkeypatch.setattr(main.subprocess, "Popen", start)
    those = [
        *(Case("mouse", "hangs", limit_s=1.0), Case("mouse", "crashes")),
        *(Case("mouse", "fails"), Case("mouse", "xla")),
        Case("L-random", "xla"),
    ]
    bench = main.Bench(those, Lines(tmp_path / "out"), tmp_path, time.time() + 60, True)
    bench.run()
    events = bench.lines.read()
    why = {event["case"]: event["why"] for event in events if event["event"] == "failed"}
    assert why == {
        "mouse off hangs": "no result within 1 s",
        "mouse off crashes": "exit code 1; an illegal memory access",
        "mouse off fails": "XlaRuntimeError: misaligned address",
    }
    measured = [event["case"] for event in events if event["event"] == "result"]
    assert measured == ["mouse off xla", "L-random off xla"]
    jobs = [json.loads(command[-1]) for command in commands]
    assert [job["first"] for job in jobs] == [True, False, False, False, False]
    assert [len(job["cases"]) for job in jobs] == [4, 3, 2, 1, 1]


def test_what_is_not_there_is_said(tmp_path, capsys, monkeypatch):
    assert main.main(["--only", "nothing", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "bench_gpu: --only: nothing; see --list\n"
    monkeypatch.setattr(main.shutil, "which", lambda name: None)
    assert main.main(["--sanitize", "--out", str(tmp_path)]) == 2
    assert "no compute-sanitizer" in capsys.readouterr().err
    for found, words in (("cpu", "finds no GPU"), (None, "does not start")):
        monkeypatch.setattr(main, "jax_platform", lambda found=found: found)
        assert main.main(["--out", str(tmp_path)]) == 2
        assert f"JAX {words}; --quick runs" in capsys.readouterr().err
    monkeypatch.setattr(laws, "find_spec", lambda name: None)
    verdict = laws.check("gpu", 1.0, tmp_path / "log")
    assert not verdict.holds
    assert verdict.line == "laws: not run: pip install pytest hypothesis chex"


@pytest.mark.slow
def test_a_whole_call_on_tiny_circuits(tmp_path):
    command = ["bash", str(ROOT / "scripts/bench_gpu.sh"), "--quick", "--paths", "cuda", "xla"]
    command += ["--only", "production off", "--only", "bptt-100-"]
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(tmp_path)}
    environment["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("laws: PASS on cpu: ")
    assert "production off cuda  skipped: backend: 'cuda'; " in done.stdout
    assert "production off xla: a scan of single steps" in done.stdout
    events = Lines(tmp_path / "bench.jsonl").read()
    assert events[0]["event"] == "laws"
    assert events[0]["holds"]
    step, update = (event for event in events if event["event"] == "result")
    assert (step["case"], update["case"]) == ("production off xla", "bptt-100-300-100 xla")
    assert 0 < step["least_us"] <= step["us"] <= step["most_us"]
    assert step["ratio"] == pytest.approx(step["us"] / step["floor_us"])
    assert step["granule_hz"] > 0
    spec = circuits.spec_of("production", False, True)
    cells = sum(p.size for p in spec.populations if p.model == "current")
    bandwidth = next(e["bandwidth_bytes_s"] for e in events if e["event"] == "machine")
    # 26 bytes a cell, and at least two a synapse of what fired.
    synapses = network.synaptic_events(spec, step["rates_hz"]) * spec.dt * 1e-3
    assert step["floor_us"] > (26 * cells + 2 * synapses) / bandwidth * 1e6 * 0.999
    assert step["program_bytes"] > 100_000
    assert (tmp_path / "table.txt").read_text().count("us a step") == 1
