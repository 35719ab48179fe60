"""Scores of predictions, and how sure they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebellum.learn import score

sklearn_metrics = pytest.importorskip("sklearn.metrics")


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60))
def test_the_correlation_is_that_of_scikit_learn(pairs):
    labels, guessed = np.array(pairs).T
    confusion = sklearn_metrics.confusion_matrix(labels, guessed, labels=[0, 1, 2])
    expected = sklearn_metrics.matthews_corrcoef(labels, guessed)
    assert score.mcc_of(confusion) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("alike", [1, 10])
def test_the_interval_of_a_mean_is_that_of_theory(alike):
    """Of independent values, and of values that come in runs of `alike`, of which fewer are
    independent. Both are shorter than a block."""
    values = np.random.default_rng(0).standard_normal(20_000 // alike).repeat(alike)
    low, high = score.bootstrap_mean(values)
    assert low < values.mean() < high
    expected = 2 * 1.96 * (alike / len(values)) ** 0.5
    assert high - low == pytest.approx(expected, rel=0.15)


def test_guesses_do_not_differ_from_themselves():
    rng = np.random.default_rng(0)
    labels, guessed, worse = rng.integers(0, 3, (3, 500))
    right = np.where(rng.random(500) < 0.7, labels, guessed)
    assert score.bootstrap(labels, right, right) == (0, 0)
    low, high = score.bootstrap(labels, right, worse)
    assert 0.5 < low < high < 1
