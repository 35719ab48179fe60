"""Libraries of kernels that are compiled on this machine and kept in the user's cache."""

import ctypes
import hashlib
import logging
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kernels:
    """Whether the kernels of a backend can be used in this process."""

    ready: bool
    why: str
    """path of the library, or the reason why there is none"""


def load(compiler: str, build: Callable[[], Path], names: Sequence[str], platform: str) -> Kernels:
    """Compile a library, load it, and register its handlers with JAX.

    Args:
      compiler: for the reason of a failure.
      build: returns the path of the library.
      names: of the handlers.
      platform: for which JAX gets them as targets, "cpu" or "CUDA".
    """
    try:
        path = build()
        register(path, names, platform)
    except subprocess.CalledProcessError as error:
        return Kernels(False, f"{compiler}: {failure(error)}")
    except OSError as error:
        return Kernels(False, str(error))
    return Kernels(True, str(path))


def register(path: Path, names: Sequence[str], platform: str) -> None:
    """Load a library and make its handlers targets of JAX on a platform, by their names."""
    import jax

    library = ctypes.CDLL(str(path))
    for name in names:
        handler = jax.ffi.pycapsule(getattr(library, name))
        jax.ffi.register_ffi_target(name, handler, platform=platform)


def handlers(units: Sequence[Path]) -> list[str]:
    """Names of the handlers of source files: a line XLA_FFI_DEFINE_HANDLER_SYMBOL(NAME, ...) makes
    NAME a target for JAX."""
    line = re.compile(r"^\s*XLA_FFI_DEFINE_HANDLER_SYMBOL\(\s*(\w+)", re.MULTILINE)
    return [name for unit in units for name in line.findall(unit.read_text())]


@dataclass(frozen=True)
class Recipe:
    """How a library is made, and what its file in the cache depends on."""

    what: str
    """what is compiled, for the log: "C++ kernels" """
    stem: str
    """the first part of the file's name"""
    compiler: str
    ingredients: Sequence[bytes]
    """everything that changes the result: sources, flags, versions, the machine"""
    build: Callable[[Path], None]
    """writes the library to a path that does not exist yet"""


def library(recipe: Recipe) -> Path:
    """The path of a compiled library, from the cache if the same ingredients have made it before.

    Processes that need the same library at once wait for the first of them to compile it. A file in
    the cache is always complete.

    Raises:
      subprocess.CalledProcessError: the compiler failed.
      OSError: the compiler cannot be started, or the disk refused.
    """
    name = hashlib.sha256(b"\0".join(recipe.ingredients)).hexdigest()[:16]
    folder = cache()
    path = folder / f"{recipe.stem}-{name}.so"
    if path.exists():
        return path
    with _alone(folder / f".{recipe.stem}-{name}.lock"):
        if path.exists():
            return path
        log.warning("compiling the %s with %s, once, into %s", recipe.what, recipe.compiler, path)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            built = Path(work) / path.name
            recipe.build(built)
            built.replace(path)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of a file, where the system has locks."""
    with path.open("w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError) as error:
            # Without a lock two processes compile the same library; either file is complete.
            log.debug("%s: %s", path, error)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def cache() -> Path:
    """The folder for libraries in the user's cache, or else a temporary folder."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "cerebellum"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return Path(tempfile.mkdtemp(prefix="cerebellum-"))
    if os.access(folder, os.W_OK):
        return folder
    return Path(tempfile.mkdtemp(prefix="cerebellum-"))


def sources(folder: Path, *suffixes: str) -> list[Path]:
    """The files of a folder, and of folders in it, with one of these suffixes, sorted by name."""
    return sorted(file for file in folder.rglob("*") if file.suffix in suffixes)


def run(command: Sequence[str]) -> str:
    """Run a compiler and return what it wrote to standard output and error.

    Raises:
      subprocess.CalledProcessError: it failed; `output` has what it wrote.
      OSError: it cannot be started.
    """
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


def failure(error: subprocess.CalledProcessError) -> str:
    """The first line of an error that a compiler wrote, or else its first line of all."""
    lines = [line.strip() for line in (error.output or "").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return next(iter(errors or lines), f"exit code {error.returncode}")
