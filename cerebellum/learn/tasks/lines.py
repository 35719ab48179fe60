"""Lines of a text file of fields, compressed or not, in blocks: which are rows, and which are not.

A row is a line that has as many fields as the header. Only a field in quotes may contain the
separator or a line break. Every other line is counted: blank ones, and those that are no rows, with
the reason. A quote that never ends is the fault of its own line alone.
"""

import csv
import gzip
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.learn.tasks.header import Layout

BLOCK = 2**20
"""Bytes of text that are parsed at once; short lines take up to a hundred times as many."""

MOST_FAULTS = 10
"""Most faults of a block whose reasons are kept."""

LONGEST = 2**20
"""Bytes of the longest line."""

BREAKS = 50
"""Most line breaks within one field in quotes."""

SHORTEST = 8
"""Characters of the shortest timestamp, a date."""

COMMA = "\x1a"
"""Stands for a separator within a field, in the text of `Rows`."""

MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"PAR1": "Parquet",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""First bytes of files that are not read, and what they are."""


OPEN = "a quote that does not end; quotes in pairs, around a field"
FAULTS = {
    "unexpected end": OPEN,
    "expected after": "a quote within a field in quotes; it is doubled there",
    "field larger": f"a field of more than {csv.field_size_limit()} characters; a row of ticks",
    "new-line character": "a carriage return within the line; LF, or CR and LF, at its end",
}
"""Faults of a line, by what Python's reader says of them."""


@dataclass
class Rows:
    """The lines of a block."""

    text: bytes = b""
    """The rows, without quotes; every line has the same number of separators."""
    numbers: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Number in the file of each row's (first) line, int64 [rows]."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """Number of each line that is not a row, and the reason; of the first MOST_FAULTS."""
    faulty: int = 0
    """Lines that are no rows, blank ones aside."""
    blank: int = 0
    """Blank lines."""

    def add_fault(self, line: int, reason: str) -> None:
        """Count a line that is not a row."""
        self.faulty += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append((line, reason))


def open_text(path: Path) -> IO[bytes]:
    """Open a file of text, uncompressed where it is a gzip file.

    Raises:
      UsageError: it is not a regular file, cannot be read, or is of a format that is not read.
    """
    try:
        # A pipe or a device would block, or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path}: not a regular file; a CSV file, plain or gzip")
        file = path.open("rb")
        first = file.read(8)
        file.seek(0)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; a readable file") from None
    for magic, what in MAGIC.items():
        if first.startswith(magic):
            file.close()
            raise UsageError(f"{path}: {what}; CSV in UTF-8, plain or gzip")
    if first.startswith(b"\x1f\x8b"):
        return gzip.open(file)  # pyright: ignore[reportReturnType]
    return file


def first(path: Path, file: IO[bytes]) -> str:
    """Line 1, without its end.

    Raises:
      UsageError: it is empty, or not text.
    """
    line = _read(path, file, LONGEST, line=True)
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path}:1: not UTF-8; text, with names of columns in line 1") from None
    if not text.strip():
        empty = "line 1 is blank" if line else "empty"
        raise UsageError(f"{path}: {empty}; a line of column names and one for each tick")
    if "\r" in text:
        raise UsageError(f"{path}:1: lines end in CR alone; LF, or CR and LF")
    if "\0" in text:
        raise UsageError(f"{path}:1: NUL bytes, as in UTF-16 or no text; CSV in UTF-8")
    return text


def blocks(path: Path, file: IO[bytes], layout: Layout) -> Iterator[Rows]:
    """The lines below line 1, in blocks of about `BLOCK` bytes.

    Raises:
      UsageError: the file is damaged, or a line is longer than `LONGEST`.
    """
    rest, number, width = b"", 2, None
    while True:
        block = _read(path, file, BLOCK)
        text, newline, rest = (rest + block).rpartition(b"\n")
        text += newline
        if not block:
            # The last line need not have an end.
            text, rest = text + rest + b"\n" * bool(rest), b""
        if len(rest) > LONGEST:
            line = number + text.count(b"\n")
            raise UsageError(f"{path}:{line}: longer than {LONGEST} bytes; a row of a CSV file")
        if text and not text.strip(b"\r\n"):
            count = text.count(b"\n")
            number += count
            yield Rows(blank=count)
        elif text:
            width = width or _width(text, layout)
            split = _Split(text, layout, width, number, last=not block)
            rows, stop = split.rows()
            number += stop
            rest = split.text_from(stop) + rest
            yield rows
        if not block:
            return


def _read(path: Path, file: IO[bytes], size: int, line: bool = False) -> bytes:
    try:
        return file.readline(size) if line else file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(file, gzip.GzipFile):
            raise UsageError(f"{path}: not a whole gzip file ({error}); one that is") from None
        raise UsageError(f"{path}: cannot be read ({error}); a readable file") from None


def _width(text: bytes, layout: Layout) -> int:
    """Number of fields of a row, which the first row decides if the header has unnamed columns."""
    names = len(layout.header)
    if not layout.unnamed:
        return names
    count = text.lstrip(b"\r\n").partition(b"\n")[0].count(layout.separator.encode()) + 1
    return count if names <= count <= names + layout.unnamed else names


def _fields(line: bytes, separator: str) -> list[str] | str:
    """The fields of a line without its end, or why it has none."""
    text = line.decode("utf-8", "replace")
    try:
        (fields,) = csv.reader([text], delimiter=separator, strict=True)
    except csv.Error as error:
        return next((fault for words, fault in FAULTS.items() if words in str(error)), str(error))
    return fields


class _Split:
    """One block of whole lines, divided into rows and others.

    Lines whose bytes alone show that they are rows are taken as they are. The others, which are
    few, are looked at one by one.
    """

    def __init__(self, text: bytes, layout: Layout, width: int, number: int, last: bool):
        self.text, self.layout, self.width = text, layout, width
        self.number, self.last = number, last
        self.data = np.frombuffer(text, np.uint8)
        self.ends = np.flatnonzero(self.data == ord("\n"))
        self.starts = np.concatenate([[0], self.ends[:-1] + 1])
        self.separators = np.flatnonzero(self.data == ord(layout.separator))

    def text_from(self, line: int) -> bytes:
        """The lines from a line on."""
        return self.text[self.starts[line] :] if line < len(self.starts) else b""

    def rows(self) -> tuple[Rows, int]:
        """The rows, and the number of lines that are done with.

        A field that may end in the next block is left to it.
        """
        plain, blank = self._plain(), self._blank()
        # Of blank lines in a row, the first stands for all.
        after_blank = np.concatenate([[False], blank[:-1]])
        odd = np.flatnonzero(~plain & ~(blank & after_blank))
        filled = np.flatnonzero(~blank)
        numbers = self.number + np.arange(len(self.ends))
        if not odd.size:
            return Rows(text=self._unquoted(self.text), numbers=numbers), len(self.ends)
        rows, kept = Rows(), plain.copy()
        chunks, done, stop = [], 0, len(self.ends)
        for line in odd.tolist():
            if line < done:
                continue
            chunks.append(self._unquoted(self._lines(done, line)))
            text, following = self._one(line, rows)
            if following is None:
                stop = line
                break
            end = (
                int(filled[i]) if (i := np.searchsorted(filled, following)) < len(filled) else stop
            )
            rows.blank += end - following
            following = end
            kept[line:following] = False
            if text is not None:
                kept[line] = True
                chunks.append(text)
            done = following
        else:
            chunks.append(self._unquoted(self._lines(done, stop)))
        rows.text, rows.numbers = b"".join(chunks), numbers[:stop][kept[:stop]]
        return rows, stop

    def _lines(self, start: int, stop: int) -> bytes:
        return self.text[self.starts[start] : self.ends[stop - 1] + 1] if stop > start else b""

    def _unquoted(self, text: bytes) -> bytes:
        """Rows that `_plain` found, without their quotes."""
        return text.translate(None, b'"') if b'"' in text else text

    def _blank(self) -> np.ndarray:
        """Lines of nothing but their end, bool [lines]."""
        lengths = self.ends - self.starts
        return (lengths == 0) | ((lengths == 1) & (self.data[self.starts] == ord("\r")))

    def _plain(self) -> np.ndarray:
        """Lines that are rows without any doubt, bool [lines]."""
        separators = np.diff(np.searchsorted(self.separators, self.ends), prepend=0)
        plain = separators == self.width - 1
        if b'"' not in self.text:
            return plain
        quotes = np.flatnonzero(self.data == ord('"'))
        first = np.searchsorted(quotes, self.starts)
        counts = np.diff(first, append=len(quotes))
        line = np.repeat(np.arange(len(self.ends)), counts)
        opens = (np.arange(len(quotes)) - first[line]) % 2 == 0
        beside = np.where(opens, self.data[quotes - 1], self.data[quotes + 1])
        border = (beside == ord(self.layout.separator)) | (beside == ord("\n"))
        border |= opens & (quotes == 0) | ~opens & (beside == ord("\r"))
        # Equal numbers of separators before both quotes of a pair: there is none within.
        before = np.searchsorted(self.separators, quotes)
        border[1:] &= opens[1:] | (before[1:] == before[:-1])
        plain &= counts % 2 == 0
        plain[line[~border]] = False
        return plain

    def _one(self, line: int, rows: Rows) -> tuple[bytes | None, int | None]:
        """The text of a row that begins at a line, if one does, and the line after it.

        The line after it is None where the next block is needed.
        """
        raw, following = self._lines(line, line + 1).rstrip(b"\r\n"), line + 1
        if not raw.strip():
            rows.blank += 1
            return None, following
        fields = _fields(raw, self.layout.separator)
        while fields == OPEN and following - line <= BREAKS:
            if following == len(self.ends):
                if not self.last:
                    return None, None
                break
            addition = self._lines(following, following + 1)
            if self._looks_like_row(addition, raw):
                break
            raw += b"\n" + addition.rstrip(b"\r\n")
            following += 1
            if b'"' in addition:
                fields = _fields(raw, self.layout.separator)
        if not isinstance(fields, list):
            rows.add_fault(self.number + line, fields)
            return None, line + 1
        if len(fields) != self.width:
            count = f"{len(fields)} field{'s' * (len(fields) > 1)}"
            fault = f"{count}, header {self.width}; one for each column"
            rows.add_fault(self.number + line, fault)
            return None, following
        fields = (self._single(each) for each in fields)
        return (self.layout.separator.join(fields) + "\n").encode(), following

    def _looks_like_row(self, line: bytes, above: bytes) -> bool:
        """Whether a line begins a row, rather than going on with a field of the row above.

        It does if it has enough fields and a digit where its timestamp begins, or a timestamp of
        the same form as the row above.
        """
        stamp, fields = self._stamp(line)
        form = re.sub(rb"\d", b"0", stamp)
        same = len(stamp) >= SHORTEST and form == re.sub(rb"\d", b"0", self._stamp(above)[0])
        return same or (fields >= self.width and stamp[:1].isdigit())

    def _stamp(self, line: bytes) -> tuple[bytes, int]:
        """What stands at the place of the timestamp, and the number of fields, quotes aside."""
        cells = line.split(self.layout.separator.encode())
        place = self.layout.positions["timestamp"]
        return cells[place].strip(b' "\t') if place < len(cells) else b"", len(cells)

    def _single(self, text: str) -> str:
        """A field without line breaks and separators."""
        return " ".join(text.splitlines()).replace(self.layout.separator, COMMA)
