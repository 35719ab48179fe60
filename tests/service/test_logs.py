"""Logs: lines that jq reads, rotation that loses no line, a disk that is full."""

import gzip
import json
import logging
import resource
import shutil
import subprocess
import threading

import pytest
from pydantic import ByteSize

from cerebellum.config import Logging
from cerebellum.errors import UsageError
from cerebellum.service import logfile, logs


def record(text):
    return logging.LogRecord("cerebellum.x", logging.INFO, "", 0, text, (), None)


@pytest.fixture
def begin():
    """Logging as configured, put back afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("cerebellum")
    before = root.handlers[:], root.level, ours.level
    listeners = []

    def begin(**values):
        listeners.append(logs.begin(Logging(**values)))
        return listeners[-1]

    yield begin
    for listener in listeners:
        if listener._thread is not None:
            listener.stop()
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def lines(folder):
    """Every line that was written, oldest file first."""
    texts = []
    packed = sorted(folder.glob("*.gz"), key=lambda p: -int(p.name.split(".")[-2]))
    for path in packed:
        with gzip.open(path, "rt") as file:
            texts += file.read().splitlines()
    return texts + (folder / "a.log").read_text().splitlines()


def test_lines_are_what_jq_reads(begin, tmp_path):
    listener = begin(file=tmp_path / "a.log", level="INFO")
    log = logging.getLogger("cerebellum.service")
    log.info("ticks", extra={"fields": {"processing_time_ns": 123}})
    log.debug("not shown")
    try:
        raise ValueError("broken")
    except ValueError:
        log.error("it %s", "failed", exc_info=True)
    listener.stop()
    text = (tmp_path / "a.log").read_text()
    info, error = (json.loads(line) for line in text.splitlines())
    assert set(info) == {"timestamp", "level", "message", "target", "fields"}
    assert info["target"] == "cerebellum.service"
    assert "ValueError: broken" in error["fields"]["exception"]
    assert shutil.which("jq"), "jq is missing"
    for query, wanted in (
        ('select(.level=="ERROR") | .message', "it failed"),
        ("select(.fields.processing_time_ns) | .fields.processing_time_ns", "123"),
    ):
        jq = subprocess.run(["jq", "-r", query], input=text, capture_output=True, text=True)
        assert jq.stdout.strip() == wanted


def test_for_people(begin, tmp_path):
    listener = begin(file=tmp_path / "a.log", format="human")
    logging.getLogger("cerebellum.x").warning("look")
    listener.stop()
    assert (tmp_path / "a.log").read_text().endswith("WARNING cerebellum.x: look\n")


def test_rotation_under_load_loses_no_line(begin, tmp_path):
    """Four threads, as fast as they can; every line is there once, in its thread's order."""
    count = 10_000
    listener = begin(file=tmp_path / "a.log", max_size=500_000, max_files=30)

    def say(thread):
        log = logging.getLogger("cerebellum.load")
        for index in range(count):
            log.info("line", extra={"fields": {"thread": thread, "index": index}})

    threads = [threading.Thread(target=say, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listener.stop()
    assert len(list(tmp_path.glob("*.gz"))) > 5
    indices: dict[int, list[int]] = {}
    for line in lines(tmp_path):
        fields = json.loads(line)["fields"]
        indices.setdefault(fields["thread"], []).append(fields["index"])
    assert all(indices[k] == list(range(count)) for k in range(4))


def test_only_so_many_files_stay(begin, tmp_path):
    listener = begin(file=tmp_path / "a.log", max_size=2_000, max_files=3)
    for index in range(200):
        logging.getLogger("cerebellum.x").info("%d %s", index, "x" * 50)
    listener.stop()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a.log",
        *(f"a.log.{k}.gz" for k in (1, 2, 3)),
    ]


def test_a_file_that_was_moved_away_is_opened_again(begin, tmp_path):
    """As logrotate moves it: no signal is needed."""
    listener = begin(file=tmp_path / "a.log")
    log = logging.getLogger("cerebellum.x")
    log.info("before")
    listener.stop()
    (tmp_path / "a.log").rename(tmp_path / "old.log")
    listener.start()
    log.info("after")
    listener.stop()
    assert "before" in (tmp_path / "old.log").read_text()
    assert "after" in (tmp_path / "a.log").read_text()


def test_a_full_disk_costs_lines_and_one_complaint(begin, capsys):
    listener = begin(file="/dev/full", max_size=10**9)
    for index in range(5):
        logging.getLogger("cerebellum.x").info("%d", index)
    listener.stop()
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "logging.file: /dev/full: No space left on device; lines are lost" in message
    assert logs.losses(listener).total == 5


def test_every_outage_is_told_and_how_many_lines_it_cost(tmp_path, capsys):
    """The folder goes and comes back, twice."""
    folder = tmp_path / "log"
    folder.mkdir()
    file = logfile.LogFile(folder / "a.log", Logging(), logs.JsonFormatter())
    for lost in (3, 2):
        shutil.rmtree(folder)
        for index in range(lost):
            file.emit(record(f"lost {index}"))
        assert file.losses.problem == "No such file or directory"
        assert "lines are lost" in capsys.readouterr().err
        file._said = -1.0
        folder.mkdir()
        file.emit(record("written"))
        told, written = (folder / "a.log").read_text().splitlines()
        assert json.loads(told)["fields"]["lines_lost"] == lost
        assert json.loads(told)["level"] == "WARNING"
        assert written == "written"
        assert f"written again; {lost} lines were lost" in capsys.readouterr().err
        file._said = -1.0
        assert file.losses.problem is None
    assert file.losses.total == 5
    shutil.rmtree(folder)
    file.emit(record("lost for ever"))
    file.close()
    assert "1 lines were lost" in capsys.readouterr().err


def test_a_disk_that_takes_half_a_line_keeps_none_of_it(tmp_path):
    file = logfile.LogFile(tmp_path / "a.log", Logging(), logs.JsonFormatter())
    file.emit(record("whole"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
    try:
        file.emit(record("x" * 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "a.log").read_text() == "whole\n"
    assert file.losses.total == 1
    file.close()


def test_a_disk_without_room_to_compress_keeps_only_so_many_files(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logfile.gzip, "open", full)
    # Files that an interrupted rotation of another time has left.
    (tmp_path / "a.log.1700000000000000000").write_text("old")
    (tmp_path / "a.log.1.gz.part").write_text("half")
    (tmp_path / "a.log-20260101.gz").write_text("of another program")
    settings = Logging(max_size=ByteSize(100), max_files=3)
    file = logfile.LogFile(tmp_path / "a.log", settings, logs.JsonFormatter())
    for index in range(50):
        file.emit(record(f"{index:060}"))
        if index == 40:
            monkeypatch.undo()
    file.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    wanted = ["a.log", "a.log-20260101.gz", "a.log.1.gz", "a.log.2.gz", "a.log.3.gz"]
    assert names == wanted
    newest = (tmp_path / "a.log").read_text()
    with gzip.open(tmp_path / "a.log.1.gz", "rt") as before:
        assert [int(before.read()), int(newest)] == [48, 49]


def test_a_file_that_cannot_be_renamed_goes_on(tmp_path, monkeypatch):
    settings = Logging(max_size=ByteSize(10))
    file = logfile.LogFile(tmp_path / "a.log", settings, logs.JsonFormatter())

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(logfile.os, "rename", refuse)
    for index in range(5):
        file.emit(record(f"line {index}"))
    file.close()
    assert (tmp_path / "a.log").read_text().count("\n") == 5
    assert file.losses.total == 0


def test_a_folder_that_is_taken_away_and_comes_back(begin, tmp_path, capsys):
    folder = tmp_path / "log"
    listener = begin(file=folder / "a.log")
    log = logging.getLogger("cerebellum.x")
    log.info("one")
    listener.stop()
    shutil.rmtree(folder)
    listener.start()
    log.info("lost")
    listener.stop()
    folder.mkdir()
    listener.start()
    log.info("two")
    listener.stop()
    assert "two" in (folder / "a.log").read_text()
    assert "logging.file: " in capsys.readouterr().err


def test_a_file_that_cannot_be_is_refused(begin, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"logging\.file: "):
        begin(file=tmp_path / "file/a.log")
