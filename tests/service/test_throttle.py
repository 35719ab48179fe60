"""A flood of warnings: a line a second for one cause, and none of them uncounted."""

import logging

import pytest

from cerebellum.service import throttle


@pytest.fixture
def flood(monkeypatch):
    """A function that logs a line at a time; the lines that were written, with their counts."""
    clock, written = [0.0], []
    monkeypatch.setattr(throttle.time, "monotonic", lambda: clock[0])

    def write(record):
        written.append((record.getMessage(), getattr(record, "fields", {}).get("kept_back", 0)))

    filter_ = throttle.Throttle(write)

    def log(at, message, *arguments, level=logging.WARNING):
        clock[0] = at
        record = logging.LogRecord("a.logger", level, "", 0, message, arguments, None)
        if filter_(record):
            write(record)
        return written

    return log


def test_one_cause_is_one_line_a_second(flood):
    for k in range(250):
        flood(k * 0.01, "bad request from 10.0.0.1:%d: not HTTP", 1_000 + k)
    written = flood(2.49, "bad request from 10.0.0.1:2: not HTTP")
    assert [count for _, count in written] == [0, 99, 99]
    assert written[1][0].startswith("bad request from 10.0.0.1:1100")
    # What was kept back since then is told when the flood is over.
    written = flood(9.0, "stopped", level=logging.INFO)
    assert written[-2:] == [("bad request from 10.0.0.1:2: not HTTP", 49), ("stopped", 0)]
    assert len(written) + sum(count for _, count in written) == 252


def test_other_causes_and_lines_that_are_no_warnings_pass(flood):
    for _ in range(3):
        flood(0.0, "one")
        flood(0.0, "two")
        flood(0.0, "one", level=logging.ERROR)
        flood(0.0, "tick", level=logging.DEBUG)
    written = flood(0.0, "one")
    assert [message for message, _ in written].count("tick") == 3
    assert len(written) == 6
