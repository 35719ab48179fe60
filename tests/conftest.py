"""Shared by all tests: strictness, double precision on request, the reference data."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import jax
import laws
import pytest
import serving
from learn import series

import cerebellum as cb
from cerebellum.cli import main

jax.config.update("jax_numpy_rank_promotion", "raise")
# For circuits that are cut; everything else runs on the first one.
jax.config.update("jax_num_cpu_devices", 8)
hypothesis.settings.register_profile("cerebellum", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("cerebellum")

# A shell that starts the tests in the background lets them ignore Ctrl-C, which some try.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
COMPILED = {
    "jax_compilation_cache_dir": str(ROOT / ".pytest_cache" / "compiled"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
"""What one test has compiled is there for all others: in other workers, in the programs that tests
start, and in the next run."""
for name, value in COMPILED.items():
    os.environ.setdefault(name.upper(), str(value))
    jax.config.update(name, type(value)(os.environ[name.upper()]))
# A program that is read back is compared with this machine by names of features, two of which
# are XLA's own and no machine's: it says so at length each time, as an error. For the programs
# that tests start; importing JAX sets it, too.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"


QUICK = "JAX_DISABLE_MOST_OPTIMIZATIONS"
"""Half of the time of a test is the compiler's, and half of that LLVM's optimization."""

PLAIN = "--xla_cpu_use_fusion_emitters=false"
"""XLA's older code generator for fused loops takes half of the time of the newer one, which users
have; a later version may not know the flag."""


def pytest_configure(config):
    """The default tier is compiled quickly; of the slow tier, the programs that tests start.

    What a slow test runs itself is compiled in full, as for users: XLA reads its flags once, when
    it first looks for devices. Ours comes first: XLA reads none behind one without dashes, which
    `xla.one_thread` has. `in_full` is for programs that run longer than they are compiled.
    `compiled_quickly` is for slow tests that are compiled for longer than they run.
    """
    if config.option.markexpr not in ("slow", "not slow"):
        return
    if config.option.markexpr == "slow":
        jax.devices()
    else:
        jax.config.update(QUICK.lower(), True)
    os.environ[QUICK] = "1"
    if jax.__version__.startswith("0.10."):
        os.environ["XLA_FLAGS"] = f"{PLAIN} {os.environ.get('XLA_FLAGS', '')}".strip()


def in_full() -> dict[str, str]:
    """The environment of a program that is compiled as for users."""
    flags = os.environ.get("XLA_FLAGS", "").replace(PLAIN, "").strip()
    others = {name: value for name, value in os.environ.items() if name != QUICK}
    return {**others, "XLA_FLAGS": flags}


def pytest_collection_modifyitems(config, items):
    """What is marked soak runs where everything does."""
    if not laws.THOROUGH:
        soaked = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soaked)
        items[:] = [item for item in items if item not in soaked]


@pytest.fixture(autouse=True, scope="module")
def _forget_programs():
    """Compiled programs take memory maps, of which a process may have 65,530: then LLVM crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A program that runs in this process begins to log; the next test has not asked for it."""
    loggers = [logging.getLogger(name) for name in (None, "cerebellum")]
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    yield
    for each, (handlers, level, propagate) in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture
def run(capsys):
    """The program: arguments to its exit code, standard output and standard error."""

    def call(*arguments) -> tuple[int | str | None, str, str]:
        try:
            code = main.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


@pytest.fixture
def broadcasting():
    """For what is learned, where arrays meet rows of their own last axis all the time."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def broadcasting_everywhere():
    """The same for a whole module, in the threads of an engine too."""
    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """A service that runs, for tests that only ask it."""
    folder = tmp_path_factory.mktemp("service")
    several, soon = {"batch_size": 4}, {"connection_timeout": 3.0}
    circuit = {"granule_size": 1_000}
    held = serving.serve(folder, neural=circuit, performance=several, server=soon)
    yield held
    held.stop()


@contextmanager
def quick():
    """What is compiled meanwhile in this process is, as in programs, not optimized by LLVM."""
    before = jax.config.read(QUICK.lower())
    jax.config.update(QUICK.lower(), QUICK in os.environ)
    yield
    jax.config.update(QUICK.lower(), before)


@pytest.fixture
def compiled_quickly():
    """For slow tests that compile for longer than they run."""
    with quick():
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """What a training run of a small circuit left, and the ticks that it learned from.

    Workers share it: the first that needs it trains, the others wait for that. It is only read.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained"
    folder.mkdir(exist_ok=True)
    ticks, done = folder / "ticks.csv", folder / "done"
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            series.write(ticks, series.steps(2_000, 0.85, 0))
            method = {"method": "climbing_fiber", "epochs": 1}
            small = serving.configuration(folder, 1, training=method)
            given = ("--data", ticks, "--out", folder / "models", "--config", small, "--no-plots")
            with jax.numpy_rank_promotion("allow"), quick():
                assert main.main(["train", *map(str, given)]) == 0
            done.touch()
    return folder / "models", ticks


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The folder of the documentation site, built with warnings as errors; it is only read.

    Workers share it, as they do `trained`. What examples printed and drew is kept for the next run.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir"]
            environment = {
                **os.environ,
                "NO_MKDOCS_2_WARNING": "1",
                "CEREBELLUM_DOCS_CACHE": str(ROOT / ".pytest_cache/docs"),
            }
            built = subprocess.run(
                [*command, str(folder / "html")],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
            )
            assert built.returncode == 0, built.stderr[-5_000:]
            (folder / "done").touch()
    return folder / "html"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data, which is not part of the project; skips where it is absent."""
    folder = Path(os.environ.get("CEREBELLUM_SHARED", ROOT.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"reference data absent: {folder}; set CEREBELLUM_SHARED")
    return folder


@pytest.fixture(scope="session")
def small_mouse() -> cb.Circuit:
    """Model A at a fiftieth of its cells, on the event path."""
    return cb.build(cb.presets.mouse(scale=0.02), jax.random.key(0), path="event")
