"""The program behind `bash scripts/bench_gpu.sh`: laws first, then all cases, then the table.

It starts what computes as processes of their own, and ends a case that takes longer than its limit;
the cases after it still run. Results are written after every case, so that an interrupted call
leaves a table.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path

from cerebellum.bench.gpu import laws, table
from cerebellum.bench.gpu.cases import ANEW, CIRCUITS, PATHS, Case, cases
from cerebellum.bench.gpu.lines import Lines

BUDGET_S = 235.0
LAWS_S = 100.0
"""Longest time of the laws, in which the kernels are compiled, too."""
COMPILING_S = 75.0
"""Longest time in which the programs of a group are compiled."""
STARTING_S = 60.0
"""Longest time until a process begins its first case."""
GRACE_S = 5.0
"""Time that a case has to end when the budget is spent."""

PLATFORM = "import jax; print(jax.default_backend())"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    it = argparse.ArgumentParser(prog="bench_gpu", description=__doc__)
    it.add_argument("--laws", action="store_true", help="the laws, and no measurement")
    it.add_argument("--no-laws", action="store_true", help="measurements alone")
    it.add_argument("--only", action="append", metavar="TEXT", help="cases with this in their name")
    it.add_argument("--paths", nargs="+", default=list(PATHS), help="backends to measure")
    it.add_argument("--budget", type=float, default=BUDGET_S, metavar="SECONDS")
    it.add_argument("--quick", action="store_true", help="tiny circuits, on any device")
    it.add_argument("--list", action="store_true", help="names of cases")
    it.add_argument("--sanitize", action="store_true", help="compute-sanitizer on small circuits")
    it.add_argument("--out", default=os.environ.get("OUT") or "results/gpu", metavar="FOLDER")
    return it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program: 0 if the laws hold and every case that can run was measured, or else 1."""
    options = parser().parse_args(arguments)
    chosen = [
        case
        for case in cases(tuple(options.paths))
        if not options.only or any(text in case.name for text in options.only)
    ]
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    if not chosen:
        print(f"bench_gpu: --only: {' '.join(options.only)}; see --list", file=sys.stderr)
        return 2
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if options.sanitize:
        return sanitize(out)
    began, platform = time.time(), jax_platform()
    if platform is None or (platform == "cpu" and not options.quick):
        found = "does not start" if platform is None else "finds no GPU"
        print(f"bench_gpu: JAX {found}; --quick runs tiny circuits on a processor", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as work:
        bench = Bench(
            chosen, Lines(out / "bench.jsonl"), Path(work), began + options.budget, options.quick
        )
        bench.lines.path.unlink(missing_ok=True)
        try:
            if not options.laws:
                bench.build()
            holds = True
            if not options.no_laws:
                holds = bench.check_laws(platform, out / "laws.log", alone=options.laws)
            if options.laws:
                return 0 if holds else 1
            bench.run()
        finally:
            bench.stop()
            if not options.laws:
                shown = table.text(bench.lines.read(), chosen)
                (out / "table.txt").write_text(shown + "\n")
                print(shown)
                print(f"{time.time() - began:.0f} s; {bench.lines.path}, {out / 'table.txt'}")
    events = bench.lines.read()
    return 0 if holds and not any(event["event"] == "failed" for event in events) else 1


def jax_platform() -> str | None:
    """The platform that JAX computes on; None where it does not start, after its own words."""
    asked = subprocess.run([sys.executable, "-c", PLATFORM], stdout=subprocess.PIPE, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else None


@dataclass
class Bench:
    """A call of the program: its cases, its processes, and until when they may run."""

    cases: list[Case]
    lines: Lines
    """the results"""
    work: Path
    """folder of built circuits"""
    until: float
    """time at which the budget is spent, s"""
    quick: bool
    processes: list[subprocess.Popen] = field(default_factory=list)
    first: bool = True

    def build(self) -> None:
        """Start to build all circuits, one process each, on the processor."""
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        for name in dict.fromkeys(c.subject for c in self.cases if c.subject in CIRCUITS):
            path, log = self.work / f"{name}.circuit", self.work / f"{name}.log"
            module = [sys.executable, "-m", "cerebellum.bench.gpu.circuits", name, str(path)]
            command = [*module, *(["--quick"] if self.quick else [])]
            # The file of a failure appears when it is complete, as that of a circuit does.
            failed = f'mv "{log}" "{self.work / name}.failed"'
            shell = ["sh", "-c", f'"$@" 2>"{log}" || {failed}', "sh", *command]
            self.processes.append(subprocess.Popen(shell, env=environment))

    def check_laws(self, platform: str, log: Path, alone: bool) -> bool:
        """Check the laws, and print the verdict.

        Args:
          alone: whether nothing else is to be done, so that larger circuits are tested, too.
        """
        limit = max(1.0, self.until - time.time())
        limit = limit if alone else min(LAWS_S, limit)
        verdict = laws.check(platform, limit, log, whole=alone)
        self.lines.write("laws", holds=verdict.holds, line=verdict.line)
        print(verdict.line, flush=True)
        return verdict.holds

    def run(self) -> None:
        """Measure all cases, a process for each group."""
        for _, group in groupby(self.cases, lambda case: case.group):
            left, at_once = list(group), True
            while left:
                left, at_once = self._run_group(left, at_once)

    def _run_group(self, group: list[Case], at_once: bool) -> tuple[list[Case], bool]:
        """Measure cases in a process.

        Args:
          at_once: whether their programs are compiled side by side.

        Returns:
          The cases after one that ended the process, and `at_once` for these.
        """
        if time.time() > self.until:
            return [], at_once
        job = {
            "cases": [asdict(case) for case in group],
            "out": str(self.lines.path),
            "circuits": str(self.work),
            "until": self.until,
            "quick": self.quick,
            "at_once": at_once,
            "first": self.first,
        }
        self.first, start = False, len(self.lines.read())
        log = self.work / "worker.log"
        with log.open("w") as file:
            command = [sys.executable, "-m", "cerebellum.bench.gpu.worker", json.dumps(job)]
            worker = subprocess.Popen(command, stderr=file)
        self.processes.append(worker)
        why = self._watch(worker, group, start)
        if why is None:
            return [], at_once
        events = self.lines.read()[start:]
        begun = [event["case"] for event in events if event["event"] == "begin"]
        names = [case.name for case in group]
        at = names.index(begun[-1]) if begun and begun[-1] in names else 0
        if worker.returncode == ANEW:
            return group[at + 1 :], at_once
        why = f"{why}; {_last_line(log)}".rstrip("; ")
        if at_once and (not begun or begun[-1] not in names) and len(group) > 1:
            # A program that cannot be compiled must not cost the others theirs.
            self.lines.write("note", why=f"{why}; compiling one by one")
            return group, False
        self.lines.write("failed", case=names[at], why=why)
        return group[at + 1 :], at_once

    def _watch(self, worker: subprocess.Popen, group: list[Case], start: int) -> str | None:
        """Wait for a process; None if it ended well, or else why it was ended or failed."""
        limits, started = {case.name: case.limit_s for case in group}, time.time()
        while worker.poll() is None:
            time.sleep(0.2)
            events = self.lines.read()[start:]
            begun = [event for event in events if event["event"] in ("begin", "end")]
            now, last = time.time(), begun[-1] if begun else None
            if last is None or last["event"] == "end":
                limit, since = STARTING_S, last["at"] if last else started
            else:
                limit, since = limits.get(last["case"], COMPILING_S), last["at"]
            if now - since > limit or now > self.until + GRACE_S:
                worker.kill()
                worker.wait()
                late = now > self.until + GRACE_S
                return "the budget is spent" if late else f"no result within {limit:.0f} s"
        return None if worker.returncode == 0 else f"exit code {worker.returncode}"

    def stop(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def _last_line(log: Path) -> str:
    """The last line of a file that says something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def sanitize(out: Path) -> int:
    """Run small circuits under memcheck and racecheck; 0 if neither finds anything."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        print("bench_gpu: --sanitize: no compute-sanitizer on the PATH", file=sys.stderr)
        return 2
    # Without a pool of XLA's every array has bounds of its own.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_ALLOCATOR": "platform"}
    code = 0
    for check in ("memcheck", "racecheck"):
        log = out / f"{check}.log"
        command = [tool, "--tool", check, "--error-exitcode", "9", "--target-processes", "all"]
        command += [sys.executable, "-m", "cerebellum.bench.gpu.small"]
        with log.open("w") as file:
            done = subprocess.run(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
        print(f"{check}: {'clean' if done.returncode == 0 else 'FAIL'}: {_last_line(log)}; {log}")
        code = code or (1 if done.returncode else 0)
    return code


if __name__ == "__main__":
    sys.exit(main())
