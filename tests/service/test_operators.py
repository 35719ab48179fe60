"""Files for operators, each checked by the tool that reads it."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import serving
from conftest import ROOT
from prometheus_client import generate_latest

from cerebellum import program
from cerebellum.service import metrics

CONFIGS = ROOT / "configs"


def tool(name: str) -> str:
    """The path of a tool. If it is missing, the test fails in CI and is skipped elsewhere."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/bin")
    if path is None:
        assert not os.environ.get("CI"), f"{name} is missing"
        pytest.skip(f"{name} is not installed")
    return path


def call(*command, **more) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def test_prometheus_rules_fire_and_stay_silent():
    promtool = tool("promtool")
    for command in (
        ("check", "rules", CONFIGS / "prometheus/rules.yml"),
        ("test", "rules", CONFIGS / "prometheus/rules_test.yml"),
        ("check", "config", CONFIGS / "prometheus/prometheus.yml"),
    ):
        result = call(promtool, *map(str, command))
        assert result.returncode == 0, result.stdout + result.stderr


def rules() -> list[dict[str, Any]]:
    import yaml

    text = (CONFIGS / "prometheus/rules.yml").read_text()
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_every_alert_has_a_test_in_which_it_fires_and_then_falls_silent():
    import yaml

    tests = yaml.safe_load((CONFIGS / "prometheus/rules_test.yml").read_text())["tests"]
    proven = set()
    for test in tests:
        fired = set()
        for case in test["alert_rule_test"]:
            if case["exp_alerts"]:
                fired.add(case["alertname"])
            elif case["alertname"] in fired:
                proven.add(case["alertname"])
    assert proven == {rule["alert"] for rule in rules()}


def test_every_metric_of_an_alert_is_one_of_the_service():
    exposed = generate_latest(metrics.build(["granule"], {"version": "1"}).registry).decode()
    known = set(re.findall(r"^# TYPE (\S+)", exposed, re.M))
    used = {name for rule in rules() for name in re.findall(r"(\w+)\{job=", rule["expr"])}
    assert "process_start_time_seconds" in used
    unknown = {name for name in used - {"up"} if name.removesuffix("_bucket") not in known}
    assert not unknown


def test_the_guide_ranks_every_alert():
    guide = (ROOT / "docs/operations.md").read_text()
    rows = dict(re.findall(r"^\| (critical|major|warning) \|.*\| ([^|]+) \|$", guide, re.M))
    for rule in rules():
        assert rule["alert"] in re.split(r",\s*", rows[rule["labels"]["severity"]])


def test_a_live_scrape_is_good_metrics(service):
    service.tick("scraped")
    text = service.get("/metrics")[1]
    result = call(tool("promtool"), "check", "metrics", input=text)
    assert result.returncode == 0, result.stdout + result.stderr
    for name in (
        "processing_duration_seconds_bucket",
        "tick_duration_seconds_bucket",
        "processing_latency_slo_seconds",
        "http_request_duration_seconds_bucket",
        "http_requests_total",
        'spikes_total{population="granule"}',
        'firing_rate_hertz{population="purkinje"}',
        "training_loss",
        "training_epoch",
        "validation_accuracy",
        "process_resident_memory_bytes",
        "simulated_seconds_total",
        "realtime_factor",
        "checkpoint_last_success_timestamp_seconds",
        "checkpoint_failures_total",
        "build_info",
        "ready 1.0",
        'check_status{check="configuration"} 0.0',
        'check_status{check="log"} 0.0',
        "state_unsaved",
        'training_runs_total{state="failed"} 0.0',
        "log_lines_lost_total 0.0",
    ):
        assert name in text, name
    # Families of device memory are declared also where there is no device that tells.
    assert "# TYPE cuda_memory_used_bytes gauge" in text
    assert "# TYPE device_memory_total_bytes gauge" in text
    assert "scraped" not in text


def test_the_build_is_known_by_what_it_is_made_of(service, tmp_path):
    labels = dict(
        re.findall(r'(\w+)="([^"]*)"', service.get("/metrics")[1].split("build_info{")[1])
    )
    assert labels["source"] == program.digest()
    said = call(sys.executable, "-m", "cerebellum.cli", "--version").stdout
    assert said == f"cerebellar-norse {program.__version__}, source {labels['source']}\n"
    copy = tmp_path / "package"
    shutil.copytree(ROOT / "cerebellum", copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert program.digest(copy) == labels["source"]
    path = copy / "service/engine.py"
    path.write_text(path.read_text() + "\n")
    assert program.digest(copy) != labels["source"]


def test_the_dashboard_is_whole():
    dashboard = json.loads((CONFIGS / "grafana/dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    spots = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= 24 - place["w"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & spots, f"{panel['title']} overlaps"
        spots |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert "http" not in json.dumps(dashboard).replace("http_request", "").replace("HTTP", "")


@pytest.mark.slow
def test_the_dashboard_is_what_grafana_reads(tmp_path):
    """Type-checked against Grafana's own schema."""
    npm = tool("npm")
    (tmp_path / "package.json").write_text('{"private": true}')
    wanted = ("@grafana/schema@13.2.3", "typescript@5")
    result = call(npm, "install", "--silent", "--no-audit", "--no-fund", *wanted, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (CONFIGS / "grafana/dashboard.json").read_text()
    types = "@grafana/schema/dist/types/raw/dashboard/x/types.gen"
    program = tmp_path / "check.ts"
    flags = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "node")
    for source, code in ((text, 0), (text.replace('"title"', '"titel"'), 2)):
        program.write_text(
            f'import type {{ Dashboard }} from "{types}";\nexport const it: Dashboard = {source};\n'
        )
        compiler = str(tmp_path / "node_modules/.bin/tsc")
        result = call(compiler, *flags, "--module", "esnext", str(program), cwd=tmp_path)
        assert result.returncode == code, result.stdout


def queries() -> list[str]:
    dashboard = json.loads((CONFIGS / "grafana/dashboard.json").read_text())
    return [
        target["expr"].replace("$__rate_interval", "20s").replace("$instance", ".*")
        for panel in dashboard["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.slow
def test_a_real_prometheus_scrapes_alerts_and_feeds_the_dashboard(tmp_path, service):
    """Every query returns data; the latency alert fires where the objective is not met."""
    binary = tool("prometheus")
    port = serving.free_port()
    config = (CONFIGS / "prometheus/prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8080", f"127.0.0.1:{service.port}").replace("5s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    rules = (CONFIGS / "prometheus/rules.yml").read_text()
    # The rule as it is, on a faster clock.
    rules = rules.replace("for: 2m", "for: 2s").replace("[5m]", "[15s]")
    rules = rules.replace("> on (instance) processing_latency_slo_seconds", "> on (instance) 1e-6 *"
                          " processing_latency_slo_seconds")  # fmt: skip
    (tmp_path / "rules.yml").write_text(rules)
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )

    def ask(path: str, **query):
        url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    try:
        missing, index = queries(), itertools.count()

        def answered() -> bool:
            service.tick("alerting", next(index))
            try:
                missing[:] = [q for q in missing if not ask("query", query=q)["result"]]
                alerts = ask("alerts")["alerts"]
            except OSError:
                return False
            return not missing and any(
                each["labels"]["alertname"] == "ProcessingLatencyHigh" and each["state"] == "firing"
                for each in alerts
            )

        serving.until(answered, 120, every=0.5)
    finally:
        process.terminate()
        process.wait(20)


def test_the_unit_is_what_systemd_reads(tmp_path):
    """`systemd-analyze verify` returns 0 for a misspelt key, so its messages are checked."""
    analyze = tool("systemd-analyze")
    program = Path(sys.executable).with_name("cerebellar-norse")
    text = (CONFIGS / "cerebellar-norse.service").read_text()
    text = text.replace("/opt/cerebellar-norse/bin/cerebellar-norse", str(program))
    # systemd restarts after a failed ExecStartPre, whatever RestartPreventExitStatus says.
    assert "ExecStartPre=" not in text
    assert "RestartPreventExitStatus=2\n" in text
    unit = tmp_path / "cerebellar-norse.service"
    unit.write_text(text)
    for name in ("cerebellar-norse-backup.service", "cerebellar-norse-backup.timer"):
        (tmp_path / name).write_text((CONFIGS / name).read_text())
        result = call(analyze, "verify", str(tmp_path / name))
        assert (result.returncode, result.stderr.strip()) == (0, "")
    result = call(analyze, "verify", str(unit))
    assert (result.returncode, result.stderr.strip()) == (0, "")
    unit.write_text(text.replace("WatchdogSec", "WatchdogSek"))
    assert "WatchdogSek" in call(analyze, "verify", str(unit)).stderr


def test_logrotate_reads_its_file(tmp_path):
    """`logrotate -d` returns 0 for errors, so its messages are checked."""
    rotate = tool("logrotate")
    log = tmp_path / "application.log"
    log.write_text("a line\n")
    text = (CONFIGS / "logrotate").read_text()
    text = text.replace("/var/log/cerebellar-norse/application.log", str(log))
    text = re.sub(r" *su cerebellar cerebellar\n", "", text)
    text = text.replace("create 0640 cerebellar cerebellar", "create 0640")
    path = tmp_path / "logrotate"
    path.write_text(text)
    path.chmod(0o644)
    result = call(rotate, "-d", "--state", str(tmp_path / "state"), str(path))
    assert "error:" not in result.stderr
    assert str(log) in result.stderr
    path.write_text(text.replace("rotate 30", "rotate thirty"))
    assert "error:" in call(rotate, "-d", "--state", str(tmp_path / "state"), str(path)).stderr


def test_systemd_hears_ready_the_watchdog_and_stopping(tmp_path):
    import socket

    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(60)
        port = serving.free_port()
        config = serving.configuration(tmp_path, port)
        process = subprocess.Popen(
            [sys.executable, "-m", "cerebellum.cli", "--config", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"},
        )
        messages = [receiver.recv(100).decode() for _ in range(3)]
        assert messages[0] == "READY=1"
        assert messages[1:] == ["WATCHDOG=1"] * 2
        process.send_signal(signal.SIGTERM)
        while (line := receiver.recv(100).decode()) == "WATCHDOG=1":
            pass
        assert line == "STOPPING=1"
        assert process.wait(30) == 0


def test_the_page_shows_a_service_at_work(service):
    """In a real browser: health, what is wrong, rates, latency, the last answer."""
    for index in range(30):
        service.tick("page", index)
    browser = tool("chromium")
    result = call(
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={service.folder / 'browser'}",
        "--virtual-time-budget=4000",
        "--dump-dom",
        f"http://127.0.0.1:{service.port}/",
    )
    page = result.stdout
    assert 'data-loaded="yes"' in page
    assert re.search(r'id="status" class="healthy">healthy<', page)
    assert "model: untrained" in page
    assert re.search(r"<td>granule</td><td>1,000</td><td>[\d.]+</td>", page)
    assert re.search(r"median; 95 % [\d.]+ .?s, 99 %", page)
    assert re.search(r'<td title="page">page</td>.*?<td>(buy|hold|sell)</td><td>\d+ %</td>', page)
    assert re.search(r'<li class="(none|critical|major|warning)">', page)
    assert "engine" in page
