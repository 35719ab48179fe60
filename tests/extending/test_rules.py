"""Rules of plasticity from a user's own script: runs, paths, shards, memory, checkpoints."""

from dataclasses import dataclass, replace

import circuits
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rules import Rewarded, Triplet

import cerebellum as cb
from cerebellum import store
from cerebellum.model import plasticity, registry
from cerebellum.model.neurons import conductance, relay
from cerebellum.model.part import Part
from cerebellum.sim import memory, shard
from cerebellum.store import equations, snapshot

KEY = jax.random.key(0)
RULES = [Triplet(), Rewarded(reward="reward_cells")]
DRIVE = {"input": cb.drive.poisson(60.0), "reward": cb.drive.poisson(20.0)}


@pytest.fixture(autouse=True)
def _registered():
    before = dict(plasticity.RULES)
    cb.register("rule", "triplet", Triplet)
    cb.register("rule", "rewarded", Rewarded)
    yield
    plasticity.RULES.clear()
    plasticity.RULES.update(before)


def spec(rule, in_degree=12, beams=2, **changes) -> cb.Spec:
    """Relays onto cells that fire, and relays that teach them."""
    return cb.Spec(
        name="mine",
        populations=(
            cb.Population(name="input", size=60, model="relay", params=relay.Params()),
            cb.Population(name="reward", size=12, model="relay", params=relay.Params()),
            cb.Population(name="cells", size=12, model="conductance", params=conductance.Params()),
        ),
        projections=(
            cb.Projection(
                source="input",
                target="cells",
                receptor="exc",
                weight=1.2,
                spread=0.4,
                delay=3.0,
                in_degree=in_degree,
                plastic=True,
                w_max=4.0,
                rule=rule,
            ),
            cb.Projection(
                source="reward", target="cells", receptor="exc", weight=0.01, delay=1.0, in_degree=1
            ),
        ),
        beams=beams,
        **changes,
    )


def run(circuit, state=None, duration_ms=150.0):
    state = cb.init(circuit, KEY, spread=True) if state is None else state
    record = ("raster:input", "raster:cells")
    return cb.simulate(circuit, state, DRIVE, duration_ms=duration_ms, record=record)


def weights_of(circuit, state) -> np.ndarray:
    """Weights as rows [60, 6] over the targets of a beam, zero where there is no contact."""
    return circuits.rows(circuit, "input_cells", state.weights["input_cells"])


def at_targets(values: np.ndarray) -> np.ndarray:
    """Values of the targets [12] in the shape of the rows: 30 sources and 6 targets to a beam."""
    return np.repeat(values.reshape(2, 6), 30, axis=0)


@pytest.mark.parametrize("in_degree", [12, 30])
def test_triplets_are_learned_as_the_equations_say(in_degree):
    rule = Triplet()
    circuit = cb.build(spec(rule, in_degree), KEY, path="event")
    state = cb.init(circuit, KEY, spread=True)
    weights = weights_of(circuit, state)
    exists = weights > 0
    state, recording = run(circuit, state)
    fired = {name: np.zeros((150, size)) for name, size in (("input", 60), ("cells", 12))}
    for name, raster in recording.rasters.items():
        # A spike of step n is stamped n + 1.
        fired[name][np.round(raster.time_ms).astype(int) - 1, raster.cell] = 1
    assert fired["cells"].sum() > 20
    r, o1, o2 = np.zeros(60), np.zeros(12), np.zeros(12)
    for step in range(150):
        arrived = fired["input"][step - 3] if step >= 3 else np.zeros(60)
        r, o1, o2 = r * np.exp(-1 / 16.8), o1 * np.exp(-1 / 33.7), o2 * np.exp(-1 / 114)
        post = fired["cells"][step]
        weights += r[:, None] * at_targets(post * (rule.a2_plus + rule.a3_plus * o2))
        weights -= arrived[:, None] * at_targets(rule.a2_minus * o1)
        weights = np.where(exists, np.clip(weights, 0, 4.0), 0)
        r, o1, o2 = r + arrived, o1 + post, o2 + post
    np.testing.assert_allclose(weights_of(circuit, state), weights, atol=1e-4)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_it_changes_weights_alike_on_both_paths_and_stops_where_it_is_switched_off(rule):
    ends = {}
    for path in ("event", "dense"):
        # Rows on both: lists are drawn otherwise.
        circuit = cb.build(spec(rule, in_degree=30), KEY, path=path)
        initial = weights_of(circuit, cb.init(circuit, KEY))
        ends[path] = weights_of(circuit, run(circuit, duration_ms=60.0)[0])
        assert np.abs(ends[path] - initial).max() > 0.01
        off = {name: 0 * value for name, value in circuit.params.learning_gain.items()}
        switched_off = replace(circuit, params=replace(circuit.params, learning_gain=off))
        np.testing.assert_array_equal(weights_of(switched_off, run(switched_off)[0]), initial)
    np.testing.assert_allclose(ends["event"], ends["dense"], atol=1e-3)


@pytest.mark.parametrize("in_degree", [12, 30])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_it_is_cut_among_devices(rule, in_degree):
    whole = cb.build(spec(rule, in_degree), KEY, path="event")
    initial = jax.tree.map(np.asarray, cb.init(whole, KEY, spread=True))
    end_state, _ = run(whole, jax.tree.map(jnp.asarray, initial))
    cut = shard.split(whole, shard.mesh(2))
    divided = shard.init(cut, KEY, spread=True)
    jax.tree.map(np.testing.assert_array_equal, shard.join_state(cut, divided), initial)
    divided_end, _ = run(cut, shard.split_state(cut, initial))
    jax.tree.map(np.testing.assert_array_equal, shard.join_state(cut, divided_end), end_state)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_its_state_is_estimated_and_saved(rule, tmp_path):
    circuit = cb.build(spec(rule, in_degree=30), KEY, path="event")
    state, _ = run(circuit)
    bytes_of_state = sum(leaf.nbytes for leaf in jax.tree.leaves(state.rule_states))
    assert (
        memory.arrays(Part(spec=circuit.spec), "event")["rule_states.input_cells"] == bytes_of_state
    )
    path = store.write(tmp_path, 1, snapshot.tree(circuit, state), snapshot.about(circuit))
    end_state, _ = run(circuit, state)
    restored_circuit, restored = snapshot.restore(store.load(path))
    assert restored_circuit.spec == circuit.spec
    restored_end, _ = run(restored_circuit, restored)
    jax.tree.map(np.testing.assert_array_equal, restored_end, end_state)


def test_an_edited_rule_is_run():
    before = weights_of(circuit := cb.build(spec(Triplet()), KEY), run(circuit)[0])

    class Edited(Triplet):
        def learn(self, weights, state, moment, synapses):
            return weights, state

    cb.register("rule", "triplet", Edited, replace=True)
    circuit = cb.build(spec(Edited()), KEY)
    initial = weights_of(circuit, cb.init(circuit, KEY))
    assert (before != initial).any()
    np.testing.assert_array_equal(weights_of(circuit, run(circuit)[0]), initial)
    assert registry.revision() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": lambda self: {"r": "source"}}, r"rule\.axes: .*; a word for each array"),
        ({"axes": lambda self: dict.fromkeys(("r", "o1", "o2"), "sources")}, "'sources'; one of"),
        (
            {"axes": lambda self: dict.fromkeys(("r", "o1", "o2"), "source")},
            r"'source' for an array of \[12\]; one that ends with \[60\]",
        ),
        (
            {"learn": lambda self, weights, state, *_: (weights.sum(), state)},
            r"Wrong\.learn returns .*; of the same shapes and types as it was given",
        ),
        (
            {"learn": lambda self, weights, state, moment, _: (moment.cells["w"], state)},
            r"Wrong\.learn asks for 'w'; its target has g_exc, g_inh, v",
        ),
        ({"teachers": "cells"}, r"rule\.teachers: 'cells'; a tuple of names"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused_when_its_circuit_is_built(changes, message):
    wrong = dataclass(frozen=True, kw_only=True)(type("Wrong", (Triplet,), changes))
    cb.register("rule", "wrong", wrong)
    with pytest.raises(cb.UsageError, match=message):
        cb.build(spec(wrong()), KEY, path="event")


def test_weights_are_kept_within_their_bounds_and_where_there_is_no_contact_at_zero():
    """By the circuit, where a rule does not do it."""
    for in_degree, path in ((12, "event"), (12, "dense"), (30, "dense")):
        circuit = cb.build(spec(Triplet(a2_plus=30.0, a2_minus=30.0), in_degree), KEY, path=path)
        exists = weights_of(circuit, cb.init(circuit, KEY)) > 0
        ended = weights_of(circuit, run(circuit, duration_ms=100.0)[0])
        assert ended.min() == 0
        assert ended.max() == 4.0
        assert not ended[~exists].any()


def test_a_rule_that_nobody_registered_is_refused_and_so_is_what_is_none():
    del plasticity.RULES["triplet"]
    with pytest.raises(cb.UsageError, match=r'input_cells\.rule: Triplet; cb\.register\("rule"'):
        spec(Triplet())
    with pytest.raises(cb.UsageError, match="rule 'x': without KEEPS_BOUNDS, teachers"):
        cb.register("rule", "x", dict)  # pyright: ignore[reportArgumentType]
    with pytest.raises(cb.UsageError, match=r"input_cells\.rule\.teacher: 'nobody'; one of cells"):
        spec(Rewarded(reward="nobody"))
    cb.register("rule", "triplet", Triplet)
    with pytest.raises(cb.UsageError, match=r"input_cells\.rule\.tau_plus: -1 ms; above zero"):
        spec(Triplet(tau_plus=-1))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_checkpoint_notices_an_edited_rule(rule):
    circuit_spec, name = spec(rule), type(rule).__name__
    probes = equations.probes(circuit_spec)
    assert None not in probes.values()
    assert equations.changed(probes, circuit_spec) == []

    @dataclass(frozen=True, kw_only=True)
    class Edited(type(rule)):
        def learn(self, weights, state, moment, synapses):
            learned, state = super().learn(weights, state, moment, synapses)
            return weights + 1.01 * (learned - weights), state

    cb.register("rule", name.lower(), Edited, replace=True)
    edited = spec(Edited(**vars(rule)))
    assert equations.changed(probes, edited) == [f"rule '{name.lower()}' (input_cells)"]
