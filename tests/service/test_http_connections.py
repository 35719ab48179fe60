"""Many connections, slow ones and silent ones, at a service that may open few files."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import serving

FILES = 200
PLACES = 72
"""Connections that so many open files leave room for."""
TIMEOUT_S = 2.0


def start(server: serving.Serving) -> None:
    """Start a service that may open FILES files."""
    command = f"ulimit -n {FILES}; exec {sys.executable} -m cerebellum.cli --config {server.config}"
    with (server.folder / "stderr").open("ab") as out:
        server.process = subprocess.Popen(
            ["bash", "-c", command], stdout=subprocess.DEVNULL, stderr=out
        )


def blocks_hangups(server: serving.Serving) -> bool:
    """Whether SIGHUP is held back until the service can answer it."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    blocked = next(line.split()[1] for line in lines if line.startswith("SigBlk"))
    return bool(int(blocked, 16) >> (signal.SIGHUP - 1) & 1)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Started, and told to reread its configuration while it was starting."""
    folder = tmp_path_factory.mktemp("narrow")
    server = serving.Serving.__new__(serving.Serving)
    server.port, server.folder, server.headers = serving.free_port(), folder, {}
    limits = {"connection_timeout": TIMEOUT_S, "max_connections": 1_000}
    server.config = serving.configuration(folder, server.port, server=limits)
    start(server)
    serving.until(lambda: blocks_hangups(server))
    server.process.send_signal(signal.SIGHUP)
    server.wait()
    yield server
    server.stop()


@pytest.fixture
def narrow(started):
    """The same, started again where a test has stopped it."""
    if started.process.poll() is not None:
        start(started)
        started.wait()
    return started


def connected(server: serving.Serving, text: bytes = b"") -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    with contextlib.suppress(OSError):
        sock.sendall(text)
    return sock


def post(market: str, index: int = 0) -> bytes:
    body = json.dumps({"market_id": market, **serving.tick(index)}).encode()
    head = b"POST /neural/process HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


def closed(server: serving.Serving, reason: str) -> float:
    name = f'connections_closed_total{{reason="{reason}"}} '
    lines = server.get("/metrics")[1].splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_a_hangup_while_it_starts_is_answered_later(narrow):
    assert narrow.process.poll() is None
    assert not blocks_hangups(narrow)


def test_it_says_how_many_connections_it_may_have(narrow):
    assert narrow.log_says(f"server.max_connections: 1000, of which this process may have {PLACES}")


def test_slow_bodies_make_room_and_the_log_says_so_once_a_second(narrow):
    """Their headers come at once and their bodies a byte at a time."""
    head = b"POST /neural/process HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
    before, began = closed(narrow, "made room"), time.monotonic()
    slow = [connected(narrow, head) for _ in range(3 * PLACES)]
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.1):
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(b" ")

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        assert {narrow.get("/health")[0] for _ in range(20)} == {200}
        assert {narrow.tick("beside", i)[0] for i in range(5)} == {200}
    finally:
        ended.set()
        dripping.join()
    for sock in slow:
        sock.close()
    spent_s = time.monotonic() - began
    assert closed(narrow, "made room") - before >= 2 * PLACES
    lines = [line for line in narrow.log() if f"all {PLACES} are in use" in line["message"]]
    # The last of what was kept back may be told a second later.
    assert 1 <= len(lines) <= spent_s + 2
    assert narrow.said() == ""


def test_clients_that_do_not_read_are_cut_off_in_time(narrow):
    before = closed(narrow, "timeout")
    asked = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2_000
    deaf = [socket.create_connection(("127.0.0.1", narrow.port)) for _ in range(2)]
    for sock in deaf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.sendall(asked)
    serving.until(lambda: closed(narrow, "timeout") - before >= 2, every=0.2)
    for sock in deaf:
        sock.close()


def test_bad_requests_are_refused_with_the_address_in_the_log(narrow):
    with connected(narrow, b"what\r\n\r\n") as sock:
        port = sock.getsockname()[1]
        assert sock.recv(100).startswith(b"HTTP/1.1 400")
    serving.until(lambda: narrow.log_says(f"bad request from 127.0.0.1:{port}: not HTTP"))


def test_requests_that_wait_to_be_accepted_are_answered_before_it_ends(narrow):
    """All have come when SIGTERM comes, and none is accepted."""
    narrow.process.send_signal(signal.SIGSTOP)
    fresh = [connected(narrow, post(f"m{k}")) for k in range(60)]
    narrow.process.send_signal(signal.SIGTERM)
    narrow.process.send_signal(signal.SIGCONT)
    assert {sock.recv(65_536).split()[1] for sock in fresh} == {b"200"}
    for sock in fresh:
        sock.close()
    assert narrow.process.wait(60) == 0
    assert narrow.said() == ""
