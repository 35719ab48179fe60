"""Training on many devices: each has all that is learned, and a part of the batch.

Arrays are laid on a mesh, each device runs its own circuits, and the compiler does the rest: it
averages the gradient, once a step. Sums are then taken in another order than on one device, so
weights agree to rounding, not bit for bit.
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
    """So many devices for a batch of circuits side by side; None where one is enough.

    Raises:
      UsageError: the batch cannot be divided among them.
    """
    if batch % devices:
        raise UsageError(f"--devices: {devices}; a divisor of the {batch} streams of a batch")
    return shard.mesh(1, devices) if devices > 1 else None


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays on every device."""
    return tree if mesh is None else jax.tree.map(lambda x: _laid(x, mesh, P()), tree)


def divided(tree: Any, mesh: Mesh | None, axis: int = 0) -> Any:
    """Arrays cut along an axis, a part for each device."""
    if mesh is None:
        return tree
    axes = P(*[None] * axis, BATCH)
    return jax.tree.map(lambda x: _laid(x, mesh, axes), tree)


def unroll(
    mesh: Mesh | None, design: Design, circuit: Circuit, carry: Carry, inputs: Array, segment: int
) -> tuple[Carry, Ends]:
    """`network.unroll`, each device its own circuits: it exchanges nothing but the gradient."""

    def part(circuit: Circuit, carry: Carry, inputs: Array) -> tuple[Carry, Ends]:
        return network.unroll(design, circuit, carry, inputs, segment)

    if mesh is None:
        return part(circuit, carry, inputs)
    first, second = P(BATCH), P(None, BATCH)
    specs = P(), first, second
    mapped = jax.shard_map(
        part, mesh=mesh, in_specs=specs, out_specs=(first, second), check_vma=False
    )
    return mapped(circuit, carry, inputs)


def own(tree: Any) -> Any:
    """What is everywhere, as this process alone has it; to be used without the others."""
    return jax.tree.map(lambda x: x.addressable_data(0) if _shared(x) else x, tree)


def agreed(value: Array) -> Array:
    """The first process's value, in all of them."""
    return value if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(value)


def any_of(flags: list[bool]) -> list[bool]:
    """Of each flag, whether it is up in some process; every process must ask."""
    if jax.process_count() == 1:
        return flags
    told = multihost_utils.process_allgather(np.array(flags))
    return told.any(axis=0).tolist()


def _shared(x: Any) -> bool:
    return isinstance(x, Array) and len(x.sharding.device_set) > 1 and x.is_fully_replicated


def _laid(x: Any, mesh: Mesh, axes: P) -> Array:
    if isinstance(x, Array) and len(x.sharding.device_set) == mesh.size:
        return jax.device_put(x, NamedSharding(mesh, axes))
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_laid(jax.random.key_data(x), mesh, axes))
    return shard.lay(np.asarray(x), mesh, axes)
