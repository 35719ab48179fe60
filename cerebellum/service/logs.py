"""Logs: JSON lines or for people, to a file that rotates or to standard error.

Lines are formatted by the thread that says them and written by another, so that packing a file
does not hold the engine up; none is lost.
"""

import gzip
import json
import logging
import logging.handlers
import os
import queue
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from cerebellum.config import Logging
from cerebellum.errors import UsageError


class JsonFormatter(logging.Formatter):
    """`timestamp`, `level`, `message`, `target`, `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "message": record.getMessage(),
            "target": record.name,
            "fields": getattr(record, "fields", {}),
        }
        if record.exc_info:
            told["fields"] = {**told["fields"], "exception": self.formatException(record.exc_info)}
        return json.dumps(told, default=str)


class RotatingFile(logging.handlers.RotatingFileHandler):
    """Rotates by size; reopens where another program has moved the file away.

    A disk that is full costs lines, not the service: how many is said when there is room again.
    """

    lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and not self._ours(self.stream.fileno()):
                self.stream.close()
                self.stream = None
            if self.stream is None:
                self.stream = self._open()
        except OSError:
            # The thread that writes must live: there may be room, or a folder, again.
            self.handleError(record)
            return
        super().emit(record)

    def _ours(self, number: int) -> bool:
        try:
            there, held = os.stat(self.baseFilename), os.fstat(number)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1
        if self.lost == 1:
            problem = sys.exc_info()[1]
            print(f"cerebellar-norse: logging.file: {problem}; lines are lost", file=sys.stderr)


class Hand(logging.handlers.QueueHandler):
    """Hands lines over, formatted."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.msg = self.format(record)
        record.args = record.exc_info = record.exc_text = None
        return record


def _pack(source: str, target: str) -> None:
    """A rotated file, compressed; whole under its own name, where the disk has no room."""
    work = f"{target}.part"
    try:
        with open(source, "rb") as plain, gzip.open(work, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 2**20)
        os.replace(work, target)
    except OSError:
        Path(work).unlink(missing_ok=True)
        os.replace(source, f"{source}.{time.time_ns()}")
        return
    os.remove(source)


def begin(settings: Logging) -> logging.handlers.QueueListener:
    """Log as configured, until the listener that this returns is stopped.

    Raises:
      UsageError: the file cannot be written.
    """
    writer: logging.Handler = logging.StreamHandler()
    if settings.file is not None:
        writer = _file(settings, settings.file)
    writer.setFormatter(logging.Formatter("%(message)s"))
    form = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    lines: queue.SimpleQueue = queue.SimpleQueue()
    hand = Hand(lines)
    hand.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(form))
    root = logging.getLogger()
    root.handlers[:] = [hand]
    root.setLevel(logging.WARNING)
    logging.getLogger("cerebellum").setLevel(settings.level)
    listener = logging.handlers.QueueListener(lines, writer)
    listener.start()
    return listener


def _file(settings: Logging, path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = RotatingFile(path, maxBytes=settings.max_size, backupCount=settings.max_files)
    except OSError as error:
        raise UsageError(
            f"logging.file: {error.strerror} ({path}; a file that this user may write)"
        ) from None
    if settings.compression == "gzip":
        writer.namer = lambda name: f"{name}.gz"
        writer.rotator = _pack
    return writer
