"""Other operating systems: what imports and runs without the modules and calls of POSIX."""

import os
import sys

import hiding
import psutil
import pytest

from cerebellum import system
from cerebellum.backends.cpu import library
from cerebellum.reproduce import workers

POSIX = {"fcntl", "grp", "pwd", "resource", "termios"}
LACKING = """
import os, select, signal, psutil
for module, names in (
    (os, ("sched_getaffinity", "sched_setaffinity", "geteuid", "chown", "sysconf", "O_NOFOLLOW",
          "O_NONBLOCK", "O_CLOEXEC")),
    (signal, ("SIGHUP", "pthread_sigmask")),
    (select, ("poll",)),
    (psutil.Process, ("cpu_affinity",)),
):
    for name in names:
        delattr(module, name)
"""
"""Takes what only POSIX systems, or only Linux, have; after other libraries have been imported."""


def test_nothing_of_posix_is_needed_to_import_and_simulate(tmp_path):
    small = ("--granule-size", "300", "--duration-ms", "5", "--no-plots", "--checkpoint-ms", "5")
    code = f"""
import cerebellum, importlib, pkgutil
for each in pkgutil.walk_packages(cerebellum.__path__, "cerebellum."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
from cerebellum.cli import main
code = main.main(["simulate", "--out", {str(tmp_path)!r}, *{small!r}])
raise SystemExit(code or main.main(["serve"]))
"""
    others = "import anyio, fastapi, jax, matplotlib.figure, orbax.checkpoint, uvicorn"
    done = hiding.run(POSIX, code, before=f"{others}{LACKING}")
    assert (tmp_path / "recording.npz").exists(), done.stderr
    lines = [line for line in done.stderr.splitlines() if "flock" in line or "serve" in line]
    locks, serve = lines
    assert locks.endswith("has no flock: nothing keeps two runs from saving into one folder")
    assert serve == (
        "cerebellar-norse: serve: runs on Linux and macOS; this system has no fcntl, resource, "
        "SIGHUP, pthread_sigmask"
    )
    assert done.returncode == 2


def test_processors_that_nobody_can_be_pinned_to(monkeypatch, caplog):
    assert system.processors() == sorted(os.sched_getaffinity(0))
    monkeypatch.delattr(psutil.Process, "cpu_affinity")
    assert len(system.processors()) == psutil.cpu_count()
    system.pin([0])
    assert "does not pin a process" in caplog.text
    assert workers.spread(len, ["one"]) == [3]


def test_the_peak_of_memory(monkeypatch):
    resident = psutil.Process().memory_info().rss
    assert resident / 2 < system.peak_memory() < 1e12
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resident / 2 < system.peak_memory() < 1e12


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A compiler that writes nothing, and a cache that is empty."""
    path = tmp_path / "compiler"
    path.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library.kernels.cache_clear()
    yield path
    library.kernels.cache_clear()


def test_kernels_say_that_they_are_compiled_and_where(compiler, tmp_path, caplog):
    assert not library.kernels().ready
    first, second = caplog.messages
    assert first.startswith(f"compiling the C++ kernels with {compiler}, once, into {tmp_path}/")
    assert second == (
        f"no C++ kernels: {compiler}: no room; circuits run on XLA alone, which is slower"
    )


def test_kernels_without_a_cache_go_to_a_temporary_folder(compiler, tmp_path, monkeypatch, caplog):
    (tmp_path / "cerebellum").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert not library.kernels().ready
    assert f" into {tmp_path}/cerebellum-" in caplog.messages[0]


def test_kernels_need_a_compiler(compiler, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not library.kernels().ready
    (line,) = caplog.messages
    assert "no C++ compiler (c++, g++, clang++, or CXX); circuits run on XLA alone" in line
    monkeypatch.setattr(sys, "platform", "win32")
    library.kernels.cache_clear()
    assert library.kernels().why == "they are built on Linux and macOS"
