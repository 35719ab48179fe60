"""The common network in every simulator, in turn, on the same cores: one table of ratios.

    python scripts/peers/setup          # once
    python scripts/peers/compare.py [--size M] [--network anatomical] [--cores 1] [--only NAME ...]

Wall time for one biological second, simulation alone; then everything from nothing to the first
result, build and compile included. A simulator whose population rates differ from the middle of
all by more than a fifth is marked: its time does not count.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import params
from rich import box
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent.parent / ".peers"
TOLERANCE = 0.2
FEWEST = 50
"""Smaller populations are not compared: their rates depend on who contacts whom."""


def commands(size: str, cores: int, repeats: int) -> dict[str, list[str]]:
    """What to run, by name."""
    options = [size, str(cores), str(repeats)]
    found = {}
    if size in params.SIZES:  # the C program has random wiring only
        numbers = [str(number) for number in (*params.SIZES[size], repeats)]
        found["C"] = [str(PEERS / "net"), *numbers]
    for name in ("brian2", "brainevent", "nest"):
        found[name] = [str(PEERS / name / "bin" / "python"), str(HERE / f"run_{name}.py"), *options]
    for kernels in ("native", "xla"):
        command = [sys.executable, str(HERE / "run_ours.py"), *options, kernels]
        found[f"cerebellum, {kernels}"] = command
    return found


def run(command: list[str], cores: int) -> dict:
    """The JSON of the last line, and the wall time of the whole process."""
    pinned = ["taskset", "-c", ",".join(map(str, range(cores)))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores), "OMP_PROC_BIND": "true"}
    began = time.perf_counter()
    done = subprocess.run([*pinned, *command], capture_output=True, text=True, env=environment)
    wall = time.perf_counter() - began
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:100]}
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "wall_s": wall}


def odd_rates(result: dict, middle: dict[str, list[float]], size: str) -> list[str]:
    """Populations whose rates are too far from the middle."""
    return [
        name
        for name, rates in result["rates"].items()
        if params.cells(size)[name] >= FEWEST
        and any(
            abs(a - b) > TOLERANCE * max(b, 1.0) for a, b in zip(rates, middle[name], strict=True)
        )
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="M", choices=params.SIZES)
    parser.add_argument("--network", default="common", choices=("common", "anatomical"))
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="*", help="simulators to run")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {}
    if arguments.network == "anatomical":
        arguments.size += params.ANATOMICAL
    for name, command in commands(arguments.size, arguments.cores, arguments.repeats).items():
        if arguments.only and name not in arguments.only:
            continue
        if not Path(command[0]).exists():
            results[name] = {"error": "not there: scripts/peers/setup"}
            continue
        results[name] = run(command, arguments.cores)
    good = {name: result for name, result in results.items() if "error" not in result}
    middle = {
        name: [statistics.median(r["rates"][name][k] for r in good.values()) for k in range(3)]
        for name in params.cells(arguments.size)
    }
    ours = good.get("cerebellum, native") or good.get("cerebellum, xla")
    if arguments.json:
        print(json.dumps(results))
        return 0
    title = f"common network, size {arguments.size}, {arguments.cores} core(s)"
    table = Table(title=title, title_justify="left", box=box.SIMPLE)
    for heading in ("simulator", "s", "range", "to ours", "first result, s", "to ours", "rates"):
        table.add_column(heading, justify="left" if heading == "simulator" else "right")
    for name, result in results.items():
        if "error" in result:
            table.add_row(name, "", "", "", "", "", result["error"])
            continue
        seconds, first = statistics.median(result["sim_s"]), first_result(result)
        odd = odd_rates(result, middle, arguments.size)
        ratios = ["", ""]
        if ours:
            ratios[0] = f"{seconds / statistics.median(ours['sim_s']):.2f}"
            ratios[1] = f"{first / first_result(ours):.2f}"
        table.add_row(
            f"{name} ({result['simulator']})",
            f"{seconds:.4g}",
            f"{min(result['sim_s']):.3g} to {max(result['sim_s']):.3g}",
            ratios[0],
            f"{first:.3g}",
            ratios[1],
            f"apart: {', '.join(odd)}" if odd else "agree",
        )
    Console(width=120).print(table)
    return 0


def first_result(result: dict) -> float:
    """Seconds of a process that ends after its first biological second.

    Some simulate one more than is timed (`untimed_runs`): to compile, or to record.
    """
    seconds = result["sim_s"]
    more = len(seconds) + result.get("untimed_runs", 0) - 1
    return result["wall_s"] - more * statistics.median(seconds)


if __name__ == "__main__":
    sys.exit(main())
