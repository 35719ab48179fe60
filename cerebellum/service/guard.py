"""What stands before the application: keys, sizes, counts. Plain ASGI, a few microseconds."""

import hmac
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cerebellum.errors import UsageError
from cerebellum.service.metrics import Metrics

OPEN = ("/", "/health", "/ready")
"""Paths that need no key: what probes ask, and the page, which asks for one."""
SHORTEST_KEY = 16


def keys(path: Path) -> tuple[bytes, ...]:
    """API keys, one a line.

    Raises:
      UsageError: not readable, readable by others, or no key that is long enough.
    """
    try:
        mode = path.stat().st_mode
        found = tuple(line.strip().encode() for line in path.read_text().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"server.api_key_file: {error} ({path}; a file that this user may read)"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"server.api_key_file: others may read it ({path}, mode {mode & 0o777:o}; chmod 600)"
        )
    found = tuple(key for key in found if key)
    if not found or any(len(key) < SHORTEST_KEY for key in found):
        raise UsageError(
            f"server.api_key_file: no key, or a short one ({path}; a line of at least "
            f"{SHORTEST_KEY} characters for each key, such as `openssl rand -hex 32` prints)"
        )
    return found


def guarded(
    app: ASGIApp,
    metrics: Metrics,
    known: Callable[[str], str],
    most_bytes: int,
    allowed: tuple[bytes, ...],
) -> ASGIApp:
    """An application behind its guard.

    Args:
      known: a path as metrics name it.
      allowed: keys; none: everyone may.
    """

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), {"code": 500}

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                status["code"] = message["status"]
            await send(message)

        try:
            refusal = _refusal(scope, most_bytes, allowed)
            if refusal is not None:
                if refusal[0] == 413:
                    await _drain(receive, DRAINED * most_bytes)
                await _say(watched, *refusal)
            else:
                await app(scope, _limited(receive, most_bytes), watched)
        finally:
            path = known(scope["path"])
            metrics.http.labels(path=path).observe(time.perf_counter() - began)
            method = scope["method"] if scope["method"] in METHODS else "other"
            metrics.requests.labels(method=method, path=path, status=str(status["code"])).inc()

    return answered


METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")


class TooLargeError(Exception):
    """A body that goes on; the application answers 413."""


DRAINED = 8
"""Times the largest body that is read and thrown away, so that who sends it reads the answer."""


async def _drain(receive: Receive, most: int) -> None:
    seen, more = 0, True
    while more and seen < most:
        message = await receive()
        seen += len(message.get("body", b""))
        more = message.get("more_body", False)


def _refusal(scope: Scope, most_bytes: int, allowed: tuple[bytes, ...]) -> tuple[int, str] | None:
    headers = dict(scope["headers"])
    if allowed and scope["path"] not in OPEN:
        given = headers.get(b"x-api-key", b"")
        bearer = headers.get(b"authorization", b"")
        if bearer.lower().startswith(b"bearer "):
            given = bearer[7:].strip()
        # Every key is compared, so that time does not tell which one was near.
        if not max([hmac.compare_digest(given, key) for key in allowed]):
            return 401, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"//")[2] != headers.get(b"host"):
        return 403, "origin: another site's page may not ask"
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > most_bytes:
        return 413, f"body: {length[:20].decode()} bytes; at most {most_bytes}"
    return None


def _limited(receive: Receive, most: int) -> Receive:
    seen = {"bytes": 0}

    async def counted() -> Message:
        message = await receive()
        seen["bytes"] += len(message.get("body", b""))
        if seen["bytes"] > most:
            raise TooLargeError
        return message

    return counted


async def _say(send: Send, code: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    # What follows is a body that nobody reads.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
