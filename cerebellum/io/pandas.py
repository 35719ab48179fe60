"""Recordings as data frames of pandas, which is an optional package."""

from typing import Any

import numpy as np

from cerebellum.io import tables
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording

__all__ = ["frame"]


def frame(recording: Recording, record: str = "raster") -> Any:
    """One kind of record as a tidy frame: a row for each spike, count or sample.

    Times are the ends of steps, ms. `tables` lists the columns. Those of names and units are
    categories; cells that are not known are <NA>.

    Args:
      record: "raster", "counts", "rates", "weights" or a variable such as "v", of all populations
        that have it; or one record, such as "v:golgi".

    Returns:
      A pandas.DataFrame.

    Raises:
      UsageError: pandas is not installed, or there is no such record.
    """
    records.check(recording)
    pandas = optional("pandas", "pandas", "to_pandas")
    parts = tables.parts_of(recording, record)
    owners = [part.owner for part in parts]
    rows = [part.rows for part in parts]
    codes = np.repeat(np.arange(len(parts)), rows)
    kind = record.partition(":")[0]
    columns = {tables.owner_column(kind): pandas.Categorical.from_codes(codes, owners)}
    for name in parts[0].columns:
        values = [part.columns[name] for part in parts]
        columns[name] = _column(pandas, values, rows)
    if parts[0].unit is not None:
        units = [str(part.unit) for part in parts]
        known = list(dict.fromkeys(units))
        codes = np.repeat([known.index(unit) for unit in units], rows)
        columns["unit"] = pandas.Categorical.from_codes(codes, known)
    return pandas.DataFrame(columns)


def _column(pandas: Any, values: list[np.ndarray | None], rows: list[int]) -> Any:
    """A column of all parts; integers that may be absent where a part has none."""
    present = [each for each in values if each is not None]
    if len(present) == len(values):
        return np.concatenate(present)
    missing = np.repeat([each is None for each in values], rows)
    filled = [np.zeros(n, np.int64) if x is None else x for x, n in zip(values, rows, strict=True)]
    return pandas.arrays.IntegerArray(np.concatenate(filled).astype(np.int64), missing)
