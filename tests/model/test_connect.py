"""Rules of connection: degrees, what is allowed, distances, and what is refused."""

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model import connect
from cerebellum.model.connect import Ends
from cerebellum.model.neurons import current


def pairs(rule, sources: int, targets: int, same: bool = False, **positions):
    ends = Ends(sources=sources, targets=targets, same=same, **positions)
    assert rule.problem(ends) is None
    return rule.pairs(ends, np.random.Generator(np.random.Philox(3)))


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("multapses", [False, True])
def test_fixed_degrees(same, multapses):
    for rule, end in ((connect.FixedInDegree, 1), (connect.FixedOutDegree, 0)):
        drawn = pairs(rule(7, multapses=multapses), 20, 20, same)
        assert (np.bincount(drawn[end], minlength=20) == 7).all()
        assert not (same and (drawn[0] == drawn[1]).any())
        distinct = len(set(zip(*map(np.ndarray.tolist, drawn), strict=True)))
        assert (distinct == 140) != multapses


def test_totals_chances_and_complete_rules():
    assert len(pairs(connect.FixedTotal(500), 9, 11)[0]) == 500
    source, target = pairs(connect.Probability(0.3), 200, 200, same=True)
    assert abs(source.size / (200 * 199) - 0.3) < 0.01
    assert not (source == target).any()
    np.testing.assert_array_equal(*pairs(connect.OneToOne(), 8, 8))
    assert len(pairs(connect.AllToAll(), 6, 6, same=True)[0]) == 30
    assert len(pairs(connect.AllToAll(), 5, 6)[0]) == 30


def test_distance():
    um = np.stack([np.arange(100.0), np.zeros(100), np.zeros(100)], axis=1)
    near = pairs(connect.Distance("ellipsoid", 3.0), 100, 100, True, source_um=um, target_um=um)
    assert np.abs(near[0] - near[1]).max() == 3
    assert len(near[0]) == 6 * 100 - 12
    wide = pairs(connect.Distance("gaussian", 10.0), 100, 100, source_um=um, target_um=um)
    lag = np.abs(wide[0] - wide[1])
    share = np.bincount(lag, minlength=30) / (2 * (100 - np.arange(len(np.bincount(lag)))))
    assert abs(share[8:13].mean() - np.exp(-0.5)) < 0.08
    assert share[28:30].mean() < 0.1


def spec(**changes) -> cb.Spec:
    cells = cb.Population(name="c", size=10, model="current", params=current.Params())
    ends = {"source": "c", "target": "c", "receptor": "exc", "weight": 1.0, "delay": 1.0}
    projection = cb.Projection(**{**ends, **changes})
    return cb.Spec(name="x", populations=(cells,), projections=(projection,), dt=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connect": connect.FixedInDegree(10)}, "c_c.connect: number 10; at most 9 other cells"),
        ({"connect": connect.Probability(1.5)}, "c_c.connect: p 1.5; a probability"),
        ({"connect": connect.OneToOne}, "c_c.connect: OneToOne; such as"),
        ({"connect": connect.Distance("box", 1.0)}, "c_c.connect: kernel 'box'; one of"),
        ({"connect": connect.AllToAll(), "spread": 0.1}, "c_c.spread: given; none beside"),
        ({"weight": cb.Normal(1.0, 0.5)}, "c_c.weight: .*; low=0 or more"),
        ({"weight": [1.0]}, r"c_c.weight: \[1.0\]; one number .* cb.Edges"),
        ({"delay": 1500.0}, "c_c.delay: 1500 ms; at most 1000 ms"),
    ],
)
def test_wrong_rules_are_refused(changes, message):
    with pytest.raises(cb.UsageError, match=message):
        spec(**changes)


def test_weights_and_delays_are_drawn_and_the_same_key_gives_the_same():
    drawn = spec(
        connect=connect.FixedInDegree(5),
        weight=cb.Uniform(1.0, 2.0),
        delay=cb.Normal(1.5, 0.75, low=0.1),
    )
    first, again = (cb.build(drawn, jax.random.key(0)).edges("c_c") for _ in range(2))
    other = cb.build(drawn, jax.random.key(1)).edges("c_c")
    np.testing.assert_array_equal(first.weight, again.weight)
    assert not np.array_equal(first.weight, other.weight)
    assert 1 <= first.weight.min() < first.weight.max() <= 2
    steps = first.delay / 0.1
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert np.unique(np.round(steps)).size > 10
    with pytest.raises(cb.UsageError, match="without positions of both populations"):
        cb.build(spec(connect=connect.Distance("gaussian", 10.0)), jax.random.key(0))
