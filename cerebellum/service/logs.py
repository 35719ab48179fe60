"""Logs: JSON lines or plain text, to a file that rotates or to standard error.

The thread that logs a line formats it, and another thread writes it. So the engine does not wait
while a file is compressed, and no line is lost.
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
from cerebellum.service.throttle import Throttle


class JsonFormatter(logging.Formatter):
    """Formats a line as JSON with `timestamp`, `level`, `message`, `target` and `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "message": record.getMessage(),
            "target": record.name,
            "fields": getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["fields"] = {**line["fields"], "exception": self.formatException(record.exc_info)}
        return json.dumps(line, default=str)


class RotatingFile(logging.handlers.RotatingFileHandler):
    """A file that rotates by size. It is opened again if another program has moved it away.

    If the disk is full, lines are lost and the service goes on.
    """

    lost = 0
    """lines that could not be written"""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and not self._is_current(self.stream.fileno()):
                self.stream.close()
                self.stream = None
            if self.stream is None:
                self.stream = self._open()
        except OSError:
            # The thread that writes must go on: there may be room, or a folder, again.
            self.handleError(record)
            return
        super().emit(record)

    def _is_current(self, descriptor: int) -> bool:
        """Whether an open file is still the one of that name."""
        try:
            named, opened = os.stat(self.baseFilename), os.fstat(descriptor)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino)

    def handleError(self, record: logging.LogRecord) -> None:
        self.lost += 1
        if self.lost == 1:
            problem = sys.exc_info()[1]
            print(f"cerebellar-norse: logging.file: {problem}; lines are lost", file=sys.stderr)


class FormattingQueueHandler(logging.handlers.QueueHandler):
    """Formats lines and puts them into a queue."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.msg = self.format(record)
        record.args = record.exc_info = record.exc_text = None
        return record


def _pack(source: str, target: str) -> None:
    """Compress a rotated file; where the disk has no room, only rename it."""
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
    """Log as configured until the returned listener is stopped.

    Raises:
      UsageError: the file cannot be written.
    """
    writer: logging.Handler = logging.StreamHandler()
    if settings.file is not None:
        writer = _file(settings, settings.file)
    writer.setFormatter(logging.Formatter("%(message)s"))
    plain = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    lines: queue.SimpleQueue = queue.SimpleQueue()
    handler = FormattingQueueHandler(lines)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else logging.Formatter(plain))
    handler.addFilter(Throttle(handler.emit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cerebellum").setLevel(settings.level)
    listener = logging.handlers.QueueListener(lines, writer)
    listener.start()
    return listener


def _file(settings: Logging, path: Path) -> logging.Handler:
    """A handler that writes to a rotating file."""
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
