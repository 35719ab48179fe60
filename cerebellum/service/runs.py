"""The folders of training runs that the service starts: what their files say, and who holds them.

A run holds a lock on a file of its folder while it works, also when the service that started it
has been killed.
"""

import json
import math
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from cerebellum import system

LOCK = "lock"
STATUS = "status.json"
LOG = "train.log"
LONGEST = 400
"""Characters of a line of the log that a status shows."""


class Status(BaseModel):
    """What the status file of a run holds, as far as the service reads it."""

    model_config = ConfigDict(extra="allow")

    state: Literal["starting", "running", "completed", "stopped", "failed"]
    progress: FiniteFloat = 0.0
    epoch: int | None = None
    loss: FiniteFloat | None = None
    validation_loss: FiniteFloat | None = None
    validation_accuracy: FiniteFloat | None = None
    learning_rate: FiniteFloat | None = None
    message: str | None = None


def status(run: Path) -> dict[str, Any]:
    """What the status file of a run says; a file that is damaged says nothing but that."""
    empty = {"state": "starting", "progress": 0.0}
    path = run / STATUS
    try:
        # A pipe would block.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("no regular file")
        values = json.loads(path.read_text(), parse_constant=_refuse, parse_float=_finite)
        return Status.model_validate(values).model_dump(exclude_unset=True)
    except FileNotFoundError:
        return empty
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(name) for name in problem["loc"])
        reason = f"{place}: {problem['msg']}" if place else problem["msg"]
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    return {**empty, "damaged": f"{STATUS} is damaged: {reason}"}


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def last_line(run: Path) -> str | None:
    """The last line that a run has printed; None if there is none."""
    try:
        lines = (run / LOG).read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    return lines[-1][:LONGEST] if lines else None


@contextmanager
def locked(run: Path):
    """A context that gives the descriptor of a run's lock, for the process that is to hold it.

    Raises:
      OSError: the disk refused.
    """
    handle = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        system.lock(handle)
        yield handle
    finally:
        os.close(handle)


def works(run: Path) -> bool:
    """Whether a process works at a run."""
    return _shared(run) is False


def wait(run: Path) -> None:
    """Wait until no process works at a run."""
    _shared(run, wait=True)


def _shared(run: Path, wait: bool = False) -> bool | None:
    """Whether the lock of a run could be shared; None if it has none."""
    try:
        handle = os.open(run / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        system.lock(handle, shared=True, wait=wait)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def pid(run: Path) -> int | None:
    """The process that works at a run, as its lock says; None if it says nothing."""
    try:
        text = (run / LOCK).read_text()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None
