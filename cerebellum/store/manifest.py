"""What the files of a checkpoint must be: sizes and SHA-256, in a file that is written last.

Orbax restores a flipped byte as a wrong number without a word (0.12: 111 of 120 flips in array
data). A manifest notices every one, its own included, and is all that is read before anything of
a checkpoint is believed.
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

from cerebellum.errors import FailedError

NAME = "manifest.json"
FORMAT = 2
LARGEST = 64 * 2**20
"""A manifest is smaller, bytes."""

WORKERS = 4
"""Files that are read at once: hashing leaves Python's lock."""


def _pieces(body: dict[str, Any]) -> dict[str, Any]:
    """Since format 2 large arrays are in pieces; before, each was one."""
    about = body["about"]
    arrays = {name: {**told, "rows": None} for name, told in about["arrays"].items()}
    return {**body, "about": {**about, "arrays": arrays}}


MIGRATIONS = {1: _pieces}
"""By format, how a manifest becomes one of the next; its files stay as they are."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file."""

    file: str
    problem: str


class DamagedError(FailedError):
    """A checkpoint that is not what was written, or from a later version; says which file."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(f"{each.file}: {each.problem}" for each in problems))
        self.problems = problems


def seal(folder: Path, about: dict[str, Any]) -> None:
    """Write the manifest of a folder's files, with what else is known, to the disk.

    Args:
      about: JSON values.

    Raises:
      OSError: the disk refused.
    """
    files = sorted(_entries(folder))
    with ThreadPoolExecutor(WORKERS) as pool:
        sums = list(pool.map(lambda name: _sum(folder / name), files))
    listed = {
        name: {"bytes": size, "sha256": digest}
        for name, (size, digest) in zip(files, sums, strict=True)
    }
    body = {"format": FORMAT, "files": listed, "about": about}
    (folder / NAME).write_bytes(_canonical(body))
    flush_all(folder)


def flush_all(folder: Path) -> None:
    """Have everything below a folder reach the disk, its own names last."""
    for inside, _, files in os.walk(folder, topdown=False):
        for name in files:
            flush(Path(inside, name))
        flush(Path(inside))


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(folder: Path) -> dict[str, Any]:
    """The `about` of a folder whose manifest is whole; its files are not looked at.

    Raises:
      DamagedError: no manifest, not the bytes that were written, or from a later version.
    """
    return _body(folder)["about"]


def check(folder: Path) -> list[Problem]:
    """Everything wrong with a folder: each of its files is read."""
    try:
        listed = _body(folder)["files"]
        there = set(_entries(folder))
    except DamagedError as error:
        return error.problems
    problems = [Problem(name, "not in the manifest") for name in sorted(there - listed.keys())]
    missing = sorted(listed.keys() - there)
    problems += [Problem(name, "missing") for name in missing]

    def compare(name: str) -> Problem | None:
        wanted = listed[name]
        size = (folder / name).stat().st_size
        if size != wanted["bytes"]:
            return Problem(name, f"{size} bytes; {wanted['bytes']} were written")
        if _sum(folder / name)[1] != wanted["sha256"]:
            return Problem(name, "not the bytes that were written (SHA-256)")
        return None

    def look(name: str) -> Problem | None:
        try:
            return compare(name)
        except OSError as error:
            return Problem(name, f"cannot be read ({error.strerror})")

    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(look, sorted(there & listed.keys()))
    return problems + [problem for problem in found if problem]


def _canonical(body: dict[str, Any]) -> bytes:
    """The body as bytes, its own SHA-256 behind it."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n"


def _body(folder: Path) -> dict[str, Any]:
    """The manifest, believed: every byte of it is what `seal` writes."""

    def bad(problem: str) -> DamagedError:
        return DamagedError([Problem(NAME, problem)])

    path = folder / NAME
    try:
        told = path.lstat()
        if not stat.S_ISREG(told.st_mode):
            raise bad("not a file")
        if told.st_size > LARGEST:
            raise bad(f"{told.st_size} bytes; at most {LARGEST}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise bad("missing: not a finished checkpoint") from None
    except OSError as error:
        raise bad(f"cannot be read ({error.strerror})") from None
    text, _, rest = data.partition(b"\n")
    if rest != hashlib.sha256(text).hexdigest().encode() + b"\n":
        raise bad("not the bytes that were written (SHA-256)")
    try:
        body = json.loads(text)
        version = body["format"]
        if version > FORMAT:
            raise bad(f"format {version}, of a later version; this one reads up to {FORMAT}")
        for older in range(version, FORMAT):
            body = MIGRATIONS[older](body)
        for name, told in body["files"].items():
            if not _inside(name) or not isinstance(told["sha256"], str):
                raise bad(f"names {name!r}, a path outside the checkpoint")
            int(told["bytes"])
        body["about"].keys()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise bad("not a manifest") from None
    return body


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = str(path) == name and "\\" not in name and "\0" not in name
    return plain and not path.is_absolute() and ".." not in path.parts and name != NAME


def _entries(folder: Path) -> Iterator[str]:
    """Names of all files below a folder but the manifest; DamagedError at a link or a device."""
    for inside, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(inside, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise DamagedError([Problem(relative, "a link or a device, not a file")])
            if stat.S_ISREG(mode) and relative != NAME:
                yield relative


def _sum(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest
