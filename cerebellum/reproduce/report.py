"""The report of a reproduction, and its table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured quantity."""

    quantity: str
    unit: str
    measured: float
    """the mean; NaN where a circuit has no such value"""
    sd: float | None = None
    """Standard deviation over circuits or seeds."""
    published: float | None = None
    """The published value; None where there is none."""
    reference: float | None = None
    """A value of our own that the measured one is compared with; None where there is none."""
    tolerance: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Report:
    """The results of a reproduction."""

    rows: Sequence[Row]
    source: str
    """Source of the published or reference values."""
    seeds: Sequence[int]
    note: str = ""
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    """Figures by file name."""

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)


def picture(draw: Callable[..., Any], *args: Any, **options: Any) -> "Figure":
    """The figure of a plot, one that pyplot does not know.

    Args:
      draw: a function of `plot`, which is called with `args`, `options` and the figure.
    """
    figure = plot.blank()
    draw(*args, ax=figure, **options)
    return figure


def close(
    quantity: str,
    unit: str,
    measured: float | Sequence[float] | np.ndarray,
    wanted: float,
    *,
    rel: float = 0.0,
    least: float = 0.0,
    published: bool = True,
) -> Row:
    """A row that passes if the measured value is near the one that is wanted.

    Several measured values are averaged, and the row has their standard deviation.

    Args:
      published: whether the wanted value is a published one. Otherwise it is a reference of our
        own, and the table shows it in another column.
      rel: tolerance as a share of the wanted value.
      least: tolerance in the unit of the value. The larger of the two tolerances counts.
    """
    mean, sd = _mean(measured)
    allowed = max(abs(rel * wanted), least)
    return Row(
        quantity=quantity,
        unit=unit,
        measured=mean,
        sd=sd,
        published=wanted if published else None,
        reference=None if published else wanted,
        tolerance=f"± {allowed:.3g}",
        passed=bool(abs(mean - wanted) <= allowed),
    )


def bounded(
    quantity: str,
    unit: str,
    measured: float | Sequence[float] | np.ndarray,
    *,
    below: float | None = None,
    above: float | None = None,
) -> Row:
    """A row that passes if the measured value is below a bound, above one, or between two."""
    mean, sd = _mean(measured)
    if below is None:
        tolerance = f"over {above:g}"
    else:
        tolerance = f"under {below:g}" if above is None else f"{above:g} to {below:g}"
    passed = (below is None or mean < below) and (above is None or mean > above)
    return Row(
        quantity=quantity,
        unit=unit,
        measured=mean,
        sd=sd,
        tolerance=tolerance,
        passed=bool(passed),
    )


def _mean(measured: float | Sequence[float] | np.ndarray) -> tuple[float, float | None]:
    """Mean, and standard deviation where there are several values; NaN and None if one is NaN."""
    values = np.atleast_1d(np.asarray(measured, float))
    if np.isnan(values).any():
        return float("nan"), None
    return float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else None


def as_json(name: str, report: Report, output: str) -> dict[str, Any]:
    """The report as a JSON document."""
    return {
        "name": name,
        "seed": report.seeds[0],
        "seeds": list(report.seeds),
        "passed": report.passed,
        "source": report.source,
        "rows": [
            {**vars(row), "measured": None if np.isnan(row.measured) else row.measured}
            for row in report.rows
        ],
        "note": report.note,
        "output": output,
    }


def show(console: Console, name: str, report: Report) -> None:
    """Print the report's table."""
    table = Table(title=name, title_justify="left", box=box.SIMPLE)
    table.add_column("quantity")
    compared = [
        name
        for name in ("published", "reference")
        if any(getattr(row, name) is not None for row in report.rows)
    ]
    for heading in ("measured", "SD", *compared, "tolerance"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    for row in report.rows:
        table.add_row(
            f"{row.quantity}, {row.unit}" if row.unit else row.quantity,
            "none" if np.isnan(row.measured) else number(row.measured),
            number(row.sd),
            *(number(getattr(row, name)) for name in compared),
            row.tolerance,
            "ok" if row.passed else "[bold red]outside[/]",
        )
    console.print(table)
    seeds = ", ".join(map(str, report.seeds))
    for text in (f"source: {report.source}", report.note, f"seeds: {seeds}"):
        if text:
            console.print(text, style="dim", highlight=False)
