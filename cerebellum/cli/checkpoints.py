"""The commands of `recover`: what they print, and their exit codes."""

import argparse
import json
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import config
from cerebellum.errors import FailedError, UsageError
from cerebellum.store import tools, weights


def run(arguments: argparse.Namespace) -> int:
    """`checkpoints`, `backup` or `restore`; returns the exit code.

    Raises:
      UsageError: no such run or checkpoint, or something in the way.
      FailedError: damage, or a disk that refuses.
    """
    try:
        if arguments.command == "checkpoints":
            return _list(arguments)
        if arguments.command == "backup":
            print(tools.backup(arguments.run, arguments.target))
            return 0
        return _restore(arguments)
    except OSError as error:
        where = error.filename or getattr(arguments, "target", "")
        raise FailedError(f"{where}: {error.strerror or error}") from None


def _restore(arguments: argparse.Namespace) -> int:
    given = {"step": arguments.step}
    source, target, only = arguments.source, arguments.target, arguments.only
    if not target.endswith(".npz"):
        if only and (arguments.weight_dtype or arguments.force):
            raise UsageError(f"--only: {only!r}; alone: neither --force nor --weight-dtype")
        said: list[str] = []
        if only:
            path, said = tools.restore_part(source, target, only, **given)
        elif arguments.weight_dtype:
            given["force"] = arguments.force
            path, said = tools.restore_as(source, target, arguments.weight_dtype, **given)
        else:
            path = tools.restore(source, target, force=arguments.force, **given)
        print(path)
        for line in said or ["nothing to change"] * bool(arguments.weight_dtype):
            print(f"  {line}")
        return 0
    if arguments.weight_dtype:
        raise UsageError(f"--weight-dtype: {arguments.weight_dtype}; goes with a run, not a file")
    path = tools.choose(arguments.source, arguments.step)
    count = tools.to_npz(path, arguments.target, arguments.only)
    print(f"{arguments.target}: {count} arrays of {path}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    found = tools.listing(arguments.run)
    if arguments.json:
        print(json.dumps(found))
    else:
        table = Table(box=box.SIMPLE)
        for heading in ("step", "created", "MB", "intact", "metrics"):
            table.add_column(heading, justify="right" if heading in ("step", "MB") else "left")
        for each in found:
            metrics = ", ".join(f"{name} {value:.4g}" for name, value in each["metrics"].items())
            intact = "yes" if each["intact"] else f"no: {each['reason']}"
            row = str(each["step"]), each["created"] or "", f"{each['bytes'] / 1e6:.1f}"
            table.add_row(*row, intact, metrics)
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if all(each["intact"] for each in found) else 1


def look(arguments: argparse.Namespace) -> int:
    """`--verify-data`, `--validate-model` or `--dump-weights`; returns the exit code.

    Raises:
      UsageError, FailedError: see `recover`.
    """
    if arguments.dump_weights:
        model = arguments.model
        circuit, state = (
            tools.load(model) if model else tools.untrained(config.load(arguments.config))
        )
        for line in weights.distributions(circuit, state):
            print(json.dumps(line))
        return 0
    if arguments.verify_data:
        report = tools.verify(arguments.verify_data)
    else:
        report = tools.validate(arguments.validate_model)
    print(json.dumps(report))
    for each in report["problems"]:
        print(f"{each['file']}: {each['problem']}", file=sys.stderr)
    return 0 if report["ok"] else 1
