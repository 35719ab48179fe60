"""Reader of CSV files of ticks, compressed or not, in blocks, with a check of every row.

An invalid row (text in place of a number, a number that is not finite, a price that is not
positive, a negative volume, too few columns) is counted and skipped, up to a limit. Timestamps
that decrease are an error, because no later row could be trusted. Every message names the file and
the line.
"""

import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np

from cerebellum.errors import UsageError

BLOCK = 2**23
"""Bytes of text that are parsed at once."""

NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "time", "ts", "datetime", "date"),
    "price": ("price", "mid", "last", "close"),
    "volume": ("volume", "size", "qty", "quantity", "amount"),
    "bid": ("bid", "bid_price", "best_bid"),
    "ask": ("ask", "ask_price", "best_ask", "offer"),
    "bid_size": ("bid_size", "bid_volume", "bid_qty"),
    "ask_size": ("ask_size", "ask_volume", "ask_qty"),
    "signed_volume": ("signed_volume",),
    "side": ("side",),
}
"""Header names of each kind of column, in lower case; headers may use any case."""

BAD_SHARE = 0.01
"""Largest share of a file's rows that may be invalid."""

SHOWN = 3
"""Number of invalid rows that a message lists."""


@dataclass
class Bad:
    """Count of the rows that were skipped."""

    rows: int = 0
    """Skipped rows."""
    of: int = 0
    """All rows."""
    first: list[str] = field(default_factory=list)
    """Messages about the first few skipped rows: file:line: problem."""


def files(pattern: str | Path) -> list[Path]:
    """CSV files of a file name, a folder or a glob, in the order of their names.

    Raises:
      UsageError: there is no such file.
    """
    path = Path(pattern)
    if path.is_dir():
        paths = sorted(p for p in path.iterdir() if p.name.lower().endswith((".csv", ".csv.gz")))
    else:
        paths = [path] if path.is_file() else sorted(map(Path, glob.glob(str(pattern))))
    if not paths:
        raise UsageError(f"{pattern}: no CSV file; a file, a folder of them or a glob")
    return paths


def read(
    path: Path, columns: Mapping[str, str] | None = None, bad: Bad | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Read a file in blocks of valid rows: float64 [rows] by kind of column; `timestamp` is in ms.

    Args:
      columns: header names by kind of column, where they are not among `NAMES`.
      bad: counter of skipped rows, which is updated.

    Raises:
      UsageError: no rows, a missing column, decreasing time, too many invalid rows, or a truncated
        file. The message names the file and the line.
    """
    bad, last_time, line, valid_rows = bad or Bad(), -np.inf, 2, 0
    with _open(path) as file:
        header = _header(path, file)
        positions = _columns(path, header, columns or {})
        for text in _blocks(path, file):
            block, problems = _parse(text, len(header), positions)
            valid = problems < 0
            time = block["timestamp"]
            _check_order(path, time, valid, last_time, line)
            _count(bad, path, header, problems, positions, line)
            if valid.any():
                last_time = time[valid][-1]
                valid_rows += int(valid.sum())
                yield {kind: column[valid] for kind, column in block.items()}
            line += len(valid)
            if bad.rows > max(SHOWN, BAD_SHARE * bad.of) and bad.of >= 1_000:
                break
    if bad.rows > BAD_SHARE * bad.of and bad.rows:
        raise UsageError(
            f"{path}: {bad.rows} of {bad.of} rows are none; at most {BAD_SHARE:.0%} "
            f"({'; '.join(bad.first)})"
        )
    if not valid_rows:
        raise UsageError(f"{path}: no rows; a line for each tick below the header")


def _open(path: Path) -> IO[bytes]:
    """Open a file of text, uncompressed where it is a gzip file."""
    try:
        file = path.open("rb")
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        return gzip.open(file) if compressed else file  # pyright: ignore[reportReturnType]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; a readable file") from None


def _header(path: Path, file: IO[bytes]) -> list[str]:
    """Names of the columns, from line 1."""
    try:
        text = file.readline().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}:1: not UTF-8; text, with names of columns in line 1") from None
    except (EOFError, OSError, zlib.error) as error:
        raise UsageError(f"{path}: not a whole gzip file ({error})") from None
    if not text.strip():
        raise UsageError(f"{path}: empty; a line of column names and one for each tick")
    return [name.strip().strip('"') for name in text.split(",")]


def _columns(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Position in the header of each kind of column; `columns` as in `read`."""
    lower, positions = [name.lower() for name in header], {}
    for kind, name in columns.items():
        if kind not in NAMES:
            raise UsageError(f"training.columns: {kind!r}; one of {', '.join(NAMES)}")
        if name not in header:
            raise UsageError(f"{path}:1: no column {name!r}; it has {', '.join(header)}")
        positions[kind] = header.index(name)
    for kind, names in NAMES.items():
        present = [name for name in names if name in lower]
        if kind not in positions and present:
            positions[kind] = lower.index(present[0])
    missing = [kind for kind in ("timestamp",) if kind not in positions]
    if "price" not in positions and not {"bid", "ask"} <= positions.keys():
        missing.append("price (or bid and ask)")
    if missing:
        raise UsageError(
            f"{path}:1: no column for {' and '.join(missing)}; it has {', '.join(header)}; "
            "training.columns names others"
        )
    return positions


def _blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines."""
    rest = b""
    while True:
        try:
            block = file.read(BLOCK)
        except (EOFError, OSError, zlib.error) as error:
            raise UsageError(f"{path}: not a whole gzip file ({error})") from None
        if not block:
            break
        head, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            yield head + newline
    if rest.strip():
        yield rest + b"\n"


def _parse(
    text: bytes, width: int, positions: Mapping[str, int]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of a block by kind, and the position of each row's first invalid column, or -1.

    All arrays are [rows].
    """
    import polars as pl

    # A blank line is kept as a row without values, so that line numbers stay right.
    names = [f"c{k}" for k in range(width)]
    table = pl.read_csv(
        io.BytesIO(text),
        has_header=False,
        schema=dict.fromkeys(names, pl.String),
        truncate_ragged_lines=True,
        extra_columns="ignore",
        encoding="utf8-lossy",
    )
    rows = table.height
    columns, problems = {}, np.full(rows, -1)
    for kind, position in positions.items():
        if position >= table.width:
            columns[kind] = np.full(rows, np.nan)
        elif kind == "side":
            columns[kind] = _side(table[:, position])
        elif kind == "timestamp":
            columns[kind] = _time(table[:, position])
        else:
            columns[kind] = _number(table[:, position])
        column = columns[kind]
        invalid = ~np.isfinite(column)
        if kind in ("price", "bid", "ask"):
            invalid |= ~(column > 0)
        elif kind in ("volume", "bid_size", "ask_size"):
            invalid |= ~(column >= 0)
        problems = np.where(invalid & (problems < 0), position, problems)
    if "price" not in positions:
        columns["price"] = (columns["bid"] + columns["ask"]) / 2
    if "bid" in positions and "ask" in positions:
        crossed = columns["ask"] < columns["bid"]
        problems = np.where(crossed & (problems < 0), positions["ask"], problems)
    return columns, problems


def _number(column) -> np.ndarray:
    import polars as pl

    values = column.str.strip_chars().cast(pl.Float64, strict=False)
    return values.fill_null(np.nan).to_numpy()


def _side(column) -> np.ndarray:
    """1 where the buyer was the aggressor, -1 where the seller was."""
    words = column.str.strip_chars().str.to_lowercase()
    signs = {"buy": 1.0, "b": 1.0, "1": 1.0, "+1": 1.0, "sell": -1.0, "s": -1.0, "-1": -1.0}
    return words.replace_strict(signs, default=None).cast(float).fill_null(np.nan).to_numpy()


def _time(column) -> np.ndarray:
    """Times in ms, from ISO 8601 or from numbers since 1970, whose size shows s, ms, us or ns."""
    import polars as pl

    numbers = _number(column)
    if np.isnan(numbers).mean() > 0.5:
        texts = column.str.strip_chars().str.to_datetime(strict=False, time_unit="us")
        microseconds = texts.dt.replace_time_zone(None).dt.epoch("us").cast(pl.Float64)
        return microseconds.fill_null(np.nan).to_numpy() / 1e3
    size = np.nanmedian(np.abs(numbers)) if np.isfinite(numbers).any() else 0.0
    for limit, factor in ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3)):
        if size < limit:
            return numbers * factor
    return numbers * 1e-6


def _check_order(
    path: Path, time: np.ndarray, valid: np.ndarray, last_time: float, line: int
) -> None:
    """Refuse a block in which a valid row's time is before that of the valid row above it.

    Args:
      last_time: time of the last valid row before the block, ms.
      line: number of the block's first line.
    """
    rows = np.flatnonzero(valid)
    before = np.concatenate([[last_time], time[rows][:-1]]) if rows.size else np.zeros(0)
    earlier = np.flatnonzero(time[rows] < before)
    if earlier.size:
        row, above = rows[earlier[0]], before[earlier[0]]
        raise UsageError(
            f"{path}:{line + row}: timestamp: {time[row]:.3f} ms, before the {above:.3f} "
            "of the row above; time must not run backwards"
        )


def _count(
    bad: Bad,
    path: Path,
    header: list[str],
    problems: np.ndarray,
    positions: Mapping[str, int],
    line: int,
) -> None:
    """Add a block's invalid rows to the counter; `problems` as in `_parse`."""
    rows = np.flatnonzero(problems >= 0)
    bad.of += problems.size
    bad.rows += rows.size
    for row in rows[: max(0, SHOWN - len(bad.first))]:
        name = header[problems[row]]
        kind = next(kind for kind, position in positions.items() if position == problems[row])
        bad.first.append(f"{path}:{line + row}: {name}: not a {kind}")
