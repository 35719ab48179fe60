"""Similarity of population vectors: closed forms, and that noise does not bias it."""

import numpy as np
import pytest

import cerebellum as cb
from cerebellum.learn import similarity
from cerebellum.sim.record import Raster


def poisson(rate: np.ndarray, trials: int, seed: int) -> np.ndarray:
    """Halves of trials that draw from the same expected numbers of spikes, [2, T, N]."""
    drawn = np.random.default_rng(seed).poisson(rate, (2, trials, *rate.shape))
    return drawn.mean(axis=1).astype(np.float32)


def test_a_vector_that_turns_has_the_similarity_of_its_angle():
    angle = np.linspace(0, np.pi / 2, 10)
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(similarity.similarity(np.stack([vectors, vectors])), np.cos(angle))


def test_noise_does_not_lower_the_similarity_of_a_steady_vector():
    rate = np.broadcast_to(np.random.default_rng(0).exponential(0.05, 4_000), (20, 4_000))
    vectors = poisson(rate, 4, 1)
    found = similarity.similarity(vectors)
    np.testing.assert_allclose(found, 1, atol=0.05)
    one = vectors[0]
    naive = one[0] @ one[10] / np.linalg.norm(one[0]) / np.linalg.norm(one[10])
    assert naive < 0.5


def test_the_change_is_seen_beneath_a_background():
    """Two groups of cells in turn, on a background that is ten times as strong."""
    rest = np.full((20, 2_000), 0.5)
    tone = rest.copy()
    tone[:10, :200] += 0.5
    tone[10:, 200:400] += 0.5
    background, vectors = poisson(rest, 200, 0), poisson(tone, 200, 1)
    assert similarity.similarity(vectors)[10] > 0.85
    found = similarity.change(vectors, background)
    assert found[0] == pytest.approx(1)
    assert found[5] == pytest.approx(10 / 15, abs=0.05)
    assert abs(found[10]) < 0.05


def test_spikes_go_to_the_bins_and_the_halves_of_their_trials():
    """Time stamps are the ends of steps, so the spike at 110 ms is in the first bin of 10 ms."""
    time = np.array([101.0, 110.0, 111.0, 120.0, 205.0, 310.5])
    cells = np.array([4, 7])
    raster = Raster(time, np.array([4, 7, 7, 4, 4, 4]), cells)
    found = similarity.halves(raster, [100.0, 200.0, 300.0, 400.0], (0.0, 20.0), 10.0)
    assert found.shape == (2, 2, 2)
    np.testing.assert_array_equal(found[0], [[0.5, 0.5], [1.0, 0.5]])
    np.testing.assert_array_equal(found[1], [[0.5, 0.0], [0.0, 0.0]])


def test_nothing_in_common_is_no_similarity():
    vectors = np.zeros((2, 3, 4))
    vectors[0, :, 0] = vectors[1, :, 1] = 1
    assert np.isnan(similarity.similarity(vectors)).all()


def test_bad_input_is_one_line():
    raster = Raster(np.array([1.0]), np.array([0]), np.array([0]))
    for arguments, message in [
        (([0.0], (0.0, 10.0), 5.0), "onsets_ms: 1 trials; an even number"),
        (([0.0, 5.0], (0.0, 10.0), 3.0), "bin_ms: 3.0; the 10 ms are a whole number of bins"),
        (([0.0, 5.0], (0.0, 10.0), 0.0), "bin_ms: 0.0; "),
    ]:
        with pytest.raises(cb.UsageError, match=message):
            similarity.halves(raster, *arguments)
    vectors = np.zeros((2, 3, 4))
    with pytest.raises(cb.UsageError, match=r"vectors: \[3, 4\]; \[2, T, N\]"):
        similarity.similarity(vectors[0])
    with pytest.raises(cb.UsageError, match=r"rest: \[2, 3, 5\]; bins of"):
        similarity.change(vectors, np.zeros((2, 3, 5)))
