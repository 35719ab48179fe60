"""Build, compile, and peak memory beside the estimate; each size in a process of its own."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import cerebellum as cb
from cerebellum.bench.result import Options, Result, summary
from cerebellum.sim import memory

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def run(options: Options) -> Iterator[Result]:
    """The program itself, 20 ms of the large circuit."""
    for granules in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "cerebellum.cli", "simulate"]
            command += ["--granule-size", str(granules), "--duration-ms", "20", "--no-plots"]
            command += ["--json", "--out", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        spec = cb.presets.beams(granules)
        yield Result(
            name="start",
            params={"granules": granules, "cores": options.cores},
            **summary([result["build_s"] + result["compile_s"]]),
            extra={
                "build_s": result["build_s"],
                "compile_s": result["compile_s"],
                "peak_bytes": float(result["peak_memory_bytes"]),
                "estimate_bytes": float(memory.peak(spec)),
            },
        )
