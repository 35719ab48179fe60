"""What orders the work of the compiler changes no value."""

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
    x = jnp.arange(3.0 * rows).reshape(rows, 3).at[0, 0].set(first)
    operands = (x, {"a": jnp.arange(rows)})

    def function(operands):
        return {"sum": jnp.sum(operands[0]), "pair": (operands[0] * 2, operands[1]["a"] + 1)}

    got, want = jax.jit(lambda: one_by_one(function, operands))(), jax.vmap(function)(operands)
    chex.assert_trees_all_equal(got, want)
