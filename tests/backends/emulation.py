"""The CUDA kernels on a CPU: the same files, compiled by the C++ compiler, as JAX targets there.

`cerebellum/backends/cuda/emulation` gives the words of CUDA their meaning on a processor.
"""

import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import jax

from cerebellum.backends import compiled
from cerebellum.backends.cuda import library

THREADS = library.FOLDER / "emulation" / "threads.cc"
FLAGS = (
    *("-std=c++17", "-O1", "-ffp-contract=off", "-U_FORTIFY_SOURCE", "-fPIC", "-shared", "-w"),
    *("-x", "c++"),
)


def compiler() -> str | None:
    """The C++ compiler, or None."""
    return os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++"))), None)


def register(unit: Path) -> None:
    """Compile a CUDA source for the CPU, and make its handlers known to JAX there."""
    chosen = compiler()
    assert chosen is not None, "a C++ compiler"
    folders = ["-I", jax.ffi.include_dir(), "-I", str(library.FOLDER)]
    files = [unit, THREADS, *library.headers()]

    def build(path: Path) -> None:
        compiled.run([chosen, *FLAGS, *folders, str(unit), str(THREADS), "-o", str(path)])

    recipe = compiled.Recipe(
        what=f"kernels of {unit.name} for the CPU",
        stem="emulation",
        compiler=chosen,
        ingredients=[
            *(file.read_bytes() for file in files),
            " ".join([chosen, *FLAGS, version("jaxlib")]).encode(),
        ],
        build=build,
    )
    try:
        path = compiled.library(recipe)
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.output) from None
    compiled.register(path, compiled.handlers([unit]), "cpu")
