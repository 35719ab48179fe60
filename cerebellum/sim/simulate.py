"""Running a circuit: a jitted scan, in chunks, with its state donated."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model.circuit import Circuit, State
from cerebellum.sim import chunk as chunks
from cerebellum.sim import drive as drives
from cerebellum.sim import record as records
from cerebellum.sim import shard
from cerebellum.sim.chunk import BatchChunk, Chunk, Inputs, ShardChunk, advance
from cerebellum.sim.drive import Drive, Poisson, RateFunction, SpikeTimes
from cerebellum.sim.record import Recorder, Recording

CHUNK_STEPS = 1_000
PROGRESS_SECONDS = 2.0
MAX_STEPS = 2_000_000_000
"""Steps are counted in int32."""


def simulate(
    circuit: Circuit,
    state: State,
    drive: Drive | None = None,
    *,
    duration_ms: float | None = None,
    record: Sequence[str] = ("rates",),
    chunk_steps: int = CHUNK_STEPS,
    progress: bool | None = None,
) -> tuple[State, Recording]:
    """Run a circuit.

    The result does not depend on `chunk_steps`: the same state, drive and duration give the
    same spikes however they are cut, also over several calls.

    Args:
      circuit: whole, or cut for many devices (see `sim.shard`), with a state of its kind. Of many
        processes each calls this alike, and each has the whole recording.
      state: donated: use the one that is returned.
      drive: sources by population (see `cerebellum.sim.drive`). Arrays are [time, N] and start
        with this call.
      duration_ms: how long; by default as long as the shortest array of the drive.
      record: what to keep (see `record.parse`); population spike counts are always kept.
      chunk_steps: most steps that run on the device before the host looks.
      progress: a bar on standard error; by default when it is a terminal and the run takes
        more than two seconds.

    Raises:
      UsageError: a drive or recorder does not fit the circuit; no duration, or one of less than
        a step; a drive that is too short.
    """
    options = duration_ms, record, chunk_steps, progress
    state, recordings = _run(circuit, state, dict(drive or {}), None, *options)
    return state, recordings[0]


def simulate_batch(
    circuit: Circuit,
    state: State,
    drive: Drive | None = None,
    *,
    duration_ms: float | None = None,
    record: Sequence[str] = ("rates",),
    chunk_steps: int = CHUNK_STEPS,
    progress: bool | None = None,
) -> tuple[State, list[Recording]]:
    """Run several independent copies of a circuit at once: as `simulate`, for each.

    Args:
      state: with a leading batch axis on every array, as `jax.vmap(init, (None, 0))` over keys
        gives; all at the same step. Drawn spikes differ by the copies' keys.
      drive: as in `simulate`; an array may be [B, time, N], one for each copy.
    """
    if state.step.ndim == (0 if circuit.wiring.shard is None else 1):
        raise UsageError("state: a single one; jax.vmap(init, (None, 0)) over keys gives a batch")
    options = duration_ms, record, chunk_steps, progress
    return _run(circuit, state, dict(drive or {}), state.step.shape[-1], *options)


def _run(
    circuit: Circuit,
    state: State,
    drive: dict[str, drives.Source],
    batch: int | None,
    duration_ms: float | None,
    record: Sequence[str],
    chunk_steps: int,
    progress: bool | None,
) -> tuple[State, list[Recording]]:
    cut, spec = circuit.wiring.shard is not None, circuit.spec
    drives.check(drive, spec, batch)
    _check_state(state, circuit, batch)
    recorders = records.parse(record, spec)
    start = int(np.min(state.step.addressable_data(0)))
    drawn = {k: v for k, v in drive.items() if isinstance(v, (Poisson, RateFunction))}
    listed = {
        k: drives.spike_steps(v, spec.dt) for k, v in drive.items() if isinstance(v, SpikeTimes)
    }
    arrays = {k: v for k, v in drive.items() if isinstance(v, (Array, np.ndarray))}
    own = tuple(k for k, v in arrays.items() if batch is not None and v.ndim == 3)
    lengths = {name: array.shape[1 if name in own else 0] for name, array in arrays.items()}
    steps = _steps(lengths, spec.dt, duration_ms)
    collectors = [records.Collector(recorders, spec, start) for _ in range(batch or 1)]

    def given(first: int, last: int) -> dict[str, Any]:
        sent: dict[str, Any] = {
            name: drives.words_of(spikes, spec.population(name).size, start + first, start + last)
            for name, spikes in listed.items()
        }
        for name, array in arrays.items():
            part = array[:, first:last] if name in own else array[first:last]
            sent[name] = part.astype(np.float32) if part.dtype.kind != "f" else part
        return sent

    if cut:
        drawn = shard.split_drawn(circuit, drawn)

    def keep(left) -> None:
        host: Any = jax.tree.map(shard.to_host, left)
        if cut:
            host = shard.join_left(circuit, recorders, *host)
        for index, collector in enumerate(collectors):
            mine = host if batch is None else jax.tree.map(lambda x, i=index: x[i], host)
            collector.add(*mine)

    began = time.perf_counter()
    compiled, pending, sizes = 0.0, None, set()
    with _progress(progress) as show:
        for first, last in _chunks(steps, chunk_steps):
            sent, size = given(first, last), last - first
            called = time.perf_counter()
            if cut:
                sent = shard.split_given(circuit, sent, own)
            chunk = chunk_of(circuit, size, recorders, own if batch is not None else None)
            inputs = Inputs(drawn=drawn, given=sent)
            state, left = advance(chunk, circuit.params, circuit.wiring, state, inputs)
            if size not in sizes:
                sizes.add(size)
                compiled += time.perf_counter() - called
            if pending is not None:
                keep(pending)
            pending = left
            show(first, steps, spec.dt)
        keep(pending)
        show(steps, steps, spec.dt)
    jax.block_until_ready(state)
    seconds = {"compile": compiled, "run": time.perf_counter() - began - compiled}
    return state, [collector.recording(seconds) for collector in collectors]


def chunk_of(
    circuit: Circuit,
    steps: int,
    recorders: tuple[Recorder, ...] = (),
    batched: tuple[str, ...] | None = None,
) -> Chunk:
    """The loop that runs so many steps of a circuit, a batch of it, or its shards.

    Args:
      batched: drives with an axis of members, where there is a batch.

    Raises:
      UsageError: the circuit's backend cannot be used on this machine.
    """
    chunk = chunks.of(circuit, steps, recorders)
    if batched is not None:
        chunk = BatchChunk(chunk=chunk, batched=batched)
    if circuit.wiring.shard is not None:
        mesh = shard.mesh_of(circuit)
        chunk = ShardChunk(chunk=chunk, mesh=mesh, batched=batched or ())
    return chunk


def _check_state(state: State, circuit: Circuit, batch: int | None) -> None:
    """Raise UsageError where a state is spent, not of this circuit, or not of this batch."""
    part = circuit.wiring.part
    if state.step.is_deleted():
        raise UsageError("state: given to an earlier run; go on with the state that it returned")
    if circuit.wiring.shard is not None and state.step.shape[:1] != (part.count,):
        raise UsageError(f"state: not in {part.count} shards as the circuit is; shard.split_state")
    if batch is None and state.step.ndim > (circuit.wiring.shard is not None):
        raise UsageError("state: a batch of them; simulate_batch runs batches")
    for population in part.spec.populations:
        size = part.size(population.name)
        for leaf in jax.tree.leaves(state.cells.get(population.name)):
            if leaf.shape[-1] != size:
                raise UsageError(
                    f"state: {leaf.shape[-1]} cells in {population.name}; the circuit has {size}"
                )


def _steps(lengths: dict[str, int], dt: float, duration_ms: float | None) -> int:
    """How many steps to run; the drive's arrays, of these lengths, must reach that far."""
    if duration_ms is None:
        if not lengths:
            raise UsageError("duration_ms: missing; needed where the drive has no array")
        return min(lengths.values())
    if not np.isfinite(duration_ms) or duration_ms < dt / 2:
        raise UsageError(f"duration_ms: {duration_ms}; at least one step of {dt} ms")
    if duration_ms / dt > MAX_STEPS:
        raise UsageError(f"duration_ms: {duration_ms}; at most {MAX_STEPS:,} steps of {dt} ms")
    steps = round(duration_ms / dt)
    for name, length in lengths.items():
        if length < steps:
            raise UsageError(f"drive {name!r}: {length} steps; {duration_ms} ms are {steps}")
    return steps


def _chunks(steps: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a run into chunks of one length if there is a good one, so that one program serves.

    Otherwise the last chunk is shorter, and is a second program.
    """
    most = max(1, min(most, steps))
    even = [size for size in range(most, most // 4, -1) if steps % size == 0]
    size = even[0] if even else most
    for first in range(0, steps, size):
        yield first, min(first + size, steps)


@contextmanager
def _progress(wanted: bool | None):
    """A function (done, steps, dt) that shows how far a run is, once it has proved long."""
    if wanted is False or (wanted is None and not sys.stderr.isatty()):
        yield lambda done, steps, dt: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    began, task = time.perf_counter(), None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} ms"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True))

    def show(done: int, steps: int, dt: float) -> None:
        nonlocal task
        if task is None:
            spent = time.perf_counter() - began
            if not wanted and (not done or spent * steps / done < PROGRESS_SECONDS):
                return
            bar.start()
            task = bar.add_task("simulating", total=steps * dt)
        bar.update(task, completed=done * dt)

    try:
        yield show
    finally:
        if task is not None:
            bar.stop()
