"""What the examples printed and drew, run again only if they or the package have changed."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("CEREBELLUM_DOCS_CACHE", ROOT / "build/docs-cache"))
"""Outputs by content; safe to delete."""

PROCESSES = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class Output:
    """What an example left."""

    stdout: str
    pictures: tuple[Path, ...]
    """in the order in which they were written"""
    seconds: float
    """of its run, compiling included"""


@cache
def package_digest() -> str:
    """A digest of the package's sources and of the version of JAX."""
    digest = hashlib.sha256(version("jax").encode())
    for path in sorted((ROOT / "cerebellum").rglob("*")):
        if path.suffix in (".py", ".cc", ".h"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def digest(text: str) -> str:
    """A short digest of a text and the package, by which outputs are kept."""
    return hashlib.sha256(f"{package_digest()}{text}".encode()).hexdigest()[:16]


def outputs(scripts: list[Path]) -> dict[Path, Output]:
    """The outputs of scripts; those that are not kept are run first, in two processes.

    Raises:
      RuntimeError: an example failed or warned; with what it said.
    """
    folders = {path: CACHE / f"{path.stem}-{digest(path.read_text())}" for path in scripts}
    missing = [path for path in scripts if not folders[path].is_dir()]
    runs = []
    for share in (missing[first::PROCESSES] for first in range(PROCESSES)):
        pairs = [str(each) for path in share for each in (path, folders[path])]
        command = [sys.executable, str(ROOT / "scripts/site/run_example.py"), *pairs]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        if pairs:
            runs.append(
                subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            )
    said = [run.communicate()[1] for run in runs]
    failed = [text for run, text in zip(runs, said, strict=True) if run.returncode]
    if failed:
        raise RuntimeError("an example failed:\n" + "\n".join(failed))
    return {path: _read(folder) for path, folder in folders.items()}


def _read(folder: Path) -> Output:
    kept = json.loads((folder / "output.json").read_text())
    pictures = tuple(folder / name for name in kept["pictures"])
    return Output(kept["stdout"], pictures, kept["seconds"])
