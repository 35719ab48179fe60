"""The socket on which the service listens."""

import socket

from cerebellum.config import shown
from cerebellum.errors import UsageError

BACKLOG = 2_048
"""Connections that may wait to be accepted."""


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


def bound(host: str, port: int) -> socket.socket:
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
    sock = socket.socket(family, kind, protocol)
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
