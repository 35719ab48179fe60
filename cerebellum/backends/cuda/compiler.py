"""NVIDIA's compiler `nvcc`: where it is, and what it is told.

It comes as wheels, `pip install "cerebellar-norse[cuda]"`, or with a CUDA toolkit. It needs a C++
compiler too, for the part of a file that runs on the host.
"""

import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cerebellum import system
from cerebellum.backends import compiled

OLDEST = (8, 0)
"""The least compute capability that the kernels are written for."""

FLAGS = (
    *("-std=c++17", "-O3", "-fmad=false", "-lineinfo", "-w"),
    *("-Xcompiler", "-fPIC", "-cudart", "static"),
)
"""Contraction is off because a fused multiply-add rounds once where XLA rounds twice."""

WHEEL = (
    *("bin/nvcc", "nvvm/bin/cicc"),
    *("include/cuda_runtime.h", "include/crt/host_config.h", "lib/libcudart_static.a"),
)
"""Files of the wheels nvidia-cuda-nvcc, nvidia-nvvm, nvidia-cuda-runtime and nvidia-cuda-crt,
without which nvcc does not work; jax for CUDA may install some of these wheels alone."""

HOST_COMPILERS = ("g++", "c++", "clang++")

HINT = 'pip install "cerebellar-norse[cuda]"'


@dataclass(frozen=True)
class Compiler:
    """nvcc, and the C++ compiler that it uses."""

    nvcc: str
    host: str
    include: str
    """the folder of the headers of XLA's foreign functions"""

    def version(self) -> str:
        """What `nvcc --version` says.

        Raises:
          subprocess.CalledProcessError: it failed.
          OSError: it cannot be started.
        """
        return compiled.run([self.nvcc, "--version"])

    def command(self, architectures: Sequence[str]) -> list[str]:
        """The beginning of every call: the flags, and machine code for each architecture."""
        command = [self.nvcc, "-ccbin", self.host, *FLAGS, "-I", self.include]
        for name in architectures:
            command += ["-gencode", f"arch=compute_{name.removeprefix('sm_')},code={name}"]
        return command

    def build(self, units: Sequence[Path], architectures: Sequence[str], path: Path) -> None:
        """Compile .cu files side by side, and link them into one library at `path`.

        Raises:
          subprocess.CalledProcessError: nvcc failed.
          OSError: nvcc cannot be started.
        """
        command = self.command(architectures)
        objects = [path.with_name(f"{unit.stem}.o") for unit in units]

        def compile_unit(unit: Path, object: Path) -> None:
            compiled.run([*command, "-c", str(unit), "-o", str(object)])

        with ThreadPoolExecutor(parallel(len(units))) as pool:
            list(pool.map(compile_unit, units, objects))
        compiled.run([*command, "-shared", *map(str, objects), "-o", str(path)])


def parallel(jobs: int) -> int:
    """How many of so many calls of nvcc run at once."""
    return max(1, min(jobs, len(system.processors())))


def find() -> Compiler | str:
    """The compiler of this machine, or one line that says what is missing."""
    import jax

    nvcc = _nvcc()
    if nvcc is None:
        return f"no nvcc (in this Python, CUDA_HOME, CUDACXX or PATH); {HINT}"
    host = os.environ.get("CXX") or next(filter(None, map(shutil.which, HOST_COMPILERS)), None)
    if host is None:
        return f"nvcc needs a C++ compiler ({', '.join(HOST_COMPILERS)}, or CXX)"
    return Compiler(nvcc=nvcc, host=host, include=jax.ffi.include_dir())


def _nvcc() -> str | None:
    """The path of nvcc: of this Python's wheels, of CUDA_HOME or CUDACXX, or the first in PATH."""
    package = find_spec("nvidia")
    for folder in package.submodule_search_locations or () if package else ():
        wheel = Path(folder, "cu13")
        if all((wheel / name).is_file() for name in WHEEL):
            return str(wheel / "bin" / "nvcc")
    home = os.environ.get("CUDA_HOME")
    candidates = [str(Path(home, "bin", "nvcc"))] if home else []
    candidates += [os.environ.get("CUDACXX", ""), "nvcc"]
    return next(filter(None, map(shutil.which, filter(None, candidates))), None)


def architecture(capability: str) -> str:
    """The architecture that nvcc compiles for, from a compute capability such as "9.0"."""
    major, minor = capability.split(".")
    # With "a", nvcc may use what later generations do not have.
    return f"sm_{major}{minor}a" if capability == "9.0" else f"sm_{major}{minor}"
