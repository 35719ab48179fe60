"""The directory of a program's results."""

from pathlib import Path

from cerebellum.errors import UsageError


def directory(path: str) -> Path:
    """A writable directory for results; created if it does not exist.

    Raises:
      UsageError: the directory cannot be created or written.
    """
    if not path:
        raise UsageError("--out: ''; a directory")
    out = Path(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out: {path}; {error.strerror}, a writable directory") from None
    return out
