"""The real program, serving: started on a free port, asked, stopped."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

START_S = 120.0
BEGIN_MS = 1_700_000_000_000


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def configuration(folder: Path, port: int, **sections: dict[str, Any]) -> Path:
    """A configuration file of a small circuit; `sections` adds keys."""
    given: dict[str, dict[str, Any]] = {
        "neural": {"granule_size": 1_000},
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
                [sys.executable, "-m", "cerebellum.ops.cli", "--config", str(self.config)],
                stdout=subprocess.DEVNULL,
                stderr=out,
                env={**os.environ, **compiled_once()},
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(f"ended: {self.said()}")
            try:
                if self.get("/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise AssertionError("not ready in time")

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
        """Standard error of every start, but for XLA's words on its own compilation cache."""
        lines = (self.folder / "stderr").read_text().splitlines()
        return "\n".join(line for line in lines if "XLA:CPU" not in line and "SIGILL" not in line)

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=60)


@cache
def compiled_once() -> dict[str, str]:
    """Programs that a service compiles are kept for the next one."""
    folder = tempfile.mkdtemp(prefix="cerebellum-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {
        "JAX_COMPILATION_CACHE_DIR": folder,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def tick(index: int) -> dict[str, float]:
    price = 100 + 0.01 * ((index * 7919) % 13 - 6)
    return {"price": price, "volume": 1.0 + index % 3, "timestamp": BEGIN_MS + 100 * index}


def serve(folder: Path, **sections: dict[str, Any]) -> Serving:
    port = free_port()
    return Serving(config=configuration(folder, port, **sections), port=port, folder=folder)
