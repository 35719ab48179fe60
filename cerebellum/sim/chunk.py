"""The loop over steps, as a value.

A chunk takes some steps at once: it is a function of a circuit's arrays, its state and its inputs,
and gives the state after them and what every step left. `ScanChunk` is the reference and the law
for every other; a backend may have one of its own. Batches and shards are chunks around a chunk.
All are hashable: `advance` compiles each once for the shapes that it meets.

Where a circuit's spikes change what reaches it next, or something is to be computed of them as
they come, it runs in an `Environment`: the eye that its nuclei move, the readout of a learner.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import jax
from flax import struct
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from cerebellum import backends
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import BEAM, Activity, Circuit, Params, State, Wiring
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.sim import drive as drives
from cerebellum.sim import record as records
from cerebellum.sim.record import Recorder

BATCH = "batch"
"""The axis of a mesh along which independent trials lie."""


@struct.dataclass(kw_only=True)
class Inputs:
    """What drives a circuit during a chunk, by population."""

    drawn: dict[str, Any] = struct.field(default_factory=dict)
    """sources that are drawn on the device"""
    given: dict[str, Array] = struct.field(default_factory=dict)
    """arrays, [steps, ...], packed where uint32"""


class Environment(Protocol):
    """What a circuit acts on, step by step, and is driven by. It must be hashable."""

    def drive(self, place: Any, now: drives.Moment) -> dict[str, Array]:
        """What it sends to populations in this step, beside the inputs of the chunk.

        Args:
          place: its own state, a pytree.
        """
        ...

    def react(self, place: Any, drive: dict[str, Array], activity: Activity) -> tuple[Any, Any]:
        """Its own state after a step in which this was the drive, and what it leaves."""
        ...


@struct.dataclass(kw_only=True)
class Coupled:
    """The state of a circuit that runs in an environment."""

    state: State
    place: Any
    """of the environment"""


class Chunk(Protocol):
    """Some steps: (state after them, what each left [steps, ...]).

    In an environment the state is `Coupled`, and what is left what `Environment.react` gives.
    """

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]: ...


@dataclass(frozen=True, kw_only=True)
class ScanChunk:
    """`steps` steps of one circuit, in a scan."""

    steps: int
    recorders: tuple[Recorder, ...] = ()
    primitives: Primitives = REFERENCE
    environment: Environment | None = None
    """with one there are no recorders"""

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]:
        def one(state: State, drive: dict[str, Array]) -> tuple[State, Activity]:
            return circuits.step(params, wiring, state, drive, self.primitives)

        def moment(state: State) -> drives.Moment:
            return drives.Moment(key=state.key, step=state.step, dt=wiring.spec.dt)

        def driven(now: drives.Moment, given: dict[str, Array]) -> dict[str, Array]:
            drive = dict(given)
            for name, source in inputs.drawn.items():
                cells = wiring.cells(name)
                drive[name] = drives.draw(source, name, now, cells, self.primitives)
            return drive

        def recorded(state: State, given: dict[str, Array]):
            state, activity = one(state, driven(moment(state), given))
            return state, records.observe(self.recorders, wiring, state, activity)

        def coupled(before: Coupled, given: dict[str, Array]):
            environment, now = self.environment, moment(before.state)
            assert environment is not None
            drive = driven(now, given) | environment.drive(before.place, now)
            state, activity = one(before.state, drive)
            place, left = environment.react(before.place, drive, activity)
            return Coupled(state=state, place=place), left

        body: Any = recorded if self.environment is None else coupled
        return lax.scan(body, state, inputs.given, length=self.steps)


@dataclass(frozen=True, kw_only=True)
class BatchChunk:
    """A chunk of every member of a batch: states [B, ...]."""

    chunk: Chunk
    batched: tuple[str, ...] = ()
    """given arrays that have an axis of members too, [B, steps, ...]"""

    def __call__(
        self, params: Params, wiring: Wiring, state: Any, inputs: Inputs
    ) -> tuple[Any, Any]:
        axes = {name: 0 if name in self.batched else None for name in inputs.given}

        def member(state: Any, given: dict[str, Array]):
            return self.chunk(params, wiring, state, replace(inputs, given=given))

        return jax.vmap(member, in_axes=(0, axes))(state, inputs.given)


@dataclass(frozen=True, kw_only=True)
class ShardChunk:
    """A chunk of a circuit that is cut for a mesh; every array has a leading axis of shards."""

    chunk: Chunk
    mesh: Mesh
    batched: tuple[str, ...] = ()
    """given arrays that have an axis of members too, [shards, B, steps, ...]"""

    def __call__(
        self, params: Params, wiring: Wiring, state: State, inputs: Inputs
    ) -> tuple[State, Any]:
        by_shard = P(BEAM)
        by_member = P(BEAM, BATCH) if state.step.ndim == 2 else by_shard

        def run(*operands):
            one = self.chunk(*jax.tree.map(lambda x: x[0], operands))
            return jax.tree.map(lambda x: x[None], one)

        given = {n: by_member if n in self.batched else by_shard for n in inputs.given}
        sent: Any = Inputs(drawn=by_shard, given=given)  # pyright: ignore[reportArgumentType]
        return jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(by_shard, by_shard, by_member, sent),
            out_specs=by_member,
            check_vma=False,
        )(params, wiring, state, inputs)


@partial(jax.jit, static_argnames="chunk", donate_argnames="state")
def advance(
    chunk: Chunk, params: Params, wiring: Wiring, state: State, inputs: Inputs
) -> tuple[State, Any]:
    """One chunk, compiled; the state is donated."""
    return chunk(params, wiring, state, inputs)


def of(
    circuit: Circuit,
    steps: int,
    recorders: tuple[Recorder, ...] = (),
    environment: Environment | None = None,
) -> Chunk:
    """The loop that runs so many steps of a circuit: its backend's own, or a scan of steps.

    Raises:
      UsageError: the circuit's backend cannot be used on this machine.
    """
    backend = backends.of(circuit)
    own = backend.chunk(circuit, steps, recorders) if environment is None else None
    return own or ScanChunk(
        steps=steps,
        recorders=recorders,
        primitives=backend.primitives(circuit),
        environment=environment,
    )
