"""`cerebellar-norse simulate`: run a circuit, print its rates, write recording and pictures."""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from rich import box
from rich.console import Console
from rich.table import Table

from cerebellum import backends, config, configure, files, io, plot, program, store, system
from cerebellum.cli import exports, processes, saves
from cerebellum.errors import FailedError, UsageError
from cerebellum.model import anatomy
from cerebellum.model.circuit import Circuit, State, init
from cerebellum.model.presets import PRESETS, Preset, Protocol
from cerebellum.model.spec import Spec
from cerebellum.sim import record, shard
from cerebellum.sim.drive import Drive, read_spike_times, standard
from cerebellum.sim.interrupt import Interrupted
from cerebellum.sim.record import Recording
from cerebellum.sim.simulate import MAX_STEPS, simulate
from cerebellum.store import describe, snapshot

Windows = dict[str, tuple[float, float]]
"""Time windows of a run whose rates are reported, by name: (start, stop), ms."""


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
    if devices > 1:
        shard.part_of(spec, devices)
    out = files.directory(arguments.out)
    exports.check(out, arguments.format)
    with saves.locked(out) if processes.leads() else nullcontext(), _stopped_by_sigterm():
        checkpoint, parts = None, []
        if arguments.resume:
            checkpoint, parts = saves.resume(arguments, spec, out)
        elif processes.leads():
            saves.begin(out)
        simulation = _build(request, (build_key, run_key), drive, devices, checkpoint)
        finish = _simulate(arguments, simulation, out, parts)
        problems = []
        if processes.leads():
            how = _how(simulation, devices, checkpoint)
            try:
                _publish(arguments, request, simulation, record.join(parts), windows, how)
            except FailedError as error:
                problems.append(str(error))
        try:
            finish()
        except FailedError as error:
            problems.append(str(error))
    if problems:
        raise FailedError("; ".join(problems))
    return 0


def _publish(
    arguments: argparse.Namespace,
    request: Request,
    simulation: Simulation,
    recording: Recording,
    windows: Windows,
    how: dict[str, Any],
) -> None:
    """Write the results, and print them.

    Raises:
      FailedError: the disk refused. The rates are printed before, except with --json.
    """
    out, protocol = Path(arguments.out), request.preset.protocol
    result = _result(arguments, simulation, recording, windows, protocol.published_hz) | how
    try:
        _write(out, arguments, simulation.whole, recording, windows, result)
    finally:
        if not arguments.json:
            reference = {} if arguments.window else protocol.reference_hz
            _report(Console(), result, protocol, reference)
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        print(f"{out}: {', '.join(_files(arguments))}")


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM, which cluster schedulers send, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread() or jax.process_count() > 1:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _how(
    simulation: Simulation, devices: int, checkpoint: store.Checkpoint | None
) -> dict[str, Any]:
    """How a circuit ran, for the result; some keys are present only in runs that they describe."""
    how: dict[str, Any] = {"devices": devices}
    if devices > 1:
        wiring = simulation.circuit.wiring
        how["processes"] = jax.process_count()
        how["exchanged_bytes_per_step"] = shard.exchanged_bytes(wiring.part, wiring.path)
    if checkpoint is not None:
        how["resumed_from_ms"] = checkpoint.step * simulation.whole.spec.dt
    return how


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


def _simulate(
    arguments: argparse.Namespace, simulation: Simulation, out: Path, parts: list[Recording]
) -> Callable[[], None]:
    """Run to the end, saving checkpoints on the way.

    Args:
      parts: the recording so far, to which that of the run is added.

    Returns:
      A function that saves the last checkpoint, to be called when the results are on the disk.

    Raises:
      FailedError: the run was interrupted; the message says what is saved of it.
    """
    whole, circuit, state = simulation.whole, simulation.circuit, simulation.state
    dt, step = whole.spec.dt, sum(part.steps for part in parts)
    total, interval = round(arguments.duration_ms / dt), sys.maxsize
    saver = _saver(arguments, simulation, out, parts)
    if arguments.checkpoint_ms:
        interval = max(1, round(arguments.checkpoint_ms / dt))

    last = None
    while step < total:
        stop = min(total, (step // interval + 1) * interval)
        try:
            state, recording = simulate(
                circuit,
                state,
                simulation.drive,
                duration_ms=(stop - step) * dt,
                record=_rasters(whole.spec),
                progress=None if processes.leads() else False,
            )
        except Interrupted as interrupted:
            step += interrupted.recording.steps
            where = f"interrupted at {step * dt:g} of {arguments.duration_ms:g} ms"
            if saver is None:
                hint = "--checkpoint-ms saves on the way, and --resume goes on"
                raise FailedError(f"{where}; nothing is saved, {hint}") from None
            saver.unsaved.append(interrupted.recording)
            saver.finish(step, _tree(simulation, interrupted.state), part=True)
            raise FailedError(f"{where}; saved, --resume goes on") from None
        parts.append(recording)
        step = stop
        if saver is not None:
            saver.unsaved.append(recording)
        if step % interval == 0 or (arguments.checkpoint and step == total):
            tree = _tree(simulation, state)
            if step == total:
                last = tree
            elif saver is not None:
                saver.save(step, tree)
    if saver is None:
        return lambda: None
    if last is None:
        return saver.close
    return lambda: saver.finish(total, last, part=bool(arguments.checkpoint_ms))


def _tree(simulation: Simulation, state: State) -> dict[str, Any]:
    """The arrays of a checkpoint; all processes gather those of a circuit in shards."""
    whole, circuit = simulation.whole, simulation.circuit
    return snapshot.tree(whole, state if circuit is whole else shard.join_state(circuit, state))


def _saver(
    arguments: argparse.Namespace, simulation: Simulation, out: Path, parts: list[Recording]
) -> saves.Saves | None:
    """What saves a run on its way; None where nothing is saved, or another process saves it."""
    if not (arguments.checkpoint or arguments.checkpoint_ms) or not processes.leads():
        return None
    about = {**snapshot.about(simulation.whole), "simulate": saves.identity(arguments)}
    saver = saves.Saves(out, about, in_parts=bool(arguments.checkpoint_ms))
    if parts and not saves.is_in_parts(out, parts):
        saver.unsaved.extend(parts)
    return saver


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
    simulation: Simulation,
    recording: Recording,
    windows: Windows,
    published: Mapping[str, float],
) -> dict[str, Any]:
    """The result that --json prints."""
    overall = record.rates(recording)
    wall = recording.seconds["run"]
    return {
        "preset": arguments.preset,
        "seed": arguments.seed,
        "dt_ms": simulation.whole.spec.dt,
        "duration_ms": recording.duration_ms,
        "steps": recording.steps,
        "path": recording.path,
        "kernels": recording.backend,
        "loop": recording.loop,
        "wall_s": wall,
        "realtime_factor": wall / (recording.duration_ms * 1e-3),
        "build_s": simulation.build_s,
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
            for name, (start, stop) in windows.items()
        },
        "output": arguments.out,
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
            "path": circuit.wiring.path,
            "kernels": backends.of(circuit).name,
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
        _draw(out, recording, windows, not arguments.no_plots)
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
