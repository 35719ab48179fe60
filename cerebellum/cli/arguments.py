"""What the parsers of all commands share: types of arguments, one-line errors, flags of devices."""

import argparse
import math
from typing import NoReturn


def positive(text: str) -> float:
    """A number above zero, from text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r}; a number above zero")
    return value


def window(text: str) -> tuple[str, float, float]:
    """A name and two times in ms, from NAME:START:STOP."""
    try:
        name, start, stop = text.split(":")
        window = name, float(start), float(stop)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms") from None
    if not name or not 0 <= window[1] < window[2] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms, START before STOP")
    return window


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line; argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def seed(text: str) -> int:
    """A random seed, from text."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; an integer from 0 to 2**32 - 1")
    return int(text)


def count(text: str) -> int:
    """A number of things, from text."""
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r}; an integer from 1 to 100,000")
    return int(text)


def devices(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the flags of a command that can run on many devices.

    Args:
      what: what is divided among the devices, for the help text.
    """
    group = parser.add_argument_group(
        "many devices",
        "Each process of a run is started with the same command but for --process; the folder of "
        "results is one that all of them see.",
    )
    group.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help=f"divide {what} among so many devices, of all processes together "
        "(default: one, or all that the processes have)",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where process 0 listens, for all the same"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which one this is, from 0 on")
