"""Training runs that the service starts, each in a process of its own, and their status."""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebellum.config import PREFIX, Settings
from cerebellum.service.metrics import Metrics
from cerebellum.service.requests import Start

RUNS = "runs"
"""Below `storage.models`."""
ON_CPU = {"JAX_PLATFORMS": "cpu", f"{PREFIX}PERFORMANCE__DEVICE": "cpu"}
"""The environment of a run: the service keeps the GPU, whatever its file says."""

log = logging.getLogger("cerebellum.service.training")


class RefusedError(ValueError):
    """A run cannot be started with these arguments."""


class RunningError(Exception):
    """Another run is in progress."""


@dataclass
class Trainer:
    """Starts training runs, at most one at a time."""

    settings: Settings
    config: str | None
    """the configuration file of the service"""
    process: subprocess.Popen | None = None
    """the run that was started last"""
    id: str | None = None
    """the name of that run"""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """Where the runs are."""
        return Path(self.settings.storage.models) / RUNS

    def start(self, request: Start) -> str:
        """Start the command `train`; returns the id of the run.

        Raises:
          RefusedError: there is no such data.
          RunningError: another run is in progress.
        """
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                raise RunningError(f"{self.id} is under way")
            data = self._data(request)
            self.folder.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            candidates = (stamp, *(f"{stamp}-{k}" for k in range(2, 100)))
            name = next(name for name in candidates if not (self.folder / name).exists())
            run = self.folder / name
            run.mkdir()
            command = [sys.executable, "-m", "cerebellum.cli", "train"]
            command += ["--data", str(data), "--task", request.task, "--out", str(run)]
            if self.config is not None:
                command += ["--config", self.config]
            for flag, value in (
                ("--method", request.method),
                ("--epochs", request.epochs),
                ("--seed", request.seed),
            ):
                if value is not None:
                    command += [flag, str(value)]
            with (run / "train.log").open("wb") as out:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env={**os.environ, **ON_CPU},
                )
            self.id = name
            log.info("training started", extra={"fields": {"id": name, "data": str(data)}})
            return name

    def _data(self, request: Start) -> Path:
        """The path of the ticks to learn from. A request can name only paths in `storage.data`."""
        if request.data is None:
            if self.settings.training.data is None:
                raise RefusedError("data: missing, and training.data is not configured")
            return Path(self.settings.training.data)
        root = Path(self.settings.storage.data).resolve()
        try:
            path = (root / request.data).resolve()
            if path.is_relative_to(root) and path.exists():
                return path
        except (OSError, ValueError):
            pass
        raise RefusedError("data: no such file below storage.data")

    def status(self, id: str) -> dict[str, Any] | None:
        """The status of a run, or of the newest if `id` is "latest"; None if there is none."""
        runs = self._runs()
        run = (runs[-1] if runs else None) if id == "latest" else self.folder / id
        if run is None or (id != "latest" and run not in runs):
            return None
        try:
            status = json.loads((run / "status.json").read_text())
        except (OSError, ValueError):
            status = {"id": run.name, "state": "starting", "progress": 0.0}
        process = self.process if run.name == self.id else None
        ended = process is None or process.poll() is not None
        if status["state"] in ("starting", "running") and ended:
            failed = process is not None and process.returncode
            status["state"] = "failed" if failed else "stopped"
            status["message"] = _last_line(run / "train.log")
        return {**status, "id": run.name}

    def _runs(self) -> list[Path]:
        """The folders of all runs, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def publish(self, metrics: Metrics) -> None:
        """Set the gauges of the latest run."""
        status = self.status("latest") or {}
        for gauge, name in (
            (metrics.loss, "loss"),
            (metrics.epoch, "epoch"),
            (metrics.accuracy, "validation_accuracy"),
        ):
            if status.get(name) is not None:
                gauge.set(status[name])

    def stop(self) -> None:
        """Let the run in progress save and end; kill it if it takes over a minute."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                log.warning("training %s does not end: killed", self.id)
                self.process.kill()


def _last_line(path: Path) -> str | None:
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1] if lines else None
