"""Training on many devices. Each device has all learned arrays and a share of the batch.

Arrays are placed on a mesh and each device runs its own circuits. The compiler does the rest: it
averages the gradient over the devices once a step. Sums are then taken in another order than on
one device, so weights agree to rounding, not bit for bit.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cerebellum.errors import UsageError
from cerebellum.learn import network
from cerebellum.learn.network import Carry, Design, Ends
from cerebellum.model.circuit import Circuit
from cerebellum.sim import shard
from cerebellum.sim.chunk import BATCH


def mesh(devices: int, batch: int) -> Mesh | None:
    """A mesh of `devices` devices for a batch of circuits; None where one device is enough.

    Raises:
      UsageError: the batch cannot be divided among them.
    """
    if batch % devices:
        raise UsageError(f"--devices: {devices}; a divisor of the {batch} streams of a batch")
    return shard.mesh(1, devices) if devices > 1 else None


def replicated(tree: Any, mesh: Mesh | None) -> Any:
    """The tree with a copy of every array on every device."""
    return tree if mesh is None else jax.tree.map(lambda x: _placed(x, mesh, P()), tree)


def divided(tree: Any, mesh: Mesh | None, axis: int = 0) -> Any:
    """The tree with every array divided among the devices along an axis."""
    if mesh is None:
        return tree
    axes = P(*[None] * axis, BATCH)
    return jax.tree.map(lambda x: _placed(x, mesh, axes), tree)


def unroll(
    mesh: Mesh | None,
    design: Design,
    circuit: Circuit,
    carry: Carry,
    inputs: Array,
    segment: int,
    trains: bool = False,
) -> tuple[Carry, Ends]:
    """Run `network.unroll` with each device's own circuits. Only the gradient is exchanged."""

    def on_device(circuit: Circuit, carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        return network.unroll(design, circuit, carry, inputs, segment, trains=trains)

    if mesh is None:
        return on_device(circuit, carry, inputs)
    by_batch, by_tick_and_batch = P(BATCH), P(None, BATCH)
    mapped = jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(P(), by_batch, by_tick_and_batch),
        out_specs=(by_batch, by_tick_and_batch),
        check_vma=False,
    )
    return mapped(circuit, carry, inputs)


def local(tree: Any) -> Any:
    """This process's copy of replicated arrays, which can be used without the other processes."""
    return jax.tree.map(lambda x: x.addressable_data(0) if _is_replicated(x) else x, tree)


def agreed(value: Array) -> Array:
    """The value of the first process, in all processes."""
    return value if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value)


def any_of(flags: list[bool]) -> list[bool]:
    """For each flag, whether it is set in at least one process. Every process must call this."""
    if jax.process_count() == 1:
        return flags
    by_process = multihost_utils.process_allgather(np.array(flags))
    return by_process.any(axis=0).tolist()


def _is_replicated(x: Any) -> bool:
    return isinstance(x, Array) and len(x.sharding.device_set) > 1 and x.is_fully_replicated


def _placed(x: Any, mesh: Mesh, axes: P) -> Array:
    """An array placed on a mesh, which may span several processes."""
    if isinstance(x, Array) and len(x.sharding.device_set) == mesh.size:
        return jax.device_put(x, NamedSharding(mesh, axes))
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_placed(jax.random.key_data(x), mesh, axes))
    return shard.lay(np.asarray(x), mesh, axes)
