"""Statistics of the random numbers over many keys: uniform, independent, of exact rates.

A test gives a standard score for each key. If the numbers are what they should be, these scores
are Gaussian: their distribution is tested, not a single one.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cerebellum.model import events, fixed, noise, primitives
from cerebellum.model.noise import CellRange

pytestmark = pytest.mark.slow
SEEDS = 120
SIZE = 2_000
CELLS = CellRange(size=SIZE).numbers


def words(seed: int) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed))


def gaussian(scores) -> None:
    """Scores that are not those of a standard normal distribution fail."""
    scores = np.asarray(scores, float).ravel()
    assert scores.size >= 100
    assert stats.kstest(scores, "norm").pvalue > 1e-4, (scores.mean(), scores.std())
    assert np.abs(scores).max() < 6


def correlation(a, b):
    """The standard score of a correlation, for each key (the first axis)."""
    a, b = (np.asarray(x, float).reshape(len(x), -1) for x in (a, b))
    a, b = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (a, b))
    return (a * b).mean(1) * np.sqrt(a.shape[1])


@pytest.fixture(scope="module")
def draws():
    """Draws of every key, in eight steps: [keys, steps, cells]."""
    keys = jnp.stack([noise.named(words(seed), "noise") for seed in range(SEEDS)])
    step = jax.vmap(lambda key, s: noise.uniform(noise.fold(key, s), CELLS), (None, 0))
    return np.asarray(jax.jit(jax.vmap(step, (0, None)))(keys, jnp.arange(8)))


def test_draws_are_uniform(draws):
    counts = np.stack([np.histogram(row, 64, (0, 1))[0] for row in draws.reshape(SEEDS, -1)])
    expected = draws[0].size / 64
    squares = ((counts - expected) ** 2 / expected).sum(1)
    gaussian(stats.norm.ppf(stats.chi2(63).cdf(squares)))


def test_low_bits_are_uniform_too():
    high, low = zip(*(noise.words(words(seed), CELLS) for seed in range(SEEDS)), strict=True)
    for drawn in (high, low):
        ones = np.stack([np.unpackbits(np.asarray(row).view(np.uint8)) for row in drawn])
        bits = ones.reshape(SEEDS, SIZE, 32)
        gaussian((bits.mean(1) - 0.5) * 2 * np.sqrt(SIZE))


@pytest.mark.parametrize("lag", [1, 2, 32])
def test_cells_are_independent(draws, lag):
    gaussian(correlation(draws[..., lag:], draws[..., :-lag]))


@pytest.mark.parametrize("lag", [1, 3])
def test_steps_are_independent(draws, lag):
    gaussian(correlation(draws[:, lag:], draws[:, :-lag]))


def test_keys_are_independent(draws):
    gaussian(correlation(draws, np.roll(draws, 1, axis=0)))
    gaussian(correlation(draws[:, :, 1:], np.roll(draws, 5, axis=0)[:, :, :-1]))


def test_uses_are_independent(draws):
    keys = jnp.stack([noise.named(words(seed), "learn x_y") for seed in range(SEEDS)])
    other = jax.vmap(lambda key: noise.uniform(noise.fold(key, 0), CELLS))(keys)
    gaussian(correlation(draws[:, 0], other))


def test_three_thousand_runs_share_no_step():
    """Of each step of each run the first cell's 64 bits; the old seeds met 144 times."""

    def first(seed, step):
        key = noise.named(jnp.stack([jnp.uint32(0), seed]), "noise")
        return jnp.stack(noise.words(noise.fold(key, step), CellRange(size=1).numbers))[:, 0]

    of_runs = jax.jit(jax.vmap(jax.vmap(first, (None, 0)), (0, None)))
    drawn = of_runs(jnp.arange(3_000, dtype=jnp.uint32), jnp.arange(1_000))
    pairs = np.asarray(drawn).astype(np.uint64).reshape(-1, 2)
    assert np.unique(pairs[:, 0] << np.uint64(32) | pairs[:, 1]).size == 3_000_000


def test_no_row_of_four_million_is_a_shifted_copy_of_another():
    """The first two words of every row, looked for everywhere in five thousand rows.

    Of the old noise, three rows of four had a window in common with another one.
    """
    key, width = noise.named(words(0), "weights granule_purkinje"), 750

    @jax.jit
    def start(rows):
        pair = noise.synapses(key, rows, 2)
        return pair[:, 0], pair[:, 1]

    first, second = map(np.asarray, start(jnp.arange(4_000_000, dtype=jnp.uint32)))
    starts = np.sort(first.astype(np.uint64) << np.uint64(32) | second)
    assert np.unique(starts).size == 4_000_000
    some = np.random.default_rng(0).choice(4_000_000, 5_000, replace=False)
    rows = np.asarray(noise.synapses(key, jnp.asarray(some), width)).astype(np.uint64)
    windows = (rows[:, :-1] << np.uint64(32)) | rows[:, 1:]
    place = np.minimum(np.searchsorted(starts, windows[:, 1:].ravel()), starts.size - 1)
    assert (starts[place] == windows[:, 1:].ravel()).sum() == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_columns_are_independent(axis):
    drawn = np.stack(
        [noise.synapses(words(seed), jnp.arange(64), 64) for seed in range(SEEDS)]
    ).astype(float)
    before, after = (np.take(drawn, range(*ends), axis + 1) for ends in ((0, 63), (1, 64)))
    gaussian(correlation(before, after))


def rounding(seed: int, steps: int):
    """Errors of the rounding of a quarter of a level, [steps, rows, columns]."""

    def one(step):
        key = noise.fold(noise.named(words(seed), "learn granule_purkinje"), step)
        dither = fixed.dither(key, jnp.arange(40), noise.columns(key, 50))
        return fixed.add(jnp.full((40, 50), 100, jnp.uint16), jnp.float32(0.25), dither)

    return np.asarray(jax.vmap(one)(jnp.arange(steps)), float) - 100.25


def test_rounding_is_exact_on_average_and_of_the_variance_of_independent_rounding():
    errors = np.stack([rounding(seed, 20) for seed in range(SEEDS)])
    variance = 0.25 * 0.75
    for axes in ((1, 3), (1, 2)):
        sums = errors.sum(axes) / np.sqrt(variance * errors.shape[axes[0]] * errors.shape[axes[1]])
        # What a row or a column adds up to over twenty steps: its mean and its spread.
        assert abs(sums.mean()) < 5 / np.sqrt(sums.size)
        assert sums.var() == pytest.approx(1, abs=0.1)
    gaussian(correlation(errors[:, 1:], errors[:, :-1]))
    gaussian(correlation(errors[:, :, 1:], errors[:, :, :-1]))


@pytest.mark.parametrize("chance", [2e-7, 1e-5, 0.003, 0.4])
def test_poisson_spikes_have_their_rate_and_no_memory(chance):
    """Counts of many cells in many steps: their mean, and the spread of the counts of cells."""
    size, steps = 100_000, 400
    cells = CellRange(size=size)

    @jax.jit
    def run(key):
        def step(counts, index):
            drawn = primitives.draw(key, "drive x", index, jnp.full(1, chance), cells)
            return counts + events.unpack(drawn, size), events.count(drawn)

        return jax.lax.scan(step, jnp.zeros(size), jnp.arange(steps))

    totals, spreads = [], []
    for seed in range(5):
        by_cell, by_step = run(words(seed))
        variance = chance * (1 - chance)
        mean = float(np.asarray(by_cell, float).sum())
        totals.append((mean - size * steps * chance) / np.sqrt(size * steps * variance))
        for counts, trials in ((by_cell, steps), (by_step, size)):
            counts = np.asarray(counts, float)
            expected = trials * variance
            squares = ((counts - trials * chance) ** 2).mean() / expected
            kurtosis = 2 + (1 - 6 * variance) / expected
            spreads.append((squares - 1) / np.sqrt(kurtosis / counts.size))
    assert np.abs(totals).max() < 4.5
    assert np.abs(spreads).max() < 4.5
