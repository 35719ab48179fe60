"""Timestamps of tick files: the formats that are known, and which of them a file has.

A file has one format, which most of its first rows decide. A row whose timestamp is of another
format, or outside of the years 1980 to 2100, is invalid; its format is never guessed. These years
are what keeps the numeric formats apart: no number is a plausible time in two of them. A time
without an offset is taken for UTC.

Dimensions: R rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

YEARS = (1980, 2100)
"""The first plausible year, and the first that is too late."""

EPOCHS = {"s": (1e3, 1.0), "ms": (1.0, 1.0), "us": (1.0, 1e3), "ns": (1.0, 1e6)}
"""Factor and divisor that make milliseconds of a number since 1970, by its unit."""

SAMPLE = 1_000
"""Rows by which the format of a file is recognised."""

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE = r" ?(?P<zone>(?:[Zz]|UTC|GMT)?(?:[+-]\d\d(?::?\d\d)?)?)$"
_DIGITS = r"(?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:\.?(?P<fraction>\d{6}|\d{3}))?)?"

PATTERNS = {
    "YYYY-MM-DD hh:mm:ss": r"^(?P<year>\d{4})[-/.](?P<month>\d\d?)[-/.](?P<day>\d\d?)"
    rf"(?:[T ]{_CLOCK})?{_ZONE}",
    "YYYYMMDDhhmmss": rf"^(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)(?:[T ]?{_DIGITS})?{_ZONE}",
    "YYYYMMDD hh:mm:ss": r"^(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)" rf"[T -]{_CLOCK}{_ZONE}",
    "dd.mm.yyyy hh:mm:ss": r"^(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{4})"
    rf"(?: {_CLOCK})?{_ZONE}",
    "a/b/yyyy hh:mm:ss": r"^(?P<a>\d\d?)[-/](?P<b>\d\d?)[-/](?P<year>\d{4})"
    rf"(?:,? {_CLOCK})?{_ZONE}",
}
"""Regular expressions of the formats in text, by name. A clock may have fractions of a second, AM
or PM, and an offset from UTC."""

KNOWN = (
    f"s, ms, us or ns since 1970 in digits, ISO 8601, {', '.join(list(PATTERNS)[1:4])}, mm/dd/yyyy "
    f"or dd/mm/yyyy; from {YEARS[0]} to {YEARS[1] - 1}"
)
"""The formats, for messages."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """The format of the timestamps of a file."""

    name: str
    """A key of `EPOCHS` or `PATTERNS`."""
    zoned: bool = False
    """Whether there is an offset from UTC, or a Z."""
    timed: bool = True
    """Whether there is a time of day."""
    order: tuple[str, str] | None = None
    """What a and b are in a/b/yyyy: ("day", "month") or the reverse; None if not known."""

    @property
    def right(self) -> str:
        """What a right timestamp is, for messages."""
        years = f"from {YEARS[0]} to {YEARS[1] - 1}, as in the other rows"
        if self.name in EPOCHS:
            return f"{self.name} since 1970, {years}"
        name = self.name if self.timed else self.name.partition(" ")[0]
        if self.order:
            name = name.replace("a/b", "dd/mm" if self.order[0] == "day" else "mm/dd")
        return f"{name} {'with' if self.zoned else 'without'} an offset from UTC, {years}"

    @property
    def ambiguous(self) -> bool:
        """Whether the order of day and month is to be found out."""
        return self.name.startswith("a/b") and self.order is None


def recognise(texts: "pl.Series") -> Format | None:
    """The format that more than half of the first rows look like; None if there is none.

    Args:
      texts: stripped strings [R]; the first `SAMPLE` are read.
    """
    texts = texts.head(SAMPLE)
    for name in EPOCHS:
        form = Format(name=name)
        if _most(np.isfinite(milliseconds(texts, form))):
            return form
    for name in PATTERNS:
        parts = _parts(texts, name)
        matches = parts["year"].is_not_null().to_numpy()
        if _most(matches):
            zoned = (parts["zone"].fill_null("") != "").to_numpy()[matches]
            timed = parts["hour"].is_not_null().to_numpy()[matches]
            form = Format(name=name, zoned=_most(zoned), timed=_most(timed))
            either = replace(form, order=("day", "month")), replace(form, order=("month", "day"))
            candidates = either if form.ambiguous else (form,)
            if any(np.isfinite(milliseconds(texts, each)).any() for each in candidates):
                return form
    return None


def _most(flags: np.ndarray) -> bool:
    return bool(flags.size and flags.mean() > 0.5)


def first_above_12(texts: "pl.Series", form: Format) -> Iterator[tuple[str, int]]:
    """The parts a and b of a/b/yyyy that are above 12 somewhere, each with its first row."""
    parts = _parts(texts, form.name)
    for name in ("a", "b"):
        rows = (_integers(parts[name]) > 12).nonzero()[0]
        if rows.size:
            yield name, int(rows[0])


def milliseconds(texts: "pl.Series", form: Format) -> np.ndarray:
    """Times in ms since 1970, float64 [R]; NaN where a text is not of the format.

    Args:
      texts: stripped strings [R].
    """
    times = _of_numbers(texts, form) if form.name in EPOCHS else _of_texts(texts, form)
    first, end = (np.datetime64(str(year), "ms").astype(float) for year in YEARS)
    return np.where((times >= first) & (times < end), times, np.nan)


def _of_numbers(texts: "pl.Series", form: Format) -> np.ndarray:
    import polars as pl

    numbers = texts.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    # A number with an exponent has been rounded, as spreadsheets do it.
    exponent = texts.str.contains("[eE]").fill_null(value=False).to_numpy()
    factor, divisor = EPOCHS[form.name]
    times = numbers * factor / divisor
    if form.name == "ns":
        # float64 holds such numbers to 256 ns only, which would make whole milliseconds uneven.
        whole = _integers(texts)
        times = np.where(whole > 0, whole // 1_000_000 + whole % 1_000_000 / 1e6, times)
    return np.where(exponent, np.nan, times)


def _of_texts(texts: "pl.Series", form: Format) -> np.ndarray:
    parts = _parts(texts, form.name)
    day, month = (parts[_letter(name, form)] for name in ("day", "month"))
    days, valid = _days(_integers(parts["year"]), _integers(month), _integers(day))
    hour, minute, second = (_integers(parts[name]) for name in ("hour", "minute", "second"))
    if "half" in parts.columns:
        half = parts["half"].str.to_uppercase()
        has_half, is_pm = (
            half.is_not_null().to_numpy(),
            (half == "PM").fill_null(False).to_numpy(),
        )
        valid &= ~has_half | ((hour >= 1) & (hour <= 12))
        hour = np.where(has_half, hour % 12 + 12 * is_pm, hour)
    valid &= (hour < 24) & (minute < 60) & (second < 60)
    offset, zoned, plausible = _offsets(parts["zone"].fill_null(""))
    valid &= plausible & (zoned == form.zoned)
    valid &= parts["hour"].is_not_null().to_numpy() == form.timed
    fraction = _integers(parts["fraction"].str.pad_end(9, "0"))
    microseconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
    microseconds = microseconds * 1_000_000 + fraction // 1_000
    return np.where(valid, microseconds / 1e3 + fraction % 1_000 / 1e6, np.nan)


def _letter(name: str, form: Format) -> str:
    """The group of a pattern that has the day or the month."""
    return name if form.order is None else "ab"[form.order.index(name)]


def _parts(texts: "pl.Series", name: str) -> "pl.DataFrame":
    """The named groups of a pattern: strings [R], null where a text does not match."""
    return texts.str.extract_groups(PATTERNS[name]).struct.unnest()


def _integers(texts: "pl.Series") -> np.ndarray:
    """int64 [R], 0 for null."""
    import polars as pl

    return texts.cast(pl.Int64, strict=False).fill_null(0).to_numpy()


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970, int64 [R], and whether there is such a day, bool [R]."""
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]")
    length = ((months + 1).astype("datetime64[D]") - first).astype(int)
    valid = (month >= 1) & (month <= 12) & (day >= 1) & (day <= length)
    return first.astype(int) + day - 1, valid


def _offsets(zones: "pl.Series") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Minutes ahead of UTC, whether an offset or a Z is given, and whether it is possible, [R]."""
    import polars as pl

    parts = zones.str.extract_groups(r"(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?$")
    table = parts.struct.unnest()
    hours, minutes = _integers(table["hours"]), _integers(table["minutes"])
    sign = (table["sign"] == "-").fill_null(False).cast(pl.Int64).to_numpy()
    offset = (1 - 2 * sign) * (hours * 60 + minutes)
    return offset, (zones != "").to_numpy(), (hours <= 14) & (minutes < 60)
