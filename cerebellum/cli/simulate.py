"""`cerebellar-norse simulate`: one run of a circuit, its table, its pictures, its directory."""

import argparse
import json
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table

import cerebellum as cb
from cerebellum import backends, configure, store
from cerebellum.cli import processes
from cerebellum.errors import FailedError, UsageError
from cerebellum.files import directory
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.presets import PRESETS, Preset, Protocol
from cerebellum.model.spec import Spec
from cerebellum.sim.drive import Drive
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import MAX_STEPS
from cerebellum.store import describe, snapshot

Windows = dict[str, tuple[float, float]]
"""Spans of a run whose rates are reported, ms."""


PARTS = "parts"
"""Of a run's directory: what was recorded up to each checkpoint."""

RASTER_CELLS = 2_000
"""Most cells of a population that a raster watches."""


def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code.

    Raises:
      UsageError: before anything is computed.
      FailedError: a checkpoint could not be written, or processes did not meet.
    """
    with processes.joined(arguments, Path(arguments.out) / store.FOLDER) as devices:
        return _run(arguments, devices)


def _run(arguments: argparse.Namespace, devices: int) -> int:
    asked = _circuit(arguments)
    preset, spec, seed = asked.preset, asked.spec, asked.seed
    arguments.preset, arguments.seed = spec.name, seed
    build_key, run_key = jax.random.split(jax.random.key(seed))
    drive = _drive(arguments.stimulus, spec, preset.protocol, build_key)
    windows = _windows(arguments, preset.protocol, spec.dt)
    reference = {} if arguments.window else preset.protocol.reference_hz
    if devices > 1:
        cb.shard.part_of(spec, devices)
    out = directory(arguments.out)
    found = _found(arguments, spec, out)
    console = Console(stderr=arguments.json)

    began = time.perf_counter()
    whole, state = (cb.build(spec, build_key), None) if found is None else snapshot.restore(found)
    circuit = whole = replace(whole, backend=asked.backend)
    spec = whole.spec
    if devices > 1:
        circuit = cb.shard.split(whole, cb.shard.mesh(devices))
        state = None if state is None else cb.shard.split_state(circuit, state)
    if state is None:
        begin = cb.init if circuit is whole else cb.shard.init
        state = begin(circuit, run_key, spread=preset.protocol.spread)
    jax.block_until_ready(state)
    build_s = time.perf_counter() - began

    recording = _through(arguments, whole, circuit, state, drive, out, found)
    if not processes.leads():
        return 0
    published = preset.protocol.published_hz
    result = _result(arguments, spec, recording, windows, published, build_s, out)
    result["devices"] = devices
    # Keys beyond those that every run has, where they say something.
    if devices > 1:
        result["processes"] = jax.process_count()
        result["exchanged_bytes_per_step"] = cb.shard.exchanged_bytes(
            circuit.wiring.part, circuit.wiring.path
        )
    if found is not None:
        result["resumed_from_ms"] = found.step * spec.dt
    _write(out, arguments, whole, recording, windows, result)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _report(console, result, preset.protocol, reference, not arguments.no_plots)
    return 0


def _found(arguments: argparse.Namespace, spec: Spec, out: Path) -> store.Checkpoint | None:
    """The checkpoint from which this run goes on, if it does.

    Raises:
      UsageError: it is of another run, or is not to be gone on from.
    """
    folder = out / store.FOLDER
    if not arguments.resume:
        if arguments.checkpoint_ms and store.steps(folder):
            raise UsageError(
                f"--out: {out} has checkpoints; --resume goes on, another --out begins"
            )
        return None
    found = store.newest(folder)
    if found is None:
        return None
    # As JSON gives it back.
    ours = {**json.loads(json.dumps(describe.to_json(spec))), **_same(arguments)}
    theirs = {**found.about.get("spec", {}), **found.about.get("simulate", {})}
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise UsageError(f"--resume: {out} has another {key}; the same command goes on")
    if found.step > round(arguments.duration_ms / spec.dt):
        raise UsageError(
            f"--duration-ms: {arguments.duration_ms:g}; {out} has come to {found.step * spec.dt:g}"
        )
    return found


def _same(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a run that is resumed must have in common with the one that began."""
    return {"stimulus": arguments.stimulus, "seed": arguments.seed}


def _through(
    arguments: argparse.Namespace,
    whole: cb.Circuit,
    circuit: cb.Circuit,
    state: State,
    drive: Drive,
    out: Path,
    found: store.Checkpoint | None,
) -> Recording:
    """Run to the end, with checkpoints on the way: the whole recording.

    What was recorded up to a checkpoint is on the disk before it.
    """
    spec, done = whole.spec, 0 if found is None else found.step
    total = round(arguments.duration_ms / spec.dt)
    every = total
    if arguments.checkpoint_ms:
        every = max(1, round(arguments.checkpoint_ms / spec.dt))
    if found is None and processes.leads():
        shutil.rmtree(out / PARTS, ignore_errors=True)
    parts = [cb.record.load(out / PARTS / f"{step}.npz") for step in _steps(out, done)]
    if sum(part.steps for part in parts) != done:
        raise UsageError(f"--resume: {out / PARTS} has not all of the {done} steps; begin again")
    keeps = arguments.checkpoint or arguments.checkpoint_ms
    about = {**snapshot.about(whole), "simulate": _same(arguments)} if keeps else {}
    record, leads = _rasters(spec), processes.leads()
    keep = None
    if keeps and leads:
        # Only a run that began in an empty folder may remove what is there.
        newest = 2 if arguments.checkpoint_ms else sys.maxsize
        keep = store.Store(
            out / store.FOLDER, retention=store.Retention(newest=newest), beside=False
        )
    try:
        while done < total:
            last = min(total, (done // every + 1) * every)
            state, recording = cb.simulate(
                circuit,
                state,
                drive,
                duration_ms=(last - done) * spec.dt,
                record=record,
                progress=None if leads else False,
            )
            parts.append(recording)
            done = last
            if not keeps or (done % every and not arguments.checkpoint):
                continue
            joined = state if circuit is whole else cb.shard.join_state(circuit, state)
            if keep is not None:
                if arguments.checkpoint_ms:
                    (out / PARTS).mkdir(exist_ok=True)
                    cb.record.save(recording, out / PARTS / f"{done}.npz")
                keep.save(done, snapshot.tree(whole, joined), about)
        if keep is not None:
            keep.close()
    except OSError as error:
        raise FailedError(f"--checkpoint: {error}; a disk with room") from None
    return cb.record.join(parts)


def _steps(out: Path, done: int) -> list[int]:
    """Ends of the parts of a recording that are on the disk, up to a step."""
    found = sorted(int(each.stem) for each in (out / PARTS).glob("*.npz"))
    return [step for step in found if step <= done]


@dataclass(frozen=True)
class Asked:
    """What the arguments and the configuration name."""

    preset: Preset
    spec: Spec
    seed: int
    backend: str = backends.AUTO


def _circuit(arguments: argparse.Namespace) -> Asked:
    """The preset, its circuit, the seed, and what it is to run on."""
    name = arguments.preset or "beams"
    if name not in PRESETS:
        raise UsageError(f"--preset: {name!r}; one of {', '.join(PRESETS)}")
    if name == "beams":
        given = {
            "neural.granule_size": arguments.granule_size,
            "neural.dt": arguments.dt_ms,
            "neural.seed": arguments.seed,
        }
        flags = {key: value for key, value in given.items() if value is not None}
        settings, spec = configure.configured(arguments.config, flags)
        return Asked(PRESETS[name], spec, settings.neural.seed, settings.performance.kernels)
    for flag, value in (
        ("--config", arguments.config),
        ("--granule-size", arguments.granule_size),
    ):
        if value is not None:
            raise UsageError(f"{flag}: {value}; only with --preset beams")
    return Asked(PRESETS[name], _spec(PRESETS[name], arguments.dt_ms), arguments.seed or 0)


def _spec(preset: Preset, dt_ms: float | None) -> Spec:
    if dt_ms is None:
        return preset.spec()
    try:
        return preset.spec(dt=dt_ms)
    except UsageError as error:
        raise UsageError(f"--dt-ms: {dt_ms:g}; {error}") from None


def _drive(stimulus: str, spec: Spec, protocol: Protocol, key: jax.Array) -> Drive:
    """The named stimulus of the preset, or the spikes in a file."""
    if stimulus in ("background", "burst"):
        return cb.drive.standard(protocol, spec, key, with_burst=stimulus == "burst")
    if not stimulus.endswith(".npz") and not Path(stimulus).exists():
        raise UsageError(f"--stimulus: {stimulus!r}; background, burst or a file of spikes (.npz)")
    size = spec.population(protocol.input).size
    return {protocol.input: cb.drive.read_spike_times(stimulus, size)}


def _windows(arguments: argparse.Namespace, protocol: Protocol, dt: float) -> Windows:
    """The windows asked for, or the protocol's as far as the run reaches."""
    duration = arguments.duration_ms
    if not dt <= duration <= MAX_STEPS * dt:
        raise UsageError(
            f"--duration-ms: {duration:g}; from one step of {dt:g} ms to {MAX_STEPS:,} of them"
        )
    if arguments.window:
        names = [name for name, _, _ in arguments.window]
        for name, start, stop in arguments.window:
            given = f"--window: {name}:{start:g}:{stop:g}"
            if stop > duration:
                raise UsageError(f"{given}; the run ends at {duration:g} ms")
            if stop - start < dt:
                raise UsageError(f"{given}; at least one step of {dt:g} ms")
            if names.count(name) > 1:
                raise UsageError(f"{given}; {name} twice, names are unique")
        return {name: (start, stop) for name, start, stop in arguments.window}
    windows = dict(protocol.windows)
    if arguments.stimulus == "background":
        windows = {"background": (windows["background"][0], duration)}
    return {
        name: (start, min(stop, duration))
        for name, (start, stop) in windows.items()
        if min(stop, duration) - start >= dt
    }


def _rasters(spec: Spec) -> tuple[str, ...]:
    strides = {p.name: -(-p.size // RASTER_CELLS) for p in spec.populations}
    return tuple(f"raster:{name}:::{stride}" for name, stride in strides.items())


def _result(
    arguments: argparse.Namespace,
    spec: Spec,
    recording: Recording,
    windows: Windows,
    published: Mapping[str, float],
    build_s: float,
    out: Path,
) -> dict[str, Any]:
    """The machine-readable result."""
    overall = cb.record.rates(recording)
    wall = recording.seconds["run"]
    return {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "dt_ms": spec.dt,
        "duration_ms": recording.duration_ms,
        "steps": recording.steps,
        "wall_s": wall,
        "realtime_factor": wall / (recording.duration_ms * 1e-3),
        "build_s": build_s,
        "compile_s": recording.seconds["compile"],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
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
                "rates_hz": cb.record.rates(recording, start, stop),
            }
            for name, (start, stop) in windows.items()
        },
        "output": str(out),
    }


def _pace(factor: float) -> str:
    """The real-time factor in words."""
    return (
        f"{factor:.2f} times slower than life"
        if factor > 1
        else (f"{1 / factor:.2f} times faster than life")
    )


def _write(
    out: Path,
    arguments: argparse.Namespace,
    circuit: Circuit,
    recording: Recording,
    windows: Windows,
    result: dict[str, Any],
) -> None:
    """The run directory: recording, what made it, pictures."""
    spec = circuit.spec
    about = {
        "arguments": vars(arguments),
        "versions": {name: version(name) for name in ("cerebellar-norse", "jax", "numpy")},
        "python": sys.version.split()[0],
        "spec": {
            "name": spec.name,
            "dt_ms": spec.dt,
            "populations": [
                {"name": p.name, "size": p.size, "model": p.model, "params": vars(p.params)}
                for p in spec.populations
            ],
            "projections": [asdict(p) for p in spec.projections],
            "beams": spec.beams,
            "path": circuit.wiring.path,
            "kernels": backends.of(circuit).name,
        },
        "result": result,
    }
    cb.record.save(recording, out / "recording.npz")
    (out / "run.json").write_text(json.dumps(about, indent=1) + "\n")
    for name in ("raster.png", "rates.png"):
        (out / name).unlink(missing_ok=True)
    if not arguments.no_plots:
        shaded = {name: span for name, span in windows.items() if name != "background"}
        cb.plot.raster(recording, shaded).savefig(out / "raster.png", dpi=130)
        cb.plot.rates(recording, windows=shaded).savefig(out / "rates.png", dpi=130)


def _report(
    console: Console,
    result: dict[str, Any],
    protocol: Protocol,
    reference: Mapping[str, Mapping[str, float]],
    plots: bool,
) -> None:
    """The table of rates, the speed, and where the results are."""
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
    if result["devices"] > 1:
        many = f" in {result['processes']} processes" if result["processes"] > 1 else ""
        sent = result["exchanged_bytes_per_step"]
        console.print(f"{result['devices']} devices{many}: {sent:,} bytes to each a step")
    files = "recording.npz, run.json" + (", raster.png, rates.png" if plots else "")
    console.print(f"{result['output']}: {files}", highlight=False)
