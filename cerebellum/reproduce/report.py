"""What a reproduction measured, and how it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity."""

    quantity: str
    unit: str
    measured: float
    sd: float | None = None
    """standard deviation over circuits or seeds"""
    published: float | None = None
    """None where there is a bound, not a value"""
    tolerance: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole reproduction."""

    rows: Sequence[Row]
    source: str
    """where the published numbers come from"""
    seeds: Sequence[int]
    note: str = ""
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    """by file name"""

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)


def close(
    quantity: str,
    unit: str,
    measured: float | Sequence[float] | np.ndarray,
    published: float,
    *,
    rel: float = 0.0,
    least: float = 0.0,
) -> Row:
    """A row that passes within a share of the published value, or within `least` of it.

    Several measured values are averaged, and have a standard deviation.
    """
    mean, sd = _mean(measured)
    allowed = max(abs(rel * published), least)
    return Row(
        quantity=quantity,
        unit=unit,
        measured=mean,
        sd=sd,
        published=published,
        tolerance=f"± {allowed:.3g}",
        passed=bool(abs(mean - published) <= allowed),
    )


def bounded(
    quantity: str,
    unit: str,
    measured: float | Sequence[float] | np.ndarray,
    *,
    below: float | None = None,
    above: float | None = None,
) -> Row:
    """A row that passes below or above a bound, or between two."""
    mean, sd = _mean(measured)
    if below is None:
        tolerance = f"over {above:g}"
    else:
        tolerance = f"under {below:g}" if above is None else f"{above:g} to {below:g}"
    fits = (below is None or mean < below) and (above is None or mean > above)
    return Row(
        quantity=quantity,
        unit=unit,
        measured=mean,
        sd=sd,
        tolerance=tolerance,
        passed=bool(fits),
    )


def _mean(measured: float | Sequence[float] | np.ndarray) -> tuple[float, float | None]:
    values = np.atleast_1d(np.asarray(measured, float))
    return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None


def as_json(name: str, report: Report, output: str) -> dict[str, Any]:
    """The machine-readable result."""
    return {
        "name": name,
        "seed": report.seeds[0],
        "seeds": list(report.seeds),
        "passed": report.passed,
        "source": report.source,
        "rows": [vars(row) for row in report.rows],
        "note": report.note,
        "output": output,
    }


def show(console: Console, name: str, report: Report) -> None:
    """The table."""
    table = Table(title=name, title_justify="left", box=box.SIMPLE)
    table.add_column("quantity")
    known = any(row.published is not None for row in report.rows)
    for heading in ("measured", "SD", *(["published"] if known else []), "tolerance"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    for row in report.rows:
        table.add_row(
            f"{row.quantity}, {row.unit}" if row.unit else row.quantity,
            number(row.measured),
            number(row.sd),
            *([number(row.published)] if known else []),
            row.tolerance,
            "ok" if row.passed else "[bold red]outside[/]",
        )
    console.print(table)
    seeds = ", ".join(map(str, report.seeds))
    for text in (f"source: {report.source}", report.note, f"seeds: {seeds}"):
        if text:
            console.print(text, style="dim", highlight=False)
