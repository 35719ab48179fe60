"""Compiled programs that are kept on the disk, so that the next process need not compile them.

The cache is JAX's own: entries are named after the program, the compiler, its flags and the
device, so that an old entry is never run in the place of a new program. What cannot be read or
written is compiled, and JAX warns. Processes may share a folder.
"""

import hashlib
import logging
import os
import platform
import sys
from pathlib import Path
from typing import Any

VARIABLE = "CEREBELLUM_COMPILATION_CACHE"
"""Environment variable for the command line: "off", or a folder."""

MOST_BYTES = 2 * 2**30
"""Size of the default folder from which on the oldest programs are removed, down to half of it."""

_FOLDER = "JAX_COMPILATION_CACHE_DIR"
_SETTINGS: dict[str, Any] = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0.2}
"""JAX's own settings, as it names them in the environment, where the environment has none."""

log = logging.getLogger(__name__)


def compilation_cache(folder: str | Path | None = None) -> Path | None:
    """Keep compiled programs in a folder, for this process and those that it starts later.

    A folder that cannot be written changes nothing but for one line of warning.

    Args:
      folder: where; by default that of the environment variable JAX_COMPILATION_CACHE_DIR, or
        else a folder of this kind of processor in the user's cache (XDG_CACHE_HOME, ~/.cache).
        Whoever can write to it can run code as you.

    Returns:
      The folder, or None if it cannot be written.
    """
    chosen = folder or os.environ.get(_FOLDER)
    try:
        path = Path(chosen).expanduser().absolute() if chosen else _default()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
        if not chosen:
            _tidy(path)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        log.warning("compilation cache: %s: %s; programs are compiled anew", chosen, reason)
        return None
    _switch_on({_FOLDER: str(path), **{n: os.environ.get(n, x) for n, x in _SETTINGS.items()}})
    return path


def for_programs() -> None:
    """The same for the command line: the default folder, unless `VARIABLE` says otherwise."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted.lower() not in ("off", "0", "no", "false"):
        compilation_cache(wanted or None)


def _default() -> Path:
    """The folder of this user for this kind of processor.

    Compiled programs use the instructions of the processor that they were compiled on, and a home
    folder may be shared by different ones.
    """
    caches = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = platform.processor()
    kinds = ("model name", "flags", "Features", "CPU part")
    kind = sorted({line for line in text.splitlines() if line.startswith(kinds)}) or [text]
    processor = hashlib.sha256("\n".join([platform.machine(), *kind]).encode()).hexdigest()[:12]
    return base / "cerebellum" / f"compiled-{processor}"


def _tidy(folder: Path) -> None:
    """Remove the oldest programs of a folder that has grown too large."""
    entries = []
    for path in folder.iterdir():
        try:
            about = path.stat()
        except FileNotFoundError:  # Another process tidies, too.
            continue
        entries.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in entries)
    if total <= MOST_BYTES:
        return
    for _, size, path in sorted(entries):
        if total <= MOST_BYTES // 2:
            return
        path.unlink(missing_ok=True)
        total -= size


def _switch_on(settings: dict[str, Any]) -> None:
    """Give settings to JAX, and to the programs that this process starts.

    JAX reads the environment when it is imported, which takes long and may come later.
    """
    for name, value in settings.items():
        os.environ[name] = str(value)
    # XLA logs at length, as an error, that it reads a program of this very processor back: two of
    # the features that it compares are its own. It reads this when it is loaded.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "jax" not in sys.modules:
        return
    import jax

    folder = settings[_FOLDER]
    if getattr(jax.config, _FOLDER.lower()) != folder:
        from jax.experimental.compilation_cache import compilation_cache as cache

        cache.reset_cache()
        jax.config.update(_FOLDER.lower(), folder)
    for name, value in settings.items():
        if name != _FOLDER:
            jax.config.update(name.lower(), float(value))
