"""Errors of threads that nobody catches, as lines of the log and not as tracebacks beside it."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

log = logging.getLogger("cerebellum.service")


@contextmanager
def logged() -> Iterator[None]:
    """Log errors that end a thread, or that a thread of a library could not give to anybody."""
    before = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = threading.excepthook = _log
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = before


def _log(unhandled: Any) -> None:
    """Log an error; `unhandled` is what either hook of Python is given."""
    error, trace = unhandled.exc_value, unhandled.exc_traceback
    if error is None or isinstance(error, SystemExit) or _is_late(trace):
        return
    log.error("an error that nobody caught: %r", error, exc_info=(type(error), error, trace))


def _is_late(trace: TracebackType | None) -> bool:
    """Whether a write of TensorStore ended after another had failed, which was reported."""
    names = []
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    return names == ["call_soon_threadsafe", "_check_closed"]
