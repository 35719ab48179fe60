"""Order of computation for XLA's CPU compiler.

The compiler fuses an elementwise producer into each of its consumers and so computes it again for
every one: a membrane update that is read by the next voltage, the refractory counter and the
spikes runs three times. It also copies an array that one operation reads and another operation,
which does not depend on the first, overwrites. The compiler drops `lax.optimization_barrier`
before both passes. It cannot look through a loop whose trip count it does not know, and the
functions here use such a loop.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

Tree = TypeVar("Tree")
Result = TypeVar("Result")


def materialize_once(tree: Tree) -> Tree:
    """Return `tree`, bit for bit, so that XLA computes all of it once, before anything reads it.

    This has an effect on a CPU only; elsewhere nothing happens. The first array must be of floats
    or integers. Gradients pass.
    """
    return _materialize_once(tree)  # pyright: ignore[reportReturnType]


def order_after(done: Any, tree: Tree) -> Tree:
    """Make `tree` depend on `done`, so that no array of `tree` is overwritten before `done` exists.

    This works as `materialize_once` does, but one number computed from all arrays of `done` stands
    for them: large arrays that passed through the loop themselves would be copied where a native
    kernel writes them in place.
    """
    samples = [jnp.ravel(leaf)[0].astype(jnp.float32) for leaf in jax.tree.leaves(done)]
    return materialize_once((sum(samples, jnp.float32(0)), tree))[1]


def one_by_one(function: Callable[[Tree], Result], operands: Tree) -> Result:
    """What the function gives for each row of the operands, stacked, as `lax.map` does.

    On a CPU a row gives the same bits whatever the number of rows, be it one. XLA would take a loop
    of one trip apart and fuse what is in it with what is around it, and then its compiler rounds in
    other places. Gradients do not pass in reverse.

    Args:
      operands: arrays [B, ...]; one of them at least has numbers.
    """
    shapes = jax.eval_shape(function, jax.tree.map(lambda x: x[0], operands))
    leaves = jax.tree.leaves(operands)
    rows, first = leaves[0].shape[0], next(leaf for leaf in leaves if _is_of_numbers(leaf))
    _, count = materialize_once((first, jnp.int32(rows)))
    empty = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), shapes)

    def put(index: Array, results: Result) -> Result:
        row = _numbers_materialized(jax.tree.map(lambda x: x[index], operands))
        return jax.tree.map(lambda all_, one: all_.at[index].set(one), results, function(row))

    return lax.fori_loop(0, count, put, empty)


def _is_of_numbers(leaf: Array) -> bool:
    """Whether an array has elements, and they are numbers."""
    return leaf.size > 0 and jnp.issubdtype(leaf.dtype, jnp.number)


def _numbers_materialized(tree: Tree) -> Tree:
    """The tree after `materialize_once` of its numbers."""
    leaves, form = jax.tree.flatten(tree)
    numbers = iter(materialize_once([leaf for leaf in leaves if _is_of_numbers(leaf)]))
    return form.unflatten([next(numbers) if _is_of_numbers(leaf) else leaf for leaf in leaves])


@jax.custom_jvp
def _materialize_once(tree):
    return lax.platform_dependent(tree, cpu=_opaque_loop, default=lambda tree: tree)


@_materialize_once.defjvp
def _materialize_once_jvp(primals, tangents):
    return _materialize_once(primals[0]), tangents[0]


@jax.jit
def _opaque_loop(tree):
    """Run a loop of zero trips, or of two trips where the first value is NaN.

    Each trip negates the tree, so two trips give the same bits again.
    """
    sample = jax.tree.leaves(tree)[0].reshape(-1)[0]
    if jnp.issubdtype(sample.dtype, jnp.integer):
        sample = lax.bitcast_convert_type(sample.astype(jnp.int32), jnp.float32)
    trips = 2 * (sample != sample).astype(jnp.int32)

    def body(carry):
        return carry[0] + 1, jax.tree.map(jnp.negative, carry[1])

    return lax.while_loop(lambda carry: carry[0] < trips, body, (jnp.int32(0), tree))[1]
