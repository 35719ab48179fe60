"""The library of CUDA kernels: the .cu files beside this one, compiled for the GPU of this machine.

Each kernel gives the same result as the XLA path, which is always available and runs if there is no
compiler. The library is built when it is first needed, which the log says, and kept in the user's
cache.
"""

import logging
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from cerebellum.backends import compiled
from cerebellum.backends.compiled import Kernels
from cerebellum.backends.cuda import compiler
from cerebellum.backends.cuda.compiler import Compiler

FOLDER = Path(__file__).parent
CPU = FOLDER.parent / "cpu"
"""The C++ kernels, with which the CUDA kernels share headers."""

log = logging.getLogger(__name__)


@cache
def kernels() -> Kernels:
    """Compile the kernels if necessary, load them, and register them with JAX, once per process.

    The log has a line when they are compiled, and where, or why they cannot be used.
    """
    found = _load()
    if not found.ready:
        log.warning("no CUDA kernels: %s; circuits run on XLA alone, which is slower", found.why)
    return found


def _load() -> Kernels:
    import jax

    try:
        devices = jax.local_devices(backend="cuda")
    except RuntimeError:
        return Kernels(False, f"JAX finds no GPU of NVIDIA; it computes on {jax.default_backend()}")
    capabilities = [device.compute_capability for device in devices]
    problem = unsuitable(capabilities)
    if problem is not None:
        return Kernels(False, problem)
    found = compiler.find()
    if isinstance(found, str):
        return Kernels(False, found)
    names = sorted(set(map(compiler.architecture, capabilities)))
    return compiled.load(found.nvcc, lambda: build(found, names), targets(), "CUDA")


def unsuitable(capabilities: Sequence[str]) -> str | None:
    """Why the kernels cannot run on devices of these compute capabilities ("9.0"), or None."""
    if sys.platform == "win32":
        return "they are built on Linux"
    oldest = ".".join(map(str, compiler.OLDEST))
    for each in capabilities:
        if tuple(map(int, each.split("."))) < compiler.OLDEST:
            return f"the GPU has compute capability {each}; {oldest} or later"
    return None


def units() -> list[Path]:
    """The .cu files of this folder."""
    return compiled.sources(FOLDER, ".cu")


def headers() -> list[Path]:
    """The headers of the .cu files."""
    return [*compiled.sources(FOLDER, ".cuh", ".h"), *compiled.sources(CPU, ".h")]


def targets() -> list[str]:
    """Names of the handlers that the .cu files define."""
    return compiled.handlers(units())


def build(found: Compiler, architectures: Sequence[str]) -> Path:
    """The path of the library, which is compiled if the cache does not have it. Needs no GPU.

    Args:
      architectures: as nvcc names them: "sm_80", "sm_90a".

    Raises:
      subprocess.CalledProcessError: nvcc failed.
      OSError: nvcc cannot be started, or the disk refused.
    """
    files = [*units(), *headers()]
    call = [*found.command(architectures), found.version(), version("jaxlib")]
    recipe = compiled.Recipe(
        what="CUDA kernels",
        stem="cuda",
        compiler=found.nvcc,
        ingredients=[*(file.read_bytes() for file in files), " ".join(call).encode()],
        build=lambda path: found.build(units(), architectures, path),
    )
    return compiled.library(recipe)
