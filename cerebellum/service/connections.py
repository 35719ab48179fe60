"""Connections: how many, how long they may say nothing, how much they may say first.

uvicorn bounds requests, not those who connect and wait. Here a connection that has not sent a whole
request in time is closed, one that sends headers without end is refused, and when all places are
taken the one that has idled longest makes room, so that slow or half-open connections do not keep
others out.
"""

import asyncio
import json
import time
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEADER_BYTES = 65_536


def _last(status: str, detail: str) -> bytes:
    """An answer after which the connection ends."""
    body = json.dumps({"detail": detail})
    head = ("connection: close", "content-type: application/json", f"content-length: {len(body)}")
    lines = (f"HTTP/1.1 {status}", "retry-after: 1", *head, "", body)
    return "\r\n".join(lines).encode()


FULL = _last("503 Service Unavailable", "too many connections; server.max_connections")
FLOOD = _last(
    "431 Request Header Fields Too Large", f"headers of more than {MOST_HEADER_BYTES} bytes"
)


def limited(most: int, timeout: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol for so many connections, each with so long (s) for a request."""

    class Connection(HttpToolsProtocol):
        since = 0.0
        busy = False
        in_headers = False
        heading = 0
        timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            if len(self.connections) >= most and not self._shed():
                transport.write(FULL)
                transport.close()
                return
            super().connection_made(transport)
            self._wait()

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
                self.heading += len(data)
            if self.heading > MOST_HEADER_BYTES and not self.transport.is_closing():
                self.transport.write(FLOOD)
                self.transport.close()

        def on_message_begin(self) -> None:
            self.in_headers = True
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self.in_headers, self.heading = False, 0
            self.busy = True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            # After an answer that did not wait for the body, the next request is waited for.
            if self.timer is not None and self.busy:
                self.timer.cancel()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            self.busy = False
            self._wait()
            super().on_response_complete()

        def _wait(self) -> None:
            self.since = time.monotonic()
            if self.timer is not None:
                self.timer.cancel()
            self.timer = self.loop.call_later(timeout, self._late)

        def _late(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

        def _shed(self) -> bool:
            idle = [c for c in self.connections if isinstance(c, Connection) and not c.busy]
            if not idle:
                return False
            longest = min(idle, key=lambda c: c.since)
            self.connections.discard(longest)
            longest.transport.abort()
            return True

    return Connection
