"""Encoders and decoders: agreement with Norse, and properties of receptive fields and codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.learn import decode, encode

pytestmark = pytest.mark.usefixtures("broadcasting")


@pytest.fixture(scope="module")
def golden(shared):
    return np.load(shared / "norse_golden.npz")


def test_norse_encoders(golden):
    current, rate = golden["encode_current_input"], golden["encode_rate_input"]
    spikes = golden["encode_constant_current_lif_spikes"]
    result = encode.constant_current_lif(jnp.asarray(current), len(spikes))
    np.testing.assert_array_equal(result, spikes)
    result = encode.spike_latency_lif(jnp.asarray(current), len(spikes))
    np.testing.assert_array_equal(result, golden["encode_spike_latency_lif_spikes"])
    draws = jnp.asarray(golden["encode_poisson_uniform"])
    result = encode.poisson(draws, jnp.asarray(rate))
    np.testing.assert_array_equal(result, golden["encode_poisson_spikes"])
    # The reference was made from the rates less a half, at most 200 Hz.
    signed = encode.signed_poisson(draws, jnp.asarray(rate) - 0.5, f_max=200.0)
    np.testing.assert_array_equal(signed, golden["encode_signed_poisson_spikes"])
    result = encode.norse_population(jnp.asarray(rate), 8)
    np.testing.assert_allclose(result, golden["encode_population"], rtol=1e-5, atol=1e-6)


def test_ranks_cover_what_was_fitted_evenly():
    rng = np.random.default_rng(0)
    x = np.stack([rng.normal(5, 2, 4_000), rng.exponential(1, 4_000)], 1).astype(np.float32)
    fields = encode.fit(x)
    ranks = np.asarray(encode.rank(fields, jnp.asarray(x)))
    assert np.abs(np.sort(ranks, axis=0) - np.linspace(0, 1, 4_000)[:, None]).max() < 0.06
    assert np.all(np.diff(ranks[np.argsort(x[:, 0]), 0]) >= 0)


def test_values_that_are_nearly_one_stay_together():
    """Moves of one tick differ a little in standard deviations, but have only two values."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], 2_000) * (1 + 0.01 * rng.normal(size=2_000))
    x = x[:, None].astype(np.float32)
    ranks = np.asarray(encode.rank(encode.fit(x), jnp.asarray(x)))
    for sign in (-1, 1):
        assert np.ptp(ranks[np.sign(x) == sign]) < 0.15


def test_a_smaller_blur_tells_values_at_the_end_of_a_range_apart():
    """A seventh of the values lie within a hundredth of the end, as sizes at bid and ask do."""
    rng = np.random.default_rng(0)
    end = 1 - 0.01 * rng.random(1_000)
    x = np.concatenate([rng.uniform(-1, 0.99, 6_000), end])[:, None]
    spread = [
        float(np.ptp(encode.rank(encode.fit(x, blur), jnp.asarray(end[:, None]))))
        for blur in (0.1, 0.01)
    ]
    assert spread[1] > 4 * spread[0] > 0


def test_receptive_fields():
    intensity = encode.population(jnp.asarray([[0.0, 1.0], [0.5, 0.2]]), 5)
    assert intensity.shape == (2, 10)
    assert intensity[0, 0] == 1
    assert intensity[0, 9] == 1
    assert jnp.argmax(intensity[1, :5]) == 2
    assert jnp.argmax(intensity[1, 5:]) == 1


def test_twice_as_many_fields_can_be_as_wide():
    """Fields at the same places are the same, if the width is told in their smaller distances."""
    ranks = jnp.linspace(0, 1, 41)[:, None]
    six, eleven = encode.population(ranks, 6), encode.population(ranks, 11, 2 * encode.WIDTH)
    np.testing.assert_allclose(eleven[:, ::2], six, atol=1e-6)


@pytest.mark.parametrize("code", encode.CODES)
def test_nearer_is_longer_or_earlier(code):
    spikes = encode.CODES[code](jnp.asarray([1.0, 0.6, 0.3, 0.0]), 10, 5)
    assert spikes.shape == (10, 4)
    assert not spikes[:, 3].any()
    if code != "latency":
        assert spikes.sum(axis=0).tolist() == [5, 3, 2, 0]
    else:
        assert spikes.sum(axis=0).tolist() == [1, 1, 1, 0]
        assert jnp.argmax(spikes[:, :3], axis=0).tolist() == [0, 2, 4]


@pytest.mark.parametrize("steps", [1, 4, 10, 13])
def test_regular_spikes_are_spread_over_the_tick(steps):
    """A fibre has as many spikes as a burst, and in no part of the tick more than its share."""
    intensity = jnp.arange(steps + 1) / steps
    spikes = np.asarray(encode.regular(intensity, steps, steps))
    np.testing.assert_array_equal(spikes.sum(axis=0), np.arange(steps + 1))
    so_far = spikes.cumsum(axis=0)
    share = np.arange(1, steps + 1)[:, None] * np.arange(steps + 1) / steps
    assert np.all((so_far <= share) & (so_far > share - 1))


def test_signals_sum_to_one():
    rates = jax.random.uniform(jax.random.key(0), (7, 12))
    readout = decode.init(rates, np.arange(12) % 3, 3)
    chances, confidence = decode.signals(readout, rates)
    np.testing.assert_allclose(chances.sum(axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(confidence, chances.max(axis=-1))
    # More spikes in a zone raise the probability of its choice.
    more_rates = rates + jnp.asarray([1.0, 0, 0] * 4)
    assert jnp.all(decode.signals(readout, more_rates)[0][:, 0] > chances[:, 0])


def test_a_correction_takes_a_share_of_the_error_away():
    rates = jax.random.uniform(jax.random.key(0), (6,))
    readout = decode.init(jnp.stack([rates, 0 * rates]), np.arange(6) % 2, 2)
    before = decode.logits(readout, rates)
    error = jnp.asarray([0.3, -0.3])
    after = decode.logits(decode.correct(readout, rates, error, jnp.float32(0.1)), rates)
    np.testing.assert_allclose(after - before, 0.1 * error, rtol=1e-4)


def test_spike_times():
    spikes = jnp.asarray([[0, 1.0], [1, 0], [0, 0], [1, 0]])
    times = decode.spike_times(spikes, 2, 0.5)
    np.testing.assert_array_equal(times, [[0.5, 0.0], [1.5, jnp.inf]])
    _, pull = jax.vjp(lambda x: decode.spike_times(x, 2, 0.5), spikes)
    (gradient,) = pull(jnp.asarray([[2.0, 3.0], [5.0, 7.0]]))
    np.testing.assert_array_equal(gradient, [[0, -3], [-2, 0], [0, 0], [-5, 0]])
    np.testing.assert_array_equal(decode.sum_decode(spikes), [2, 1])
