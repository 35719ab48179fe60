"""Files of ticks: CSV, compressed or not, read in blocks and judged row by row.

A row that is none (text in a number, not finite, a price that is not positive, a negative volume,
too few columns) is counted and left out, up to a limit; time that runs backwards is refused, for
nothing after it can be trusted. Every complaint names the file and the line.
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
"""By what a column is, names that it goes by, in any case."""

BAD_SHARE = 0.01
"""Most rows of a file that may be left out, as a share of those read."""

SHOWN = 3
"""Bad lines that are named."""


@dataclass
class Bad:
    """Rows that were left out."""

    rows: int = 0
    of: int = 0
    first: list[str] = field(default_factory=list)
    """what was wrong with the first few: file:line: problem"""


def files(pattern: str | Path) -> list[Path]:
    """CSV files that a file's name, a folder or a glob stands for, in order of their names.

    Raises:
      UsageError: there are none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.lower().endswith((".csv", ".csv.gz")))
    else:
        found = [path] if path.is_file() else sorted(map(Path, glob.glob(str(pattern))))
    if not found:
        raise UsageError(f"{pattern}: no CSV file; a file, a folder of them or a glob")
    return found


def read(
    path: Path, columns: Mapping[str, str] | None = None, bad: Bad | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of good rows: by what a column is, float64 [rows]; `timestamp` in ms.

    Args:
      columns: names of this file's columns, by what they are, where they go by others.
      bad: counts what is left out.

    Raises:
      UsageError: no rows, no such column, time backwards, too many bad rows, or a file that is cut
        short; names the file and the line.
    """
    count, last, line, good = bad or Bad(), -np.inf, 2, 0
    with _open(path) as file:
        header = _header(path, file)
        where = _columns(path, header, columns or {})
        for text in _blocks(path, file):
            found, problems = _parse(text, len(header), where)
            keep = problems < 0
            time = found["timestamp"]
            _check_order(path, time, keep, last, line)
            _count(count, path, header, problems, where, line)
            if keep.any():
                last = time[keep][-1]
                good += int(keep.sum())
                yield {name: column[keep] for name, column in found.items()}
            line += len(keep)
            if count.rows > max(SHOWN, BAD_SHARE * count.of) and count.of >= 1_000:
                break
    if count.rows > BAD_SHARE * count.of and count.rows:
        raise UsageError(
            f"{path}: {count.rows} of {count.of} rows are none; at most {BAD_SHARE:.0%} "
            f"({'; '.join(count.first)})"
        )
    if not good:
        raise UsageError(f"{path}: no rows; a line for each tick below the header")


def _open(path: Path) -> IO[bytes]:
    try:
        opened = path.open("rb")
        packed = opened.read(2) == b"\x1f\x8b"
        opened.seek(0)
        return gzip.open(opened) if packed else opened  # pyright: ignore[reportReturnType]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}; a readable file") from None


def _header(path: Path, file: IO[bytes]) -> list[str]:
    try:
        text = file.readline().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}:1: not UTF-8; text, with names of columns in line 1") from None
    except (EOFError, OSError, zlib.error) as error:
        raise UsageError(f"{path}: not a whole gzip file ({error})") from None
    if not text.strip():
        raise UsageError(f"{path}: empty; a line of column names and one for each tick")
    return [name.strip().strip('"') for name in text.split(",")]


def _columns(path: Path, header: list[str], mapped: Mapping[str, str]) -> dict[str, int]:
    """Where each column is."""
    lower, where = [name.lower() for name in header], {}
    for kind, name in mapped.items():
        if kind not in NAMES:
            raise UsageError(f"training.columns: {kind!r}; one of {', '.join(NAMES)}")
        if name not in header:
            raise UsageError(f"{path}:1: no column {name!r}; it has {', '.join(header)}")
        where[kind] = header.index(name)
    for kind, names in NAMES.items():
        known = [name for name in names if name in lower]
        if kind not in where and known:
            where[kind] = lower.index(known[0])
    missing = [kind for kind in ("timestamp",) if kind not in where]
    if "price" not in where and not {"bid", "ask"} <= where.keys():
        missing.append("price (or bid and ask)")
    if missing:
        raise UsageError(
            f"{path}:1: no column for {' and '.join(missing)}; it has {', '.join(header)}; "
            "training.columns names others"
        )
    return where


def _blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Whole lines."""
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


def _parse(text: bytes, width: int, where: Mapping[str, int]):
    """Columns of a block, and which of them makes a row bad: its place, or -1; both [rows]."""
    import polars as pl

    # A blank line is a row without values: lines keep their numbers.
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
    found, problems = {}, np.full(rows, -1)
    for kind, place in where.items():
        if place >= table.width:
            found[kind] = np.full(rows, np.nan)
        elif kind == "side":
            found[kind] = _side(table[:, place])
        elif kind == "timestamp":
            found[kind] = _time(table[:, place])
        else:
            found[kind] = _number(table[:, place])
        column = found[kind]
        bad = ~np.isfinite(column)
        if kind in ("price", "bid", "ask"):
            bad |= ~(column > 0)
        elif kind in ("volume", "bid_size", "ask_size"):
            bad |= ~(column >= 0)
        problems = np.where(bad & (problems < 0), place, problems)
    if "price" not in where:
        found["price"] = (found["bid"] + found["ask"]) / 2
    if "bid" in where and "ask" in where:
        crossed = found["ask"] < found["bid"]
        problems = np.where(crossed & (problems < 0), where["ask"], problems)
    return found, problems


def _number(column) -> np.ndarray:
    import polars as pl

    values = column.str.strip_chars().cast(pl.Float64, strict=False)
    return values.fill_null(np.nan).to_numpy()


def _side(column) -> np.ndarray:
    """1 for a buyer who was the aggressor, -1 for a seller."""
    words = column.str.strip_chars().str.to_lowercase()
    known = {"buy": 1.0, "b": 1.0, "1": 1.0, "+1": 1.0, "sell": -1.0, "s": -1.0, "-1": -1.0}
    return words.replace_strict(known, default=None).cast(float).fill_null(np.nan).to_numpy()


def _time(column) -> np.ndarray:
    """Times in ms: numbers of s, ms, us or ns since 1970 by their size, or ISO 8601."""
    import polars as pl

    numbers = _number(column)
    if np.isnan(numbers).mean() > 0.5:
        texts = column.str.strip_chars().str.to_datetime(strict=False, time_unit="us")
        whole = texts.dt.replace_time_zone(None).dt.epoch("us").cast(pl.Float64)
        return whole.fill_null(np.nan).to_numpy() / 1e3
    size = np.nanmedian(np.abs(numbers)) if np.isfinite(numbers).any() else 0.0
    for limit, factor in ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3)):
        if size < limit:
            return numbers * factor
    return numbers * 1e-6


def _check_order(path: Path, time: np.ndarray, keep: np.ndarray, last: float, line: int) -> None:
    rows = np.flatnonzero(keep)
    before = np.concatenate([[last], time[rows][:-1]]) if rows.size else np.zeros(0)
    back = np.flatnonzero(time[rows] < before)
    if back.size:
        row = rows[back[0]]
        raise UsageError(
            f"{path}:{line + row}: timestamp: {time[row]:.3f} ms, before the {before[back[0]]:.3f} "
            "of the row above; time must not run backwards"
        )


def _count(bad: Bad, path: Path, header, problems: np.ndarray, where, line: int) -> None:
    rows = np.flatnonzero(problems >= 0)
    bad.of += problems.size
    bad.rows += rows.size
    for row in rows[: max(0, SHOWN - len(bad.first))]:
        name = header[problems[row]]
        kind = next(kind for kind, place in where.items() if place == problems[row])
        bad.first.append(f"{path}:{line + row}: {name}: not a {kind}")
