"""Running a circuit: a jitted scan in chunks, to which the state is donated."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from cerebellum.errors import UsageError
from cerebellum.model import anatomy, fit
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.delays import GRID
from cerebellum.model.events import FanOut
from cerebellum.sim import drive as drives
from cerebellum.sim import memory, shard, state_checks, stream
from cerebellum.sim.drive import Drive
from cerebellum.sim.loop import Feed, Loop, Plan
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import WEIGHTS
from cerebellum.sim.requests import Request, parse
from cerebellum.sim.watches import Watch, watches_of

log = logging.getLogger(__name__)

CHUNK_STEPS = 1_000
MAX_STEPS = 2_000_000_000
"""Steps are counted in int32."""

Record = str | Request | Sequence[str | Request]
"""What to record: text, or what `record.of` and `record.weights` return, or a list of them."""


def simulate(
    circuit: Circuit,
    state: State | None = None,
    drive: Drive | None = None,
    *,
    duration_ms: float | None = None,
    record: Record = ("rates",),
    chunk_steps: int = CHUNK_STEPS,
    progress: bool | None = None,
    to: str | os.PathLike | None = None,
) -> tuple[State, Recording]:
    """Run a circuit.

    The result does not depend on `chunk_steps`: the same state, drive and duration give the same
    spikes however the run is divided into chunks, and also if it is divided into several calls.

    Ctrl-C ends the run after the present chunk with `Interrupted`, a KeyboardInterrupt that holds
    the state and the recording so far; a second Ctrl-C stops at once and holds nothing.

    Args:
      circuit: a whole circuit, or one that is divided among devices (see `sim.shard`) with a state
        that is divided too. With several processes, each must make the same call, and each gets
        the whole recording.
      state: the state to start from. Arrays of JAX are donated: use the returned state afterwards.
        Arrays of NumPy, such as those of a checkpoint, are copied. By default that of
        `init(circuit, 0)`, for a whole circuit.
      drive: sources by population (see `cerebellum.sim.drive`). Arrays are [time, N] and start
        with this call; of one that is longer than the run, the first rows are taken.
      duration_ms: duration of the run; by default that of the shortest array of the drive.
      record: quantities to record: text (see `record.parse`), or what `record.of` and
        `record.weights` return; population spike counts are always recorded.
      chunk_steps: the largest number of steps that run on the device as one program call.
      progress: whether to show a progress bar on standard error; by default it appears if standard
        error is a terminal and the run takes more than two seconds.
      to: a new folder to which the recording is written while the circuit runs, for one that does
        not fit into memory. It appears when the run ends, also by Ctrl-C. The arrays of the
        recording that is returned lie there, and `cb.io.load` reads it.

    Raises:
      UsageError: a drive or a recorder does not fit the circuit; there is no duration, or it is
        shorter than a step; an array of the drive is too short; the memory, or the disk, has no
        room for the recording; `to` is there already.
      Interrupted: the run was interrupted.
    """
    options = Options(duration_ms, record, chunk_steps, progress, to)
    if state is None and isinstance(circuit, Circuit) and circuit.wiring.part.shards is None:
        state = circuits.init(circuit, 0)
    _check_arguments(circuit, state, options)
    state, recordings = run(circuit, cast(State, state), drive, None, options)
    return state, recordings[0]


def simulate_batch(
    circuit: Circuit,
    state: State,
    drive: Drive | None = None,
    *,
    duration_ms: float | None = None,
    record: Record = ("rates",),
    chunk_steps: int = CHUNK_STEPS,
    progress: bool | None = None,
) -> tuple[State, list[Recording]]:
    """Run several independent copies of a circuit at once, each as `simulate` does.

    Args:
      state: states of the copies, with a leading batch axis on every array, as
        `jax.vmap(init, (None, 0))` over keys returns them; all must be at the same step. Spikes
        that are drawn differ because the copies have different keys.
      drive: as in `simulate`; an array may be [B, time, N], with one drive for each copy.
    """
    options = Options(duration_ms, record, chunk_steps, progress)
    _check_arguments(circuit, state, options)
    axes = np.shape(state.step)[0 if circuit.wiring.shard is None else 1 :]
    if not axes or not axes[-1]:
        number = "none" if axes else "a single one"
        raise UsageError(f"state: {number}; jax.vmap(init, (None, 0)) over keys gives a batch")
    return run(circuit, state, drive, axes[-1], options)


@dataclass(frozen=True)
class Options:
    """Options that `simulate` and `simulate_batch` share."""

    duration_ms: float | None
    record: Record
    chunk_steps: int
    progress: bool | None
    to: str | os.PathLike | None = None


def run(
    circuit: Circuit,
    state: State,
    drive: Drive | None,
    batch: int | None,
    options: Options,
    swept: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[State, list[Recording]]:
    """Run a circuit, or a batch of `batch` copies: the state, and a recording of each copy.

    Args:
      swept: parameters that differ among the copies, [B, ...], by group of `Params` and name. They
        are not checked.
    """
    circuit, spec = anatomy.current(circuit), circuit.spec
    if not isinstance(drive or {}, Mapping):
        raise UsageError(f"drive: {type(drive).__name__}; a dictionary of sources by population")
    drive = dict(drive or {})
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((circuit, state, drive))):
        raise UsageError(
            "simulate: within jit, vmap or grad; it compiles its own chunks: cb.step in a "
            "jax.lax.scan there, simulate_batch for copies"
        )
    drives.check(drive, spec, batch)
    if circuit.wiring.shard is None:
        circuits.check_params(circuit.params, circuit.wiring)
    state = _on_device(state)
    state_checks.check_state(state, circuit, batch)
    weights = {**circuit.params.weights, **state.weights}
    fit.check_values(circuit.params.cells, weights, circuits.longest_refractory(spec), spec.dt)
    if circuit.wiring.shard is None:
        circuits.check_junctions(circuit.params, circuit.wiring)
        fit.check_gains(circuit.params.learning_gain, circuits.learning(spec), spec.name)
        state_checks.check_single_weights(circuit)
    dtypes = {p.name: p.dtype for p in spec.projections if p.plastic}
    fit.check_state(state.cells, state.weights, dtypes)
    watches = _watches(circuit, options.record)
    start_step = int(np.asarray(state.step.addressable_data(0)).min())
    feed = Feed(circuit, drive, start_step, batch is not None)
    steps = _steps(feed.lengths(), spec.dt, options.duration_ms)
    if start_step + steps > MAX_STEPS:
        raise UsageError(
            f"duration_ms: {steps * spec.dt:g} after {start_step * spec.dt:g} ms; at most "
            f"{MAX_STEPS:,} steps of {spec.dt} ms in all"
        )
    drives.check_span(drive, spec, start_step, start_step + steps)
    plan = Plan.of(circuit, watches, steps, options.chunk_steps)
    place = None if options.to is None else stream.check_place(options.to).parent
    memory.check_recording(watches, spec, steps, plan.cuts[0].room, batch or 1, place)
    folder = None if options.to is None else stream.Folder(options.to)
    try:
        loop = Loop(circuit, plan, batch, (start_step, steps), folder)
        if swept:
            loop.sweep(swept)
        state, recordings = loop(state, feed, options.progress)
    finally:
        if folder is not None:
            folder.discard()
    lost = fit.not_finite(state.cells)
    if lost:
        log.warning(
            "%s: NaN or infinite at the end of the run, so that these cells are lost; a shorter "
            "step (dt), or other parameters",
            ", ".join(lost),
        )
    return state, recordings


def _watches(circuit: Circuit, record: Record) -> tuple[Watch, ...]:
    """What a run records of a circuit."""
    requests, wiring = parse(record, circuit.spec), circuit.wiring
    asked = [request.owner for request in requests if request.kind == WEIGHTS]
    fans = {name: wiring.fans[name] for name in asked}
    lists = {n: shard.to_host(fan.targets) for n, fan in fans.items() if isinstance(fan, FanOut)}
    return watches_of(requests, wiring, lists, circuit.params.weights)


def _check_arguments(circuit: Any, state: Any, options: Options) -> None:
    """Raise UsageError if an argument is of another kind than it is to be."""
    for name, value, kind in (("circuit", circuit, Circuit), ("state", state, State)):
        if not isinstance(value, kind):
            made = "cb.build(spec, key)" if kind is Circuit else "cb.init(circuit, key)"
            raise UsageError(f"{name}: {type(value).__name__}; what {made} returns")
    if not isinstance(options.chunk_steps, int | np.integer) or options.chunk_steps < 1:
        raise UsageError(f"chunk_steps: {options.chunk_steps!r}; a whole number, at least 1")
    record = options.record
    listed = (record,) if isinstance(record, Request) else record
    fits = isinstance(listed, Sequence) and all(isinstance(x, str | Request) for x in listed)
    if not fits or isinstance(record, bytes):
        raise UsageError(
            f'record: {record!r}; text such as "raster:purkinje", cb.record.of(...), or a list of '
            "them"
        )
    step = state.step
    if not isinstance(step, Array | np.ndarray | np.generic) or step.dtype.kind not in "iu":
        raise UsageError(f"state: step {step!r}; a whole number, int32")
    # JAX would wrap larger ones around.
    if isinstance(step, np.ndarray | np.generic) and int(np.max(step)) > MAX_STEPS:
        raise UsageError(f"state: step {step}; at most {MAX_STEPS:,}")


def _on_device(state: State) -> State:
    """A state whose NumPy arrays, such as those of a checkpoint, are arrays of JAX."""
    if not any(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(state)):
        return state
    return jax.tree.map(jnp.asarray, state)


def _steps(lengths: dict[str, int], dt: float, duration_ms: float | None) -> int:
    """The number of steps to run; the arrays of the drive must have at least this length."""
    if duration_ms is None:
        if not lengths:
            raise UsageError("duration_ms: missing; needed where the drive has no array")
        return min(lengths.values())
    try:
        if isinstance(duration_ms, str | bytes):
            raise TypeError
        duration_ms = duration_ms if isinstance(duration_ms, int) else float(duration_ms)
    except (TypeError, ValueError):
        raise UsageError(f"duration_ms: {duration_ms!r}; a number, ms") from None
    if not np.isfinite(duration_ms) or duration_ms < dt / 2:
        raise UsageError(f"duration_ms: {duration_ms}; at least one step of {dt} ms")
    if duration_ms / dt > MAX_STEPS:
        raise UsageError(f"duration_ms: {duration_ms}; at most {MAX_STEPS:,} steps of {dt} ms")
    steps = round(duration_ms / dt)
    if abs(steps - duration_ms / dt) > GRID:
        raise UsageError(
            f"duration_ms: {duration_ms}; a multiple of the step of {dt} ms, such as "
            f"{max(1, steps) * dt:g}"
        )
    for name, length in lengths.items():
        if length < steps:
            raise UsageError(f"drive {name!r}: {length} steps; {duration_ms} ms are {steps}")
    return steps
