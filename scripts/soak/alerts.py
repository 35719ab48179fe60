"""Every alert in a real Prometheus beside a real service: fires, falls silent.

    python scripts/soak/alerts.py [--only NAME ...]

A Prometheus (Debian's) scrapes a service of 200 granule cells, trained for a moment, each second,
and evaluates configs/prometheus/rules.yml with windows of seconds instead of minutes. Each alert is
caused, as it would be in practice, and then cured. Exits 1 where an alert did not fire, or did not
fall silent. DeviceMemoryHigh needs a GPU: a page of numbers as a GPU would give them is scraped in
its place.
"""

import argparse
import contextlib
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/learn"))
import series  # pyright: ignore[reportMissingImports]
import serving  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs/prometheus"
LIMIT_S = 120.0
"""How long an alert may take to fire, or to fall silent."""
WINDOW_S = 20
FLAPPING_S = 120
"""Window of the rule about starts: three take longer than the others' window."""
SLO = 0.5
"""A step that no machine misses, s."""


def faster(rules: str) -> str:
    """The rules with windows of seconds."""
    rules = re.sub(r"(process_start_time_seconds\{[^}]*\})\[15m\]", rf"\1[{FLAPPING_S}s]", rules)
    rules = re.sub(r"\[\d+m\]", f"[{WINDOW_S}s]", rules)
    return re.sub(r"for: \d+m", "for: 1s", rules)


@dataclass
class Bench:
    """A service, the Prometheus that watches it, and a client that sends ticks."""

    folder: Path
    service: serving.Serving
    prometheus: subprocess.Popen
    port: int
    """of Prometheus"""
    quiet: threading.Event = field(default_factory=threading.Event)
    """while set, the client sends nothing"""

    def firing(self, name: str) -> bool:
        url = f"http://127.0.0.1:{self.port}/api/v1/alerts"
        with urllib.request.urlopen(url, timeout=10) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return any(
            alert["labels"]["alertname"] == name and alert["state"] == "firing" for alert in alerts
        )

    def reread(self, text: str) -> None:
        """Give the service another configuration."""
        self.service.config.write_text(text)
        self.service.process.send_signal(signal.SIGHUP)

    def target(self, port: int | None) -> None:
        """Let Prometheus scrape a port, or nothing."""
        targets = [] if port is None else [f"127.0.0.1:{port}"]
        work = self.folder / "targets"
        work.write_text(json.dumps([{"targets": targets}]))
        work.replace(self.folder / "targets.json")


def client(bench: Bench) -> None:
    """Send a tick every tenth of a second, for ever."""
    index = 0
    while True:
        time.sleep(0.1)
        if not bench.quiet.is_set():
            with contextlib.suppress(OSError):
                bench.service.tick("steady", index)
                index += 1


def configured(folder: Path, port: int) -> Path:
    sections = {"training": {"checkpoint_interval": 1.0}, "server": {"latency_slo": SLO}}
    return serving.configuration(folder, port, **sections)


def train(folder: Path, config: Path) -> None:
    """Leave a trained model where the service looks for one."""
    ticks = series.write(folder / "ticks.csv", series.steps(2_000, 0.85, 0))
    given = "--data", ticks, "--out", folder / "models", "--config", config, "--no-plots"
    given = *given, "--method", "climbing_fiber"
    program = sys.executable, "-m", "cerebellum.cli", "train", *map(str, given)
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prometheus(folder: Path, port: int) -> subprocess.Popen:
    (folder / "rules.yml").write_text(faster((CONFIGS / "rules.yml").read_text()))
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        "rule_files: [rules.yml]\n"
        "scrape_configs:\n"
        "  - job_name: cerebellar-norse\n"
        "    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]\n"
    )
    return subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data-of-prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
    )


@contextmanager
def not_ready(bench: Bench) -> Iterator[None]:
    """A start takes a while."""
    bench.service.stop()
    bench.service.start(wait=False)
    yield
    bench.service.wait()


@contextmanager
def changed(bench: Bench, pattern: str, replacement: str) -> Iterator[None]:
    """Another configuration for a while."""
    text = bench.service.config.read_text()
    changed = re.sub(pattern, replacement, text)
    assert changed != text, pattern
    bench.reread(changed)
    yield
    bench.reread(text)


@contextmanager
def long_requests(bench: Bench) -> Iterator[None]:
    """Requests of many ticks keep each other waiting."""
    bench.quiet.set()
    end = threading.Event()

    def send(name: str) -> None:
        index = 0
        while not end.is_set():
            batch = [serving.tick(index + k) for k in range(1_000)]
            bench.service.post("/neural/process", {"market_id": name, "batch_data": batch})
            index += 1_000

    threads = [threading.Thread(target=send, args=(f"long {k}",)) for k in range(4)]
    for thread in threads:
        thread.start()
    yield
    end.set()
    for thread in threads:
        thread.join()
    bench.quiet.clear()


@contextmanager
def one_market(bench: Bench) -> Iterator[None]:
    """There is room for one market, and three come."""
    end = threading.Event()

    def send() -> None:
        for index in range(10**6):
            if end.wait(0.05):
                return
            bench.service.tick(f"refused {index % 3}", index)

    thread = threading.Thread(target=send)
    with changed(bench, r"\[server\]", "[server]\nmax_markets = 1"):
        thread.start()
        yield
    end.set()
    thread.join()


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """A file lies where a folder was."""
    away = path.with_name(f"{path.name}-away")
    path.rename(away)
    path.touch()
    yield
    path.unlink()
    away.rename(path)


@contextmanager
def log_blocked(bench: Bench) -> Iterator[None]:
    """A line of the log, that a key has another value, has no folder."""
    with blocked(bench.folder / "log"):
        text = bench.service.config.read_text()
        bench.reread(text.replace(f"latency_slo = {SLO}", "latency_slo = 0.25"))
        yield
        bench.service.config.write_text(text)
    bench.service.process.send_signal(signal.SIGHUP)


@contextmanager
def bad_training(bench: Bench) -> Iterator[None]:
    data = bench.folder / "data"
    data.mkdir(exist_ok=True)
    (data / "bad.csv").write_text("no header of ticks\n")
    status, _ = bench.service.post("/training/start", {"data": "bad.csv"})
    assert status == 202, status
    yield


@contextmanager
def rising_loss(bench: Bench) -> Iterator[None]:
    """A run whose status says that its loss rises, and then that it falls."""
    run = bench.folder / "models/runs/99990101-000000"
    run.mkdir(parents=True)
    end, slope = threading.Event(), [0.01]

    def write() -> None:
        loss = 1.0
        while not end.wait(0.5):
            loss += slope[0]
            work = run / ".status"
            work.write_text(json.dumps({"state": "running", "loss": loss}))
            work.replace(run / "status.json")

    thread = threading.Thread(target=write)
    thread.start()
    yield
    slope[0] = -0.01
    serving.until(lambda: not bench.firing("TrainingLossRising"), LIMIT_S, every=0.5)
    end.set()
    thread.join()
    shutil.rmtree(run)


@contextmanager
def damaged(bench: Bench) -> Iterator[None]:
    """A byte of the newest state is another one when the service starts."""
    bench.service.stop()
    spoil(max((bench.folder / "models/service/checkpoints").glob("[0-9]*")))
    bench.service.start()
    yield


@contextmanager
def model_gone(bench: Bench) -> Iterator[None]:
    """The folder of the model is moved while the service runs."""
    with moved(bench.folder / "models/checkpoints"):
        bench.service.process.send_signal(signal.SIGHUP)
        yield
    bench.service.process.send_signal(signal.SIGHUP)


@contextmanager
def newer_model_damaged(bench: Bench) -> Iterator[None]:
    """A newer model comes, of which a byte is another one."""
    newest = max((bench.folder / "models/checkpoints").glob("[0-9]*"))
    newer = newest.with_name(f"{int(newest.name) + 1:0{len(newest.name)}}")
    shutil.copytree(newest, newer)
    spoil(newer)
    bench.service.process.send_signal(signal.SIGHUP)
    yield
    shutil.rmtree(newer)
    bench.service.process.send_signal(signal.SIGHUP)


@contextmanager
def another_model(bench: Bench) -> Iterator[None]:
    """The service starts without the model whose markets were saved."""
    bench.service.tick("remembered", 0)
    bench.service.stop()
    with moved(bench.folder / "models/checkpoints"):
        bench.service.start()
        yield
        bench.service.stop()
    bench.service.start()


@contextmanager
def full_device(bench: Bench) -> Iterator[None]:
    """A page of numbers is scraped, of a device of which 95 % is used."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b'device_memory_used_bytes{device="cuda:0"} 95e9\n')
            self.wfile.write(b'device_memory_total_bytes{device="cuda:0"} 100e9\n')

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each scrape."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        bench.target(server.server_port)
        yield
        bench.target(bench.service.port)
        server.shutdown()


@contextmanager
def moved(path: Path) -> Iterator[None]:
    """A folder lies elsewhere for a while."""
    away = path.with_name(f"away-{path.name}")
    path.rename(away)
    yield
    away.rename(path)


def spoil(checkpoint: Path) -> None:
    """Let a byte of a checkpoint's largest array be another one."""
    files = (path for path in (checkpoint / "arrays").rglob("*") if path.is_file())
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def flapping(bench: Bench) -> Iterator[None]:
    """Three starts in a row, each seen by a scrape or two."""
    for _ in range(3):
        bench.service.process.kill()
        bench.service.process.wait()
        bench.service.start(wait=False)
        serving.until(lambda: bench.service.ready() is not None, LIMIT_S)
        time.sleep(2)
    yield
    bench.service.wait()


@contextmanager
def down(bench: Bench) -> Iterator[None]:
    bench.service.stop()
    yield
    bench.service.start()


@contextmanager
def absent(bench: Bench) -> Iterator[None]:
    bench.target(None)
    yield
    bench.target(bench.service.port)


def checkpoints(bench: Bench):
    return blocked(bench.folder / "models/service/checkpoints")


SCENARIOS: dict[str, Callable] = {
    "NotReady": not_ready,
    "ProcessingLatencyHigh": lambda b: changed(b, f"latency_slo = {SLO}", "latency_slo = 1e-9"),
    "TicksWait": long_requests,
    "TicksRefused": one_market,
    "CheckpointOld": checkpoints,
    "CheckpointFailing": checkpoints,
    "ConfigurationRefused": lambda b: changed(b, r"\[server\]", "[servr]"),
    "TrainingFailed": bad_training,
    "TrainingLossRising": rising_loss,
    "LogLinesLost": log_blocked,
    "CheckpointDamaged": damaged,
    "ModelMissing": model_gone,
    "ModelOld": newer_model_damaged,
    "MarketsReset": another_model,
    "DeviceMemoryHigh": full_device,
    "CerebellarNorseDown": down,
    "CerebellarNorseAbsent": absent,
    "Flapping": flapping,
}


def tried(bench: Bench, name: str) -> str | None:
    """What went wrong with an alert, if anything did."""
    try:
        serving.until(lambda: not bench.firing(name), LIMIT_S, every=0.5)
    except AssertionError:
        return "fires before it is caused"
    began = time.monotonic()
    with SCENARIOS[name](bench):
        try:
            serving.until(lambda: bench.firing(name), LIMIT_S, every=0.5)
        except AssertionError:
            return "does not fire"
        fired_s = time.monotonic() - began
    cured = time.monotonic()
    try:
        serving.until(lambda: not bench.firing(name), LIMIT_S + FLAPPING_S, every=0.5)
    except AssertionError:
        return "does not fall silent"
    silent_s = time.monotonic() - cured
    print(f"{name}: fired {fired_s:.0f} s after the cause, silent {silent_s:.0f} s after the cure")
    return None


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    names = parser.parse_args().only
    problems = {}
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder, port = Path(temporary), serving.free_port()
        path = configured(folder, port)
        train(folder, path)
        service = serving.Serving(config=path, port=port, folder=folder)
        stack.callback(lambda: service.process.kill())
        prometheus_port = serving.free_port()
        process = prometheus(folder, prometheus_port)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        bench = Bench(folder, service, process, prometheus_port)
        bench.target(port)
        threading.Thread(target=client, args=(bench,), daemon=True).start()
        serving.until(lambda: reachable(bench), LIMIT_S)
        for name in names:
            problem = tried(bench, name)
            if problem is not None:
                problems[name] = problem
                print(f"{name}: {problem}")
    print(f"{len(names) - len(problems)} of {len(names)} alerts fired and fell silent")
    return 1 if problems else 0


def reachable(bench: Bench) -> bool:
    """Whether Prometheus answers."""
    try:
        return not bench.firing("none of these")
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
