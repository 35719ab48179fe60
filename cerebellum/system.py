"""What operating systems do differently: locks of files, processors, the memory of a process.

Written for Linux. macOS has no processors that a process can be pinned to; Windows has none of the
locks, the signals and the limits of POSIX.
"""

import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import cache

import psutil

from cerebellum import parts
from cerebellum.errors import UsageError

try:
    import fcntl
except ImportError:
    fcntl = None

log = logging.getLogger(__name__)


def lock(handle: int, *, shared: bool = False, wait: bool = False) -> None:
    """Lock an open file until it is closed. Where the system has no such locks, a warning says so.

    Args:
      handle: a descriptor of the file.
      shared: whether others may have a shared lock beside this one.
      wait: whether to wait until nobody has another lock.

    Raises:
      BlockingIOError: another process has the file locked.
      OSError: the file system cannot lock.
    """
    if fcntl is None:
        _warn_of_no_locks()
        return
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)


@cache
def _warn_of_no_locks() -> None:
    log.warning("this system has no flock: nothing keeps two runs from saving into one folder")


def processors() -> list[int]:
    """The numbers of the processors that this process may use."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        return sorted(process.cpu_affinity() or [])
    return list(range(psutil.cpu_count() or 1))


def pin(numbers: Sequence[int]) -> None:
    """Let this process use some processors alone. Where it cannot be pinned, a warning says so."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):
        process.cpu_affinity(list(numbers))
    else:
        log.warning("this system does not pin a process to processors: times vary more")


def peak_memory() -> int:
    """The most memory that this process has had, bytes."""
    try:
        import resource
    except ImportError:
        info = psutil.Process().memory_info()
        return getattr(info, "peak_wset", info.rss)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def descriptor_flags(*names: str) -> int:
    """Flags of `os.open` by name; those that the system does not have are left out."""
    flags = 0
    for name in names:
        flags |= getattr(os, name, 0)
    return flags


def need_posix(what: str) -> None:
    """Check that the system has the locks, limits and signals of POSIX.

    Raises:
      UsageError: it has not.
    """
    missing = [name for name in ("fcntl", "resource") if not parts.found(name)]
    missing += [name for name in ("SIGHUP", "pthread_sigmask") if not hasattr(signal, name)]
    if missing:
        raise UsageError(
            f"{what}: runs on Linux and macOS; this system has no {', '.join(missing)}"
        )
