"""A bar that shows the progress of a run on standard error."""

import sys
import time
from contextlib import contextmanager

PROGRESS_SECONDS = 2.0
"""Runs that take longer show a bar if nobody says whether to."""


@contextmanager
def bar_of_steps(enabled: bool | None):
    """A function (done, steps, dt) that shows the progress of a run.

    If `enabled` is None, the bar appears only if the run is going to be long.
    """
    if enabled is False or (enabled is None and not sys.stderr.isatty()):
        yield lambda done, steps, dt: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    start, task = time.perf_counter(), None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} ms"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))

    def show(done: int, steps: int, dt: float) -> None:
        nonlocal task
        if task is None:
            elapsed = time.perf_counter() - start
            if not enabled and (not done or elapsed * steps / done < PROGRESS_SECONDS):
                return
            bar.start()
            task = bar.add_task("simulating", total=steps * dt)
        bar.update(task, completed=done * dt)

    try:
        yield show
    finally:
        if task is not None:
            bar.stop()


@contextmanager
def bar_of_times(enabled: bool | None):
    """As `bar_of_steps`, a function (done, all) of times in ms."""
    with bar_of_steps(enabled) as show:
        yield lambda done, whole: show(done, whole, 1.0)
