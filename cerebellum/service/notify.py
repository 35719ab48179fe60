"""Messages to systemd: ready, alive, stopping (sd_notify(3))."""

import contextlib
import os
import socket


def tell(state: str) -> None:
    """Send a line such as "READY=1"; do nothing if systemd did not ask for it."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
    # If nobody listens any more, the service goes on.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as out:
        out.sendto(state.encode(), address)


def watchdog_s() -> float | None:
    """How often to tell systemd that the service is alive: half of its limit, s."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    return int(limit) / 2e6 if limit.isdecimal() and int(limit) > 0 else None
