"""The CUDA kernels on a CPU: the same files, compiled by the C++ compiler, as JAX targets there.

`cerebellum/backends/cuda/emulation` gives the words of CUDA their meaning on a processor.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jax

from cerebellum.backends import cuda

CUDA = Path(cuda.__file__).parent
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-U_FORTIFY_SOURCE", "-fPIC", "-shared", "-w"),
    *("-x", "c++"),
)


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++"))), None)


@cache
def library(*sources: Path) -> ctypes.CDLL:
    """The library of CUDA sources, compiled for the CPU and kept for as long as they stay."""
    chosen = compiler()
    assert chosen is not None, "a C++ compiler"
    headers = [file for file in sorted(CUDA.rglob("*")) if file.suffix in (".h", ".cuh", ".cc")]
    parts = [file.read_bytes() for file in (*sources, *headers)]
    name = hashlib.sha256(b"\0".join([*parts, " ".join(FLAGS).encode()])).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"cerebellum-emulation-{os.getuid()}" / f"{name}.so"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            include = ["-I", jax.ffi.include_dir(), "-I", str(CUDA)]
            files = [*map(str, sources), str(CUDA / "emulation" / "threads.cc")]
            command = [chosen, *FLAGS, *include, *files, "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            made.replace(path)
    return ctypes.CDLL(str(path))


def register(compiled: ctypes.CDLL, *names: str) -> None:
    """Make handlers of a library known to JAX on the CPU, by the names that they have on a GPU."""
    for name in names:
        handler = jax.ffi.pycapsule(getattr(compiled, name))
        jax.ffi.register_ffi_target(name, handler, platform="cpu")
