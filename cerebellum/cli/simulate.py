"""`cerebellar-norse simulate`: run a circuit, print its rates, write recording and pictures."""

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

from cerebellum import backends, config, configure, io, plot, store
from cerebellum.cli import processes
from cerebellum.errors import FailedError, UsageError
from cerebellum.files import directory
from cerebellum.model import anatomy
from cerebellum.model.circuit import Circuit, State, init
from cerebellum.model.presets import PRESETS, Preset, Protocol
from cerebellum.model.spec import Spec
from cerebellum.sim import record, shard
from cerebellum.sim.drive import Drive, read_spike_times, standard
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import MAX_STEPS, simulate
from cerebellum.store import describe, snapshot

Windows = dict[str, tuple[float, float]]
"""Time windows of a run whose rates are reported, by name: (start, stop), ms."""


PARTS = "parts"
"""The folder in a run's directory that holds the recording up to each checkpoint."""

RASTER_CELLS = 2_000
"""Most cells of a population that a raster records."""


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
      UsageError: the arguments are wrong; raised before anything is computed.
      FailedError: a checkpoint could not be written, or the processes could not connect.
    """
    if arguments.config is not None and arguments.preset in (None, "beams"):
        configure.choose_device(config.load(arguments.config, _flags(arguments)))
    with processes.joined(arguments, Path(arguments.out) / store.FOLDER) as devices:
        return _run(arguments, devices)


@dataclass(frozen=True)
class Request:
    """The circuit that the arguments and the configuration name."""

    preset: Preset
    spec: Spec
    seed: int
    backend: str = backends.AUTO


@dataclass(frozen=True)
class Simulation:
    """A circuit that has been built, ready to run."""

    whole: Circuit
    """the circuit on one device; checkpoints and results describe this one"""
    circuit: Circuit
    """the circuit that runs: `whole`, or its shards on many devices"""
    state: State
    drive: Drive
    build_s: float
    """time that building and initialising took, s"""


def _run(arguments: argparse.Namespace, devices: int) -> int:
    request = _request(arguments)
    protocol, spec = request.preset.protocol, request.spec
    arguments.preset, arguments.seed = spec.name, request.seed
    build_key, run_key = jax.random.split(jax.random.key(request.seed))
    drive = _drive(arguments.stimulus, spec, protocol, build_key)
    windows = _windows(arguments, protocol, spec.dt)
    reference = {} if arguments.window else protocol.reference_hz
    if devices > 1:
        shard.part_of(spec, devices)
    out = directory(arguments.out)
    checkpoint = _checkpoint(arguments, spec, out)
    console = Console(stderr=arguments.json)

    simulation = _build(request, (build_key, run_key), drive, devices, checkpoint)
    recording = _simulate(arguments, simulation, out, checkpoint)
    if not processes.leads():
        return 0
    spec = simulation.whole.spec
    published, build_s = protocol.published_hz, simulation.build_s
    result = _result(arguments, spec, recording, windows, published, build_s, out)
    result["devices"] = devices
    # The next keys are present only in runs that they describe.
    if devices > 1:
        wiring = simulation.circuit.wiring
        result["processes"] = jax.process_count()
        result["exchanged_bytes_per_step"] = shard.exchanged_bytes(wiring.part, wiring.path)
    if checkpoint is not None:
        result["resumed_from_ms"] = checkpoint.step * spec.dt
    _write(out, arguments, simulation.whole, recording, windows, result)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        _report(console, result, protocol, reference, not arguments.no_plots)
    return 0


def _build(
    request: Request,
    keys: tuple[jax.Array, jax.Array],
    drive: Drive,
    devices: int,
    checkpoint: store.Checkpoint | None,
) -> Simulation:
    """Build the circuit or restore it from a checkpoint, and divide it among the devices.

    Args:
      keys: the random keys of the wiring and of the initial state.
    """
    build_key, run_key = keys
    start = time.perf_counter()
    if checkpoint is None:
        whole, state = anatomy.build(request.spec, build_key), None
    else:
        whole, state = snapshot.restore(checkpoint)
    circuit = whole = replace(whole, backend=request.backend)
    if devices > 1:
        circuit = shard.split(whole, shard.mesh(devices))
        state = None if state is None else shard.split_state(circuit, state)
    if state is None:
        initialize = init if circuit is whole else shard.init
        state = initialize(circuit, run_key, spread=request.preset.protocol.spread)
    jax.block_until_ready(state)
    return Simulation(whole, circuit, state, drive, time.perf_counter() - start)


def _checkpoint(arguments: argparse.Namespace, spec: Spec, out: Path) -> store.Checkpoint | None:
    """The checkpoint from which this run resumes, or None where it starts from the beginning.

    Raises:
      UsageError: the checkpoint is of another run or is past the end of this one, or there are
        checkpoints and --resume is missing.
    """
    folder = out / store.FOLDER
    if not arguments.resume:
        if arguments.checkpoint_ms and store.steps(folder):
            raise UsageError(
                f"--out: {out} has checkpoints; --resume goes on, another --out begins"
            )
        return None
    checkpoint = store.newest(folder)
    if checkpoint is None:
        return None
    # Compare with values that have been through JSON, as those of the checkpoint have.
    current = {**json.loads(json.dumps(describe.to_json(spec))), **_identity(arguments)}
    saved = {**checkpoint.about.get("spec", {}), **checkpoint.about.get("simulate", {})}
    for key, value in current.items():
        if saved.get(key) != value:
            raise UsageError(f"--resume: {out} has another {key}; the same command goes on")
    if checkpoint.step > round(arguments.duration_ms / spec.dt):
        reached_ms = checkpoint.step * spec.dt
        raise UsageError(
            f"--duration-ms: {arguments.duration_ms:g}; {out} has come to {reached_ms:g}"
        )
    return checkpoint


def _identity(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a resumed run must have in common with the run that wrote the checkpoint."""
    return {"stimulus": arguments.stimulus, "seed": arguments.seed}


def _simulate(
    arguments: argparse.Namespace,
    simulation: Simulation,
    out: Path,
    checkpoint: store.Checkpoint | None,
) -> Recording:
    """Run to the end, saving checkpoints on the way; returns the recording of the whole run.

    The recording up to a checkpoint is written to the disk before the checkpoint.
    """
    whole, circuit, state = simulation.whole, simulation.circuit, simulation.state
    spec, step = whole.spec, 0 if checkpoint is None else checkpoint.step
    total = round(arguments.duration_ms / spec.dt)
    interval = total
    if arguments.checkpoint_ms:
        interval = max(1, round(arguments.checkpoint_ms / spec.dt))
    leads = processes.leads()
    if checkpoint is None and leads:
        shutil.rmtree(out / PARTS, ignore_errors=True)
    parts = [io.load(out / PARTS / f"{end}.npz") for end in _part_ends(out, step)]
    if sum(part.steps for part in parts) != step:
        raise UsageError(f"--resume: {out / PARTS} has not all of the {step} steps; begin again")
    saves = arguments.checkpoint or arguments.checkpoint_ms
    about = {**snapshot.about(whole), "simulate": _identity(arguments)} if saves else {}
    recorders = _rasters(spec)
    checkpoints = None
    if saves and leads:
        # Only a run that began in an empty folder may remove older checkpoints.
        retention = store.Retention(newest=2 if arguments.checkpoint_ms else sys.maxsize)
        checkpoints = store.Store(out / store.FOLDER, retention=retention, beside=False)
    try:
        while step < total:
            stop = min(total, (step // interval + 1) * interval)
            state, recording = simulate(
                circuit,
                state,
                simulation.drive,
                duration_ms=(stop - step) * spec.dt,
                record=recorders,
                progress=None if leads else False,
            )
            parts.append(recording)
            step = stop
            if not saves or (step % interval and not arguments.checkpoint):
                continue
            joined = state if circuit is whole else shard.join_state(circuit, state)
            if checkpoints is not None:
                if arguments.checkpoint_ms:
                    (out / PARTS).mkdir(exist_ok=True)
                    io.save(recording, out / PARTS / f"{step}.npz")
                checkpoints.save(step, snapshot.tree(whole, joined), about)
        if checkpoints is not None:
            checkpoints.close()
    except OSError as error:
        raise FailedError(f"--checkpoint: {error}; a disk with room") from None
    return record.join(parts)


def _part_ends(out: Path, step: int) -> list[int]:
    """The last steps of the parts of a recording that are on the disk, up to a step."""
    ends = sorted(int(path.stem) for path in (out / PARTS).glob("*.npz"))
    return [end for end in ends if end <= step]


def _request(arguments: argparse.Namespace) -> Request:
    """The preset, its circuit, the seed and the backend."""
    name = arguments.preset or "beams"
    if name not in PRESETS:
        raise UsageError(f"--preset: {name!r}; one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if name == "beams":
        settings, spec = configure.configured(arguments.config, _flags(arguments))
        return Request(preset, spec, settings.neural.seed, settings.performance.kernels)
    for flag, value in (
        ("--config", arguments.config),
        ("--granule-size", arguments.granule_size),
    ):
        if value is not None:
            raise UsageError(f"{flag}: {value}; only with --preset beams")
    return Request(preset, _spec(preset, arguments.dt_ms), arguments.seed or 0)


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    """The flags that override the configuration, by key."""
    values = {
        "neural.granule_size": arguments.granule_size,
        "neural.dt": arguments.dt_ms,
        "neural.seed": arguments.seed,
    }
    return {key: value for key, value in values.items() if value is not None}


def _spec(preset: Preset, dt_ms: float | None) -> Spec:
    """The circuit of a preset, with another step, ms, if one is given."""
    if dt_ms is None:
        return preset.spec()
    try:
        return preset.spec(dt=dt_ms)
    except UsageError as error:
        raise UsageError(f"--dt-ms: {dt_ms:g}; {error}") from None


def _drive(stimulus: str, spec: Spec, protocol: Protocol, key: jax.Array) -> Drive:
    """The drive of a stimulus: one of the preset by name, or the spikes in a file."""
    if stimulus in ("background", "burst"):
        return standard(protocol, spec, key, with_burst=stimulus == "burst")
    if not stimulus.endswith(".npz") and not Path(stimulus).exists():
        raise UsageError(f"--stimulus: {stimulus!r}; background, burst or a file of spikes (.npz)")
    size = spec.population(protocol.input).size
    return {protocol.input: read_spike_times(stimulus, size)}


def _windows(arguments: argparse.Namespace, protocol: Protocol, dt: float) -> Windows:
    """The windows in the arguments, or those of the protocol, cut at the end of the run."""
    duration = arguments.duration_ms
    if not dt <= duration <= MAX_STEPS * dt:
        raise UsageError(
            f"--duration-ms: {duration:g}; from one step of {dt:g} ms to {MAX_STEPS:,} of them"
        )
    if arguments.window:
        names = [name for name, _, _ in arguments.window]
        for name, start, stop in arguments.window:
            flag = f"--window: {name}:{start:g}:{stop:g}"
            if stop > duration:
                raise UsageError(f"{flag}; the run ends at {duration:g} ms")
            if stop - start < dt:
                raise UsageError(f"{flag}; at least one step of {dt:g} ms")
            if names.count(name) > 1:
                raise UsageError(f"{flag}; {name} twice, names are unique")
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
    """A raster recorder for each population, of at most `RASTER_CELLS` evenly spaced cells."""
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
    """The result that --json prints."""
    overall = record.rates(recording)
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
                "rates_hz": record.rates(recording, start, stop),
            }
            for name, (start, stop) in windows.items()
        },
        "output": str(out),
    }


def _pace(factor: float) -> str:
    """The real-time factor in words."""
    if factor > 1:
        return f"{factor:.2f} times slower than life"
    return f"{1 / factor:.2f} times faster than life"


def _write(
    out: Path,
    arguments: argparse.Namespace,
    circuit: Circuit,
    recording: Recording,
    windows: Windows,
    result: dict[str, Any],
) -> None:
    """Write the recording, the description of the run, and the pictures to the run's directory."""
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
    io.save(recording, out / "recording.npz")
    (out / "run.json").write_text(json.dumps(about, indent=1) + "\n")
    for name in ("raster.png", "rates.png"):
        (out / name).unlink(missing_ok=True)
    if not arguments.no_plots:
        shaded = {name: window for name, window in windows.items() if name != "background"}
        plot.raster(recording, shaded).savefig(out / "raster.png", dpi=130)
        plot.rates(recording, windows=shaded).savefig(out / "rates.png", dpi=130)


def _report(
    console: Console,
    result: dict[str, Any],
    protocol: Protocol,
    reference: Mapping[str, Mapping[str, float]],
    plots: bool,
) -> None:
    """Print the table of rates, the speed, and where the results are."""
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
        where = f" in {result['processes']} processes" if result["processes"] > 1 else ""
        exchanged = result["exchanged_bytes_per_step"]
        console.print(f"{result['devices']} devices{where}: {exchanged:,} bytes to each a step")
    files = "recording.npz, run.json" + (", raster.png, rates.png" if plots else "")
    console.print(f"{result['output']}: {files}", highlight=False)
