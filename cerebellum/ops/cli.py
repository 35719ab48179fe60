"""The program `cerebellar-norse`: arguments in, exit code out.

Only the standard library is imported until a command runs, so that `--help` is instant.
Exit codes: 0 good, 1 the thing run failed, 2 wrong usage.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from typing import NoReturn

from cerebellum import xla
from cerebellum.errors import UsageError


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r}; a number above zero")
    return value


def _window(text: str) -> tuple[str, float, float]:
    try:
        name, start, stop = text.split(":")
        window = name, float(start), float(stop)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms") from None
    if not name or not 0 <= window[1] < window[2] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms, START before STOP")
    return window


class _Parser(argparse.ArgumentParser):
    """One line for an error: argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; an integer from 0 to 2**32 - 1")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="cerebellar-norse", description="A cerebellum that people can run.")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    simulate = commands.add_parser(
        "simulate",
        help="run a circuit on a stimulus",
        description="Run a circuit on a stimulus. Prints population rates beside reference rates, "
        "and writes the recording, what made it, a raster and a rate picture to a directory.",
        epilog="example: cerebellar-norse simulate --preset mouse --stimulus burst --out out/mouse",
    )
    simulate.add_argument("--preset", default="mouse", help="the circuit (default: %(default)s)")
    simulate.add_argument(
        "--stimulus",
        default="burst",
        metavar="background|burst|FILE.npz",
        help="Poisson background; the same with a burst; or spikes from an npz with the arrays "
        "neuron and time_ms (default: %(default)s)",
    )
    simulate.add_argument(
        "--duration-ms",
        type=_positive,
        default=1000.0,
        metavar="MS",
        help="how long (default: %(default)s)",
    )
    simulate.add_argument(
        "--dt-ms", type=_positive, default=None, metavar="MS", help="step (default: the preset's)"
    )
    simulate.add_argument(
        "--seed", type=_seed, default=0, help="of wiring and of noise (default: %(default)s)"
    )
    simulate.add_argument(
        "--window",
        type=_window,
        action="append",
        metavar="NAME:START:STOP",
        help="report rates between two times, ms; may be repeated (default: the preset's)",
    )
    simulate.add_argument(
        "--out", metavar="DIR", default="results/simulate", help="results (default: %(default)s)"
    )
    simulate.add_argument("--no-plots", action="store_true", help="no pictures")
    simulate.add_argument(
        "--json", action="store_true", help="one JSON document on standard output, nothing else"
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    top = parser()
    arguments = top.parse_args(argv)
    if arguments.command is None:
        top.print_help()
        return 0
    xla.one_thread()
    from cerebellum.ops import simulate

    try:
        return simulate.run(arguments)
    except UsageError as error:
        print(f"cerebellar-norse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cerebellar-norse: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
