"""Fixed-point weights: exact sums, unbiased rounding, noise that depends on the counter alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

from cerebellum.model import events, fixed, noise
from cerebellum.model.noise import CellRange

KEY = jnp.uint32([7, 8])
FIRST = fixed.First(
    weights_key=KEY,
    contacts_key=jnp.uint32([1, 2]),
    mean=jnp.float32(2),
    spread=0.5,
    share=0.7,
)


def added(rows, delta, key):
    numbers, width = jnp.arange(rows.shape[0]), rows.shape[1]
    return fixed.add(rows, delta, fixed.dither(key, numbers, noise.columns(key, width)))


def updated(rows, deltas):
    """Rows after one rounded change a step."""

    def one(carry, now):
        step, rows = carry
        return (step + 1, added(rows, now, noise.fold(KEY, step))), None

    return jax.jit(lambda r, d: jax.lax.scan(one, (jnp.uint32(0), r), d)[0][1])(rows, deltas)


@pytest.mark.parametrize("drift", [0.003, 0.37, -0.8])
def test_ten_thousand_updates_equal_float32_in_expectation(drift):
    """Most of them far below one level: truncated, the smallest would change nothing."""
    rng = np.random.default_rng(0)
    deltas = (drift + rng.normal(0, 0.2, 10_000)).astype(np.float32)
    rows = jnp.full((40, 250), 30_000, jnp.uint16)
    change = np.asarray(updated(rows, deltas), float) - 30_000
    assert change.mean() == pytest.approx(deltas.sum(dtype=float), rel=0.01)
    assert change.std() < 3 * np.sqrt(10_000 / 4)


@examples(20)
@given(
    delta=st.floats(-1e6, 1e6, width=32),
    start=st.integers(0, fixed.LEVELS),
    seed=st.integers(0, 2**32 - 1),
)
def test_bounds_hold_and_steps_are_the_nearest_levels(delta, start, seed):
    rows = jnp.full((3, 50), start, jnp.uint16)
    got = np.asarray(added(rows, jnp.float32(delta), jnp.uint32([0, seed])), np.int64)
    exact = np.clip(start + np.clip(delta, -32_767, 32_766), 0, fixed.LEVELS)
    assert (np.abs(got - exact) <= 1).all()
    assert ((got >= 0) & (got <= fixed.LEVELS)).all()


def test_rounding_of_every_synapse_is_uniform_over_steps():
    ups = np.zeros((6, 30))
    for step in range(400):
        rows = jnp.zeros((6, 30), jnp.uint16)
        ups += np.asarray(added(rows, jnp.float32(0.25), noise.fold(KEY, step)))
    assert abs(ups.mean() / 400 - 0.25) < 0.02
    assert (np.abs(ups / 400 - 0.25) < 0.12).all()


def test_any_part_of_the_rows_can_be_drawn_alone():
    whole = fixed.draw(FIRST, CellRange(size=500), 40, 4.0)
    numbers = jnp.array([3, 77, 499])
    rows = fixed.encode(FIRST.rows(numbers, 40), 4.0)
    np.testing.assert_array_equal(whole[numbers], rows)


def test_first_weights_have_their_share_mean_and_spread():
    weights = np.asarray(fixed.draw(FIRST, CellRange(size=2_000), 60))
    existing = weights[weights > 0]
    assert existing.size / weights.size == pytest.approx(0.7, abs=0.01)
    assert existing.mean() == pytest.approx(2.0, rel=0.01)
    assert 1.0 <= existing.min() < 1.01
    assert 2.99 < existing.max() <= 3.0
    assert abs(np.corrcoef(weights[::2].ravel(), weights[1::2].ravel())[0, 1]) < 0.02


@partial(jax.jit, static_argnums=(2, 3))
def sent(words, weights, beams, block):
    """Sums of a batch [B, W] through uint16 rows, with `block` events to a block."""
    fan = events.AllToAll(beams=beams, unit=0.5)
    targets = weights.shape[1] * beams
    return jax.vmap(lambda w: events.push(w, (fan,), (weights,), (jnp.zeros(targets),))[0])(words)


@examples(10)
@given(
    cells=st.sampled_from([5, 2_000]),
    beams=st.sampled_from([1, 3]),
    share=st.sampled_from([0.01, 0.3, 1.0]),
    seed=st.integers(0, 99),
)
def test_sums_are_exact_whatever_blocks_and_batches(cells, beams, share, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 65_536, (cells, 7)).astype(np.uint16)
    spikes = rng.random((3, cells)) < share
    words = events.pack(jnp.asarray(spikes))
    span = -(-cells // beams)
    want = np.zeros((3, beams, 7))
    for beam in range(beams):
        part = slice(beam * span, (beam + 1) * span)
        want[:, beam] = spikes[:, part].astype(np.int64) @ weights[part].astype(np.int64)
    exact = (want.reshape(3, -1) * 0.5).astype(np.float32)
    original, results = events.block_size, []
    try:
        for block in (1, 100):
            events.block_size = lambda *_, block=block: block
            whole = np.asarray(sent(words, weights, beams, block))
            np.testing.assert_allclose(whole, exact, rtol=3e-7)
            single = [np.asarray(sent(word[None], weights, beams, block))[0] for word in words]
            np.testing.assert_array_equal(whole, single)
            results.append(whole)
            np.testing.assert_array_equal(whole, results[0])
    finally:
        events.block_size = original


def test_all_cells_at_once_do_not_overflow():
    """70,000 largest weights sum to over 2**32."""
    cells = 70_000
    words = events.pack(jnp.ones(cells))
    weights = jnp.full((cells, 2), fixed.LEVELS, jnp.uint16)
    got = sent(words[None], weights, 1, 0)
    np.testing.assert_allclose(got, cells * fixed.LEVELS * 0.5, rtol=1e-7)
