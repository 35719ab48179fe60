"""The loop over steps, as a value.

A chunk runs several steps. It is a function of the arrays of a circuit, its state and its inputs,
and returns the state after these steps and the records of every step. `ScanChunk` is the reference,
which every other chunk must equal; a backend may have its own. Batches and shards are chunks that
contain a chunk. All chunks are hashable: `advance` compiles each once for every set of shapes.

If the spikes of a circuit change its later input, or if something is to be computed from them in
each step, the circuit runs in an `Environment`: the eye that its nuclei move, or the readout of a
learner.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from cerebellum import backends
from cerebellum.model.circuit import BEAM, Activity, Circuit, Params, State, Wiring
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.step import step
from cerebellum.sim import drive as drives
from cerebellum.sim import recorders as records
from cerebellum.sim.recorders import Recorder

BATCH = "batch"
"""The axis of a mesh along which independent trials lie."""


@struct.dataclass(kw_only=True)
class Inputs:
    """The drive of a circuit during a chunk, by key; the second source of a key is "key[1]"."""

    sources: dict[str, Any] = struct.field(default_factory=dict)
    """sources that are computed on the device"""
    arrays: dict[str, Any] = struct.field(default_factory=dict)
    """spikes, currents or weights, [steps, ...]; uint32 arrays are packed spikes, and `Events` are
    weights by cell"""
    chosen: dict[str, Array] = struct.field(default_factory=dict)
    """which cells recorders record, by label (`watches.Watch.index`)"""
    steps: Array | None = None
    """number of steps to run, int32 scalar, at most those of the chunk; None: all of them. Records
    of the others are meaningless."""
    first: Array | None = None
    """Number of steps of the run before this chunk, int32 scalar, from which recorders that do not
    record every step count; None: no such recorder."""

    def relayed(self, wiring: Wiring) -> dict[str, list[drives.Relayed]] | str:
        """The spikes of relays by population, or which part of the drive is anything else."""
        return drives.relayed(self.sources, self.arrays, wiring)

    def unrelayed(self, wiring: Wiring) -> str | None:
        """Which part of the drive is not spikes of relays, or None, from shapes and dtypes."""
        found = []
        jax.eval_shape(lambda inputs: found.append(inputs.relayed(wiring)), self)
        return found[0] if isinstance(found[0], str) else None


class Environment(Protocol):
    """Something that reads the spikes of a circuit in each step and drives it; it is hashable."""

    def drive(self, place: Any, now: drives.Moment) -> dict[str, Array]:
        """The drive of populations in this step, in addition to the inputs of the chunk.

        Args:
          place: the state of the environment, a pytree.
          now: the present step.
        """
        ...

    def react(self, place: Any, drive: dict[str, Array], activity: Activity) -> tuple[Any, Any]:
        """The state of the environment after a step with this drive, and its record of the step."""
        ...


@struct.dataclass(kw_only=True)
class Coupled:
    """The state of a circuit and that of the environment in which it runs."""

    state: State
    place: Any
    """state of the environment"""


class Chunk(Protocol):
    """Several steps: returns the state after them, and the records of each step, [steps, ...].

    The chunk of a backend is never given recorders that do not record every step, or a number of
    steps in its inputs. It may return NotImplemented, when it is traced: then a `ScanChunk` runs.

    In an environment the state is `Coupled`, and the records are those of `Environment.react`.
    """

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]: ...


@dataclass(frozen=True, kw_only=True)
class ScanChunk:
    """A scan over the steps of one circuit."""

    steps: int
    recorders: tuple[Recorder, ...] = ()
    primitives: Primitives = REFERENCE
    environment: Environment | None = None
    """the environment, if any; it replaces the recorders"""

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]:
        deferred = None if wiring.merged is None else self.primitives.deferred
        if deferred is None:
            return self._run(params, wiring, state, inputs)
        state = deferred.begin(wiring, state)
        state, recorded = self._run(params, wiring, state, inputs)
        return deferred.end(wiring, state), recorded

    def _run(self, params: Params, wiring: Wiring, state: Any, inputs: Inputs) -> tuple[Any, Any]:
        def step_circuit(state: State, drive: dict[str, Array]) -> tuple[State, Activity]:
            return step(params, wiring, state, drive, self.primitives)

        def moment_of(state: State) -> drives.Moment:
            return drives.Moment(key=state.key, step=state.step, dt=wiring.spec.dt)

        def drive_of(now: drives.Moment, arrays: dict[str, Array]) -> dict[str, Array]:
            return drives.combine(inputs.sources, arrays, now, wiring, self.primitives)

        def recorded_step(state: State, arrays: dict[str, Array]):
            state, activity = step_circuit(state, drive_of(moment_of(state), arrays))
            observed = records.observe(self.recorders, wiring, state, activity, inputs.chosen)
            return state, observed

        def coupled_step(before: Coupled, arrays: dict[str, Array]):
            environment, now = self.environment, moment_of(before.state)
            assert environment is not None
            drive = drive_of(now, arrays) | environment.drive(before.place, now)
            state, activity = step_circuit(before.state, drive)
            place, step_records = environment.react(before.place, drive, activity)
            return Coupled(state=state, place=place), step_records

        # Inlined, so that the program is the same, but traced once for its shapes and the loop.
        body: Any = jax.jit(
            recorded_step if self.environment is None else coupled_step, inline=True
        )
        if inputs.first is not None:
            return self._sampled(body, state, inputs)
        return _loop(body, state, inputs.arrays, self.steps, inputs.steps)

    def _sampled(self, body: Any, state: State, inputs: Inputs) -> tuple[State, Any]:
        """The loop with recorders that do not record every step.

        Each of their samples has one row, [samples, ...], in which the step that ends the interval
        is the last to write. The last row may be of an interval that the next chunk ends.
        """
        every = [r.every for r in self.recorders]
        first = inputs.first
        one = jax.eval_shape(body, state, jax.tree.map(lambda x: x[0], inputs.arrays))[1][1]
        samples = {
            k: jnp.zeros((-(-(n - 1 + self.steps) // n), *one[k].shape), one[k].dtype)
            for k, n in enumerate(every)
            if n > 1
        }

        def sampled_step(carry: Any, arrays: dict[str, Array]):
            state, samples, now = carry
            state, (totals, values) = body(state, arrays)
            samples = {
                k: lax.dynamic_update_index_in_dim(
                    x, values[k], now // every[k] - first // every[k], 0
                )
                for k, x in samples.items()
            }
            rest = tuple(x for k, x in enumerate(values) if k not in samples)
            return (state, samples, now + 1), (totals, rest)

        carry = state, samples, first
        (state, samples, _), (totals, rest) = _loop(
            sampled_step, carry, inputs.arrays, self.steps, inputs.steps
        )
        each = iter(rest)
        values = tuple(samples[k] if n > 1 else next(each) for k, n in enumerate(every))
        return state, (totals, values)


def _loop(body: Any, carry: Any, arrays: Any, steps: int, count: Array | None) -> tuple[Any, Any]:
    """`lax.scan` over `steps` rows of `arrays`, or over the first `count` of them.

    With a count, one program runs any number of steps up to `steps`. The rows of the result from
    `count` on are zero.
    """
    if count is None:
        return lax.scan(body, carry, arrays, length=steps)
    carry = jax.tree.map(jnp.asarray, carry)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), arrays)
    shapes = jax.eval_shape(body, carry, one)[1]
    rows = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), shapes)

    def step_once(index: Array, loop: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, rows = loop
        now = jax.tree.map(
            lambda x: lax.dynamic_index_in_dim(x, index, axis=0, keepdims=False), arrays
        )
        carry, row = body(carry, now)
        put = partial(lax.dynamic_update_index_in_dim, index=index, axis=0)
        return carry, jax.tree.map(lambda all, one: put(all, one), rows, row)

    return lax.fori_loop(0, count, step_once, (carry, rows))


@dataclass(frozen=True, kw_only=True)
class OwnChunk:
    """The chunk of a backend, and what runs where that returns NotImplemented."""

    chunk: Any
    scan: ScanChunk

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]:
        result = self.chunk(params, wiring, state, inputs)
        return self.scan(params, wiring, state, inputs) if result is NotImplemented else result


@dataclass(frozen=True, kw_only=True)
class BatchChunk:
    """Runs a chunk for every member of a batch; the arrays of the state are [B, ...]."""

    chunk: Chunk
    batched: tuple[str, ...] = ()
    """names of input arrays that also have a batch axis, [B, steps, ...]"""
    swept: tuple[tuple[str, str], ...] = ()
    """group of `Params` and name of parameters that have a batch axis, too"""

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]:
        axes = {name: 0 if name in self.batched else None for name in inputs.arrays}
        own: dict[str, dict[str, Any]] = {}
        for group, name in self.swept:
            own.setdefault(group, {})[name] = getattr(params, group)[name]

        def run_member(state: Any, arrays: dict[str, Array], own: dict[str, dict[str, Any]]):
            groups = {group: {**getattr(params, group), **those} for group, those in own.items()}
            member = replace(params, **groups)
            return self.chunk(member, wiring, state, replace(inputs, arrays=arrays))

        return jax.vmap(run_member, in_axes=(0, axes, 0))(state, inputs.arrays, own)


@dataclass(frozen=True, kw_only=True)
class ShardChunk:
    """Runs a chunk of a circuit that is divided into shards for a mesh.

    Every array has a leading axis of shards.
    """

    chunk: Chunk
    mesh: Mesh
    batched: tuple[str, ...] = ()
    """names of input arrays that also have a batch axis, [shards, B, steps, ...]"""

    def __call__(
        self, params: Params, wiring: Wiring, state: State, inputs: Inputs
    ) -> tuple[State, Any]:
        by_shard = P(BEAM)
        by_member = P(BEAM, BATCH) if state.step.ndim == 2 else by_shard

        def run_shard(*operands):
            result = self.chunk(*jax.tree.map(lambda x: x[0], operands))
            return jax.tree.map(lambda x: x[None], result)

        arrays = {n: by_member if n in self.batched else by_shard for n in inputs.arrays}
        axes: Any = Inputs(
            sources=by_shard,  # pyright: ignore[reportArgumentType]
            arrays=arrays,  # pyright: ignore[reportArgumentType]
            chosen=by_shard,  # pyright: ignore[reportArgumentType]
            steps=by_shard,  # pyright: ignore[reportArgumentType]
            first=by_shard,  # pyright: ignore[reportArgumentType]
        )
        return jax.shard_map(
            run_shard,
            mesh=self.mesh,
            in_specs=(by_shard, by_shard, by_member, axes),
            out_specs=by_member,
            check_vma=False,
        )(params, wiring, state, inputs)


@partial(jax.jit, static_argnames="chunk", donate_argnames="state")
def advance(
    chunk: Chunk, params: Params, wiring: Wiring, state: State, inputs: Inputs
) -> tuple[State, Any]:
    """Run a chunk as a compiled program; the state is donated."""
    return chunk(params, wiring, state, inputs)


def counts_steps(circuit: Circuit, steps: int, recorders: tuple[Recorder, ...] = ()) -> bool:
    """Whether the chunk of a circuit runs as many steps as its inputs say (see `Inputs.steps`).

    A backend's own loop need not.
    """
    return backends.of(circuit).chunk(circuit, steps, recorders) is None


def explain(
    circuit: Circuit, recorders: tuple[Recorder, ...], inputs: Inputs, batched: tuple[str, ...] = ()
) -> str:
    """How the backend of a circuit takes the steps of a chunk with these inputs, in a few words.

    Args:
      batched: names of input arrays that have a batch axis, [B, steps, ...].
    """

    def of_member(name: str, x: Any) -> Any:
        axes = 1 if name in batched else 0
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[axes:], x.dtype), x)

    arrays = {name: of_member(name, x) for name, x in inputs.arrays.items()}
    return backends.explain(circuit, recorders, replace(inputs, arrays=arrays))


def of(
    circuit: Circuit,
    steps: int,
    recorders: tuple[Recorder, ...] = (),
    environment: Environment | None = None,
) -> Chunk:
    """The chunk that runs `steps` steps of a circuit: that of its backend, or else a `ScanChunk`.

    Raises:
      UsageError: the backend of the circuit cannot be used on this machine.
    """
    backend = backends.of(circuit)
    chunk = backend.chunk(circuit, steps, recorders) if environment is None else None
    scan = ScanChunk(
        steps=steps,
        recorders=recorders,
        primitives=backend.primitives(circuit),
        environment=environment,
    )
    return scan if chunk is None else OwnChunk(chunk=chunk, scan=scan)
