"""The log's file: it rotates by size, and a disk that is full costs lines, but not the service.

Every line that is lost is counted. Standard error says when lines begin to be lost and when they
are written again; then the log itself says how many were lost. The handlers of the standard
library do not promise that: they drop a line that the disk refuses, leave half of it in the file,
and, where a rotated file cannot be compressed, put the next one in its place.
"""

import contextlib
import gzip
import logging
import os
import re
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cerebellum import files
from cerebellum.config import Logging


@dataclass
class Losses:
    """Lines of the log that could not be written."""

    total: int = 0
    """since the start"""
    current: int = 0
    """since the last line that was written"""
    problem: str | None = None
    """why lines are being lost, if they are"""
    since: float = 0.0
    """when the first of `current` was lost, s since 1970"""


class LogFile(logging.Handler):
    """A handler that appends to a file.

    The file is opened again if another program has moved it away. When a line would make it larger
    than `max_size`, it is renamed to NAME.1, NAME.1 to NAME.2, and so on; with compression their
    names end in .gz. Only `max_files` of them stay.
    """

    def __init__(self, path: Path, settings: Logging, own: logging.Formatter):
        """Open the file.

        Args:
          own: formats the handler's own lines; those it is given are formatted already.

        Raises:
          OSError: it cannot be opened.
        """
        super().__init__()
        self.path, self.settings, self.own = path.absolute(), settings, own
        self.losses = Losses()
        self._said = -1.0
        """when standard error was last told of a loss, monotonic s"""
        self._file = self._open()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; where that is not possible, count it."""
        losses = self.losses
        try:
            if losses.current:
                self._write(self._lost_lines())
            self._write(self.format(record))
        except OSError as error:
            losses.total += 1
            losses.current += 1
            losses.since = losses.since or time.time()
            if losses.problem is None:
                losses.problem = files.reason(error)
                self._tell(f"{losses.problem}; lines are lost")
            return
        if losses.current:
            self._tell(f"written again; {losses.current} lines were lost")
            losses.current, losses.problem, losses.since = 0, None, 0.0

    def close(self) -> None:
        """Close the file; standard error is told of lines that were lost and not yet told of."""
        if self.losses.current:
            self._said = -1.0
            self._tell(f"{self.losses.problem}; {self.losses.current} lines were lost")
            self.losses.current = 0
        self._file = self._shut()
        super().close()

    def _tell(self, text: str) -> None:
        """Tell standard error, at most once a second."""
        now = time.monotonic()
        if self._said < 0 or now - self._said >= 1.0:
            self._said = now
            with contextlib.suppress(OSError):
                print(f"cerebellar-norse: logging.file: {self.path}: {text}", file=sys.stderr)

    def _lost_lines(self) -> str:
        """A line of the log that says how many lines were lost."""
        losses = self.losses
        message = f"{losses.current} lines of the log were lost: {losses.problem}"
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, message, (), None)
        record.fields = {"lines_lost": losses.current, "since": losses.since}
        return self.own.format(record)

    def _write(self, line: str) -> None:
        """Append a line, or nothing of it.

        Raises:
          OSError: it could not be written whole.
        """
        text = f"{line}\n".encode(errors="replace")
        status = self._current()
        if status.st_size and status.st_size + len(text) > self.settings.max_size:
            status = self._rotated(status)
        assert self._file is not None
        written = os.write(self._file, text)
        try:
            while written < len(text):
                written += os.write(self._file, text[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, status.st_size)
            raise

    def _current(self) -> os.stat_result:
        """The state of the open file, which is the one of that name."""
        if self._file is not None:
            opened = os.fstat(self._file)
            with contextlib.suppress(OSError):
                named = os.stat(self.path)
                if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino):
                    return opened
            self._file = self._shut()
        self._file = self._open()
        return os.fstat(self._file)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _shut(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def _rotated(self, status: os.stat_result) -> os.stat_result:
        """The state of the file that follows a full one. If the disk refuses, the old one goes on.

        Only names change before the new file is there, which takes no room on a disk.
        """
        if not stat.S_ISREG(status.st_mode):
            return status
        first = self.path.with_name(f"{self.path.name}.1")
        try:
            self._shift()
            os.rename(self.path, first)
        except OSError:
            return status
        status = self._current()
        if self.settings.compression == "gzip":
            _compress(first)
        return status

    def _shift(self) -> None:
        """Number the rotated files one higher, and remove those above `max_files`."""
        pattern = re.compile(rf"{re.escape(self.path.name)}\.(\d+)((?:\.gz)?)(\.part)?")
        matches = [pattern.fullmatch(entry.name) for entry in self.path.parent.iterdir()]
        rotated = sorted(((int(m[1]), m) for m in matches if m), key=lambda each: -each[0])
        for number, match in rotated:
            path = self.path.with_name(match[0])
            if match[3] or number >= self.settings.max_files:
                path.unlink()
            else:
                path.rename(path.with_name(f"{self.path.name}.{number + 1}{match[2]}"))


def _compress(path: Path) -> None:
    """Compress a file; it stays as it is where the disk has no room."""
    target, work = Path(f"{path}.gz"), Path(f"{path}.gz.part")
    try:
        with path.open("rb") as plain, gzip.open(work, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 2**20)
        shutil.copymode(path, work)
        work.replace(target)
    except OSError:
        work.unlink(missing_ok=True)
        return
    path.unlink()
