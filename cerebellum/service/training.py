"""Training runs that the service starts, each in a process of its own, and their status."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cerebellum import parts
from cerebellum.config import PREFIX, Settings
from cerebellum.errors import UsageError
from cerebellum.learn.plan import check_turns
from cerebellum.service import runs
from cerebellum.service.metrics import Metrics
from cerebellum.service.requests import Start

RUNS = "runs"
"""Below `storage.models`."""
ON_CPU = {"JAX_PLATFORMS": "cpu", f"{PREFIX}PERFORMANCE__DEVICE": "cpu"}
"""The environment of a run: the service keeps the GPU, whatever its file says."""
PATIENCE_S = 60.0
"""How long a run may take to save and end."""

log = logging.getLogger("cerebellum.service.training")


class RefusedError(ValueError):
    """A run cannot be started with these arguments."""


class RunningError(Exception):
    """Another run is in progress."""


@dataclass
class Trainer:
    """Starts training runs, at most one at a time, and tells of their ends."""

    settings: Settings
    config: str | None
    """the configuration file of the service"""
    process: subprocess.Popen | None = None
    """the run that was started last"""
    id: str | None = None
    """the name of that run"""
    ended: list[str] = field(default_factory=list)
    """states of runs that have ended and that metrics do not know of yet"""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """Where the runs are."""
        return Path(self.settings.storage.models) / RUNS

    def start(self, request: Start) -> str:
        """Start the command `train`; returns the id of the run.

        Raises:
          RefusedError: there is no such data, the part `ticks` is not installed, or a method would
            never have its turn.
          RunningError: another run is in progress.
        """
        settings = self.settings.training
        try:
            parts.need("training", "ticks")
            check_turns(request.method or settings.method, request.epochs or settings.epochs)
        except UsageError as error:
            raise RefusedError(str(error)) from None
        with self._lock:
            for run in self._runs():
                if runs.works(run):
                    raise RunningError(f"{run.name} is under way")
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
            with (run / runs.LOG).open("wb") as out, runs.locked(run) as lock:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env={**os.environ, **ON_CPU},
                    pass_fds=(lock,),
                )
                os.write(lock, str(process.pid).encode())
            self.process, self.id = process, name
            log.info("training started", extra={"fields": {"id": name, "data": str(data)}})
            self._watch(run, process)
            return name

    def adopt(self) -> None:
        """Watch the run that a service which was killed has left, if it is still in progress."""
        for run in self._runs():
            if runs.works(run):
                log.warning("training %s goes on: it was started before this service", run.name)
                self._watch(run, None)

    def _watch(self, run: Path, process: subprocess.Popen | None) -> None:
        """Tell of a run's end when it comes, from a thread of its own."""

        def tell() -> None:
            if process is None:
                runs.wait(run)
            else:
                process.wait()
            status = self._status(run)
            fields = {"id": run.name, "state": status["state"]}
            if process is not None:
                fields["exit_code"] = process.returncode
            if status["state"] == "failed":
                log.error("training failed: %s", status.get("message"), extra={"fields": fields})
            else:
                log.info("training ended", extra={"fields": fields})
            self.ended.append(status["state"])

        threading.Thread(target=tell, name="training", daemon=True).start()

    def _data(self, request: Start) -> Path:
        """The path of the ticks to learn from. A request can name only paths in `storage.data`."""
        if request.data is None:
            if self.settings.training.data is None:
                raise RefusedError("data: missing, and training.data is not configured")
            return Path(self.settings.training.data)
        root = Path(self.settings.storage.data).resolve()
        try:
            path = (root / request.data).resolve()
            entries = [path, *path.iterdir()] if path.is_dir() else [path]
            if path.exists() and all(e.resolve().is_relative_to(root) for e in entries):
                return path
        except (OSError, ValueError, RuntimeError):
            pass
        raise RefusedError("data: no such file below storage.data")

    def status(self, id: str) -> dict[str, Any] | None:
        """The status of a run, or of the newest if `id` is "latest"; None if there is none."""
        folders = self._runs()
        run = (folders[-1] if folders else None) if id == "latest" else self.folder / id
        if run is None or (id != "latest" and run not in folders):
            return None
        return self._status(run)

    def _status(self, run: Path) -> dict[str, Any]:
        """The status of a run; one that no process works at any more has stopped or failed."""
        status = runs.status(run)
        damaged = status.pop("damaged", None)
        if status["state"] in ("starting", "running") and not runs.works(run):
            process = self.process if run.name == self.id else None
            failed = process is not None and process.poll() != 0
            status["state"] = "failed" if failed else "stopped"
            status["message"] = runs.last_line(run)
        if damaged is not None:
            status["message"] = damaged
        return {**status, "id": run.name}

    def _runs(self) -> list[Path]:
        """The folders of all runs, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def publish(self, metrics: Metrics) -> None:
        """Set the gauges of the latest run, and count the runs that have ended."""
        status = self.status("latest") or {}
        for gauge, name in (
            (metrics.loss, "loss"),
            (metrics.epoch, "epoch"),
            (metrics.accuracy, "validation_accuracy"),
        ):
            if status.get(name) is not None:
                gauge.set(status[name])
        while self.ended:
            metrics.trainings.labels(state=self.ended.pop(0)).inc()

    def stop(self) -> None:
        """Let the run in progress save and end; kill it if it takes over a minute."""
        for run in self._runs():
            number = runs.pid(run)
            if number is None or not runs.works(run):
                continue
            _signal(number, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE_S
            while runs.works(run) and time.monotonic() < deadline:
                time.sleep(0.1)
            if runs.works(run):
                log.warning("training %s does not end: killed", run.name)
                _signal(number, signal.SIGKILL)


def _signal(number: int, which: signal.Signals) -> None:
    """Send a signal to a process, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, which)
