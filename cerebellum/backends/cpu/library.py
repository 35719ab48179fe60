"""The library of native kernels: small C++ files behind `jax.ffi`, compiled on this machine.

The kernels do in one pass what XLA's CPU compiler does in many small operations. Each gives the
same result as the XLA path, which is always available and runs if there is no compiler. The library
is built when it is first needed, which the log says, and kept in the user's cache. Kernels run on
one thread, or on as many as OMP_NUM_THREADS says when the first kernel is called, with the same
result.
"""

import logging
import os
import platform
import shutil
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from cerebellum.backends import compiled
from cerebellum.backends.compiled import Kernels

FOLDER = Path(__file__).parent
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    *("-std=c++20", "-O3", "-march=native", "-ffp-contract=off"),
    *("-fPIC", "-shared", "-pthread", "-w"),
)
"""Contraction is off because a fused multiply-add rounds once where XLA rounds twice."""

log = logging.getLogger(__name__)


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
    recipe = _recipe(compiler, jax.ffi.include_dir())
    names = compiled.handlers(_units())
    return compiled.load(compiler, lambda: compiled.library(recipe), names, "cpu")


def _units() -> list[Path]:
    """The .cc files of this folder."""
    return compiled.sources(FOLDER, ".cc")


def _recipe(compiler: str, include: str) -> compiled.Recipe:
    """The library depends on the compiler, the files and the processor."""

    def build(path: Path) -> None:
        compiled.run([compiler, *FLAGS, "-I", include, *map(str, _units()), "-o", str(path)])

    return compiled.Recipe(
        what="C++ kernels",
        stem="kernels",
        compiler=compiler,
        ingredients=[
            *(file.read_bytes() for file in compiled.sources(FOLDER, ".cc", ".h")),
            _machine(),
            " ".join([compiler, *FLAGS, version("jaxlib")]).encode(),
        ],
        build=build,
    )


def _machine() -> bytes:
    """A description of the processor, on which -march=native depends."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor().encode()
    fields = ("flags", "Features", "model name")
    return "".join(line for line in text.splitlines() if line.startswith(fields))[:8192].encode()
