"""Which program this is: its version, and a digest that tells programs of one version apart."""

import hashlib
from pathlib import Path

__version__ = "0.1.0"
"""The version of the package, and the one place where it is written; pyproject.toml reads it."""

NAME = "cerebellar-norse"
"""The name of the distribution."""

DIGITS = 12
SOURCES = (".py", ".cc", ".cu", ".cuh", ".h", ".html")


def digest(folder: Path = Path(__file__).parent) -> str:
    """The first digits of the SHA-256 of the names and contents of a package's source files."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix in SOURCES:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return whole.hexdigest()[:DIGITS]
