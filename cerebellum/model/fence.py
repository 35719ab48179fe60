"""A fence for XLA's CPU fusion.

The CPU compiler fuses an elementwise producer into each of its consumers and so computes it
again for every one: a membrane update read by the next voltage, the refractory counter and the
spikes runs three times. `lax.optimization_barrier` is dropped before that pass. What it cannot
look through is a loop whose trip count it does not know.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


@jax.custom_jvp
def fence(x: Array) -> Array:
    """`x` itself, bit for bit, computed once on CPU; elsewhere nothing happens."""
    return lax.platform_dependent(x, cpu=_loop, default=lambda x: x)


@fence.defjvp
def _fence_jvp(primals, tangents):
    return fence(primals[0]), tangents[0]


@jax.jit
def _loop(x: Array) -> Array:
    """No trips, or two where the first value is NaN: minus twice is `x` again."""
    first = x.reshape(-1)[0]
    trips = 2 * jnp.isnan(first).astype(jnp.int32)
    start = jnp.int32(0), x
    return lax.while_loop(lambda c: c[0] < trips, lambda c: (c[0] + 1, -c[1]), start)[1]
