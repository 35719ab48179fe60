"""Reader of CSV files of ticks, compressed or not, in blocks, with a check of every row.

An invalid row is counted and left out, up to a share of the rows of a file: one with another number
of fields than the header, text in place of a number, a price that is not positive, a negative
volume, a timestamp of another format than that of the file, or a lone price far from both its
neighbours. Timestamps that decrease are an error, because no later row could be trusted. Every
message names the file, the line, the value, and what would be right.
"""

import glob
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import cells, header, lines, prices, timestamps
from cerebellum.learn.tasks.header import Layout
from cerebellum.learn.tasks.lines import Rows
from cerebellum.learn.tasks.prices import Block
from cerebellum.learn.tasks.timestamps import Format

if TYPE_CHECKING:
    import polars as pl

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
        many invalid rows, or a damaged file. The message names the file and the line.
    """
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
            bad.of += len(rows.numbers) + len(rows.faults)
            faults, count = rows.faults[:SHOWN], len(rows.faults)
            if rows.numbers.size:
                table = _table(path, rows, layout)
                if form is None:
                    form, layout = _format(path, rows, table, layout)
                block, more, invalid = _numbers(rows, table, layout, form)
                faults, count = sorted(faults + more), count + invalid
                bad.add(count, [f"{path}:{line}: {fault}" for line, fault in faults])
                yield block
            else:
                bad.add(count, [f"{path}:{line}: {fault}" for line, fault in faults])


def _table(path: Path, rows: Rows, layout: Layout) -> "pl.DataFrame":
    """The columns of a block that have a kind: stripped strings [rows], named by their kind.

    Raises:
      UsageError: a row is not what it seemed to be.
    """
    import polars as pl

    wanted = {kind: f"column_{position + 1}" for kind, position in layout.positions.items()}
    separators = rows.text.partition(b"\n")[0].count(layout.separator.encode())
    try:
        table = pl.read_csv(
            io.BytesIO(rows.text),
            has_header=False,
            schema={f"column_{k + 1}": pl.String for k in range(separators + 1)},
            columns=sorted(set(wanted.values())),
            separator=layout.separator,
            quote_char=None,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(_between(path, rows) + f"cannot be read as CSV ({reason})") from None
    if table.height != rows.numbers.size:
        raise UsageError(
            _between(path, rows) + f"{table.height} rows in {rows.numbers.size} lines; one in each"
        )
    texts = {kind: pl.col(name).fill_null("").str.strip_chars() for kind, name in wanted.items()}
    table = table.select(**texts)
    if lines.COMMA.encode() in rows.text:
        table = table.with_columns(
            pl.all().str.replace_all(lines.COMMA, layout.separator, literal=True)
        )
    return table


def _between(path: Path, rows: Rows) -> str:
    return f"{path}:{rows.numbers[0]} to {rows.numbers[-1]}: "


def _format(path: Path, rows: Rows, table: "pl.DataFrame", layout: Layout) -> tuple[Format, Layout]:
    """The format of a file's timestamps, from its first block; the date is dropped if not needed.

    Raises:
      UsageError: it is not known, or leaves open which is the day and which the month.
    """
    form = timestamps.recognise(table["timestamp"])
    if form is not None:
        positions = {kind: at for kind, at in layout.positions.items() if kind != "date"}
        layout = replace(layout, positions=positions)
    elif "date" in layout.positions:
        form = timestamps.recognise(_texts(table, layout)["timestamp"])
    if form is None:
        value = _texts(table, layout)["timestamp"][0]
        name = layout.header[layout.positions["timestamp"]]
        raise UsageError(f"{path}:{rows.numbers[0]}: {name}: {value!r}; {timestamps.KNOWN}")
    return (_with_order(path, layout, form) if form.ambiguous else form), layout


def _with_order(path: Path, layout: Layout, form: Format) -> Format:
    """The format a/b/yyyy with the order of day and month, which the whole file decides.

    Raises:
      UsageError: no row decides it, or two rows decide it differently.
    """
    above: dict[str, str] = {}
    example = ""
    with lines.open_text(path) as file:
        lines.first(path, file)
        for rows in lines.blocks(path, file, layout):
            if rows.numbers.size:
                texts = _texts(_table(path, rows, layout), layout)["timestamp"]
                example = example or f"{rows.numbers[0]}: {texts[0]!r}"
                for part, row in timestamps.first_above_12(texts, form):
                    above.setdefault(part, f"{rows.numbers[row]}: {texts[row]!r}")
    if len(above) == 1:
        return replace(form, order=("day", "month") if "a" in above else ("month", "day"))
    if above:
        raise UsageError(
            f"{path}:{above['a']} is day/month, but {path}:{above['b']} month/day; one order"
        )
    raise UsageError(
        f"{path}:{example} and all other rows could be day/month or month/day; YYYY-MM-DD"
    )


def _texts(table: "pl.DataFrame", layout: Layout) -> dict[str, "pl.Series"]:
    """Strings [rows] of each kind; a date is joined with the time."""
    texts = {kind: table[kind] for kind in layout.positions}
    if "date" in texts:
        texts["timestamp"] = texts.pop("date") + " " + texts["timestamp"]
    return texts


def _numbers(
    rows: Rows, table: "pl.DataFrame", layout: Layout, form: Format
) -> tuple[Block, list[tuple[int, str]], int]:
    """The valid rows of a block, what is wrong with the first of the others, and their number."""
    texts = _texts(table, layout)
    values, invalid = cells.values(texts, form)
    wrong = np.logical_or.reduce(list(invalid.values()))
    faults = []
    for row in np.flatnonzero(wrong)[:SHOWN]:
        kind = next(kind for kind, flags in invalid.items() if flags[row])
        faults.append((int(rows.numbers[row]), _fault(kind, int(row), texts, layout, form)))
    count = int(wrong.sum())
    if not count:
        return Block(columns=values, numbers=rows.numbers), faults, 0
    kept = {kind: column[~wrong] for kind, column in values.items()}
    return Block(columns=kept, numbers=rows.numbers[~wrong]), faults, count


def _fault(
    kind: str, row: int, texts: Mapping[str, "pl.Series"], layout: Layout, form: Format
) -> str:
    """What is wrong with a cell: its column, its value, and what would be right."""
    right = form.right if kind == "timestamp" else cells.RIGHT[kind]
    kind = "ask" if kind == "crossed" else kind
    value = texts[kind][row]
    shown = repr(value if len(value) <= 40 else value[:37] + "...") if value else "empty"
    return f"{layout.header[layout.positions[kind]]}: {shown}; {right}"


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
