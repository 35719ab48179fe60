"""Limits of connections: how many there are, how long a request takes, how long headers are.

uvicorn limits requests, but not connections that send nothing. Here a connection waits either for
us, because its request has come whole, or for its client: for a request, for the rest of one, or
for the client to read. One that waits for its client too long is closed. When all places are taken,
the one that has waited for its client longest makes room. So connections that are slow, half-open
or never read do not keep others out.
"""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cerebellum.service.metrics import Metrics

MOST_HEADER_BYTES = 65_536
FRESH_S = 0.1
"""At the end, how long a connection without a request is kept for one that is on its way."""
LINGER_S = 0.5
"""How long a client that was refused may take to read why."""
MOST_LINGERING = 32
"""Connections that were refused for want of a place and are not closed yet."""

log = logging.getLogger("cerebellum.service.connections")


def _final_answer(status: str, detail: str, *headers: str) -> bytes:
    """The bytes of an HTTP answer after which the connection ends."""
    body = json.dumps({"detail": detail})
    head = ("connection: close", "content-type: application/json", f"content-length: {len(body)}")
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, *head, "", body)).encode()


FULL = _final_answer(
    "503 Service Unavailable", "too many connections; server.max_connections", "retry-after: 1"
)
FLOOD = _final_answer(
    "431 Request Header Fields Too Large", f"headers of more than {MOST_HEADER_BYTES} bytes"
)
BAD = _final_answer("400 Bad Request", "not a request of HTTP/1.1")


class _TooLongError(Exception):
    """The headers of a request are too long."""


class Connection(HttpToolsProtocol):
    """A connection of uvicorn with limits; `limited` makes a class that knows them."""

    most = 0
    """connections at once"""
    timeout_s = 0.0
    """how long a connection may wait for its client"""
    measured: Metrics
    lingering: set["Connection"]
    """those that were refused for want of a place and are not closed yet"""
    since = 0.0
    """when it began to wait for its client, monotonic s"""
    busy = False
    """whether a request has come whole and is not answered yet"""
    arriving = False
    """whether a part of a request has come"""
    in_headers = False
    last = False
    """whether it ends after the request that arrives"""
    refused = False
    unused_bytes = 0
    """that have come since the last byte of a body, or the end of a request"""
    deadline: float | None = None
    """when it has waited for its client too long, monotonic s; None: it does not wait for it"""
    timer: asyncio.TimerHandle | None = None
    """looks at the deadline; it is not made anew for each request"""

    def connection_made(self, transport: Any) -> None:
        full = len(self.connections) >= self.most
        if full and not self._make_room():
            log.warning("server.max_connections: all %d wait for answers; one refused", self.most)
            self._count("refused")
            self.measured.refused.labels(reason="busy").inc()
            self.transport = transport
            self._refuse(FULL)
            return
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self.lingering.discard(self)
        if self.flow is not None:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        self._unset_keepalive_if_required()
        self.unused_bytes += len(data)
        assert self.parser is not None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Another protocol was asked for. The request is answered as one of HTTP.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _TooLongError):
                self._refuse_long()
            else:
                log.warning("bad request from %s: not HTTP", self._client_name())
                self._count("bad")
                self._refuse(BAD)
            return
        if self.unused_bytes > MOST_HEADER_BYTES:
            self._refuse_long()

    def on_message_begin(self) -> None:
        self.in_headers = self.arriving = True
        self.since = time.monotonic()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer, which follows a body, is dropped: nobody expects one.
        if self.in_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.in_headers = False
        # Not from `unused_bytes`, which begin anew where requests come in one packet.
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > MOST_HEADER_BYTES:
            raise _TooLongError
        self.unused_bytes = 0
        super().on_headers_complete()
        if self.last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.unused_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.arriving, self.unused_bytes = False, 0
        # If the answer was sent before the whole body came, the next request is waited for.
        if not self.cycle.response_complete:
            self.busy = True
            self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        another = bool(self.pipeline)
        super().on_response_complete()
        self.busy = another and not self.cycle.more_body
        if not self.busy:
            self._start_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.deadline is None:
            self._start_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.busy:
            self._stop_timer()

    def shutdown(self) -> None:
        self.last = True
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        elif not self.arriving:
            self.loop.call_later(FRESH_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        answered = self.cycle is None or self.cycle.response_complete
        if answered and not self.arriving and not self.transport.is_closing():
            self.transport.close()

    def _start_timer(self) -> None:
        self.since = time.monotonic()
        self.deadline = self.since + self.timeout_s
        if self.timer is None:
            self.timer = self.loop.call_later(self.timeout_s, self._expire)

    def _stop_timer(self) -> None:
        self.deadline = None

    def _cancel_timer(self) -> None:
        self.deadline = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _expire(self) -> None:
        self.timer = None
        if self.deadline is None:
            return
        left_s = self.deadline - time.monotonic()
        if left_s > 0:
            self.timer = self.loop.call_later(left_s, self._expire)
            return
        # Closing would wait until what is written has been read.
        self._count("timeout")
        self.transport.abort()

    def _make_room(self) -> bool:
        """Close the connection that has waited for its client longest; whether there was one."""
        idle = [
            each
            for each in self.connections
            if isinstance(each, Connection) and (not each.busy or each.flow.write_paused)
        ]
        if not idle:
            return False
        longest = min(idle, key=lambda each: each.since)
        log.warning(
            "server.max_connections: all %d are in use; the one that waited for its client "
            "longest, from %s, is closed",
            self.most,
            longest._client_name(),
        )
        self._count("made room")
        self.connections.discard(longest)
        longest.transport.abort()
        return True

    def _refuse_long(self) -> None:
        log.warning(
            "bad request from %s: headers of over %d bytes", self._client_name(), MOST_HEADER_BYTES
        )
        self._count("bad")
        self._refuse(FLOOD)

    def _refuse(self, answer: bytes) -> None:
        """Answer, and end the connection once the client has read that, or soon.

        If it ended at once while there is something to read, the client might not get the answer.
        """
        self.refused = True
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if self.flow is None:
            if len(self.lingering) >= MOST_LINGERING:
                self.transport.close()
                return
            self.lingering.add(self)
        else:
            self.flow.resume_reading()
        with contextlib.suppress(OSError):  # The client has gone.
            self.transport.write_eof()
        self._cancel_timer()
        self.timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _client_name(self) -> str:
        return name_of(self.transport.get_extra_info("peername"))

    def _count(self, reason: str) -> None:
        self.measured.closed.labels(reason=reason).inc()


def name_of(address: Any) -> str:
    """The address of a client as the log has it."""
    if not isinstance(address, tuple) or len(address) < 2:
        return "an unknown address"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def limited(most: int, timeout: float, measured: Metrics) -> type[Connection]:
    """uvicorn's protocol for at most `most` connections that wait `timeout` s for their clients."""
    limits = {"most": most, "timeout_s": timeout, "measured": measured, "lingering": set()}
    return type("Connection", (Connection,), limits)


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log in one line what the event loop could not give to anybody; its handler of exceptions."""
    error, transport = context.get("exception"), context.get("transport")
    client = ""
    if transport is not None:
        client = f" ({name_of(transport.get_extra_info('peername'))})"
    # An error of the system says itself what is wrong; another one is ours.
    trace = None if error is None or isinstance(error, OSError) else error
    log.error("%s: %r%s", context["message"], error, client, exc_info=trace)
