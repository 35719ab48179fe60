"""The race beside NEST: the network that it gets, and the measures of activity."""

import importlib.util

import numpy as np
from conftest import ROOT

LOADED = importlib.util.spec_from_file_location("race", ROOT / "scripts/race/race.py")
assert LOADED is not None
assert LOADED.loader is not None
race = importlib.util.module_from_spec(LOADED)
LOADED.loader.exec_module(race)


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
