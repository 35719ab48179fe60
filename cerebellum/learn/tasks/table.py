"""The rows of a block of a tick file: their cells as numbers, and what is wrong with which."""

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import cells, lines, timestamps
from cerebellum.learn.tasks.header import Layout
from cerebellum.learn.tasks.lines import Rows
from cerebellum.learn.tasks.prices import Block
from cerebellum.learn.tasks.timestamps import Format

if TYPE_CHECKING:
    import polars as pl


def parse(path: Path, rows: Rows, layout: Layout) -> "pl.DataFrame":
    """The columns of a block that have a kind: stripped strings [rows], named by their kind.

    Raises:
      UsageError: a row is not what it seemed to be.
    """
    import polars as pl

    wanted = {kind: f"column_{position + 1}" for kind, position in layout.positions.items()}
    separators = rows.text.count(layout.separator.encode(), 0, rows.text.find(b"\n"))
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


def recognise(
    path: Path, rows: Rows, table: "pl.DataFrame", layout: Layout
) -> tuple[Format, Layout]:
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
                texts = _texts(parse(path, rows, layout), layout)["timestamp"]
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


def check(
    rows: Rows, table: "pl.DataFrame", layout: Layout, form: Format, most: int
) -> tuple[Block, list[tuple[int, str]]]:
    """The valid rows of a block, and what is wrong with the first `most` of the others."""
    texts = _texts(table, layout)
    values, invalid = cells.values(texts, form)
    wrong = np.logical_or.reduce(list(invalid.values()))
    if not wrong.any():
        return Block(columns=values, numbers=rows.numbers), []
    faults = []
    for row in np.flatnonzero(wrong)[:most]:
        kind = next(kind for kind, flags in invalid.items() if flags[row])
        faults.append((int(rows.numbers[row]), _fault(kind, int(row), texts, layout, form)))
    kept = {kind: column[~wrong] for kind, column in values.items()}
    return Block(columns=kept, numbers=rows.numbers[~wrong]), faults


def _fault(
    kind: str, row: int, texts: Mapping[str, "pl.Series"], layout: Layout, form: Format
) -> str:
    """What is wrong with a cell: its column, its value, and what would be right."""
    right = form.right if kind == "timestamp" else cells.RIGHT[kind]
    kind = "ask" if kind == "crossed" else kind
    value = texts[kind][row]
    shown = repr(value if len(value) <= 40 else value[:37] + "...") if value else "empty"
    return f"{layout.header[layout.positions[kind]]}: {shown}; {right}"
