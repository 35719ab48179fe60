"""A fence for XLA's CPU compiler.

It fuses an elementwise producer into each of its consumers and so computes it again for every
one: a membrane update read by the next voltage, the refractory counter and the spikes runs three
times. And where one operation reads an array that another, not depending on it, overwrites, it
copies the array. `lax.optimization_barrier` is dropped before both passes. What they cannot look
through is a loop whose trip count they do not know.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Tree = TypeVar("Tree")


def fence(tree: Tree) -> Tree:
    """`tree` itself, bit for bit: all of it is computed, once, before anything behind the fence.

    On CPU only; elsewhere nothing happens. The first array must be of floats or
    integers. Gradients pass.
    """
    return _fence(tree)  # pyright: ignore[reportReturnType]


def after(done: Any, tree: Tree) -> Tree:
    """`tree`, not to be written to before all arrays of `done` are there.

    As `fence`, but `done` itself does not pass: large arrays that went through would be copied
    where a native kernel writes them in place. One number that all of them go into does.
    """
    firsts = [jnp.ravel(leaf)[0].astype(jnp.float32) for leaf in jax.tree.leaves(done)]
    return fence((sum(firsts, jnp.float32(0)), tree))[1]


@jax.custom_jvp
def _fence(tree):
    return lax.platform_dependent(tree, cpu=_loop, default=lambda tree: tree)


@_fence.defjvp
def _fence_jvp(primals, tangents):
    return _fence(primals[0]), tangents[0]


@jax.jit
def _loop(tree):
    """No trips, or two where the first value is NaN: minus twice is the same again."""
    first = jax.tree.leaves(tree)[0].reshape(-1)[0]
    if jnp.issubdtype(first.dtype, jnp.integer):
        first = lax.bitcast_convert_type(first.astype(jnp.int32), jnp.float32)
    trips = 2 * (first != first).astype(jnp.int32)

    def body(carry):
        return carry[0] + 1, jax.tree.map(jnp.negative, carry[1])

    return lax.while_loop(lambda carry: carry[0] < trips, body, (jnp.int32(0), tree))[1]
