"""The real program, serving: started on a free port, asked, stopped."""

import fcntl
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

START_S = 120.0
BEGIN_MS = 1_700_000_000_000
GRANULES = 200
SMALL = {"granule_size": GRANULES, "purkinje_size": 12, "dcn_size": 48}
"""Enough cells to fire, few enough to compile and train soon."""

WORKER = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
PORTS = itertools.cycle(range(20_000 + 500 * (WORKER % 20), 20_500 + 500 * (WORKER % 20)))
"""Those that a worker tries, below what the system hands out to connections of its own accord."""
HELD: dict[int, IO[bytes]] = {}
"""The locked file of each port that this process was given."""


def ours(port: int) -> bool:
    """Lock the file of a port until this process ends; whether no other process holds it."""
    if port in HELD:
        return True
    file = (Path(tempfile.gettempdir()) / f"cerebellum-test-port-{port}").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    HELD[port] = file
    return True


def free_port() -> int:
    """A port that nobody listens on, and that no other process on this machine is given."""
    for port in itertools.islice(PORTS, 500):
        if not ours(port):
            continue
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port")


def until(true: Callable[[], Any], seconds: float = 60.0, every: float = 0.02) -> None:
    """Wait for something to become true, asking every so often; fails where it takes too long."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)


def configuration(folder: Path, port: int, **sections: dict[str, Any]) -> Path:
    """A configuration file of a small circuit; `sections` adds keys, or names another circuit."""
    given: dict[str, dict[str, Any]] = {
        "neural": {} if "neural" in sections else SMALL,
        "server": {"port": port},
        "logging": {"file": str(folder / "log/application.log")},
        "storage": {name: str(folder / name) for name in ("models", "backups", "data")},
    }
    for name, keys in sections.items():
        given[name] = {**given.get(name, {}), **keys}
    lines = []
    for name, keys in given.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    path = folder / "service.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@dataclass
class Serving:
    """A service as a process."""

    config: Path
    port: int
    folder: Path
    process: subprocess.Popen = field(init=False)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.start()

    def start(self, wait: bool = True) -> None:
        with (self.folder / "stderr").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cerebellum.cli", "--config", str(self.config)],
                stdout=subprocess.DEVNULL,
                stderr=out,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        until(lambda: self.ready() == 200, START_S)

    def ready(self) -> int | None:
        """The status of /ready, none where nobody answers yet; it fails where the program ended."""
        assert self.process.poll() is None, f"ended: {self.said()}"
        try:
            return self.get("/ready")[0]
        except OSError:
            return None

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Status, body (JSON, if it is) and headers."""
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=body,
            method=method,
            headers={"content-type": "application/json", **self.headers, **headers},
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                text, status, told = answer.read(), answer.status, answer.headers
        except urllib.error.HTTPError as error:
            text, status, told = error.read(), error.code, error.headers
        try:
            return status, json.loads(text), told
        except ValueError:
            return status, text.decode(errors="replace"), told

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)[:2]

    def post(self, path: str, body: Any) -> tuple[int, Any]:
        return self.ask("POST", path, json.dumps(body).encode())[:2]

    def tick(self, market: str = "m", index: int = 0, **more: Any) -> tuple[int, Any]:
        """A tick of a market's own walk."""
        return self.post("/neural/process", {"market_id": market, **tick(index), **more})

    def log(self) -> list[dict[str, Any]]:
        """Every line of the log."""
        path = self.folder / "log/application.log"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def said(self) -> str:
        """Standard error of every start."""
        return (self.folder / "stderr").read_text()

    def log_says(self, text: str) -> bool:
        return any(text in line["message"] for line in self.log())

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


def tick(index: int) -> dict[str, float]:
    price = 100 + 0.01 * ((index * 7919) % 13 - 6)
    return {"price": price, "volume": 1.0 + index % 3, "timestamp": BEGIN_MS + 100 * index}


def serve(folder: Path, **sections: dict[str, Any]) -> Serving:
    port = free_port()
    return Serving(config=configuration(folder, port, **sections), port=port, folder=folder)
