"""The loop over steps, as a value.

A chunk takes some steps at once: it is a function of a circuit's arrays, its state and its inputs,
and gives the state after them and what every step left. `ScanChunk` is the reference and the law
for every other; a backend may have one of its own. Batches and shards are chunks around a chunk.
All are hashable: `advance` compiles each once for the shapes that it meets.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import jax
from flax import struct
from jax import Array, lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import BEAM, Params, State, Wiring
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


class Chunk(Protocol):
    """Some steps: (state after them, what each left [steps, ...])."""

    def __call__(
        self, params: Params, wiring: Wiring, state: State, inputs: Inputs
    ) -> tuple[State, Any]: ...


@dataclass(frozen=True, kw_only=True)
class ScanChunk:
    """`steps` steps of one circuit, in a scan."""

    steps: int
    recorders: tuple[Recorder, ...] = ()
    primitives: Primitives = REFERENCE

    def __call__(
        self, params: Params, wiring: Wiring, state: State, inputs: Inputs
    ) -> tuple[State, Any]:
        def body(state: State, given: dict[str, Array]):
            now = drives.Moment(key=state.key, step=state.step, dt=wiring.spec.dt)
            drive = dict(given)
            for name, source in inputs.drawn.items():
                cells = wiring.cells(name)
                drive[name] = drives.draw(source, name, now, cells, self.primitives)
            state, activity = circuits.step(params, wiring, state, drive, self.primitives)
            return state, records.observe(self.recorders, wiring, state, activity)

        return lax.scan(body, state, inputs.given, length=self.steps)


@dataclass(frozen=True, kw_only=True)
class BatchChunk:
    """A chunk of every member of a batch: states [B, ...]."""

    chunk: Chunk
    batched: tuple[str, ...] = ()
    """given arrays that have an axis of members too, [B, steps, ...]"""

    def __call__(
        self, params: Params, wiring: Wiring, state: State, inputs: Inputs
    ) -> tuple[State, Any]:
        axes = {name: 0 if name in self.batched else None for name in inputs.given}

        def member(state: State, given: dict[str, Array]):
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
