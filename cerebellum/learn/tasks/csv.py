"""Reader of CSV files of ticks, compressed or not, in blocks, with a check of every row.

An invalid row is counted and left out, up to a share of the rows of a file: one with another number
of fields than the header, text in place of a number, a price that is not positive, a negative
volume, a timestamp of another format than that of the file, or a lone price far from both its
neighbours. Timestamps that decrease are an error, because no later row could be trusted. Every
message names the file, the line, the value, and what would be right.
"""

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cerebellum import parts
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import header, lines, prices, table
from cerebellum.learn.tasks.prices import Block

BAD_SHARE = 0.01
"""Largest share of a file's rows that may be invalid."""

SHOWN = 3
"""Number of invalid rows that a message lists."""


@dataclass
class Bad:
    """Count of the rows that were left out."""

    rows: int = 0
    """Rows that were left out."""
    of: int = 0
    """All rows: all lines below line 1, except blank ones and breaks within quotes."""
    first: list[str] = field(default_factory=list)
    """Messages about the first few rows that were left out: file:line: problem."""
    blank: int = 0
    """Blank lines, which are no rows."""

    def __str__(self) -> str:
        return f"{self.rows} of {self.of} rows left out: {'; '.join(self.first)}"

    def add(self, count: int, messages: Sequence[str]) -> None:
        """Count rows that are left out; `messages` are about the first few of them, or all."""
        self.rows += count
        self.first += messages[: max(0, SHOWN - len(self.first))]

    def include(self, other: "Bad") -> None:
        """Add the counts of another file."""
        self.add(other.rows, other.first)
        self.of, self.blank = self.of + other.of, self.blank + other.blank


def is_table(name: str) -> bool:
    """Whether a file in a folder is one of ticks, by its name."""
    return name.lower().endswith((".csv", ".csv.gz"))


def files(pattern: str | Path) -> list[Path]:
    """CSV files of a file name, a folder or a glob, in the order of their names.

    Raises:
      UsageError: there is no such file.
    """
    path = Path(pattern)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if is_table(p.name))
    else:
        paths = [path] if path.exists() else sorted(map(Path, glob.glob(str(pattern))))
    if not paths:
        raise UsageError(f"{pattern}: no CSV file; a file, a folder of them or a glob")
    return paths


def check_headers(paths: Sequence[Path], names: Mapping[str, str] | None = None) -> None:
    """Check that files have the same kinds of columns; `names` as `columns` of `read`.

    Raises:
      UsageError: they have not, or a file has no header of ticks.
    """
    first = None
    for path in paths:
        with lines.open_text(path) as file:
            layout = header.layout(path, lines.first(path, file), names or {})
        kinds = set(layout.positions) - {"date"}
        first = first or kinds
        if kinds != first:
            lacks, more = ", ".join(sorted(first - kinds)), ", ".join(sorted(kinds - first))
            difference = f"no column for {lacks}" if lacks else f"a column for {more}"
            raise UsageError(
                f"{path}:1: {difference}, other than {paths[0]}; it has "
                f"{', '.join(layout.header)}; the same kinds of columns in all files"
            )


def read(
    path: Path, columns: Mapping[str, str] | None = None, bad: Bad | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Read a file in blocks of valid rows: float64 [rows] by kind of column; `timestamp` is in ms.

    Args:
      columns: header names by kind of column, where they are not among `header.NAMES`.
      bad: counter of rows that are left out, which is updated.

    Raises:
      UsageError: no rows, a missing column, timestamps of no known format, decreasing time, too
        many invalid rows, or a damaged file. The message names the file and the line. Also where
        the part `ticks` is not installed.
    """
    parts.need(str(path), "ticks")
    counts, last_time, valid_rows = Bad(), -np.inf, 0
    for block, lone in prices.lone(_parsed(path, columns or {}, counts)):
        messages = [f"{path}:{line}: {fault}" for line, fault in lone]
        counts.add(len(messages), messages)
        last_time = _check_order(path, block, last_time)
        if block.numbers.size:
            valid_rows += block.numbers.size
            yield block.columns
        if counts.rows > max(SHOWN, BAD_SHARE * counts.of) and counts.of >= 1_000:
            break
    if counts.rows > BAD_SHARE * counts.of:
        raise UsageError(
            f"{path}: {counts.rows} of {counts.of} rows cannot be read; at most {BAD_SHARE:.0%} "
            f"({'; '.join(counts.first)})"
        )
    if not valid_rows:
        raise UsageError(f"{path}: no rows; a line for each tick below the header")
    if bad is not None:
        bad.include(counts)


def _parsed(path: Path, names: Mapping[str, str], bad: Bad) -> Iterator[Block]:
    """Blocks of valid rows; the others are counted."""
    form = None
    with lines.open_text(path) as file:
        layout = header.layout(path, lines.first(path, file), names)
        for rows in lines.blocks(path, file, layout):
            bad.blank += rows.blank
            bad.of += len(rows.numbers) + rows.faulty
            faults, count, block = rows.faults, rows.faulty, None
            if rows.numbers.size:
                texts = table.parse(path, rows, layout)
                if form is None:
                    form, layout = table.recognise(path, rows, texts, layout)
                block, more = table.check(rows, texts, layout, form, SHOWN)
                count += rows.numbers.size - block.numbers.size
                faults = sorted(faults[:SHOWN] + more)
            bad.add(count, [f"{path}:{line}: {fault}" for line, fault in faults[:SHOWN]])
            if block is not None:
                yield block


def _check_order(path: Path, block: Block, last_time: float) -> float:
    """Refuse a block in which a row's time is before that of the row above it.

    Args:
      last_time: time of the last row before the block, ms.

    Returns:
      The time of its last row.
    """
    time = block.columns["timestamp"]
    if not time.size:
        return last_time
    before = np.concatenate([[last_time], time[:-1]])
    earlier = np.flatnonzero(time < before)
    if earlier.size:
        row = earlier[0]
        raise UsageError(
            f"{path}:{block.numbers[row]}: timestamp: {time[row]:.3f} ms, before the "
            f"{before[row]:.3f} of the row above; time must not run backwards"
        )
    return time[-1]
