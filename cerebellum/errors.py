"""Errors that a program reports in a line instead of a traceback, and what tells numbers apart."""

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


def is_number(value: Any) -> bool:
    """Whether a value is one real number of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is one integer of Python or NumPy; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
