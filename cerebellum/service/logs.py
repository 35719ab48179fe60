"""Logs: JSON lines or plain text, to a file that rotates or to standard error.

The thread that logs a line formats it, and another thread writes it. So the engine does not wait
while a file is compressed, and no line is lost.
"""

import json
import logging
import logging.handlers
import queue
from datetime import UTC, datetime
from pathlib import Path

from cerebellum.config import Logging
from cerebellum.errors import UsageError
from cerebellum.service.logfile import LogFile, Losses
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


class FormattingQueueHandler(logging.handlers.QueueHandler):
    """Formats lines and puts them into a queue."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        record.msg = self.format(record)
        record.args = record.exc_info = record.exc_text = None
        return record


def begin(settings: Logging) -> logging.handlers.QueueListener:
    """Log as configured until the returned listener is stopped.

    Raises:
      UsageError: the file cannot be written.
    """
    plain = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    formatter = JsonFormatter() if settings.format == "json" else logging.Formatter(plain)
    writer: logging.Handler = logging.StreamHandler()
    if settings.file is not None:
        writer = _file(settings, settings.file, formatter)
    writer.setFormatter(logging.Formatter("%(message)s"))
    lines: queue.SimpleQueue = queue.SimpleQueue()
    handler = FormattingQueueHandler(lines)
    handler.setFormatter(formatter)
    handler.addFilter(Throttle(handler.emit))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("cerebellum").setLevel(settings.level)
    listener = logging.handlers.QueueListener(lines, writer)
    listener.start()
    return listener


def losses(listener: logging.handlers.QueueListener) -> Losses:
    """The lines that a listener of `begin` could not write; they are counted for a file alone."""
    writer = listener.handlers[0]
    return writer.losses if isinstance(writer, LogFile) else Losses()


def _file(settings: Logging, path: Path, formatter: logging.Formatter) -> LogFile:
    """A handler that writes to a rotating file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return LogFile(path, settings, formatter)
    except OSError as error:
        raise UsageError(
            f"logging.file: {error.strerror} ({path}; a file that this user may write)"
        ) from None
