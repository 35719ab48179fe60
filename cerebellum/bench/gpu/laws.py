"""The laws of backends on the device: the conformance suite, run by pytest as its own process."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FILES = ("tests/backends/test_conformance.py", "tests/backends/test_cuts.py")
NEEDS = ("pytest", "hypothesis", "chex")
"""Packages that the tests need, besides those of the core."""
CHOICE = "(cuda or test_cuts) and not emulated"
"""What is tested on a GPU: everything of its backends, and cuts on all that can be used there."""
QUICK = "(test_bits_past and native) or (test_cuts and xla)"
"""What is tested on a CPU."""


@dataclass(frozen=True)
class Verdict:
    """Whether the laws hold on the device, and one line about it."""

    holds: bool
    line: str


def check(platform: str, limit_s: float, log: Path, whole: bool = False) -> Verdict:
    """Run the tests of backends.

    Args:
      platform: of JAX; on a CPU only two laws are tried.
      log: where the output of pytest is written.
      whole: whether larger circuits are among them, which takes minutes.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        return Verdict(False, f"laws: not run: pip install {' '.join(missing)}")
    files = [name for name in FILES if (ROOT / name).exists()]
    if not files:
        return Verdict(False, f"laws: not run: no {FILES[0]}; in a clone of the repository")
    on_gpu = platform != "cpu"
    command = [sys.executable, "-m", "pytest", "-q", *files, "--noconftest", "-p", "on_device"]
    command += ["-p", "no:cacheprovider", "-rs", "-k", CHOICE if on_gpu else QUICK]
    command += [] if whole else ["-m", "not soak"]
    if find_spec("xdist") is not None and on_gpu:
        command += ["-n", "6", "--dist", "worksteal"]
    paths = (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    with log.open("w") as file:
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            return Verdict(False, f"laws: FAIL: not finished after {limit_s:.0f} s; {log}")
    return verdict(platform, done.returncode, log.read_text(), log)


def verdict(platform: str, code: int, output: str, log: Path) -> Verdict:
    """The verdict from pytest's exit code and output; a test that was skipped shows nothing."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    last = lines[-1] if lines else f"exit code {code}"
    if code == 0 and re.search(r"\d+ passed", last) and "skipped" not in last:
        return Verdict(True, f"laws: PASS on {platform}: {last}")
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR", "SKIPPED"))]
    return Verdict(False, "\n  ".join([f"laws: FAIL on {platform}: {last}; {log}", *failed[:8]]))
