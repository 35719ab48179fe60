"""`cerebellar-norse simulate`: run a circuit, print its rates, write recording and pictures."""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from cerebellum import backends, config, configure, files, store
from cerebellum.cli import exports, processes, results, saves
from cerebellum.cli.results import Windows
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
from cerebellum.store import snapshot

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
            ended = results.Run(
                arguments=arguments,
                circuit=simulation.whole,
                protocol=protocol,
                recording=record.join(parts),
                windows=windows,
                how=_how(simulation, devices, checkpoint),
            )
            try:
                results.publish(ended)
            except FailedError as error:
                problems.append(str(error))
        try:
            finish()
        except FailedError as error:
            problems.append(str(error))
    if problems:
        raise FailedError("; ".join(problems))
    return 0


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
    how: dict[str, Any] = {"build_s": simulation.build_s, "devices": devices}
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
