"""Errors that a program reports in a line instead of a traceback, and what their messages need."""

import difflib
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any


class UsageError(ValueError):
    """The request is wrong and cannot be carried out.

    The message is one line that names the key or file, its value, and what would be right.
    Programs print the message and exit with code 2.
    """


class FailedError(Exception):
    """The request is right but could not be carried out: a file is damaged, or the disk is full.

    The message has a line for each problem. Programs print it and exit with code 1.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, after its type if it is not an error of ours."""
    line = (str(error).splitlines() or [""])[0]
    if isinstance(error, UsageError | FailedError):
        return line
    return f"{type(error).__name__}: {line}"


def is_number(value: Any) -> bool:
    """Whether a value is one real number of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is one integer of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def nearest(name: Any, known: Collection[str], whose: str) -> str:
    """What would be right instead of an unknown name: the nearest one, or all that there are."""
    return perhaps(name, known) or f"{whose} has {', '.join(known) or 'none'}"


def perhaps(name: Any, known: Collection[str]) -> str:
    """The known name that is nearest to an unknown one, for a message; empty if none is near."""
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"perhaps {near[0]}" if near else ""
