"""Training runs that the service starts, each a process, and what they say of themselves."""

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

from cerebellum.config import Settings
from cerebellum.service.metrics import Metrics
from cerebellum.service.requests import Start

RUNS = "runs"
"""Below `storage.models`."""

log = logging.getLogger("cerebellum.service.training")


class RefusedError(ValueError):
    """A run that cannot be started as asked."""


class RunningError(Exception):
    """One is under way."""


@dataclass
class Trainer:
    settings: Settings
    config: str | None
    """file that the service was configured by"""
    process: subprocess.Popen | None = None
    id: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        return Path(self.settings.storage.models) / RUNS

    def start(self, asked: Start) -> str:
        """Start `train`; returns the run's id.

        Raises:
          RefusedError: no such data.
          RunningError: another one runs.
        """
        with self._lock:
            if self.process is not None and self.process.poll() is None:
                raise RunningError(f"{self.id} is under way")
            data = self._data(asked)
            self.folder.mkdir(parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
            name = next(
                each
                for each in (stamp, *(f"{stamp}-{k}" for k in range(2, 100)))
                if not (self.folder / each).exists()
            )
            run = self.folder / name
            run.mkdir()
            command = [sys.executable, "-m", "cerebellum.cli", "train"]
            command += ["--data", str(data), "--task", asked.task, "--out", str(run)]
            if self.config is not None:
                command += ["--config", self.config]
            for flag, value in (
                ("--method", asked.method),
                ("--epochs", asked.epochs),
                ("--seed", asked.seed),
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
                    env={**os.environ, "JAX_PLATFORMS": "cpu"},
                )
            self.id = name
            log.info("training started", extra={"fields": {"id": name, "data": str(data)}})
            return name

    def _data(self, asked: Start) -> Path:
        """The ticks to learn from: nothing outside of `storage.data` can be named."""
        if asked.data is None:
            if self.settings.training.data is None:
                raise RefusedError("data: missing, and training.data is not configured")
            return Path(self.settings.training.data)
        root = Path(self.settings.storage.data).resolve()
        try:
            path = (root / asked.data).resolve()
            if path.is_relative_to(root) and path.exists():
                return path
        except (OSError, ValueError):
            pass
        raise RefusedError("data: no such file below storage.data")

    def status(self, id: str) -> dict[str, Any] | None:
        """What a run says of itself, "latest" being the newest; None where there is none."""
        runs = self._runs()
        run = (runs[-1] if runs else None) if id == "latest" else self.folder / id
        if run is None or (id != "latest" and run not in runs):
            return None
        try:
            told = json.loads((run / "status.json").read_text())
        except (OSError, ValueError):
            told = {"id": run.name, "state": "starting", "progress": 0.0}
        mine = self.process if run.name == self.id else None
        if told["state"] in ("starting", "running") and (mine is None or mine.poll() is not None):
            told["state"] = "failed" if mine is not None and mine.returncode else "stopped"
            told["message"] = _last_line(run / "train.log")
        return {**told, "id": run.name}

    def _runs(self) -> list[Path]:
        """By age."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def publish(self, metrics: Metrics) -> None:
        """Gauges of the latest run."""
        told = self.status("latest") or {}
        for gauge, name in (
            (metrics.loss, "loss"),
            (metrics.epoch, "epoch"),
            (metrics.accuracy, "validation_accuracy"),
        ):
            if told.get(name) is not None:
                gauge.set(told[name])

    def stop(self) -> None:
        """Let a run save and end."""
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
