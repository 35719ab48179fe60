"""The results of `cerebellar-norse simulate`: files of a run, and what it prints."""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import backends, files, io, plot, program, system
from cerebellum.cli import exports, saves
from cerebellum.errors import FailedError
from cerebellum.model.circuit import Circuit
from cerebellum.model.presets import Protocol
from cerebellum.sim import record
from cerebellum.sim.record import Recording
from cerebellum.store import describe

Windows = dict[str, tuple[float, float]]
"""Time windows of a run whose rates are reported, by name: (start, stop), ms."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended."""

    arguments: argparse.Namespace
    circuit: Circuit
    """the circuit on one device"""
    protocol: Protocol
    recording: Recording
    windows: Windows
    how: dict[str, Any]
    """how it ran: entries of the result that no recording has"""


def publish(run: Run) -> None:
    """Write the results, and print them.

    Raises:
      FailedError: the disk refused. The rates are printed before, except with --json.
    """
    arguments, result = run.arguments, _result(run)
    try:
        _write(run, result)
    finally:
        if not arguments.json:
            reference = {} if arguments.window else run.protocol.reference_hz
            _report(Console(), result, run.protocol, reference)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(f"{Path(arguments.out)}: {', '.join(_files(arguments))}")


def _result(run: Run) -> dict[str, Any]:
    """The result that --json prints."""
    arguments, recording, published = run.arguments, run.recording, run.protocol.published_hz
    overall = record.rates(recording)
    wall = recording.seconds["run"]
    return {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "dt_ms": run.circuit.spec.dt,
        "duration_ms": recording.duration_ms,
        "steps": recording.steps,
        "path": recording.path,
        "kernels": recording.backend,
        "loop": recording.loop,
        "wall_s": wall,
        "realtime_factor": wall / (recording.duration_ms * 1e-3),
        "compile_s": recording.seconds["compile"],
        "peak_memory_bytes": system.peak_memory(),
        "populations": {
            name: {
                "cells": size,
                "spikes": int(recording.spikes[name].sum()),
                "rate_hz": overall[name],
                "published_hz": published.get(name),
            }
            for name, size in recording.sizes.items()
        },
        "windows": {
            name: {
                "start_ms": start,
                "stop_ms": stop,
                "rates_hz": record.rates(recording, start, stop),
            }
            for name, (start, stop) in run.windows.items()
        },
        "output": arguments.out,
        **run.how,
    }


def _pace(factor: float) -> str:
    """The real-time factor in words."""
    if factor > 1:
        return f"{factor:.2f} times slower than life"
    return f"{1 / factor:.2f} times faster than life"


def _write(run: Run, result: dict[str, Any]) -> None:
    """Write the recording, the description of the run, and the pictures to the run's directory."""
    arguments, recording, spec = run.arguments, run.recording, run.circuit.spec
    out = Path(arguments.out)
    about = {
        "arguments": vars(arguments),
        "versions": {
            program.NAME: program.__version__,
            **{name: version(name) for name in ("jax", "numpy")},
        },
        "python": sys.version.split()[0],
        "spec": {
            "name": spec.name,
            "dt_ms": spec.dt,
            "populations": [
                {
                    "name": p.name,
                    "size": p.size,
                    "model": p.model,
                    "params": describe.values_of(p.params),
                }
                for p in spec.populations
            ],
            "projections": [asdict(p) for p in spec.projections],
            "beams": spec.beams,
            "path": run.circuit.wiring.path,
            "kernels": backends.of(run.circuit).name,
        },
        "result": result,
    }
    earlier = exports.earlier(out)
    try:
        with files.replacing(out) as work:
            io.save(recording, work / saves.RECORDING)
            (work / saves.DESCRIPTION).write_text(json.dumps(about, indent=1) + "\n")
        for name in earlier:
            (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise FailedError(
            f"--out: {out}: {files.reason(error)}; no result is written, a disk with room"
        ) from None
    try:
        exports.write(recording, out, arguments.format)
    except OSError as error:
        raise FailedError(
            f"--format: {out}: {files.reason(error)}; the recording is written as "
            f"{saves.RECORDING} alone, a disk with room"
        ) from None
    try:
        _draw(out, recording, run.windows, not arguments.no_plots)
    except OSError as error:
        raise FailedError(
            f"--out: {out}: {files.reason(error)}; the recording is written, its pictures are not"
        ) from None


def _draw(out: Path, recording: Recording, windows: Windows, wanted: bool) -> None:
    """Draw the pictures, or remove those of an earlier recording if none are wanted."""
    if not wanted:
        for name in saves.PICTURES:
            (out / name).unlink(missing_ok=True)
        return
    shaded = {name: window for name, window in windows.items() if name != "background"}
    raster = plot.raster(recording, shaded, ax=plot.blank())
    rates = plot.rates(recording, windows=shaded, ax=plot.blank())
    with files.replacing(out) as work:
        for name, panels in zip(saves.PICTURES, (raster, rates), strict=True):
            panels.savefig(work / name, dpi=130)


def _files(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Names of the files of results."""
    pictures = () if arguments.no_plots else saves.PICTURES
    exported = exports.files(arguments.format)
    return (saves.RECORDING, saves.DESCRIPTION, *exported, *pictures)


def _report(
    console: Console,
    result: dict[str, Any],
    protocol: Protocol,
    reference: Mapping[str, Mapping[str, float]],
) -> None:
    """Print the table of rates, the speed, and how the circuit ran."""
    table = Table(title=f"{result['preset']}, rates in Hz", title_justify="left", box=box.SIMPLE)
    table.add_column("population", no_wrap=True)
    table.add_column("cells", justify="right")
    for name, window in result["windows"].items():
        span = f"{window['start_ms']:g}-{window['stop_ms']:g} ms"
        table.add_column(f"{name}\n{span}", justify="right", no_wrap=True)
        if name in reference:
            table.add_column("ref.", justify="right", style="dim", no_wrap=True)
    if protocol.published_hz:
        table.add_column("published", justify="right", style="dim", no_wrap=True)

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"

    for name, population in result["populations"].items():
        row = [name.replace("_", " "), f"{population['cells']:,}"]
        for window, values in result["windows"].items():
            row.append(cell(values["rates_hz"][name]))
            if window in reference:
                row.append(cell(reference[window].get(name)))
        if protocol.published_hz:
            row.append(cell(population["published_hz"]))
        table.add_row(*row)
    console.print(table)
    console.print(protocol.note, style="dim", highlight=False)
    console.print(
        f"{result['duration_ms']:g} ms in {result['wall_s']:.2f} s: "
        f"{_pace(result['realtime_factor'])} "
        f"(build {result['build_s']:.1f} s, compile {result['compile_s']:.1f} s)",
        highlight=False,
    )
    console.print(f"{result['path']} path, {result['kernels']} kernels", highlight=False)
    if result["devices"] > 1:
        where = f" in {result['processes']} processes" if result["processes"] > 1 else ""
        exchanged = result["exchanged_bytes_per_step"]
        console.print(f"{result['devices']} devices{where}: {exchanged:,} bytes to each a step")
