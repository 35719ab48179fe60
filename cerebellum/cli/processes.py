"""Many devices and many processes: how a program joins them, leads them and leaves them.

The engine is JAX's own: `jax.distributed` finds the processes and notices one that is gone, its
collectives carry what they exchange. Every process runs the same program; the first one writes.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jax

from cerebellum import store
from cerebellum.errors import FailedError, UsageError

START_S = 60
"""how long processes wait for each other"""
SILENT_S = 20
"""how long one may be silent before it counts as gone"""


def leads() -> bool:
    """Whether this process writes and shows progress."""
    return jax.process_index() == 0


def name() -> str:
    """This process, for people; nothing where it is the only one."""
    return (
        f"process {jax.process_index()} of {jax.process_count()}" if jax.process_count() > 1 else ""
    )


@contextmanager
def joined(arguments: argparse.Namespace, folder: Path | None = None) -> Iterator[int]:
    """The number of devices of the run that the arguments ask for, while it lasts.

    To be entered before JAX is used. Where one of many processes fails, or finds another one gone,
    it says so in a line and ends at once, for there is nobody to say goodbye to.

    Args:
      folder: of checkpoints, to say how to go on.

    Raises:
      UsageError: flags that do not go together, or more devices than there are.
      FailedError: the processes did not find each other.
    """
    devices, many = _asked(arguments)
    try:
        if many:
            _tidy()
            _meet(arguments)
        there = len(jax.devices())
        if devices is not None and devices > there:
            raise UsageError(f"--devices: {devices}; there are {there}")
        yield devices or (there if many else 1)
    except (UsageError, FailedError) as error:
        if many:
            _leave(str(error), 2 if isinstance(error, UsageError) else 1)
        raise
    except jax.errors.JaxRuntimeError as error:
        if not many:
            raise
        saved = store.steps(folder) if folder else []
        kept = f"; the checkpoint of step {saved[0][0]} is there for --resume" if saved else ""
        _leave(f"another process is gone ({str(error).splitlines()[0][:200]}){kept}", 1)


def _leave(message: str, code: int) -> None:
    for line in message.splitlines():
        print(f"cerebellar-norse: {name()}: {line}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _asked(arguments: argparse.Namespace) -> tuple[int | None, bool]:
    """How many devices, and whether of many processes; a CPU is divided into so many."""
    flags = {
        f"--{each}": getattr(arguments, each) for each in ("coordinator", "processes", "process")
    }
    missing = [flag for flag, value in flags.items() if value is None]
    if missing and len(missing) < len(flags):
        raise UsageError(f"{missing[0]}: missing; {', '.join(flags)} go together")
    processes = 1 if missing else arguments.processes
    if not missing:
        host, _, port = arguments.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"--coordinator: {arguments.coordinator!r}; HOST:PORT")
        if processes < 1:
            raise UsageError(f"--processes: {processes}; at least 1")
        if not 0 <= arguments.process < processes:
            raise UsageError(f"--process: {arguments.process}; from 0 to {processes - 1}")
    devices = arguments.devices
    if devices is not None and (devices < 1 or devices % processes):
        raise UsageError(
            f"--devices: {devices}; a multiple of the number of processes, {processes}"
        )
    if devices is not None and devices > processes:
        # Refused where JAX runs already; then there are as many as there are.
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", devices // processes)
    return devices, not missing


def _tidy() -> None:
    """Keep what libraries print off standard output: Gloo says there who has come."""
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, "w", buffering=1)


def _meet(arguments: argparse.Namespace) -> None:
    try:
        jax.distributed.initialize(
            arguments.coordinator,
            arguments.processes,
            arguments.process,
            initialization_timeout=START_S,
            heartbeat_timeout_seconds=SILENT_S,
            shutdown_timeout_seconds=SILENT_S,
        )
    except RuntimeError as error:
        first = str(error).splitlines()[0][:200]
        raise FailedError(f"--coordinator: {arguments.coordinator}; {first}") from None
