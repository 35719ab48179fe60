"""The process that measures: it runs cases one after the other, and writes a line for each event.

    python -m cerebellum.bench.gpu.worker '{"cases": [...], "out": ..., "circuits": ..., ...}'

A line is JSON with an `event`: "machine" once, "begin" for each case, then "result" for each of its
rates, "failed" or "skipped", and "end". `main` ends the process when a case takes too long.
It exits with the code `ANEW` when a case has failed, because the device may then fail every other.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from cerebellum import backends
from cerebellum.bench.gpu import circuits as built
from cerebellum.bench.gpu import timing, work
from cerebellum.bench.gpu.cases import ANEW, CIRCUITS, PATHS, Case
from cerebellum.bench.gpu.lines import Lines
from cerebellum.bench.result import bandwidth
from cerebellum.errors import UsageError
from cerebellum.model.circuit import Circuit

PREPARING = "compiling"
"""The case in whose name the programs of a group are compiled."""


def machine(quick: bool) -> dict[str, Any]:
    """The device, the versions, and the paths that cannot be used here."""
    device = jax.devices()[0]
    platform = jax.default_backend()
    problems = {
        name: backends.BACKENDS[name].unavailable(platform)
        if name in backends.BACKENDS
        else f"no backend of that name; one of {', '.join(backends.BACKENDS)}"
        for name in PATHS
    }
    return {
        "device": device.device_kind,
        "quick": quick,
        "platform": platform,
        "capability": getattr(device, "compute_capability", None),
        "client": getattr(device.client, "platform_version", ""),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "versions": {name: version(name) for name in ("jax", "jaxlib")},
        "bandwidth_bytes_s": bandwidth(2**28),
        "unavailable": {name: why for name, why in problems.items() if why is not None},
    }


def run(job: dict[str, Any]) -> int:
    """Measure the cases of a job, which are of one group. Returns the exit code."""
    cases = [Case(**case) for case in job["cases"]]
    lines, quick = Lines(Path(job["out"])), job["quick"]
    if job["first"]:
        lines.write("machine", **machine(quick))
    programs: dict[Case, timing.Prepared | Exception] = {}
    if cases[0].subject in CIRCUITS:
        lines.write("begin", case=PREPARING)
        wholes, problems = _load(cases, Path(job["circuits"]))
        ready = [case for case in cases if case.subject in wholes]
        programs = dict(problems)
        programs |= timing.prepare_all(wholes, ready, quick, job["at_once"])
        lines.write("end", case=PREPARING)
    for case in cases:
        if time.time() > job["until"]:
            lines.write("skipped", case=case.name, why="the budget is spent")
            continue
        lines.write("begin", case=case.name)
        prepared = programs.pop(case, None)
        try:
            if isinstance(prepared, Exception):
                raise prepared
            measured = (
                work.measure(case, quick) if prepared is None else timing.measure(prepared, quick)
            )
            for figures in measured:
                lines.write("result", case=case.name, **figures)
        except UsageError as error:
            lines.write("skipped", case=case.name, why=str(error))
        except Exception as error:
            text = str(error).strip().splitlines() or [""]
            lines.write("failed", case=case.name, why=f"{type(error).__name__}: {text[0]}"[:300])
            if error is not prepared:
                return ANEW
        lines.write("end", case=case.name)
    return 0


def _load(cases: list[Case], folder: Path) -> tuple[dict[str, Circuit], dict[Case, Exception]]:
    """The circuits of cases by name, and the problem of each case that has none.

    A circuit is waited for while the program that builds it runs.
    """
    wholes, problems = {}, {}
    for name in dict.fromkeys(case.subject for case in cases):
        path, failed = folder / f"{name}.circuit", folder / f"{name}.failed"
        while not path.exists() and not failed.exists():
            time.sleep(0.1)
        if path.exists():
            wholes[name] = built.load(path)
        else:
            error = RuntimeError(f"not built: {failed.read_text()}")
            problems |= {case: error for case in cases if case.subject == name}
    return wholes, problems


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1])))
