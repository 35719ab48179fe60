"""The socket on which the service listens, and how many connections it may accept."""

import contextlib
import errno
import logging
import os
import socket

from cerebellum.config import shown
from cerebellum.errors import UsageError
from cerebellum.service.connections import FULL

SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of the system that has no room for another connection."""
PER_TURN = 16
"""The most connections that are accepted in a turn of the event loop, which closes those that it
refuses a turn or two later."""
RESERVE = 128
"""Open files that are not connections: those of the program and of checkpoints, connections that
are accepted but refused. 11 to 41 were seen."""
BACKLOG = 2_048
"""Connections that the system keeps until they are accepted."""

log = logging.getLogger("cerebellum.service.connections")


def open_socket(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on an address.

    It listens at once, because two processes may be bound to an address, but only one may listen.

    Raises:
      UsageError: see `bound`.
    """
    sock = bound(host, port)
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _not_free(host, port, error) from error
    return sock


class Listener(socket.socket):
    """A socket that listens. It refuses a connection if there is no file descriptor for it.

    asyncio alone would stop listening for a second, and log each time that it tried to accept.
    """

    spare: int | None = None
    """a descriptor that is given up to accept, and so refuse, a connection"""
    calls = 0
    """of `accept`"""

    def listen(self, backlog: int = BACKLOG, /) -> None:
        super().listen(backlog)
        if self.spare is None:
            self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None
        super().close()

    def accept(self):
        """Accept a connection.

        Raises:
          BlockingIOError: there is none, or enough were accepted for now; the event loop asks
            again.
          OSError: there is no file descriptor, and none to give up.
        """
        self.calls += 1
        if self.calls % PER_TURN == 0:
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in SCARCE or self.spare is None:
                raise
            log.error("no room for a connection: %s; refused (ulimit -n)", error.strerror)
            self._refuse_one(self.spare)
            raise BlockingIOError from None

    def _refuse_one(self, spare: int) -> None:
        os.close(spare)
        self.spare = None
        # Another thread may have taken the descriptor that was given up.
        with contextlib.suppress(OSError):
            connection, _ = super().accept()
            with connection:
                connection.setblocking(False)
                connection.send(FULL)
        with contextlib.suppress(OSError):
            self.spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


def room(wanted: int) -> int:
    """How many of the wanted connections this process may have open.

    The soft limit on open files is raised for them, as far as the hard limit allows.

    Raises:
      UsageError: the hard limit leaves no room for any.
    """
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVE
    if 0 <= soft < needed:
        soft = needed if hard < 0 else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < 0 or soft >= needed:
        return wanted
    if soft <= RESERVE:
        raise UsageError(
            f"server.max_connections: this process may open too few files ({soft}, `ulimit -n`; at "
            f"least {needed} for {wanted} connections)"
        )
    return soft - RESERVE


def bound(host: str, port: int) -> Listener:
    """A TCP socket that is bound to an address.

    Args:
      port: 0 for any that is free.

    Raises:
      UsageError: there is no such host, or its address is not free or not this machine's; the
        cause is the error of the system.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name of a host"
        raise UsageError(
            f"server.host: {reason} ({shown(host)}; an address of this machine)"
        ) from error
    sock = Listener(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise _not_free(host, port, error) from error
    return sock


def _not_free(host: str, port: int, error: OSError) -> UsageError:
    """The error for an address that cannot be had."""
    key, at, remedy = "host", host, "an address of this machine"
    if port:
        key, at, remedy = "port", f"{host}:{port}", "an address that is free"
    return UsageError(f"server.{key}: {error.strerror} ({at}; {remedy})")
