"""Spare cells: silent units of a rate network become copies of active ones."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import series
from hypothesis import given, settings
from hypothesis import strategies as st

from cerebellum.learn import network as circuits
from cerebellum.learn import rate_network, spare_cells, start, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import ticks

pytestmark = pytest.mark.usefixtures("broadcasting")

DESIGN = Design(inputs=3, code="regular", nuclei=18)
ZONES = 3
INPUTS = np.random.default_rng(0).integers(0, 256, (500, 3)).astype(np.uint8)


def network_with(silent: list[int]) -> rate_network.RateNetwork:
    """A rate network of which these units are below zero in every tick."""
    with jax.numpy_rank_promotion("allow"):
        net = rate_network.begin(DESIGN, ZONES, jnp.asarray(INPUTS), jax.random.key(1))
    return replace(net, current=net.current.at[jnp.asarray(silent, int)].set(-1e3))


@settings(max_examples=25, deadline=None)
@given(silent=st.sets(st.integers(0, 17), max_size=18))
def test_it_answers_as_before(silent):
    """No silent unit is left in a microzone that has an active one, and its copies are its own."""
    chosen = sorted(silent)
    net = network_with(chosen)
    copied, factors = spare_cells.used(DESIGN, net, INPUTS, 0)
    answers = [rate_network.answers(DESIGN, each, INPUTS) for each in (net, copied)]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    zones = DESIGN.microzone(DESIGN.nuclei, ZONES)
    active = np.isin(np.arange(18), chosen, invert=True)
    columns = np.asarray(net.weights).T
    for zone in zones:
        inside = np.flatnonzero(zone)
        originals = inside[active[inside]] if active[inside].any() else inside
        of_each = [
            [at for at in originals if np.array_equal(columns[at], column)]
            for column in np.asarray(copied.weights).T[inside]
        ]
        assert all(len(found) == 1 for found in of_each)
        counts = np.bincount([found[0] for found in of_each], minlength=18)
        assert counts[originals].max() - counts[originals].min() <= 1
        alone = counts[[found[0] for found in of_each]] == 1
        assert (factors[inside][alone] == 1).all()
        assert (factors[inside][~alone] != 1).all()


def test_what_is_hardly_ever_active_gives_way():
    """A unit that is active in one of 500 ticks becomes a copy; its neighbours answer as before."""
    net = network_with([])
    inside = np.flatnonzero(DESIGN.microzone(18, ZONES)[0])
    tops = np.asarray(rate_network.heard(DESIGN, jnp.asarray(INPUTS)) @ net.weights)
    second, top = np.sort(tops[:, inside[0]])[-2:]
    rare = replace(net, current=net.current.at[inside[0]].set(-(second + top) / 2))
    assert (rate_network.rates(DESIGN, rare, jnp.asarray(INPUTS))[:, inside[0]] > 0).sum() == 1
    copied, _ = spare_cells.used(DESIGN, rare, INPUTS, 0)
    columns = np.asarray(copied.weights).T
    assert any(np.array_equal(columns[inside[0]], columns[at]) for at in inside[1:])
    answers = [rate_network.answers(DESIGN, each, INPUTS) for each in (rare, copied)]
    assert (np.abs(answers[1] - answers[0]).max(axis=(0, 2)) > 1e-5).sum() <= 1


def test_what_says_most_is_copied_first():
    """Of three active units of a microzone of six, those with the largest readout get copies."""
    zone = np.flatnonzero(DESIGN.microzone(18, ZONES)[0])
    net = network_with(zone[3:5].tolist())
    loud = net.readout.at[zone[1]].mul(50.0).at[zone[2]].mul(25.0)
    copied, _ = spare_cells.used(DESIGN, replace(net, readout=loud), INPUTS, 0)
    for cell, original in ((zone[3], zone[1]), (zone[4], zone[2])):
        np.testing.assert_array_equal(copied.weights[:, cell], net.weights[:, original])
        np.testing.assert_allclose(copied.readout[cell], loud[original] / 2)


def test_a_run_starts_with_copies(tmp_path, monkeypatch):
    """Where its rate network has silent units."""
    path = series.write(tmp_path / "x.csv", series.steps(1_500, 0.8, 0))
    data = ticks.prepare(ticks.load(path), "event")
    design = Design(inputs=data.ranks.shape[1], choices=(0, 2), granule=100, nuclei=16)
    net, feed = circuits.build(design, jax.random.key(0)), Ticks(data=data, size=16)
    learned = rate_network.begin(design, 2, jnp.asarray(data.ranks[:500]), jax.random.key(1))
    silent = replace(learned, current=learned.current.at[jnp.arange(8)].set(-1e3))
    monkeypatch.setattr(train, "_rate_network", lambda *_: silent)
    plan = Plan(rate_epochs=1, microzones=2, epochs=1)
    learner = train.begin(plan, feed, net).learner
    columns = np.asarray(learner.weights["mossy_fiber_nuclei"]).T
    of_each = [np.flatnonzero((columns[8:] == column).all(axis=1)) for column in columns[:8]]
    assert all(len(found) == 1 for found in of_each)
    # A copy has another mean rate, and therefore another current.
    drive = np.asarray(learner.drive["nuclei"])
    originals = drive[8:][np.concatenate(of_each)]
    assert (np.abs(drive[:8] - originals) > 2 * start.CURRENT_ERROR).mean() > 0.5
