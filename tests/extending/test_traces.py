"""Rules that are defined by traces of spikes."""

import jax
import numpy as np
import pytest
from rules import Triplet

import cerebellum as cb
from cerebellum.model import plasticity

DRIVE = {"input": cb.drive.poisson(60.0), "reward": cb.drive.poisson(20.0)}
TRIPLET = {
    "params": {
        "a2_plus": 0.02,
        "a3_plus": 0.03,
        "a2_minus": 0.025,
        "tau_plus": 16.8,
        "tau_minus": 33.7,
        "tau_y": 114.0,
    },
    "pre": {"r": "tau_plus"},
    "post": {"o1": "tau_minus", "o2": "tau_y"},
    "on_pre": lambda p, w, pre, post: -p.a2_minus * post.o1,
    "on_post": lambda p, w, pre, post: pre.r * (p.a2_plus + p.a3_plus * post.o2),
}


@pytest.fixture(autouse=True)
def _rules_as_they_were():
    before = dict(plasticity.RULES)
    yield
    plasticity.RULES.clear()
    plasticity.RULES.update(before)


def learned(rule, path: str = "event") -> np.ndarray:
    link = {"weight": 1.2, "spread": 0.4, "delay": 3.0, "in_degree": 12, "w_max": 4.0}
    spec = cb.Spec(
        "mine",
        (
            cb.Population("input", 60, "relay"),
            cb.Population("reward", 12, "relay"),
            cb.Population("cells", 12, "conductance"),
        ),
        (
            cb.Projection("input", "cells", "exc", **link, rule=rule),
            cb.Projection("reward", "cells", "exc", weight=0.01, delay=1.0, in_degree=1),
        ),
        dt=0.5,
    )
    circuit = cb.build(spec, 0, path=path)
    state, _ = cb.simulate(circuit, cb.init(circuit, 1), DRIVE, duration_ms=300)
    return np.asarray(circuit.edges("input_cells", state).weight)


@pytest.mark.parametrize("path", ["event", "dense"])
def test_traces_are_the_rule_that_is_written_in_full(path):
    cb.register("rule", "full", Triplet)
    short = learned(cb.define_rule("short", **TRIPLET)(a3_plus=0.05), path)
    assert np.ptp(short) > 1.0
    np.testing.assert_allclose(short, learned(Triplet(a3_plus=0.05), path), rtol=1e-5)
    assert not np.allclose(short, learned(Triplet(), path))


def test_a_teacher_changes_what_was_active_before():
    """Spikes of the teacher weaken synapses by the trace of their input, as climbing fibres do."""
    rule = cb.define_rule(
        "taught",
        params={"a": 0.05, "tau": 50.0},
        pre={"x": "tau"},
        teacher={"z": "tau"},
        on_pre=lambda p, w, pre, post: p.a * post.z,
        on_teacher=lambda p, w, pre, post: -p.a * pre.x,
    )
    unchanged = learned(rule(teacher="reward_cells", a=0.0))
    changed = learned(rule(teacher="reward_cells")) - unchanged
    assert changed.min() < -0.05
    assert changed.max() > 0.05
    with pytest.raises(cb.UsageError, match="nobody"):
        learned(rule(teacher="nobody"))


def test_what_is_defined_again_is_what_runs():
    first = learned(cb.define_rule("short", **TRIPLET)())
    still = {"on_pre": None, "on_post": None}
    again = learned(cb.define_rule("short", **TRIPLET | still)())
    assert not np.allclose(first, again)
    with pytest.raises(cb.UsageError, match="'window': taken"):
        cb.define_rule("window", **TRIPLET)


def test_the_same_rule_again_is_the_rule():
    def define(factor):
        change = {"on_pre": lambda p, w, pre, post: -factor * p.a_minus * w}
        return cb.define_rule("short", params={"a_minus": 0.1}, **change)

    rule = define(1.0)
    assert define(1.0) is rule
    assert define(2.0) is not rule


def test_it_is_saved_and_comes_back(tmp_path):
    rule = cb.define_rule("short", **TRIPLET)
    link = {"weight": 1.2, "delay": 3.0, "in_degree": 12, "rule": rule()}
    spec = cb.Spec(
        "mine",
        (cb.Population("input", 60, "relay"), cb.Population("cells", 12, "conductance")),
        (cb.Projection("input", "cells", "exc", **link),),
    )
    circuit = cb.build(spec, 0)
    drive = {"input": cb.drive.poisson(60.0)}
    state, _ = cb.simulate(circuit, None, drive, duration_ms=50)
    cb.store.save_circuit(tmp_path, circuit, state)
    ends = [
        cb.simulate(*each, drive, duration_ms=50)[0].weights
        for each in ((circuit, state), cb.store.load_circuit(tmp_path))
    ]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), *ends))
    cb.define_rule("short", **TRIPLET | {"on_pre": None})
    with pytest.raises(cb.UsageError, match="short"):
        cb.store.load_circuit(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pre": {"r": "tau_pluss"}}, "r: without 'tau_pluss'; perhaps tau_plus"),
        ({"pre": {"o1": "tau_plus"}}, "name 'o1'; letters, digits and underscores, used once"),
        ({"on_post": 0.1}, "on_post: 0.1; a function"),
        ({"params": {"tau_plus": "fast"}}, "params: tau_plus 'fast'; a number"),
    ],
)
def test_wrong_definitions_are_refused(changes, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.define_rule("short", **TRIPLET | changes)


def test_wrong_constants_are_refused():
    rule = cb.define_rule("short", **TRIPLET)
    with pytest.raises(cb.UsageError, match="tau_plus: 0 ms; above zero"):
        learned(rule(tau_plus=0))


def test_a_teacher_without_weight_on_the_dense_path_is_refused():
    """In rows a zero is a contact that does not exist, so nothing would be taught."""
    populations = (
        cb.Population("a", 20, "relay"),
        cb.Population("t", 10, "relay"),
        cb.Population("b", 10, "current"),
    )
    rule = cb.Rule(teacher="t_b", per_spike=0.0, per_pair=-0.001, tau=100.0)
    link = {"delay": 1.0, "in_degree": 2}
    learns = cb.Projection("a", "b", "exc", weight=2.0, rule=rule, w_max=4.0, **link)
    silent = cb.Projection("t", "b", "exc", weight=0.0, **link)
    spec = cb.Spec("taught", populations, (learns, silent))
    with pytest.raises(cb.UsageError, match="teacher: t_b, whose weights are 0"):
        cb.build(spec, 0, path="dense")
    cb.build(spec, 0, path="event")
