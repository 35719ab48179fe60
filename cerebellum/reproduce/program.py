"""`cerebellar-norse reproduce`: run a published protocol and write its table and pictures."""

import argparse
import json
import sys
import time

from rich.console import Console

from cerebellum.errors import UsageError
from cerebellum.files import directory
from cerebellum.reproduce import REPRODUCTIONS
from cerebellum.reproduce.report import as_json, show


def say(line: str) -> None:
    """Print a line about the progress of a run where someone looks; worker processes call it."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, which is 1 if a value is outside its tolerance.

    Raises:
      UsageError: an unknown name; a directory that cannot be written.
    """
    if arguments.list:
        return _list(arguments.json)
    name = arguments.name
    if name not in REPRODUCTIONS:
        argument = "no name" if name is None else repr(name)
        raise UsageError(f"reproduce: {argument}; one of {', '.join(REPRODUCTIONS)}")
    out = directory(arguments.out or f"results/reproduce/{name}")
    start = time.perf_counter()
    report = REPRODUCTIONS[name].run(arguments.seed, say, out)
    seconds = time.perf_counter() - start
    for file, figure in report.figures.items():
        figure.savefig(out / file, dpi=130)
    result = {**as_json(name, report, str(out)), "seconds": seconds}
    (out / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        console = Console()
        show(console, f"{name}: {REPRODUCTIONS[name].summary}", report)
        files = ", ".join(["result.json", *report.figures])
        console.print(f"{seconds:.0f} s; {out}: {files}", highlight=False)
    return 0 if report.passed else 1


def _list(as_document: bool) -> int:
    """Print the names and summaries of all protocols, as JSON where `as_document`."""
    summaries = {name: reproduction.summary for name, reproduction in REPRODUCTIONS.items()}
    if as_document:
        print(json.dumps(summaries))
        return 0
    width = max(map(len, summaries))
    for name, summary in summaries.items():
        print(f"{name:<{width}}  {summary}")
    return 0
