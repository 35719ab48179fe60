"""What a run of the checks came to, from pytest's own reports: FOLDER of JUnit files.

The twenty slowest tests, then, for each file, how many tests there were, how many seconds they took
together, and every one that failed.
"""

import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

SLOWEST = 20


@dataclass(frozen=True)
class Outcome:
    """A test: its name, what became of it, and how long it took with its fixtures, s."""

    name: str
    result: str
    seconds: float


def outcomes(path: Path) -> list[Outcome]:
    """Every test of a JUnit file."""
    found = []
    for case in ET.parse(path).iter("testcase"):
        tags = {child.tag for child in case}
        result = "failed" if tags & {"failure", "error"} else "passed"
        result = "skipped" if "skipped" in tags else result
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        found.append(Outcome(name, result, float(case.get("time", 0))))
    return found


def main(folder: Path) -> None:
    tiers = {path.stem: outcomes(path) for path in sorted(folder.glob("*.xml"))}
    slowest = sorted(
        (outcome for tier in tiers.values() for outcome in tier), key=lambda each: -each.seconds
    )
    print(f"\nThe {SLOWEST} slowest tests, s")
    for outcome in slowest[:SLOWEST]:
        print(f"  {outcome.seconds:7.1f}  {outcome.name}")
    print()
    for name, tier in tiers.items():
        for outcome in tier:
            if outcome.result == "failed":
                print(f"FAILED {outcome.name}")
        count = {
            result: sum(outcome.result == result for outcome in tier)
            for result in ("passed", "failed", "skipped")
        }
        seconds = sum(outcome.seconds for outcome in tier)
        told = ", ".join(f"{number} {result}" for result, number in count.items())
        print(f"{name}: {told}; {seconds:,.0f} s of tests")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
