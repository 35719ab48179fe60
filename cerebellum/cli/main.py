"""The program `cerebellar-norse`: it parses the arguments, runs a command, returns the exit code.

Only the standard library is imported before the command is known, so that `--help` is fast.
Exit codes: 0 success, 1 the command failed, 2 wrong usage.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from cerebellum import compiled, parts, xla
from cerebellum.cli.parser import parser
from cerebellum.errors import FailedError, UsageError

BROKEN_PIPE = 141
"""The exit code where nobody reads the output any more: a shell's for SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    top = parser()
    arguments = top.parse_args(argv)
    try:
        code = _run(top, arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has ended, as `head` does. Python would flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (UsageError, FailedError) as error:
        for line in str(error).splitlines():
            print(f"cerebellar-norse: {line}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("cerebellar-norse: interrupted", file=sys.stderr)
        return 1


def _run(top: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run the command that the arguments name; returns the exit code."""
    name = _command_name(arguments)
    if name is None:
        top.print_help()
        return 0
    command_config = getattr(arguments, f"{name}_config", None)
    if command_config is not None:
        arguments.config = command_config
    parts.need(name, *_PARTS.get(name, ()))
    if name in _COMPILING:
        compiled.for_programs()
    return _COMMANDS[name](arguments)


def _command_name(arguments: argparse.Namespace) -> str | None:
    """The key in the table of commands; None where the arguments name no command.

    Flags that stand for a command come before `serve`, which is also what --config alone means.
    """
    if arguments.version:
        return "--version"
    if arguments.dump_schema:
        return "--dump-schema"
    if arguments.validate_only:
        return "--validate-only"
    if arguments.command not in (None, "serve"):
        return arguments.command
    for flag in ("verify_data", "validate_model", "dump_weights"):
        if getattr(arguments, flag):
            return "--" + flag.replace("_", "-")
    if arguments.command == "serve" or arguments.config is not None:
        return "serve"
    return None


def _version(arguments: argparse.Namespace) -> int:
    from cerebellum import program

    print(f"cerebellar-norse {program.__version__}, source {program.digest()}")
    return 0


def _dump_schema(arguments: argparse.Namespace) -> int:
    import json

    from cerebellum import config

    print(json.dumps(config.schema(), indent=1))
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    if arguments.config is None:
        raise UsageError("--validate-only: nothing to validate; --config FILE")
    # A check reserves no memory of a GPU: the service may be using it.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    from cerebellum import config
    from cerebellum.service import check

    problems = check.validate(arguments.config)
    if problems:
        raise UsageError("\n".join(problems))
    for line in check.notes(config.load(arguments.config)):
        print(f"cerebellar-norse: {line}", file=sys.stderr)
    print(f"{arguments.config}: valid")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from cerebellum import system

    system.need_posix("serve")
    # Until the service can reread its configuration, which takes seconds: SIGHUP would end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    xla.one_thread()
    from cerebellum.service import serve

    return serve.run(arguments.config)


def _simulate(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import simulate

    return simulate.run(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    if not arguments.list:
        xla.one_thread()
    from cerebellum.reproduce import program

    return program.run(arguments)


def _bench(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.bench import program

    return program.run(arguments)


def _profile(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import profile

    return profile.run(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from cerebellum.cli import train

    return train.run(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from cerebellum.cli import evaluate

    return evaluate.run(arguments)


def _manage_checkpoints(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import checkpoints

    return checkpoints.run(arguments)


def _inspect(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import checkpoints

    return checkpoints.inspect(arguments)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "--version": _version,
    "--dump-schema": _dump_schema,
    "--validate-only": _validate,
    "--verify-data": _inspect,
    "--validate-model": _inspect,
    "--dump-weights": _inspect,
    "serve": _serve,
    "simulate": _simulate,
    "reproduce": _reproduce,
    "bench": _bench,
    "profile": _profile,
    "train": _train,
    "evaluate": _evaluate,
    "checkpoints": _manage_checkpoints,
    "backup": _manage_checkpoints,
    "restore": _manage_checkpoints,
}
"""What runs each command. A command imports its modules itself, when it is run."""

_PARTS = {
    "--validate-only": ("service",),
    "serve": ("service",),
    "train": ("ticks",),
    "evaluate": ("ticks", "eval"),
}
"""Parts of the distribution without which a command does not start."""

_COMPILING = ("serve", "simulate", "reproduce", "train", "evaluate")
"""Commands that keep what they compile for the next time; `bench` and `profile` measure it."""


if __name__ == "__main__":
    sys.exit(main())
