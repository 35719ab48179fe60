"""The count of all ticks that were ever answered, in a file of eight bytes.

A write reaches the kernel at once, so that the count survives SIGKILL. The file is not mapped: on a
full disk, or when another program cuts the file, access to a mapped page ends the process.
"""

import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cerebellum import files
from cerebellum.errors import FailedError

BYTES = 8

log = logging.getLogger("cerebellum.service.state")


@dataclass
class Counter:
    """The open file of a count."""

    path: Path
    handle: int
    _failed: bool = False
    """whether the last write failed"""

    def get(self) -> int:
        """The count; 0 where the file is new."""
        return int.from_bytes(os.pread(self.handle, BYTES, 0), "little")

    def set(self, count: int) -> None:
        """Write the count. Where the disk refuses, the log says so once, until it is written."""
        try:
            os.pwrite(self.handle, count.to_bytes(BYTES, "little"), 0)
        except OSError as error:
            if not self._failed:
                log.error("%s: not written (%s)", self.path, files.reason(error))
            self._failed = True
        else:
            self._failed = False

    def close(self) -> None:
        """Close the file."""
        os.close(self.handle)


def open_counter(path: Path, ticks: int) -> Counter:
    """Open the count, and set it to `ticks`; the log says how many ticks were lost.

    Args:
      ticks: answered before the last checkpoint.

    Raises:
      FailedError: the file is no regular file, such as a link, or the disk refused.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        raise FailedError(f"{path}: {files.reason(error)}; a file of this user, no link") from None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise FailedError(f"{path}: no regular file; a file of this user")
        counter = Counter(path, handle)
        lost = counter.get() - ticks
        if lost > 0:
            log.warning(
                "%d ticks were answered after the last checkpoint: markets have forgotten them",
                lost,
                extra={"fields": {"ticks_lost": lost}},
            )
        os.pwrite(handle, ticks.to_bytes(BYTES, "little"), 0)
    except OSError as error:
        os.close(handle)
        raise FailedError(f"{path}: {files.reason(error)}; a disk with room") from None
    except FailedError:
        os.close(handle)
        raise
    return counter
