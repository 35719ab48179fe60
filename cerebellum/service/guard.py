"""A guard before the application: it checks hosts, keys and sizes, and counts requests.

It is plain ASGI and costs a few microseconds a request.
"""

import hmac
import ipaddress
import json
import re
import stat
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cerebellum.config import shown
from cerebellum.errors import UsageError
from cerebellum.service.metrics import Metrics, children

OPEN = ("/", "/health", "/ready")
"""Paths that need no key: those of probes, and the page, which asks for a key."""
SHORTEST_KEY = 16
"""characters"""


def keys(path: Path) -> tuple[bytes, ...]:
    """The API keys of a file, one on a line.

    Raises:
      UsageError: the file is not readable, or readable by others; or it has no key, or a short
        one.
    """
    try:
        mode = path.stat().st_mode
        lines = tuple(line.strip().encode() for line in path.read_text().splitlines())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise UsageError(
            f"server.api_key_file: {reason} ({shown(path)}; a file that this user may read)"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            f"server.api_key_file: others may read it ({path}, mode {mode & 0o777:o}; chmod 600)"
        )
    api_keys = tuple(line for line in lines if line)
    if not api_keys or any(len(key) < SHORTEST_KEY for key in api_keys):
        raise UsageError(
            f"server.api_key_file: no key, or a short one ({path}; a line of at least "
            f"{SHORTEST_KEY} characters for each key, such as `openssl rand -hex 32` prints)"
        )
    return api_keys


def guarded(
    app: ASGIApp,
    metrics: Metrics,
    path_name: Callable[[str], str],
    most_bytes: int,
    allowed: Callable[[], tuple[bytes, ...]],
    is_served: Callable[[bytes], bool],
) -> ASGIApp:
    """An application behind its guard.

    Args:
      path_name: gives the name of a path in metrics.
      most_bytes: the size of the largest body.
      allowed: gives the API keys; if there are none, no key is needed.
      is_served: whether requests with a Host header are answered, see `hosts`.
    """

    durations, counts = children(metrics.http), children(metrics.requests)

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        began, status = time.perf_counter(), {"code": 500}

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                status["code"] = message["status"]
            await send(message)

        try:
            refusal = _host_refusal(scope, is_served) or _refusal(scope, most_bytes, allowed())
            if refusal is not None:
                if refusal[0] == 413:
                    await _drain(receive, DRAINED * most_bytes)
                await _send_refusal(send_and_note, *refusal)
            else:
                # uvicorn sends no body where the method is HEAD.
                asked = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
                await app(asked, _limited(receive, most_bytes), send_and_note)
        finally:
            path = path_name(scope["path"])
            durations(path).observe(time.perf_counter() - began)
            method = scope["method"] if scope["method"] in METHODS else "other"
            counts(method, path, str(status["code"])).inc()

    return guard


METHODS = ("GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS")


class TooLargeError(Exception):
    """A body is larger than is allowed; the application answers 413."""


DRAINED = 8
"""How many times the largest body is read and dropped, so that the client reads the answer."""


async def _drain(receive: Receive, most: int) -> None:
    """Read and drop a body, up to `most` bytes."""
    size, more = 0, True
    while more and size < most:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)


def hosts(host: str, others: tuple[str, ...]) -> Callable[[bytes], bool]:
    """A function that says whether a Host header names this service.

    A page of another site can have its own name resolved to this machine, and then read what the
    service answers to it. So only known names are served: localhost, `host` and `others`, with any
    port; and addresses, which are not resolved.
    """
    names = {"localhost", host.lower(), *others}

    @lru_cache(maxsize=256)
    def is_served(header: bytes) -> bool:
        text = header.decode("latin-1").lower()
        name = re.sub(r":\d*$", "", text)
        if name.startswith("[") and name.endswith("]"):
            return _is_address(name[1:-1])
        return name.removesuffix(".") in names or _is_address(name)

    return is_served


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host_refusal(scope: Scope, is_served: Callable[[bytes], bool]) -> tuple[int, str] | None:
    """The status and the detail with which a request's Host is refused; None if it is good."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    if not given and scope["http_version"] == "1.0":
        return None
    if len(given) != 1:
        return 400, f"host: {len(given)} Host headers; one"
    if not is_served(given[0]):
        name = given[0][:100].decode("latin-1")
        return 421, f"host: {name} is not served here; server.allowed_hosts"
    return None


def _refusal(scope: Scope, most_bytes: int, allowed: tuple[bytes, ...]) -> tuple[int, str] | None:
    """The status and the detail with which a request is refused; None if it is good."""
    headers = dict(scope["headers"])
    if allowed and scope["path"] not in OPEN:
        key = headers.get(b"x-api-key", b"")
        bearer = headers.get(b"authorization", b"")
        if bearer.lower().startswith(b"bearer "):
            key = bearer[7:].strip()
        # Every key is compared, so that the time tells nothing about a key that is nearly right.
        if not max([hmac.compare_digest(key, good) for good in allowed]):
            return 401, "a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
    origin = headers.get(b"origin")
    if origin is not None and origin.partition(b"//")[2] != headers.get(b"host"):
        return 403, "origin: another site's page may not ask"
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > most_bytes:
        return 413, f"body: {length[:20].decode()} bytes; at most {most_bytes}"
    return None


def _limited(receive: Receive, most: int) -> Receive:
    """`receive`, which raises TooLargeError after `most` bytes."""
    size = {"bytes": 0}

    async def counted() -> Message:
        message = await receive()
        size["bytes"] += len(message.get("body", b""))
        if size["bytes"] > most:
            raise TooLargeError
        return message

    return counted


async def _send_refusal(send: Send, code: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    # The rest of the body is not read, so the connection cannot be used again.
    headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
