"""Native kernels: small C++ files behind `jax.ffi`, compiled where there is a compiler.

They do in one pass what XLA's CPU compiler does in many small operations. Each has the same
result as the XLA path, which is there always, and takes over where no compiler is found. The
library is built once for a machine and kept in the user's cache. They run on one thread, or on as
many as OMP_NUM_THREADS says when the first is called, with the same result.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
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
"""No contraction: a fused multiply-add rounds once where XLA rounds twice."""

TARGETS = ("current", "draw", "push", "settle")


@dataclass(frozen=True)
class Kernels:
    """Whether the kernels can be used in this process."""

    ready: bool
    why: str
    """where the library is, or why there is none"""


@cache
def kernels() -> Kernels:
    """Compile the kernels if need be, load them, and register them with JAX; once a process."""
    import jax

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
    """The compiled library, from the cache if it was made of the same by the same."""
    files = sorted(each for each in Path(__file__).parent.iterdir() if each.suffix in (".cc", ".h"))
    made_of = [*(file.read_bytes() for file in files), _machine()]
    made_of += [" ".join([compiler, *FLAGS, version("jaxlib")]).encode()]
    name = hashlib.sha256(b"\0".join(made_of)).hexdigest()[:16]
    folder = _cache()
    path = folder / f"kernels-{name}.so"
    if path.exists():
        return path
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work) / path.name
        sources = [str(file) for file in files if file.suffix == ".cc"]
        command = [compiler, *FLAGS, "-I", include, *sources, "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        made.replace(path)
    return path


def _cache() -> Path:
    """A folder of the user's to keep the library in, or else one for this process."""
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
    """What -march=native depends on."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor().encode()
    told = ("flags", "Features", "model name")
    return "".join(line for line in text.splitlines() if line.startswith(told))[:8192].encode()
