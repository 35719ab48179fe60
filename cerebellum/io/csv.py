"""Recordings as text: a file of comma-separated values for each kind of record, tidy.

`tables` lists the columns. Numbers are written so that they are read back exactly; a cell that is
not known is empty.
"""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from cerebellum.io import tables, whole
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording

__all__ = ["save"]

AT_ONCE = 100_000
"""Rows that are text in memory at the same time."""


def save(recording: Recording, path: str | Path) -> None:
    """Write a new folder of files: raster.csv, counts.csv, rates.csv, v.csv and so on.

    Raises:
      UsageError: the folder is there already, or the one that it is to be in is not.
      OSError: the disk refused; nothing is left.
    """
    records.check(recording)
    with whole.new_folder(path) as folder:
        write(recording, folder)


def write(recording: Recording, folder: Path) -> list[str]:
    """Write the files of a recording into a folder; their names."""
    names = []
    for kind in tables.kinds(recording):
        parts = tables.parts_of(recording, kind)
        names.append(f"{kind}.csv")
        with open(folder / names[-1], "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            units = [] if parts[0].unit is None else ["unit"]
            writer.writerow([tables.owner_column(kind), *parts[0].columns, *units])
            for part in parts:
                writer.writerows(_rows(part))
    return names


def _rows(part: tables.Part) -> Iterator[tuple[str, ...]]:
    for start in range(0, part.rows, AT_ONCE):
        stop = min(start + AT_ONCE, part.rows)
        columns: list[Iterable[str]] = [[part.owner] * (stop - start)]
        for values in part.columns.values():
            # NumPy's text of a number is the shortest that is read back as the same number.
            text = [""] * (stop - start) if values is None else values[start:stop].astype(np.str_)
            columns.append(text)
        if part.unit is not None:
            columns.append([part.unit] * (stop - start))
        yield from zip(*columns, strict=True)
