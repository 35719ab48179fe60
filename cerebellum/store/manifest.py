"""The manifest of a checkpoint: the size and SHA-256 of each file, in a file that is written last.

Orbax restores a flipped byte as a wrong number without an error (0.12: 111 of 120 flips in array
data). The manifest detects every flip, also one in the manifest itself. No other file of a
checkpoint is used before the manifest has been verified.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cerebellum.errors import FailedError, UsageError
from cerebellum.files import flush

NAME = "manifest.json"
FORMAT = 2
LARGEST = 64 * 2**20
"""Largest size of a manifest that is read, bytes."""

WORKERS = 4
"""Files that are hashed in parallel; hashing releases Python's global lock."""


def _add_rows(body: dict[str, Any]) -> dict[str, Any]:
    """Migrate format 1 to 2: in format 1, every array was a single piece."""
    about = body["about"]
    arrays = {name: {**array, "rows": None} for name, array in about["arrays"].items()}
    return {**body, "about": {**about, "arrays": arrays}}


MIGRATIONS = {1: _add_rows}
"""For each format, the function that turns its manifest into one of the next format.

The files on the disk are not changed.
"""


@dataclass(frozen=True)
class Problem:
    """A problem with a file of a checkpoint."""

    file: str
    problem: str


class DamagedError(FailedError):
    """A checkpoint is not what was written, or is from a later version; names each bad file."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(f"{each.file}: {each.problem}" for each in problems))
        self.problems = problems


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest of the files in a folder, and flush the folder to the disk.

    Args:
      about: JSON values that describe the checkpoint.

    Raises:
      OSError: the disk refused.
    """
    files = sorted(_entries(folder))
    with ThreadPoolExecutor(WORKERS) as pool:
        checksums = list(pool.map(lambda name: _checksum(folder / name), files))
    entries = {
        name: {"bytes": size, "sha256": digest}
        for name, (size, digest) in zip(files, checksums, strict=True)
    }
    body = {"format": FORMAT, "files": entries, "about": about}
    (folder / NAME).write_bytes(_canonical(body))
    flush_all(folder)


def flush_all(folder: Path) -> None:
    """Flush everything below a folder to the disk; each folder follows its files."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            flush(Path(parent, name))
        flush(Path(parent))


def read(folder: Path) -> dict[str, Any]:
    """The `about` of a folder's manifest; only the manifest is verified, not the files.

    Raises:
      DamagedError: there is no manifest, its bytes are not those that were written, or it is from
        a later version.
    """
    return _body(folder)["about"]


def check(folder: Path) -> list[Problem]:
    """The problems of a checkpoint's folder; each of its files is read."""
    try:
        entries = _body(folder)["files"]
        names = set(_entries(folder))
    except DamagedError as error:
        return error.problems
    problems = [Problem(name, "not in the manifest") for name in sorted(names - entries.keys())]
    missing = sorted(entries.keys() - names)
    problems += [Problem(name, "missing") for name in missing]

    def compare(name: str) -> Problem | None:
        entry = entries[name]
        size = (folder / name).stat().st_size
        if size != entry["bytes"]:
            return Problem(name, f"{size} bytes; {entry['bytes']} were written")
        if _checksum(folder / name)[1] != entry["sha256"]:
            return Problem(name, "not the bytes that were written (SHA-256)")
        return None

    def check_file(name: str) -> Problem | None:
        try:
            return compare(name)
        except OSError as error:
            return Problem(name, f"cannot be read ({error.strerror})")

    with ThreadPoolExecutor(WORKERS) as pool:
        results = pool.map(check_file, sorted(names & entries.keys()))
    return problems + [problem for problem in results if problem]


def _canonical(body: dict[str, Any]) -> bytes:
    """The body as bytes, followed by the SHA-256 of those bytes."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), default=_plain).encode()
    return text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n"


def _plain(value: Any) -> Any:
    """The JSON value of a scalar or an array of NumPy or JAX, or of a path."""
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise UsageError(f"about: {value!r}; numbers, texts, and lists and dictionaries of them")


def _body(folder: Path) -> dict[str, Any]:
    """The verified content of a manifest: every byte of it is what `seal` wrote."""

    def damage(problem: str) -> DamagedError:
        return DamagedError([Problem(NAME, problem)])

    path = folder / NAME
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise damage("not a file")
        if status.st_size > LARGEST:
            raise damage(f"{status.st_size} bytes; at most {LARGEST}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise damage("missing: not a finished checkpoint") from None
    except OSError as error:
        raise damage(f"cannot be read ({error.strerror})") from None
    text, _, signature = data.partition(b"\n")
    if signature != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise damage("not the bytes that were written (SHA-256)")
    try:
        body = json.loads(text)
        version = body["format"]
        if version > FORMAT:
            raise damage(
                f"format {str(version)[:12]}, of a later version; this one reads up to {FORMAT}"
            )
        for older in range(version, FORMAT):
            body = MIGRATIONS[older](body)
        for name, entry in body["files"].items():
            if not _is_inside(name) or not isinstance(entry["sha256"], str):
                raise damage(f"names {name!r}, a path outside the checkpoint")
            int(entry["bytes"])
        body["about"].keys()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise damage("not a manifest") from None
    return body


def _is_inside(name: str) -> bool:
    """Whether a name is a plain relative path below the folder, and not the manifest's."""
    path = PurePosixPath(name)
    plain = str(path) == name and "\\" not in name and "\0" not in name
    return plain and not path.is_absolute() and ".." not in path.parts and name != NAME


def _entries(folder: Path) -> Iterator[str]:
    """The names of all files below a folder except the manifest.

    Raises:
      DamagedError: a link or a device is among them.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise DamagedError([Problem(relative, "a link or a device, not a file")])
            if stat.S_ISREG(mode) and relative != NAME:
                yield relative


def _checksum(path: Path) -> tuple[int, str]:
    """The size of a file, bytes, and its SHA-256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
