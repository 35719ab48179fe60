"""Limits of connections: how many there are, how long a request takes, how long headers are.

uvicorn limits requests, but not connections that send nothing. Here a connection that has not sent
a whole request in time is closed, and one whose headers are too long is refused. When all places
are taken, the connection that has idled longest is closed to make room. So slow or half-open
connections do not keep others out.
"""

import asyncio
import json
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 65_536


def _final_answer(status: str, detail: str) -> bytes:
    """The bytes of an HTTP answer after which the connection ends."""
    body = json.dumps({"detail": detail})
    head = ("connection: close", "content-type: application/json", f"content-length: {len(body)}")
    lines = (f"HTTP/1.1 {status}", "retry-after: 1", *head, "", body)
    return "\r\n".join(lines).encode()


FULL = _final_answer("503 Service Unavailable", "too many connections; server.max_connections")
FLOOD = _final_answer(
    "431 Request Header Fields Too Large", f"headers of more than {MOST_HEADER_BYTES} bytes"
)


class Connection(HttpToolsProtocol):
    """A connection of uvicorn with limits; `limited` makes a class that knows them."""

    most = 0
    """connections at once"""
    timeout_s = 0.0
    """how long a request may take to arrive"""
    idle_since = 0.0
    """monotonic s"""
    busy = False
    in_headers = False
    header_bytes = 0
    """of the request that arrives"""
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= self.most and not self._make_room():
            transport.write(FULL)
            transport.close()
            return
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.transport is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport is None:
            return
        super().data_received(data)
        if self.in_headers:
            self.header_bytes += len(data)
        if self.header_bytes > MOST_HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(FLOOD)
            self.transport.close()

    def on_message_begin(self) -> None:
        self.in_headers = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.in_headers, self.header_bytes = False, 0
        self.busy = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # If the answer was sent before the whole body came, the timer is that of the next request.
        if self.timer is not None and self.busy:
            self.timer.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self.busy = False
        self._start_timer()
        super().on_response_complete()

    def _start_timer(self) -> None:
        self.idle_since = time.monotonic()
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.loop.call_later(self.timeout_s, self._close)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has idled longest; whether there was one."""
        idle = [c for c in self.connections if isinstance(c, Connection) and not c.busy]
        if not idle:
            return False
        longest = min(idle, key=lambda c: c.idle_since)
        self.connections.discard(longest)
        longest.transport.abort()
        return True


def limited(most: int, timeout: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol for at most `most` connections, with `timeout` s for a request each."""
    return type("Connection", (Connection,), {"most": most, "timeout_s": timeout})
