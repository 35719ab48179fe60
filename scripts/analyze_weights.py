"""A table of the weights of every projection, and their histograms.

    cerebellar-norse --dump-weights --model RUN | python scripts/analyze_weights.py [--out FILE.png]

Reads the lines of --dump-weights from standard input. Exits 1 where a line is none of them.
"""

import argparse
import json
import sys

from rich import box
from rich.console import Console
from rich.table import Table

SHOWN = ("mean", "sd", "min", "max")


def read(lines) -> list[dict]:
    """One projection a line; ValueError says which line is none."""
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            each = json.loads(line)
            missing = {"projection", "histogram"} - each.keys()
            if missing:
                raise KeyError(missing)
        except (ValueError, KeyError, AttributeError):
            raise ValueError(f"line {number}: {line.strip()[:60]!r}; of --dump-weights") from None
        found.append(each)
    return found


def table(found: list[dict]) -> Table:
    """The projections side by side."""
    shown = Table(box=box.SIMPLE)
    headings = ("projection", "synapses", "type", *SHOWN, "w_max", "at 0", "at w_max")
    for heading in headings:
        shown.add_column(heading, justify="left" if heading in ("projection", "type") else "right")
    for each in found:
        numbers = [each[key] for key in (*SHOWN, "w_max")]
        shown.add_row(
            each["projection"],
            f"{each['synapses']:,}",
            each["dtype"] + (", plastic" if each["plastic"] else ""),
            *("" if number is None else f"{number:.4g}" for number in numbers),
            f"{each['at_zero']:.1%}",
            f"{each['at_bound']:.1%}",
        )
    return shown


def draw(found: list[dict], path: str) -> None:
    """Histograms of the projections whose weights differ."""
    from matplotlib.figure import Figure

    spread = [each for each in found if each["sd"]] or found
    rows = -(-len(spread) // 3)
    figure = Figure(figsize=(11, 2.6 * rows), layout="constrained")
    for place, each in enumerate(spread):
        axes = figure.add_subplot(rows, min(3, len(spread)), place + 1)
        axes.stairs(each["histogram"]["counts"], each["histogram"]["edges"], fill=True)
        axes.set_title(each["projection"].replace("_", " "), fontsize=9)
        axes.set_xlabel("weight (nS or mV)", fontsize=8)
        axes.set_ylabel("synapses", fontsize=8)
        axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", metavar="FILE.png", help="histograms")
    arguments = parser.parse_args()
    try:
        found = read(sys.stdin)
        if not found:
            raise ValueError("standard input: empty; the lines of --dump-weights")
    except ValueError as error:
        print(f"analyze_weights: {error}", file=sys.stderr)
        return 1
    Console(width=None if sys.stdout.isatty() else 120).print(table(found))
    if arguments.out:
        draw(found, arguments.out)
        print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
