"""Random numbers: JAX's own bits, chances of which no bit is lost, no two uses that meet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

from cerebellum.model import fixed, noise
from cerebellum.model.noise import CellRange

KEY = jax.random.key_data(jax.random.key(7))
WORDS = st.integers(0, 2**32 - 1)


@examples(10)
@given(seed=WORDS, number=WORDS)
def test_words_and_keys_are_those_of_jax(seed, number):
    key = jax.random.key(seed)
    words = jax.random.key_data(key)
    np.testing.assert_array_equal(
        noise.words(words, CellRange(size=50).numbers)[0], jax.random.bits(key, (50,), jnp.uint32)
    )
    folded = jax.random.key_data(jax.random.fold_in(key, number))
    np.testing.assert_array_equal(noise.fold(words, number), folded)
    named = jax.random.key_data(noise.of_use(key, "start golgi"))
    np.testing.assert_array_equal(noise.named(words, "start golgi"), named)


@examples(60)
@given(
    high=st.one_of(WORDS, st.sampled_from([0, 1, 2**31, 2**32 - 1])),
    low=st.one_of(WORDS, st.sampled_from([0, 1, 2**32 - 1])),
    chance=st.one_of(
        st.floats(0, 1, width=32),
        st.floats(np.float32(2**-60), np.float32(2**-20), width=32),
        st.sampled_from([-1.0, 0.0, 1.0, 2.0, float(np.nextafter(np.float32(1), np.float32(0)))]),
    ),
)
def test_a_chance_is_compared_to_the_last_bit(high, low, chance):
    """2**32 chances of 2**64 are lost, where a chance is below 2**-40."""
    want = (high << 32) + low < int(np.float32(chance) * 2.0**64)
    got = noise.below(jnp.uint32(high), jnp.uint32(low), jnp.float32(chance))
    assert bool(got) == want


@pytest.mark.parametrize("chance", [1e-9, 1e-6, 0.37])
def test_draws_have_the_share_of_every_chance_below_them(chance):
    """Words at the edge: a draw is below a chance if its word is."""
    words = np.array([0, chance * 2**32 - 2, chance * 2**32 + 2], np.uint32)
    draws = (words.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-32)
    assert (draws < np.float32(chance * (1 + 1e-6))).tolist() == [True, True, chance == 0.37]


def test_draws_are_above_zero_and_below_one():
    draws = np.asarray(noise.uniform(KEY, CellRange(size=500_000).numbers))
    assert 0 < draws.min() < 1e-5
    assert 1 - 1e-5 < draws.max() < 1


def test_a_part_of_the_cells_draws_what_the_whole_draws():
    whole = noise.uniform(KEY, CellRange(size=1_000).numbers)
    part = noise.uniform(KEY, CellRange(size=100, offset=jnp.uint32(333)).numbers)
    np.testing.assert_array_equal(whole[333:433], part)


def test_rows_columns_and_cells_are_different_counters():
    """Pairs of words under one key, of which threefry makes a permutation."""
    numbers = jnp.arange(2_000, dtype=jnp.uint32)
    drawn = [noise.threefry(KEY, jnp.uint32(kind), numbers) for kind in (0, 1)]
    pairs = np.concatenate([np.stack(pair, axis=1) for pair in drawn])
    assert len(np.unique(pairs, axis=0)) == 4_000
    np.testing.assert_array_equal(drawn[0][0], noise.rows(KEY, numbers))
    np.testing.assert_array_equal(drawn[1][0], noise.columns(KEY, 2_000))


def test_every_synapse_has_a_word_that_its_row_and_column_determine():
    rows = jnp.asarray([5, 2_000_000_000, 0])
    whole = np.asarray(noise.synapses(KEY, rows, 7))
    np.testing.assert_array_equal(noise.synapses(KEY, rows[1:2], 4), whole[1:2, :4])
    assert len(np.unique(whole)) == whole.size


def test_uses_have_keys_of_their_own():
    uses = ("start", "noise", "learn", "weights", "contacts", "drive")
    keys = [noise.named(KEY, f"{use} {name}") for use in uses for name in ("granule", "golgi")]
    assert len(np.unique(np.stack(keys), axis=0)) == len(keys)


def test_keys_of_a_step_are_derived_name_by_name():
    together = noise.of_step(KEY, ["noise", "learn a_b"], jnp.int32(9))
    for name, key in together.items():
        np.testing.assert_array_equal(key, noise.fold(noise.named(KEY, name), 9))
    assert noise.of_step(KEY, [], jnp.int32(9)) == {}


def test_runs_that_shared_noise_do_not_any_more():
    """Keys 1442 and 2329, of which one had the other's noise, in another order of the steps."""
    cells = CellRange(size=4).numbers

    def draws(seed, steps):
        key = jax.random.key_data(jax.random.key(seed))

        def one(step):
            return noise.uniform(noise.of_step(key, ["noise"], step)["noise"], cells)

        return np.asarray(jax.vmap(one)(steps))

    steps = jnp.arange(2_000)
    assert not (draws(1442, steps) == draws(2329, steps ^ 122005)).all(axis=1).any()


def test_rows_that_were_copies_are_not_any_more():
    rows = np.asarray(noise.synapses(KEY, jnp.asarray([310385, 895629]), 750)).astype(float)
    for shift in range(3):
        near = np.corrcoef(rows[0, shift:], rows[1, : 750 - shift])[0, 1]
        assert abs(near) < 5 / np.sqrt(750)


def test_contacts_are_not_those_that_weights_are_drawn_from():
    first = fixed.First(
        weights_key=noise.named(KEY, "weights x"),
        contacts_key=noise.named(KEY, "contacts x"),
        mean=jnp.float32(1),
        spread=0.5,
        share=0.5,
    )
    drawn = np.asarray(fixed.draw(first, CellRange(size=2_000), 50))
    assert drawn[drawn > 0].mean() == pytest.approx(1, abs=0.005)
