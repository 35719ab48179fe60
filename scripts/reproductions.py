"""Runs reproductions and writes what they measured into docs/reproductions.md.

    python scripts/reproductions.py [NAME ...] [--results DIR]

Each section of that page between <!-- NAME --> and <!-- /NAME --> is made by this script. With
--results, runs that are there already are shown, not run again. Exits 1 where one fails.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

from cerebellum.reproduce import REPRODUCTIONS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reproductions.md"


def run(name: str, out: Path) -> None:
    """The program, in a process of its own, as a user would start it."""
    program = [sys.executable, "-m", "cerebellum.cli", "reproduce", name, "--out", str(out)]
    code = subprocess.run(program).returncode
    if code not in (0, 1) or not (out / "result.json").exists():
        sys.exit(f"{name}: no result, exit code {code}")


def table(result: dict) -> str:
    """Markdown of one result."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.4g}"

    names = [
        name
        for name in ("published", "reference")
        if any(row.get(name) is not None for row in result["rows"])
    ]
    headings = "quantity", "measured", "SD", *names, "tolerance", ""
    lines = [f"| {' | '.join(headings)} |".replace("|  |", "| |"), "|---" * len(headings) + "|"]
    for row in result["rows"]:
        quantity = f"{row['quantity']}, {row['unit']}" if row["unit"] else row["quantity"]
        values = (number(row[key]) for key in ("measured", "sd", *names))
        verdict = "ok" if row["passed"] else "**outside**"
        cells = [value or ("none" if k == 0 else "") for k, value in enumerate(values)]
        lines.append(f"| {' | '.join((quantity, *cells, row['tolerance'], verdict))} |")
    seeds = ", ".join(map(str, result["seeds"]))
    lines += ["", f"Seeds {seeds}; {result['seconds']:.0f} s. Source: {result['source']}."]
    lines += ["", result["note"]] if result["note"] else []
    return "\n".join(lines)


def insert(page: str, name: str, text: str) -> str:
    """The page with a section's text replaced."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.escape(opening) + r".*?" + re.escape(closing)
    found, count = re.subn(pattern, lambda _: f"{opening}\n{text}\n{closing}", page, flags=re.S)
    if count != 1:
        sys.exit(f"{PAGE.name}: {opening} {count} times; once, with {closing} after it")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(REPRODUCTIONS))
    parser.add_argument("--results", type=Path, help="a folder of results, by name")
    arguments = parser.parse_args()
    folder, passed = arguments.results or Path("results/reproduce"), True
    for name in arguments.names or REPRODUCTIONS:
        if name not in REPRODUCTIONS:
            parser.error(f"{name!r}; one of {', '.join(REPRODUCTIONS)}")
        if arguments.results is None:
            run(name, folder / name)
        file = folder / name / "result.json"
        if not file.exists():
            parser.error(f"{file}: no such file; without --results, {name} is run")
        result = json.loads(file.read_text())
        passed &= result["passed"]
        PAGE.write_text(insert(PAGE.read_text(), name, table(result)))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
