"""What each kernel takes of a GPU, as the compiler says, for any architecture. Needs no GPU.

`python -m cerebellum.backends.cuda.resources --arch sm_80 sm_90a sm_100` prints it as a table.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cerebellum.backends import compiled
from cerebellum.backends.cuda import compiler, library
from cerebellum.backends.cuda.compiler import Compiler

ARCHITECTURES = ("sm_80", "sm_90a", "sm_100")
"""Those that the tests compile for: A100, H100 and H200, B200."""


@dataclass(frozen=True)
class Resources:
    """What one kernel takes."""

    kernel: str
    """its name with its template arguments"""
    architecture: str
    registers: int
    """of each thread"""
    spill_stores: int
    """bytes of each thread that are written to memory because registers are short, in the kernel
    and in the functions that it calls"""
    spill_loads: int
    """bytes of each thread that are read back from there"""
    stack: int
    """bytes of each thread in memory, spilled registers included"""
    shared: int
    """bytes of each block, without those that are asked for at the launch"""


def of_units(
    found: Compiler, architectures: Sequence[str], units: Sequence[Path] | None = None
) -> list[Resources]:
    """Compile .cu files, by default all of the library, and read what their kernels take.

    Raises:
      subprocess.CalledProcessError: nvcc failed: a file does not compile.
      OSError: nvcc cannot be started.
    """
    units = library.units() if units is None else units
    jobs = [(unit, name) for unit in units for name in architectures]
    with tempfile.TemporaryDirectory() as work:

        def compile_unit(job: tuple[Path, str]) -> list[Resources]:
            unit, name = job
            binary = Path(work) / f"{unit.stem}.{name}.cubin"
            command = [*found.command([name]), "-cubin", "-Xptxas", "-v"]
            return read(compiled.run([*command, str(unit), "-o", str(binary)]), name)

        with ThreadPoolExecutor(compiler.parallel(len(jobs))) as pool:
            return [each for those in pool.map(compile_unit, jobs) for each in those]


def read(text: str, architecture: str) -> list[Resources]:
    """The resources of each kernel in what `ptxas -v` wrote about one file."""
    blocks = re.split(r"Compiling entry function '([^']+)'", text)[1:]
    names = _readable(blocks[::2])
    return [
        Resources(
            kernel=name,
            architecture=architecture,
            registers=_number(r"Used (\d+) registers", block),
            spill_stores=_total(r"(\d+) bytes spill stores", block),
            spill_loads=_total(r"(\d+) bytes spill loads", block),
            stack=_number(r"(\d+) bytes stack frame", block),
            shared=_number(r"(\d+) bytes smem", block),
        )
        for name, block in zip(names, blocks[1::2], strict=True)
    ]


def _number(pattern: str, text: str) -> int:
    """The first number that a pattern finds; 0 if there is none."""
    match = re.search(pattern, text)
    return int(match[1]) if match else 0


def _total(pattern: str, text: str) -> int:
    """The sum of all numbers that a pattern finds."""
    return sum(map(int, re.findall(pattern, text)))


def _readable(names: Sequence[str]) -> list[str]:
    """Names as in the source, without the types of arguments, where binutils are installed."""
    if not names or shutil.which("c++filt") is None:
        return list(names)
    return compiled.run(["c++filt", "--no-params", *names]).splitlines()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", nargs="+", default=ARCHITECTURES, metavar="sm_90a")
    options = parser.parse_args(arguments)
    found = compiler.find()
    if isinstance(found, str):
        print(found, file=sys.stderr)
        return 2
    try:
        rows = of_units(found, options.arch)
    except subprocess.CalledProcessError as error:
        print(f"{found.nvcc}: {compiled.failure(error)}", file=sys.stderr)
        return 1
    print(f"{'kernel':40} {'arch':8} registers  spilled  stack  shared (bytes)")
    for each in rows:
        print(
            f"{each.kernel:40} {each.architecture:8} {each.registers:9} {each.spill_stores:8} "
            f"{each.stack:6} {each.shared:7}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
