"""The library of native kernels: small C++ files behind `jax.ffi`, compiled on this machine.

The kernels do in one pass what XLA's CPU compiler does in many small operations. Each gives the
same result as the XLA path, which is always available and runs if there is no compiler. The library
is built when it is first needed, which the log says, and kept in the user's cache. Kernels run on
one thread, or on as many as OMP_NUM_THREADS says when the first kernel is called, with the same
result.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-std=c++20", "-O3", "-march=native", "-ffp-contract=off"),
    *("-fPIC", "-shared", "-pthread", "-w"),
)
"""Contraction is off because a fused multiply-add rounds once where XLA rounds twice."""

TARGETS = ("conductance", "current", "draw", "eglif", "push", "settle", "take")


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kernels:
    """Whether the kernels can be used in this process."""

    ready: bool
    why: str
    """path of the library, or the reason why there is none"""


@cache
def kernels() -> Kernels:
    """Compile the kernels if necessary, load them, and register them with JAX, once per process.

    The log has a line when they are compiled, and where, or why they cannot be used.
    """
    found = _load()
    if not found.ready:
        log.warning("no C++ kernels: %s; circuits run on XLA alone, which is slower", found.why)
    return found


def _load() -> Kernels:
    import jax

    if sys.platform == "win32":
        return Kernels(False, "they are built on Linux and macOS")
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return Kernels(False, f"no C++ compiler ({', '.join(COMPILERS)}, or CXX)")
    try:
        path = _library(compiler, jax.ffi.include_dir())
        library = ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        return Kernels(False, f"{compiler}: {lines[0]}")
    except OSError as error:
        return Kernels(False, str(error))
    for name in TARGETS:
        symbol = f"cerebellum_{name}"
        handler = jax.ffi.pycapsule(getattr(library, symbol))
        jax.ffi.register_ffi_target(symbol, handler, platform="cpu")
    return Kernels(True, str(path))


def _library(compiler: str, include: str) -> Path:
    """The path of the compiled library.

    It comes from the cache if the same compiler has built it from the same files for the same
    processor.
    """
    files = sorted(file for file in Path(__file__).parent.iterdir() if file.suffix in (".cc", ".h"))
    ingredients = [*(file.read_bytes() for file in files), _machine()]
    ingredients += [" ".join([compiler, *FLAGS, version("jaxlib")]).encode()]
    name = hashlib.sha256(b"\0".join(ingredients)).hexdigest()[:16]
    folder = _cache()
    path = folder / f"kernels-{name}.so"
    if path.exists():
        return path
    log.warning("compiling the C++ kernels with %s, once, into %s", compiler, path)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        compiled = Path(work) / path.name
        sources = [str(file) for file in files if file.suffix == ".cc"]
        command = [compiler, *FLAGS, "-I", include, *sources, "-o", str(compiled)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        compiled.replace(path)
    return path


def _cache() -> Path:
    """The folder for the library in the user's cache, or else a temporary folder."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "cerebellum"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="cerebellum-"))
    if os.access(folder, os.W_OK):
        return folder
    return Path(tempfile.mkdtemp(prefix="cerebellum-"))


def _machine() -> bytes:
    """A description of the processor, on which -march=native depends."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor().encode()
    fields = ("flags", "Features", "model name")
    return "".join(line for line in text.splitlines() if line.startswith(fields))[:8192].encode()
