"""`cerebellar-norse bench`: run benchmarks, print them, save them, compare them with saved ones."""

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import system
from cerebellum.bench import ALIASES, BENCHMARKS
from cerebellum.bench.result import Options, Result, machine
from cerebellum.errors import UsageError
from cerebellum.files import directory

SIZES = ("S", "M", "L", "production")
NETWORKS = ("common", "anatomical")
BASELINES = "results/bench"

NOISE = 0.05
"""Smallest relative change of a median that counts, if the quartiles do not overlap either."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, which is 1 if a benchmark got slower.

    Raises:
      UsageError: an unknown benchmark, size or baseline; more cores than there are.
    """
    benchmarks: list[str] = arguments.names
    for argument in benchmarks:
        if ALIASES.get(argument, argument) not in BENCHMARKS:
            raise UsageError(f"bench: {argument!r}; one of {', '.join(BENCHMARKS)}")
    names = [ALIASES.get(name, name) for name in benchmarks] or list(BENCHMARKS)
    options = _options(arguments)
    baseline = _load(arguments.baseline) if arguments.baseline else None
    save_path = _path(arguments.save_baseline) if arguments.save_baseline else None
    if save_path:
        directory(str(save_path.parent))
    _pin(options.cores)
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else 120)
    results: list[Result] = []
    for name in dict.fromkeys(names):
        of_benchmark = []
        for result in BENCHMARKS[name].load()(options):
            if sys.stderr.isatty():
                print(f"{result.key}: {result.median_s:.3g} s", file=sys.stderr)
            of_benchmark.append(result)
        if not arguments.json:
            show(console, name, of_benchmark)
        results += of_benchmark
    document = {
        "machine": machine(options.cores),
        "results": [result.as_json() for result in results],
    }
    if save_path:
        save_path.write_text(json.dumps(document, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(document))
    if baseline is None:
        return 0
    changes = compare(baseline, results)
    show_changes(console, arguments.baseline, changes)
    return 1 if any(change["slower"] for change in changes) else 0


def _options(arguments: argparse.Namespace) -> Options:
    """The options of the benchmarks, from the command line."""
    available = len(system.processors())
    if not 1 <= arguments.cores <= available:
        raise UsageError(f"--cores: {arguments.cores}; from 1 to the {available} that there are")
    sizes = tuple(arguments.size or ("S", "M"))
    return Options(
        sizes=sizes,
        network=arguments.network,
        backend=arguments.kernels,
        cores=arguments.cores,
    )


def _pin(cores: int) -> None:
    """Pin this process to the first cores. Benchmarks that migrate between cores are slower."""
    os.environ["OMP_NUM_THREADS"] = str(cores)
    system.pin(system.processors()[:cores])


def _path(name: str) -> Path:
    """File of a baseline."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise UsageError(f"baseline {name!r}; a name of letters, digits, dots and dashes")
    return Path(BASELINES) / f"{name}.json"


def _load(name: str) -> dict[str, Any]:
    """The document of a baseline."""
    path = _path(name)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        saved = ", ".join(sorted(p.stem for p in path.parent.glob("*.json"))) or "none yet"
        raise UsageError(f"--baseline: {name!r}; {path.parent} has {saved}") from None
    except ValueError:
        raise UsageError(f"--baseline: {path}; not a baseline that bench saved") from None


def compare(baseline: dict[str, Any], results: list[Result]) -> list[dict[str, Any]]:
    """For each result that is in the baseline too, the change in percent and whether it counts."""
    saved = {Result(**fields).key: Result(**fields) for fields in baseline["results"]}
    changes = []
    for result in results:
        before = saved.get(result.key)
        if before is None:
            continue
        change = result.median_s / before.median_s - 1
        difference = abs(result.median_s - before.median_s)
        counts = difference > (result.iqr_s + before.iqr_s) / 2 and abs(change) > NOISE
        changes.append(
            {
                "key": result.key,
                "before_s": before.median_s,
                "now_s": result.median_s,
                "percent": 100 * change,
                "slower": counts and change > 0,
                "faster": counts and change < 0,
            }
        )
    return changes


def _seconds(value: float | None) -> str:
    """A time with its unit, for a table; empty for None."""
    if value is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def show(console: Console, name: str, results: list[Result]) -> None:
    """Print the table of a benchmark."""
    table = Table(title=f"{name}: {BENCHMARKS[name].summary}", title_justify="left", box=box.SIMPLE)
    keys = list(dict.fromkeys(key for result in results for key in result.params))
    per = list(dict.fromkeys(key for result in results for key in result.per))
    extra = list(dict.fromkeys(key for result in results for key in result.extra))
    for key in keys:
        table.add_column(key.replace("_", " "))
    for heading in ("median", "iqr", "floor", *per, *extra):
        table.add_column(heading.removesuffix("_s").replace("_", " "), justify="right")
    for result in results:
        values = [f"{result.params.get(key, '')}" for key in keys]
        values += [_seconds(result.median_s), _seconds(result.iqr_s), _seconds(result.floor_s)]
        values += [f"{result.per[key]:.3g}" if key in result.per else "" for key in per]
        for key in extra:
            value = result.extra.get(key)
            plain = value is None or "bytes" in key or not key.endswith("_s")
            values.append("" if value is None else f"{value:.3g}" if plain else _seconds(value))
        table.add_row(*values)
    console.print(table)


def show_changes(console: Console, name: str, changes: list[dict[str, Any]]) -> None:
    """Print the changes since a baseline."""
    table = Table(title=f"against {name}", title_justify="left", box=box.SIMPLE)
    for heading in ("benchmark", "before", "now", "change", ""):
        table.add_column(heading, justify="left" if heading == "benchmark" else "right")
    for change in changes:
        verdict = "slower" if change["slower"] else "faster" if change["faster"] else "within noise"
        table.add_row(
            change["key"],
            _seconds(change["before_s"]),
            _seconds(change["now_s"]),
            f"{change['percent']:+.1f} %",
            verdict,
        )
    console.print(table if changes else f"against {name}: nothing in common")
