"""Running a circuit: a jitted scan in chunks, to which the state is donated."""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from cerebellum import backends
from cerebellum.errors import UsageError
from cerebellum.model import anatomy, fit
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.delays import GRID
from cerebellum.model.events import FanOut
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.sim import chunk as chunks
from cerebellum.sim import drive as drives
from cerebellum.sim import interrupt, memory, program, recorders, shard, stream
from cerebellum.sim.chunk import BatchChunk, Chunk, Inputs, ShardChunk, advance
from cerebellum.sim.collect import Collector
from cerebellum.sim.drive import Drive
from cerebellum.sim.program import Cut
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import Recorder, Request, Watch

log = logging.getLogger(__name__)

CHUNK_STEPS = 1_000
PROGRESS_SECONDS = 2.0
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
        with this call.
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


class _Feed:
    """The drive of a run, from which it cuts the arrays of each chunk."""

    def __init__(self, circuit: Circuit, drive: drives.Drive, start_step: int, batched: bool):
        """Prepare the sources of a drive.

        Args:
          start_step: number of steps that the state has done before the run.
          batched: whether the run is one of several copies, so that arrays may have a batch axis.
        """
        self.circuit, self.start_step = circuit, start_step
        self.plan = drives.plan(drive, circuit.spec)
        self.batched = self.plan.batched(batched)
        self.sources: dict[str, Any] = self.plan.drawn
        if circuit.wiring.shard is not None:
            self.sources = shard.split_sources(circuit, self.sources)

    def lengths(self) -> dict[str, int]:
        """Number of steps of each array."""
        return self.plan.lengths(bool(self.batched))

    def chunk(self, first: int, last: int) -> dict[str, Any]:
        """The arrays of the steps from `first` to `last` - 1 of the run, for the whole circuit."""
        return self.plan.rows(first, last, self.start_step)

    def inputs(self, arrays: dict[str, Any]) -> Inputs:
        """The inputs of a chunk, divided into shards if the circuit is."""
        if self.circuit.wiring.shard is not None:
            arrays = shard.split_arrays(self.circuit, arrays, self.batched)
        return Inputs(sources=self.sources, arrays=arrays)


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
    _check_state(state, circuit, batch)
    weights = {**circuit.params.weights, **state.weights}
    fit.check_values(circuit.params.cells, weights, circuits.longest_refractory(spec), spec.dt)
    if circuit.wiring.shard is None:
        circuits.check_junctions(circuit.params, circuit.wiring)
        fit.check_gains(circuit.params.learning_gain, circuits.learning(spec), spec.name)
        _check_single_weights(circuit)
    dtypes = {p.name: p.dtype for p in spec.projections if p.plastic}
    fit.check_state(state.cells, state.weights, dtypes)
    watches = _watches(circuit, options.record)
    start_step = int(np.asarray(state.step.addressable_data(0)).min())
    feed = _Feed(circuit, drive, start_step, batch is not None)
    steps = _steps(feed.lengths(), spec.dt, options.duration_ms)
    if start_step + steps > MAX_STEPS:
        raise UsageError(
            f"duration_ms: {steps * spec.dt:g} after {start_step * spec.dt:g} ms; at most "
            f"{MAX_STEPS:,} steps of {spec.dt} ms in all"
        )
    for slot, rows in feed.lengths().items():
        if rows > steps:
            log.warning(
                "drive %r: an array of %d rows, of which this run of %d steps takes the first %d",
                *(slot, rows, steps, steps),
            )
    drives.check_span(drive, spec, start_step, start_step + steps)
    plan = _Plan.of(circuit, watches, steps, options.chunk_steps)
    place = None if options.to is None else stream.check_place(options.to).parent
    memory.check_recording(watches, spec, steps, plan.cuts[0].room, batch or 1, place)
    folder = None if options.to is None else stream.Folder(options.to)
    try:
        loop = _Run(circuit, plan, batch, (start_step, steps), folder)
        if swept:
            loop.sweep(swept)
        state, recordings = loop(state, feed, options)
    finally:
        if folder is not None:
            folder.discard()
    lost = fit.not_finite(state.cells)
    if lost:
        log.warning(
            "%s: not finite at the end of the run; cells without a voltage are silent: a shorter "
            "step (dt), or other parameters",
            ", ".join(lost),
        )
    return state, recordings


def _watches(circuit: Circuit, record: Record) -> tuple[Watch, ...]:
    """What a run records of a circuit."""
    requests, wiring = recorders.parse(record, circuit.spec), circuit.wiring
    asked = [request.owner for request in requests if request.kind == recorders.WEIGHTS]
    fans = {name: wiring.fans[name] for name in asked}
    lists = {n: shard.to_host(fan.targets) for n, fan in fans.items() if isinstance(fan, FanOut)}
    return recorders.watches(requests, wiring, lists, circuit.params.weights)


@dataclass(frozen=True)
class _Plan:
    """How a run is divided into chunks, and what they record."""

    watches: tuple[Watch, ...]
    cuts: tuple[Cut, ...]
    recorders: tuple[Recorder, ...]
    """those of the program"""

    @classmethod
    def of(cls, circuit: Circuit, watches: tuple[Watch, ...], steps: int, limit: int) -> "_Plan":
        those = tuple(watch.recorder for watch in watches)
        counts = chunks.counts_steps(circuit, min(steps, limit), those)
        if not counts:
            # A backend's own loop records every step; the host then picks the samples.
            those = tuple(replace(r, every=1) for r in those)
        cuts = tuple(program.cuts(steps, limit, counts, jax.default_backend()))
        return cls(watches, cuts, those)

    def rows(self, watch: Watch, recorder: Recorder, cut: Cut) -> slice:
        """The rows of what a chunk recorded that are samples of a watch."""
        every = watch.recorder.every
        if recorder.every == every:
            return slice(0, cut.last // every - cut.first // every)
        return slice(every - 1 - cut.first % every, cut.size, every)


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


class _Run:
    """The loop over the chunks of a run, and the records that it collects."""

    def __init__(
        self,
        circuit: Circuit,
        plan: _Plan,
        batch: int | None,
        span: tuple[int, int],
        folder: stream.Folder | None,
    ):
        """Allocate the recordings of a run.

        Args:
          span: the first step, and the number of steps.
          folder: where the recording is written; None for memory.
        """
        self.circuit, self.plan, self.batch, self.folder = circuit, plan, batch, folder
        self.steps, self.loop = span[1], ""
        self.collectors = [
            Collector(plan.watches, circuit.spec, *span, folder) for _ in range(batch or 1)
        ]
        self.start, self.compile_seconds = time.perf_counter(), 0.0
        # Copies of a run have no such lists: their kernels take one state.
        longest = max((cut.size for cut in plan.cuts), default=0)
        self.merged = circuit if batch else backends.merged(circuit, longest)
        self.lean = program.canonical(self.merged)
        place = jnp.asarray if circuit.wiring.shard is None else partial(shard.place, circuit)
        self.chosen = {
            watch.recorder.label: place(watch.index)
            for watch in plan.watches
            if watch.index is not None
        }
        self.samples = any(r.every > 1 for r in plan.recorders)
        self.swept: tuple[tuple[str, str], ...] = ()

    def sweep(self, swept: Mapping[str, Mapping[str, Any]]) -> None:
        """Give each copy its own values of some parameters (see `run`)."""
        params = self.lean.params
        own = {group: {**getattr(params, group), **those} for group, those in swept.items()}
        self.lean = replace(self.lean, params=replace(params, **own))
        self.swept = tuple((group, name) for group, those in swept.items() for name in those)

    def __call__(
        self, state: State, feed: _Feed, options: Options
    ) -> tuple[State, list[Recording]]:
        """Run to the end: the state, and a recording of each copy.

        Raises:
          Interrupted: by Ctrl-C, between two chunks.
        """
        dt, batched = self.circuit.spec.dt, feed.batched if self.batch is not None else None
        lean, pending, whole, rooms = self.lean, None, None, set()
        try:
            with _progress(options.progress) as show, interrupt.deferred() as interruption:
                for cut in self.plan.cuts:
                    arrays = _padded(feed.chunk(cut.first, cut.last), cut, feed.batched)
                    call_start = time.perf_counter()
                    chunk = chunk_of(self.circuit, cut.room, self.plan.recorders, batched)
                    if isinstance(chunk, BatchChunk):
                        chunk = replace(chunk, swept=self.swept)
                    inputs = self._inputs(feed.inputs(arrays), cut)
                    if not self.loop:
                        recorders = self.plan.recorders
                        self.loop = chunks.explain(self.merged, recorders, inputs, feed.batched)
                    state, chunk_records = advance(chunk, lean.params, lean.wiring, state, inputs)
                    if (cut.room, cut.counted) not in rooms:
                        rooms.add((cut.room, cut.counted))
                        self.compile_seconds += time.perf_counter() - call_start
                    # The records of the chunk before are copied while this chunk runs.
                    self._collect(pending)
                    pending, whole = (cut, chunk_records), state
                    show(cut.first, self.steps, dt)
                    interruption()
                last_records, pending, whole = pending, None, None
                self._collect(last_records)
                whole = state
                show(self.steps, self.steps, dt)
        except KeyboardInterrupt:
            # Between chunks, `state` is that after all that is collected or pending, and is not
            # donated yet. Elsewhere they do not fit each other.
            if whole is None or whole is not state or state.step.is_deleted():
                raise
            self._collect(pending)
            planned_ms = self.steps * dt
            raise interrupt.Interrupted(state, self._recordings(), planned_ms) from None
        jax.block_until_ready(state)
        return state, self._recordings()

    def _inputs(self, inputs: Inputs, cut: Cut) -> Inputs:
        """The inputs of a chunk, with its length and what it records."""
        lengths: dict[str, Any] = {}
        if cut.counted:
            lengths["steps"] = np.int32(cut.size)
        if self.samples:
            lengths["first"] = np.int32(cut.first)
        if self.circuit.wiring.shard is not None:
            lengths = {name: shard.replicate(self.circuit, x) for name, x in lengths.items()}
        return replace(inputs, chosen=self.chosen, **lengths)

    def _collect(self, pending: tuple[Cut, Any] | None) -> None:
        """Copy the records of a chunk, if any, to the host."""
        if pending is None:
            return
        (cut, (totals, values)), plan = pending, self.plan
        values = [
            shard.to_host(x)[..., plan.rows(watch, recorder, cut), :]
            for watch, recorder, x in zip(plan.watches, plan.recorders, values, strict=True)
        ]
        totals = {name: shard.to_host(x)[..., : cut.size] for name, x in totals.items()}
        if self.circuit.wiring.shard is not None:
            host = shard.join_records(self.circuit, plan.watches, totals, values)
        else:
            pairs = zip(plan.watches, values, strict=True)
            host = totals, tuple(recorders.on_host(watch, [x]) for watch, x in pairs)
        for index, collector in enumerate(self.collectors):
            member: Any = host
            if self.batch is not None:
                member = jax.tree.map(lambda x, i=index: x[i], host)
            collector.add(member[0], member[1])

    def _recordings(self) -> list[Recording]:
        """The recordings of what is collected."""
        run_seconds = time.perf_counter() - self.start - self.compile_seconds
        seconds = {"compile": self.compile_seconds, "run": run_seconds}
        ran = backends.of(self.circuit).name, self.circuit.wiring.path, self.loop
        recordings = [collector.recording(seconds, *ran) for collector in self.collectors]
        return recordings if self.folder is None else [self.folder.finish(recordings[0])]


def _on_device(state: State) -> State:
    """A state whose NumPy arrays, such as those of a checkpoint, are arrays of JAX."""
    if not any(isinstance(leaf, np.ndarray | np.generic) for leaf in jax.tree.leaves(state)):
        return state
    return jax.tree.map(jnp.asarray, state)


def chunk_of(
    circuit: Circuit,
    steps: int,
    recorders: tuple[Recorder, ...] = (),
    batched: tuple[str, ...] | None = None,
) -> Chunk:
    """The chunk that runs `steps` steps of a circuit, of a batch of copies, or of its shards.

    Args:
      batched: names of the input arrays that have a batch axis; None if there is no batch.

    Raises:
      UsageError: the backend of the circuit cannot be used on this machine.
    """
    chunk = chunks.of(circuit, steps, recorders)
    if batched is not None:
        chunk = BatchChunk(chunk=chunk, batched=batched)
    if circuit.wiring.shard is not None:
        mesh = shard.mesh_of(circuit)
        chunk = ShardChunk(chunk=chunk, mesh=mesh, batched=batched or ())
    return chunk


def _check_state(state: State, circuit: Circuit, batch: int | None) -> None:
    """Raise UsageError if a state was donated before, or does not fit the circuit or the batch."""
    part = circuit.wiring.part
    if state.step.is_deleted():
        raise UsageError(
            "state: given to an earlier run; go on with the state that it returned, or with that "
            "of its exception (Interrupted.state) if it was interrupted"
        )
    if circuit.wiring.shard is not None and state.step.shape[:1] != (part.count,):
        raise UsageError(f"state: not in {part.count} shards as the circuit is; shard.split_state")
    if batch is None and state.step.ndim > (circuit.wiring.shard is not None):
        raise UsageError("state: a batch of them; simulate_batch runs batches")
    steps = np.concatenate([np.ravel(piece.data) for piece in state.step.addressable_shards])
    if steps.min() != steps.max():
        raise UsageError(f"state: members at steps {steps.min()} to {steps.max()}; all at one")
    if steps.min() < 0:
        raise UsageError(f"state: step {steps.min()}; zero or more")
    for population in part.spec.populations:
        size = part.size(population.name)
        model, cells = CIRCUIT_MODELS[population.model], state.cells.get(population.name)
        if cells is not None and type(cells) is not model.State:
            raise UsageError(
                f"state: {population.name} is {type(cells).__module__}.{type(cells).__name__}; "
                f"{population.model} cells"
            )
        for leaf in jax.tree.leaves(state.cells.get(population.name)):
            if leaf.shape[-1] != size:
                raise UsageError(
                    f"state: {leaf.shape[-1]} cells in {population.name}; the circuit has {size}"
                )
    _check_lines(state, circuit)
    _check_plasticity(state, circuit)


def _check_plasticity(state: State, circuit: Circuit) -> None:
    """Raise UsageError if a state is of other populations, plastic projections or delays."""
    spec = circuit.spec
    for what, known in (
        ("cells", [p.name for p in spec.populations]),
        ("weights", [p.name for p in spec.projections if p.plastic]),
        ("rule_states", [p.name for p in spec.projections if p.rule is not None]),
        ("terminals", [p.name for p in spec.projections if p.short_term is not None]),
        ("homeostasis", [name for name, _, _ in spec.homeostatic()]),
    ):
        fit.check_names(getattr(state, what), known, f"state.{what}", spec.name)
    timing = circuits.timing(circuit.wiring)
    if state.timing is None:
        return
    if state.timing.dt != timing.dt:
        raise UsageError(
            f"state: of a circuit with a dt of {state.timing.dt:g} ms; this one has {timing.dt:g}"
        )
    before = dict(state.timing.delays)
    for name, steps in timing.delays:
        if before.get(name) != steps:
            raise UsageError(
                f"state: {name} had a delay of {before.get(name)} steps; this circuit's has {steps}"
            )


def _check_single_weights(circuit: Circuit) -> None:
    """Raise UsageError if one weight is given for rows in which contacts are missing.

    A missing contact is a zero among the weights, so one weight would make it exist; 0 would not.
    """
    for projection in circuit.spec.projections:
        name, wiring = projection.name, circuit.wiring
        weight = circuit.params.weights[name]
        if isinstance(wiring.fans[name], FanOut) or np.ndim(weight) or projection.dtype == "uint16":
            continue
        complete = wiring.drawn and circuit.spec.share(projection) >= 1
        if not complete and float(weight) != 0:
            raise UsageError(
                f"params.weights: {name}: one value, {float(weight):g}; an array, whose zeros are "
                "the contacts that are missing, or 0"
            )


def _check_lines(state: State, circuit: Circuit) -> None:
    """Raise UsageError if the delay lines of a state are those of other delays, dt or path."""
    spec, path = circuit.spec, circuit.wiring.path
    depths = circuits.depths(spec)
    if state.delay_lines.keys() != depths.keys():
        known = ", ".join(depths)
        raise UsageError(
            f"state: delay lines of {', '.join(state.delay_lines)}; the circuit has {known}"
        )
    for name, line in state.delay_lines.items():
        if (line.dtype == jnp.uint32) != (path == "event"):
            other = "dense" if path == "event" else "event"
            raise UsageError(f"state: of a circuit on the {other} path; this one is on {path}")
        if line.shape[-2] != depths[name]:
            raise UsageError(
                f"state: the delay line of {name} has {line.shape[-2]} steps; {depths[name]} at "
                f"the circuit's delays and its dt of {spec.dt:g} ms"
            )


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


def _padded(arrays: dict[str, Any], cut: Cut, batched: tuple[str, ...]) -> dict[str, Any]:
    """Arrays of the steps of a chunk with rows of zeros up to the room of its program."""
    missing = cut.room - cut.size
    if not missing:
        return arrays

    def pad(x: Any, axis: int) -> Any:
        padding = [(0, missing if i == axis else 0) for i in range(x.ndim)]
        return (jnp if isinstance(x, Array) else np).pad(x, padding)

    return {
        name: jax.tree.map(partial(pad, axis=1 if name in batched else 0), x)
        for name, x in arrays.items()
    }


@contextmanager
def _progress(enabled: bool | None):
    """A function (done, steps, dt) that shows the progress of a run.

    If `enabled` is None, the bar appears only if the run is going to be long.
    """
    if enabled is False or (enabled is None and not sys.stderr.isatty()):
        yield lambda done, steps, dt: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    start, task = time.perf_counter(), None
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
            elapsed = time.perf_counter() - start
            if not enabled and (not done or elapsed * steps / done < PROGRESS_SECONDS):
                return
            bar.start()
            task = bar.add_task("simulating", total=steps * dt)
        bar.update(task, completed=done * dt)

    try:
        yield show
    finally:
        if task is not None:
            bar.stop()


@contextmanager
def shown(enabled: bool | None):
    """As `_progress`, a function (done, all) of times in ms."""
    with _progress(enabled) as show:
        yield lambda done, whole: show(done, whole, 1.0)
