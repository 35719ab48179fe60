"""The commands `checkpoints`, `backup` and `restore`, and the flags that inspect checkpoints."""

import argparse
import json
import sys
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import config, configure
from cerebellum.errors import FailedError, UsageError
from cerebellum.store import choice, copies, tools, weights


def run(arguments: argparse.Namespace) -> int:
    """Run `checkpoints`, `backup` or `restore`; returns the exit code.

    Raises:
      UsageError: there is no such run or checkpoint, or the target already has checkpoints.
      FailedError: a checkpoint is damaged, or the disk refuses.
    """
    try:
        if arguments.command == "checkpoints":
            return _list(arguments)
        if arguments.command == "backup":
            print(copies.backup(arguments.run, _backups(arguments)))
            return 0
        return _restore(arguments)
    except OSError as error:
        # Where a copy fails, the file that was to be written comes second.
        named = error.filename2 or error.filename
        where = named or getattr(arguments, "target", None) or arguments.run
        raise FailedError(f"{where}: {error.strerror or error}") from None


def _backups(arguments: argparse.Namespace) -> str:
    """The directory for backups: the one that is named, or else the configured one."""
    if arguments.target is not None:
        return arguments.target
    if arguments.config is None:
        raise UsageError("DIR: missing; a directory for backups, or --config with storage.backups")
    return str(config.load(arguments.config).storage.backups)


def _restore(arguments: argparse.Namespace) -> int:
    if arguments.target.endswith(".npz"):
        return _export(arguments)
    source, target, only = arguments.source, arguments.target, arguments.only
    step, force = arguments.step, arguments.force
    if only and (arguments.weight_dtype or force):
        raise UsageError(f"--only: {only!r}; alone: neither --force nor --weight-dtype")
    report: list[str] = []
    if only:
        path, report = copies.restore_part(source, target, only, step=step)
    elif arguments.weight_dtype:
        dtype = arguments.weight_dtype
        path, report = copies.restore_as(source, target, dtype, step=step, force=force)
        report = report or ["nothing to change"]
    else:
        path = copies.restore(source, target, step=step, force=force)
    print(path)
    for line in report:
        print(f"  {line}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    """Write a checkpoint's arrays to an npz file."""
    if arguments.weight_dtype:
        raise UsageError(f"--weight-dtype: {arguments.weight_dtype}; goes with a run, not a file")
    path = choice.choose(arguments.source, arguments.step)
    count = tools.to_npz(path, arguments.target, arguments.only)
    print(f"{arguments.target}: {count} arrays of {path}")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    checkpoints = tools.listing(arguments.run)
    if arguments.json:
        print(json.dumps(checkpoints))
    else:
        table = Table(box=box.SIMPLE)
        for heading in ("step", "created", "MB", "intact", "metrics"):
            table.add_column(heading, justify="right" if heading in ("step", "MB") else "left")
        for checkpoint in checkpoints:
            table.add_row(*_row(checkpoint))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if all(each["intact"] for each in checkpoints) else 1


def _row(checkpoint: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a checkpoint's row in the table."""
    return (
        str(checkpoint["step"]),
        checkpoint["created"] or "",
        f"{checkpoint['bytes'] / 1e6:.1f}",
        "yes" if checkpoint["intact"] else f"no: {checkpoint['reason']}",
        ", ".join(f"{name} {value:.4g}" for name, value in checkpoint["metrics"].items()),
    )


def inspect(arguments: argparse.Namespace) -> int:
    """Run `--verify-data`, `--validate-model` or `--dump-weights`; returns the exit code.

    Raises:
      UsageError, FailedError: see `cerebellum.store.tools`.
    """
    if arguments.dump_weights:
        model = arguments.model
        if model:
            circuit, state = tools.load(model)
        else:
            circuit, state = tools.untrained(configure.configured(arguments.config, {})[0])
        for line in weights.distributions(circuit, state):
            print(json.dumps(line))
        return 0
    if arguments.verify_data:
        columns = config.load(arguments.config).training.columns
        report = tools.verify(arguments.verify_data, columns)
    else:
        report = tools.validate(arguments.validate_model)
    print(json.dumps(report))
    for note in report.get("notes", ()):
        print(f"{note['file']}: {note['note']}", file=sys.stderr)
    for problem in report["problems"]:
        print(f"{problem['file']}: {problem['problem']}", file=sys.stderr)
    return 0 if report["ok"] else 1
