"""Times to build and compile, and peak memory next to its estimate, each size in a new process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from cerebellum import compiled
from cerebellum.bench.result import Options, Result, summary
from cerebellum.model import presets
from cerebellum.sim import memory

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def run(options: Options) -> Iterator[Result]:
    """20 ms of the large circuit, run by the command line program."""
    for granules in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "cerebellum.cli", "simulate"]
            command += ["--granule-size", str(granules), "--duration-ms", "20", "--no-plots"]
            command += ["--json", "--out", folder]
            # What is measured includes the compiling.
            fresh = {**os.environ, compiled.VARIABLE: "off"}
            process = subprocess.run(command, capture_output=True, text=True, check=True, env=fresh)
        result = json.loads(process.stdout)
        spec = presets.beams(granules)
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
