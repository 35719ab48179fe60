"""The race beside NEST: the network that it gets, the measures of activity, and ten networks."""

import importlib
import sys

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from cerebellum.reproduce import microcircuit

sys.path.insert(0, str(ROOT / "scripts/race"))
ensemble, measures, race = map(importlib.import_module, ("ensemble", "measures", "race"))


def test_nest_gets_the_published_network():
    """Potjans & Diesmann 2014, Table 5: 77,169 cells, 87.8 pA, inhibition four times as strong."""
    network = race.network()
    assert sum(of["cells"] for of in network["populations"].values()) == 77_169
    assert sum(of["synapses"] for of in network["projections"]) > 2.98e8
    assert abs(network["drive_pa"] - 87.8) < 0.05
    by_ends = {(of["source"], of["target"]): of for of in network["projections"]}
    assert abs(by_ends["L4E", "L23E"]["weight_pa"] - 2 * 87.8) < 0.1
    assert abs(by_ends["L4I", "L23E"]["weight_pa"] + 4 * 87.8) < 0.2
    assert by_ends["L4E", "L23E"]["delay_ms"] == 2 * by_ends["L4I", "L23E"]["delay_ms"] == 1.5
    assert network["populations"]["L6E"]["drive_hz"] == 2_900 * 8


def test_activity_of_known_spikes():
    """Of Poisson trains, the same with copies, and of regular ones; spikes come in any order."""
    rng, cells, count = np.random.default_rng(0), 50, 60
    own = rng.permutation(np.repeat(np.arange(cells), count))
    at = rng.uniform(0, race.SPIKES_MS, own.size)
    random = race.activity(own, at, cells)
    assert random["rate_hz"] == count / (race.SPIKES_MS * 1e-3)
    assert 0.9 < random["cv"] < 1.05
    assert abs(random["correlation"]) < 0.01
    copies = race.activity(np.concatenate([own, own + cells]), np.tile(at, 2), 2 * cells)
    among = cells / (2 * cells * (2 * cells - 1) / 2)
    assert abs(copies["correlation"] - among) < 0.01
    regular = np.repeat(np.arange(0.5, race.SPIKES_MS, 20.0), cells)
    even = race.activity(np.tile(np.arange(cells), regular.size // cells), regular, cells)
    assert even["cv"] < 1e-6
    assert even["correlation"] > 0.999


def test_cells_with_few_spikes_have_no_irregularity():
    """Three intervals are needed; those of cell 2 are 1, 2 and 3 ms."""
    cell, at = np.array([0, 1, 1, 1, 2, 2, 2, 2]), np.array([1.0, 1, 2, 4, 10, 11, 13, 16])
    expected = np.std([1, 2, 3]) / 2
    np.testing.assert_allclose(measures.irregularities(cell, at, 4), [expected])


def test_correlations_are_of_the_chosen_cells_that_fired():
    rng = np.random.default_rng(0)
    one, two = (np.sort(rng.uniform(0, 1_000, 100)) for _ in range(2))
    cell, at = np.repeat([3, 5, 7], 100), np.concatenate([one, two, one])
    pairs = measures.correlations(cell, at, np.array([3, 4, 5, 7]), 1_000.0)
    counts = [np.histogram(x, np.arange(0, 1_003, 2))[0] for x in (one, two, one)]
    np.testing.assert_allclose(pairs, np.corrcoef(counts)[np.triu_indices(3, 1)])


def test_synchrony_of_independent_and_of_equal_cells():
    """Counts of Poisson trains have a variance of their mean; of copies, as many times as much."""
    rng, own = np.random.default_rng(1), np.arange(20)
    cell, at = rng.integers(0, 20, 40_000), rng.uniform(0, 60_000, 40_000)
    assert abs(measures.synchrony(cell, at, 60_000.0) - 1) < 0.05
    copied = np.repeat(at[:2_000], 20)
    assert abs(measures.synchrony(np.tile(own, 2_000), copied, 60_000.0) - 20) < 1


def test_the_distance_of_two_samples():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=300).round(1), rng.normal(0.3, 1.1, 200).round(1)
    assert measures.distance(one, other) == pytest.approx(stats.ks_2samp(one, other)[0])
    assert measures.distance(one, one) == 0


def test_networks_of_a_kind_lie_within_reach():
    rng, count = np.random.default_rng(3), 10
    drawn = rng.normal(size=(20_000, count + 1))
    away = np.abs(drawn[:, 0] - drawn[:, 1:].mean(1)) / drawn[:, 1:].std(1, ddof=1)
    assert np.mean(away <= ensemble.reach(count)) == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
def test_an_ensemble_goes_on_where_it_was(tmp_path, monkeypatch):
    """Spikes of a run that was stopped after a piece are those of one that was not."""
    network = microcircuit.network
    monkeypatch.setattr(microcircuit, "network", lambda seed: network(seed, 0.02))
    monkeypatch.setattr(microcircuit, "START_MS", 10.0)
    monkeypatch.setattr(ensemble, "PIECE_MS", 40.0)
    ensemble.simulate(4, 0.12, tmp_path / "whole")
    for seconds in (0.04, 0.12, 0.12):
        ensemble.simulate(4, seconds, tmp_path / "cut")
    sizes = 0
    for name in ensemble.potjans.SIZES:
        whole, cut = (ensemble.spikes_of(tmp_path / x, name, 0.12) for x in ("whole", "cut"))
        np.testing.assert_array_equal(whole, cut)
        assert np.all((whole[1] > 0) & (whole[1] < 120))
        sizes += whole[0].size
    assert sizes > 50
