"""At most one line of the log a second for one cause, so that a flood of errors fills no disk."""

import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

INTERVAL_S = 1.0
_VARYING = re.compile(r"\S*\d\S*")
"""Words of a message in which lines of one cause differ: numbers, addresses."""


@dataclass
class _Cause:
    """Lines that are alike."""

    at: float
    """when the last of them was written, monotonic s"""
    last: logging.LogRecord
    kept_back: int = 0
    """lines since then"""


@dataclass
class Throttle:
    """A filter of warnings and errors; what it keeps back is counted in the next line, or later.

    Lines are of one cause if they come from one logger, are of one level, and differ only in words
    with digits. How many were kept back is in the field `kept_back` of the next line of that
    cause, or of the last line again where no other follows.
    """

    write: Callable[[logging.LogRecord], None]
    """for lines that are written again"""
    _causes: dict[tuple[str, int, str], _Cause] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, record: logging.LogRecord) -> bool:
        """Whether a line is to be written."""
        now = time.monotonic()
        with self._lock:
            passes = self._passes(record, now) if record.levelno >= logging.WARNING else True
            ended = self._ended(now)
        for last in ended:
            self.write(last)
        return passes

    def _passes(self, record: logging.LogRecord, now: float) -> bool:
        key = (record.name, record.levelno, _VARYING.sub("", record.getMessage()))
        cause = self._causes.get(key)
        if cause is not None and now - cause.at < INTERVAL_S:
            cause.kept_back += 1
            cause.last = record
            return False
        if cause is not None and cause.kept_back:
            _add(record, cause.kept_back)
        self._causes[key] = _Cause(now, record)
        return True

    def _ended(self, now: float) -> list[logging.LogRecord]:
        """The last lines of causes that have not come up for a while; they are forgotten."""
        old = [key for key, cause in self._causes.items() if now - cause.at >= INTERVAL_S]
        ended = [self._causes.pop(key) for key in old]
        kept_back = [cause for cause in ended if cause.kept_back]
        for cause in kept_back:
            _add(cause.last, cause.kept_back - 1)
        return [cause.last for cause in kept_back]


def _add(record: logging.LogRecord, count: int) -> None:
    if count:
        record.__dict__["fields"] = {**record.__dict__.get("fields", {}), "kept_back": count}
