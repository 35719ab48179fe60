"""What orders the work of the compiler changes no value."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.model.ordering import materialize_once, one_by_one


@pytest.mark.parametrize("first", [1.0, -0.0, np.inf, np.nan])
def test_every_bit_is_kept(first):
    tree = (
        jnp.array([first, 2.0, np.nan, -0.0]),
        {"a": jnp.array([0, 7, 255], jnp.uint8), "b": jnp.array([3], jnp.int32)},
    )
    for got, want in zip(
        jax.tree.leaves(jax.jit(materialize_once)(tree)), jax.tree.leaves(tree), strict=True
    ):
        assert got.dtype == want.dtype
        assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def test_gradients_and_batches_pass():
    x = jnp.arange(6.0).reshape(2, 3)
    assert jax.grad(lambda x: jnp.sum(materialize_once(x) ** 2))(x).tolist() == (2 * x).tolist()
    assert jax.vmap(lambda x: materialize_once((x, x + 1))[1])(x).tolist() == (x + 1).tolist()


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("first", [1.0, np.nan])
def test_rows_are_given_one_by_one(rows, first):
    """Whatever they hold; only numbers are kept apart from what is around."""
    x = jnp.arange(3.0 * rows).reshape(rows, 3).at[0, 0].set(first)
    given = (jnp.arange(rows) > 1, x, {"a": jnp.arange(rows), "none": jnp.zeros((rows, 0))})

    def function(operands):
        flag, x, named = operands
        return {"sum": jnp.sum(x), "pair": (jnp.where(flag, x, 2 * x), named["a"] + 1)}

    got, want = jax.jit(partial(one_by_one, function))(given), jax.vmap(function)(given)
    chex.assert_trees_all_equal(got, want)


@pytest.mark.slow
def test_a_row_gives_the_same_bits_whatever_their_number():
    """Compiled in full, where a product of matrices for many rows rounds otherwise than for one."""
    x = jax.random.normal(jax.random.key(0), (64, 300))
    weights = jax.random.normal(jax.random.key(1), (300, 7))

    def each(x):
        return one_by_one(lambda row: jnp.tanh((row - 0.1) / 1.3) @ weights, x)

    together = jax.jit(each)(x)
    for row in range(64):
        np.testing.assert_array_equal(jax.jit(each)(x[row : row + 1])[0], together[row])
    batched = jax.jit(jax.vmap(lambda row: jnp.tanh((row - 0.1) / 1.3) @ weights))(x)
    assert not np.array_equal(batched, together)
