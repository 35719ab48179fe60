"""The socket of the service where files are scarce, and what the event loop says of errors."""

import asyncio
import errno
import logging
import resource
import socket
import sys
import threading
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from cerebellum.errors import UsageError
from cerebellum.service import connections, listening, uncaught


@pytest.fixture
def listener():
    with listening.bound("127.0.0.1", 0) as sock:
        sock.listen()
        yield sock


def test_a_connection_without_a_descriptor_is_refused_and_not_left_to_wait(
    listener, monkeypatch, caplog
):
    real, calls = socket.socket.accept, []

    def accept(self):
        calls.append(1)
        if len(calls) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    spare = listener.spare
    with socket.create_connection(listener.getsockname(), timeout=10) as client:
        with caplog.at_level(logging.ERROR), pytest.raises(BlockingIOError):
            listener.accept()
        assert client.recv(100).startswith(b"HTTP/1.1 503")
    assert listener.spare == spare
    assert "no room for a connection: Too many open files; refused" in caplog.text


def test_only_some_are_accepted_in_a_turn(listener):
    clients = [socket.create_connection(listener.getsockname()) for _ in range(40)]
    turns, accepted = 1, []
    while len(accepted) < len(clients):
        try:
            accepted.append(listener.accept()[0])
        except BlockingIOError:
            turns += 1
    assert turns == 1 + 40 // (listening.PER_TURN - 1)
    for sock in (*clients, *accepted):
        sock.close()


@pytest.mark.parametrize(
    ("soft", "hard", "room", "after"),
    [
        (20_000, 20_000, 1_000, 20_000),
        (256, 20_000, 1_000, 1_000 + listening.RESERVE),
        (256, -1, 1_000, 1_000 + listening.RESERVE),
        (256, 512, 512 - listening.RESERVE, 512),
        (-1, -1, 1_000, -1),
    ],
)
def test_the_limit_of_files_is_raised_as_far_as_it_may(monkeypatch, soft, hard, room, after):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: limits.append(pair))
    assert listening.room(1_000) == room
    assert limits[-1] == (after, hard)


def test_a_limit_that_leaves_no_connection_is_refused(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (64, 64))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, pair: None)
    with pytest.raises(UsageError, match=r"server\.max_connections: .* too few files \(64, "):
        listening.room(1_000)


def test_what_the_event_loop_cannot_give_to_anybody_is_a_line(caplog):
    context = {"message": "Fatal write error", "exception": OSError(errno.EPIPE, "Broken pipe")}
    with caplog.at_level(logging.ERROR):
        connections.report(asyncio.new_event_loop(), context)
        connections.report(asyncio.new_event_loop(), {"message": "what", "exception": KeyError(1)})
    first, second = caplog.records
    assert first.getMessage() == "Fatal write error: BrokenPipeError(32, 'Broken pipe')"
    assert not first.exc_info
    assert second.exc_info


def test_what_a_thread_does_not_catch_is_a_line(caplog, capsys):
    def fail() -> None:
        raise KeyError("lost")

    loop = asyncio.new_event_loop()
    loop.close()
    with caplog.at_level(logging.ERROR), uncaught.logged():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        for raises in (fail, partial(loop.call_soon_threadsafe, print)):
            try:
                raises()
            except Exception as error:
                trace = error.__traceback__
                assert trace is not None
                # As from a thread of C++, which has no frame of its own.
                found: Any = SimpleNamespace(exc_value=error, exc_traceback=trace.tb_next)
                sys.unraisablehook(found)
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["an error that nobody caught: KeyError('lost')"] * 2
    assert capsys.readouterr().err == ""
