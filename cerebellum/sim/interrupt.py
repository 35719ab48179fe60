"""Ctrl-C during a run: it ends between two chunks, with everything that it has computed."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A run was interrupted; the exception holds the state and the recording so far.

    In a notebook, or after `python -i`, it is `sys.last_value`.
    """

    def __init__(self, state: Any, recordings: list[Any], planned_ms: float):
        reached_ms = recordings[0].duration_ms
        super().__init__(
            f"after {reached_ms:g} of {planned_ms:g} ms; this exception has the state and the "
            "recording so far, as .state and .recording"
        )
        self.state = state
        """the state after the last step that was done; a run can start from it"""
        self.recordings = recordings
        """the recording of each copy of the circuit up to that step"""

    @property
    def recording(self) -> Any:
        """The recording up to the last step that was done."""
        return self.recordings[0]


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Keep Ctrl-C until the function is called that this context gives: that raises it.

    A second Ctrl-C is raised at once. A signal (SIGINT, SIGTERM) is kept only if Python's own
    handler, which raises KeyboardInterrupt, is set for it, and in the main thread, where signals
    arrive. Of several processes none waits, because they would stop after different chunks.
    """
    received: list[int] = []

    def keep(number, frame) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    def check() -> None:
        if received:
            raise KeyboardInterrupt

    kept = []
    if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
        kept = [n for n in SIGNALS if signal.getsignal(n) is signal.default_int_handler]
    for number in kept:
        signal.signal(number, keep)
    try:
        yield check
    finally:
        for number in kept:
            signal.signal(number, signal.default_int_handler)
