"""The header of a tick file: its separator, and which column holds what."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cerebellum.errors import UsageError

NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "time", "ts", "datetime"),
    "date": ("date",),
    "price": ("price", "mid", "last", "close"),
    "volume": ("volume", "size", "qty", "quantity", "amount"),
    "bid": ("bid", "bid_price", "best_bid"),
    "ask": ("ask", "ask_price", "best_ask", "offer"),
    "bid_size": ("bid_size", "bid_volume", "bid_qty"),
    "ask_size": ("ask_size", "ask_volume", "ask_qty"),
    "signed_volume": ("signed_volume",),
    "side": ("side",),
}
"""Header names of each kind of column, in lower case; headers may use any case. Of several names of
a kind in a header, the first in this order counts."""

SEPARATORS = ",;\t|"
"""Characters that may separate fields; the one that line 1 has most of does."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column of a file holds what."""

    header: tuple[str, ...]
    """Names of the columns, without unnamed ones at the end."""
    unnamed: int
    """Unnamed columns at the end, which come from separators at the end of line 1."""
    separator: str
    positions: Mapping[str, int]
    """Position in the header of each kind of column. `date` is there only beside `timestamp`."""


def layout(path: Path, line: str, columns: Mapping[str, str]) -> Layout:
    """The layout of a file.

    Args:
      line: line 1.
      columns: header names by kind of column, where they are not among `NAMES`.

    Raises:
      UsageError: a column is missing, or there are two of one name.
    """
    separator = max(SEPARATORS, key=line.count)
    try:
        (names,) = csv.reader([line], delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        raise UsageError(f"{path}:1: {_short(line)}; names of columns, quotes in pairs") from None
    names = [name.strip() for name in names]
    header = list(names)
    while header and not header[-1]:
        header.pop()
    positions = _positions(path, header, columns)
    return Layout(
        header=tuple(header),
        unnamed=len(names) - len(header),
        separator=separator,
        positions=positions,
    )


def _positions(path: Path, header: list[str], columns: Mapping[str, str]) -> dict[str, int]:
    """Position in the header of each kind of column; `columns` as in `layout`."""
    lower = [name.lower().strip("<>") for name in header]
    has = ", ".join(map(_short, header))
    positions: dict[str, int] = {}
    for kind, name in columns.items():
        if kind not in NAMES:
            raise UsageError(f"training.columns: {kind!r}; one of {', '.join(NAMES)}")
        if name not in header:
            raise UsageError(f"{path}:1: no column {name!r}; it has {has}")
        positions[kind] = header.index(name)
    for kind, names in NAMES.items():
        present = [name for name in names if name in lower]
        if kind not in positions and present:
            positions[kind] = lower.index(present[0])
    if "date" in positions and positions.get("timestamp") in (None, positions["date"]):
        positions["timestamp"] = positions.pop("date")
    for kind, position in positions.items():
        names = header if kind in columns else lower
        if names.count(names[position]) > 1:
            raise UsageError(f"{path}:1: two columns {header[position]!r}; one for the {kind}")
    missing = [kind for kind in ("timestamp",) if kind not in positions]
    if "price" not in positions and not {"bid", "ask"} <= positions.keys():
        missing.append("price (or bid and ask)")
    if missing:
        raise UsageError(
            f"{path}:1: no column for {' and '.join(missing)}; it has {has}; "
            "training.columns names others"
        )
    return positions


def _short(text: str) -> str:
    """A text for a message, in one line and not longer than 60 characters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= 60 else text[:57] + "..."
