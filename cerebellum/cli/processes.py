"""Runs on many devices and in many processes.

`jax.distributed` connects the processes and detects one that is lost; JAX's collectives exchange
their data. Every process runs the same program, and the first one writes the results.
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
"""Time that processes wait for each other at the start, s."""
SILENT_S = 20
"""Time without a heartbeat after which a process counts as lost, s."""


def leads() -> bool:
    """Whether this process is the one that writes results and shows progress."""
    return jax.process_index() == 0


def name() -> str:
    """The name of this process in messages; empty where it is the only one."""
    return (
        f"process {jax.process_index()} of {jax.process_count()}" if jax.process_count() > 1 else ""
    )


@contextmanager
def joined(arguments: argparse.Namespace, folder: Path | None = None) -> Iterator[int]:
    """A context that connects the processes of a run; it gives the number of the run's devices.

    Enter it before JAX is used. Where one of many processes fails, or detects that another one is
    lost, it prints a line and exits at once, because an orderly shutdown would wait for the others.

    Args:
      folder: the folder of checkpoints, so that the message can tell how to resume.

    Raises:
      UsageError: flags do not go together, or ask for more devices than there are.
      FailedError: the processes could not connect to each other.
    """
    devices, many = _parse_devices(arguments)
    try:
        if many:
            _redirect_stdout()
            _connect(arguments)
        available = len(jax.devices())
        if devices is not None and devices > available:
            raise UsageError(f"--devices: {devices}; there are {available}")
        yield devices or (available if many else 1)
    except (UsageError, FailedError) as error:
        if many:
            _exit(str(error), 2 if isinstance(error, UsageError) else 1)
        raise
    except jax.errors.JaxRuntimeError as error:
        if not many:
            raise
        checkpoints = store.steps(folder) if folder else []
        message = f"another process is gone ({str(error).splitlines()[0][:200]})"
        if checkpoints:
            message += f"; the checkpoint of step {checkpoints[0][0]} is there for --resume"
        _exit(message, 1)


def _exit(message: str, code: int) -> None:
    """Print a message and end this process at once, without any shutdown."""
    for line in message.splitlines():
        print(f"cerebellar-norse: {name()}: {line}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _parse_devices(arguments: argparse.Namespace) -> tuple[int | None, bool]:
    """The number of devices, and whether they belong to many processes.

    On a CPU this also tells JAX how many devices to make of it.
    """
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
        # JAX refuses once it has started; then the number of devices is already fixed.
        with suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", devices // processes)
    return devices, not missing


def _redirect_stdout() -> None:
    """Send what libraries print to standard error: Gloo reports connections on standard output."""
    standard_output = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(standard_output, "w", buffering=1)


def _connect(arguments: argparse.Namespace) -> None:
    """Connect this process to the coordinator."""
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
        reason = str(error).splitlines()[0][:200]
        raise FailedError(f"--coordinator: {arguments.coordinator}; {reason}") from None
