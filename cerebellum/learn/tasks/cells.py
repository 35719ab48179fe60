"""Cells of tick files as numbers, and what is wrong with those that are none.

Dimensions: R rows.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.learn.tasks import timestamps
from cerebellum.learn.tasks.timestamps import Format

if TYPE_CHECKING:
    import polars as pl

PRICES = ("price", "bid", "ask")
SIZES = ("volume", "bid_size", "ask_size")
"""Kinds of columns whose values are zero or more."""

LARGEST = 1e30
"""Largest number, and one over the smallest price. Beyond it float32 would overflow."""

SIDES = {"buy": 1.0, "b": 1.0, "1": 1.0, "+1": 1.0, "sell": -1.0, "s": -1.0, "-1": -1.0}
"""Who the aggressor was, in lower case: 1 the buyer, -1 the seller."""

_DIGITS = f"up to {LARGEST:g}, with a point and without commas"
RIGHT = {
    **dict.fromkeys(PRICES, f"a number above 0, {_DIGITS}"),
    **dict.fromkeys(SIZES, f"a number from 0 {_DIGITS}"),
    "signed_volume": f"a number {_DIGITS}",
    "side": ", ".join(SIDES),
    "crossed": "at or above the bid",
}
"""What a right cell of each kind is, for messages."""

Cells = Mapping[str, "pl.Series"]
"""Stripped strings [R] of each kind of column. `timestamp` is joined with the date."""


def values(cells: Cells, form: Format) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Numbers of each kind, float64 [R], and which of them are invalid, bool [R].

    `price` is computed from bid and ask where the file has none. The key "crossed" has the rows
    whose ask is below the bid.
    """
    columns, invalid = {}, {}
    for kind, texts in cells.items():
        columns[kind] = column = _column(kind, texts, form)
        wrong = ~(np.abs(column) <= LARGEST)
        if kind in PRICES:
            wrong |= ~(column >= 1 / LARGEST)
        elif kind in SIZES:
            wrong |= ~(column >= 0)
        invalid[kind] = wrong
    if "price" not in columns:
        columns["price"] = (columns["bid"] + columns["ask"]) / 2
    if "bid" in columns and "ask" in columns:
        invalid["crossed"] = columns["ask"] < columns["bid"]
    return columns, invalid


def _column(kind: str, texts: "pl.Series", form: Format) -> np.ndarray:
    import polars as pl

    if kind == "timestamp":
        return timestamps.milliseconds(texts, form)
    if kind == "side":
        signs = texts.str.to_lowercase().replace_strict(SIDES, default=None)
        return signs.cast(pl.Float64).fill_null(np.nan).to_numpy()
    return texts.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
