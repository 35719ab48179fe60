"""The loop over the chunks of a run: what is fed into each, and what is recorded of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum import backends
from cerebellum.model.circuit import Circuit, State
from cerebellum.sim import chunk as chunks
from cerebellum.sim import drive as drives
from cerebellum.sim import interrupt, program, shard, stream
from cerebellum.sim.chunk import BatchChunk, Chunk, Inputs, ShardChunk, advance
from cerebellum.sim.collect import Collector
from cerebellum.sim.program import Cut
from cerebellum.sim.progress import bar_of_steps
from cerebellum.sim.record import Recording
from cerebellum.sim.recorders import Recorder
from cerebellum.sim.watches import Watch, on_host


class Feed:
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


@dataclass(frozen=True)
class Plan:
    """How a run is divided into chunks, and what they record."""

    watches: tuple[Watch, ...]
    cuts: tuple[Cut, ...]
    recorders: tuple[Recorder, ...]
    """those of the program"""

    @classmethod
    def of(cls, circuit: Circuit, watches: tuple[Watch, ...], steps: int, limit: int) -> "Plan":
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


class Loop:
    """The loop over the chunks of a run, and the records that it collects."""

    def __init__(
        self,
        circuit: Circuit,
        plan: Plan,
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
        """Give each copy its own values of some parameters, [B, ...], by group and name."""
        params = self.lean.params
        own = {group: {**getattr(params, group), **those} for group, those in swept.items()}
        self.lean = replace(self.lean, params=replace(params, **own))
        self.swept = tuple((group, name) for group, those in swept.items() for name in those)

    def __call__(
        self, state: State, feed: Feed, show_progress: bool | None
    ) -> tuple[State, list[Recording]]:
        """Run to the end: the state, and a recording of each copy.

        Raises:
          Interrupted: by Ctrl-C, between two chunks.
        """
        dt, batched = self.circuit.spec.dt, feed.batched if self.batch is not None else None
        lean, pending, whole, rooms = self.lean, None, None, set()
        try:
            with bar_of_steps(show_progress) as show, interrupt.deferred() as interruption:
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
            host = totals, tuple(on_host(watch, [x]) for watch, x in pairs)
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
