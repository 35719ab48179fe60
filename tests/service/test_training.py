"""Training runs that the service starts: their status, their ends, and what a request may name."""

import fcntl
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from serving import until

from cerebellum.config import Settings
from cerebellum.service import metrics, runs, training
from cerebellum.service.requests import Start
from cerebellum.service.training import RefusedError, RunningError, Trainer

WORKING = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.write(handle, str(os.getpid()).encode())
print("working", flush=True)
time.sleep(100)
"""


@pytest.fixture
def trainer(tmp_path):
    folders = {name: tmp_path / name for name in ("models", "backups", "data")}
    for folder in folders.values():
        folder.mkdir()
    (tmp_path / "data/ticks.csv").touch()
    return Trainer(Settings(storage=folders), None)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def measured():
    return metrics.build((), {"version": "1"})


def run_of(trainer: Trainer, name: str = "20260101-000000") -> Path:
    run = trainer.folder / name
    run.mkdir(parents=True)
    return run


def program(trainer, monkeypatch, text: str) -> None:
    """Let a shell script stand for Python, and so for the command `train`."""
    path = trainer.folder.parent / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setattr(training.sys, "executable", str(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"text"',
        "null",
        "[" * 100_000,
        '{"state": 3}',
        '{"progress": 0.5}',
        '{"state": "running", "loss": "much"}',
        '{"state": "running", "loss": NaN}',
        '{"state": "running", "loss": 1e999}',
        '{"state": "running", "history": [{"loss": Infinity}]}',
    ],
)
def test_a_damaged_status_is_told_and_breaks_nothing(trainer, measured, text):
    run = run_of(trainer)
    (run / "status.json").write_text(text)
    trainer.publish(measured)
    status = trainer.status("latest")
    assert status["state"] == "stopped"
    assert status["message"].startswith("status.json is damaged: ")
    json.dumps(status, allow_nan=False)


def test_a_status_that_is_a_pipe_or_not_text(trainer, measured):
    os.mkfifo(run_of(trainer) / "status.json")
    trainer.publish(measured)
    assert trainer.status("latest")["message"] == "status.json is damaged: no regular file"
    (run_of(trainer, "20260101-000001") / "status.json").write_bytes(b"\xff\xfe")
    trainer.publish(measured)
    assert "damaged" in trainer.status("latest")["message"]


@pytest.mark.parametrize(
    ("script", "state", "level"),
    [
        ("echo 'data: too few'; exit 2", "failed", logging.ERROR),
        ("kill -9 $$", "failed", logging.ERROR),
        ("exit 0", "stopped", logging.INFO),
    ],
)
def test_the_end_of_a_run_is_logged_and_counted(
    trainer, measured, monkeypatch, caplog, script, state, level
):
    program(trainer, monkeypatch, script)
    caplog.set_level(logging.INFO, "cerebellum.service.training")
    name = trainer.start(Start(data="ticks.csv"))
    until(lambda: trainer.ended)
    trainer.publish(measured)
    line = caplog.records[-1]
    assert (line.levelno, line.fields["id"], line.fields["state"]) == (level, name, state)
    if script.startswith("echo"):
        assert line.getMessage() == "training failed: data: too few"
        assert line.fields["exit_code"] == 2
    assert measured.trainings.labels(state=state)._value.get() == 1
    assert trainer.status(name)["state"] == state
    assert not trainer.ended


def test_a_run_that_its_service_has_left_goes_on_alone(trainer, measured, caplog):
    """As after SIGKILL of the service, where nothing ends what it has started."""
    caplog.set_level(logging.INFO, "cerebellum.service.training")
    run = run_of(trainer)
    (run / "status.json").write_text('{"state": "running", "progress": 0.5}')
    process = subprocess.Popen(
        [sys.executable, "-c", WORKING, str(run / "lock")], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert trainer.status("latest")["state"] == "running"
        with pytest.raises(RunningError, match=f"{run.name} is under way"):
            trainer.start(Start(data="ticks.csv"))
        trainer.adopt()
        assert f"training {run.name} goes on" in caplog.text
        trainer.stop()
        assert process.wait(10) == -15
    finally:
        process.kill()
    until(lambda: trainer.ended)
    assert trainer.status("latest")["state"] == "stopped"
    assert "training ended" in caplog.text


def test_a_run_holds_its_lock_as_long_as_it_works(trainer, monkeypatch):
    program(trainer, monkeypatch, "exec sleep 100")
    name = trainer.start(Start(data="ticks.csv"))
    run = trainer.folder / name
    assert runs.works(run)
    assert runs.pid(run) == trainer.process.pid
    with pytest.raises(RunningError):
        trainer.start(Start(data="ticks.csv"))
    # Whoever looks disturbs nobody who looks at the same time.
    with (run / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_UN)
        assert trainer.status(name)["state"] == "starting"
    trainer.stop()
    assert not runs.works(run)


def test_a_link_inside_a_folder_leads_nowhere(trainer, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("a key\n")
    folder = tmp_path / "data/sub"
    folder.mkdir()
    (folder / "a.csv").symlink_to(secret)
    (tmp_path / "data/link.csv").symlink_to(secret)
    (tmp_path / "data/folder").symlink_to(tmp_path)
    for data in ("sub", "sub/a.csv", "link.csv", "folder", "..", "../secret.csv", str(secret), "."):
        with pytest.raises(RefusedError, match=r"no such file below storage\.data"):
            trainer._data(Start(data=data))
    (folder / "a.csv").unlink()
    (folder / "b.csv").symlink_to(tmp_path / "data/ticks.csv")
    assert trainer._data(Start(data="sub")) == folder
