"""Learning against a slow reference that walks over spike pairs."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import spikes
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model import circuit as circuits
from cerebellum.model import fixed
from cerebellum.model.anatomy import contacts
from cerebellum.model.neurons import current, relay
from cerebellum.model.plasticity import Rule
from cerebellum.model.spec import Population, Projection, Spec

KEY = jax.random.key(3)
RULE = Rule(teacher="olive_cells", a_plus=0.003, a_minus=0.02, tau=12.0, window=30.0)


def taught(
    granules: int, targets: int, *, beams=1, dtype="float32", share=1.0, path="event", rule=RULE
) -> Spec:
    """Relays for granule cells and olive, and cells between them that never fire."""
    quiet = current.Params(v_th=1e30)
    return Spec(
        name="taught",
        populations=(
            Population(name="granule", size=granules, model="relay", params=relay.Params()),
            Population(name="olive", size=targets, model="relay", params=relay.Params()),
            Population(name="cells", size=targets, model="current", params=quiet),
        ),
        projections=(
            Projection(
                source="granule",
                target="cells",
                receptor="exc",
                weight=1.0,
                delay=3.0,
                in_degree=share * (granules - (beams - 1) * -(-granules // beams)),
                spread=0.3,
                w_max=2.0,
                plastic=True,
                dtype=dtype,
                rule=rule,
            ),
            Projection(
                source="olive", target="cells", receptor="exc", weight=1.0, delay=4.0, in_degree=1
            ),
        ),
        beams=beams,
        path=path,
    )


def run(circuit, state, drive):
    def body(state, now):
        return cb.step(circuit.params, circuit.wiring, state, now)[0], None

    return jax.jit(lambda s, d: jax.lax.scan(body, s, d)[0])(state, drive)


def reference(spec: Spec, key, first: np.ndarray, granule: np.ndarray, olive: np.ndarray):
    """Weights [N, R] from the definition, one pair of spikes after the other, without bounds."""
    steps, width = len(granule), first.shape[1]
    rule, weights = spec.projections[0].rule, first.astype(float).copy()
    assert rule is not None
    window, span = round(rule.window), spec.beam_size("granule")
    fibres = [contacts(spec.projections[1], spec, key, beam) for beam in range(spec.beams)]
    climbing = [
        (step + 4, target)
        for sources, targets in fibres
        for source, target in zip(sources, targets, strict=True)
        for step in np.flatnonzero(olive[:, source])
    ]
    for step, cell in zip(*np.nonzero(granule), strict=True):
        arrival, beam = step + 3, cell // span
        if arrival + window - 1 >= steps:
            continue
        weights[cell] += np.where(first[cell] > 0, rule.a_plus, 0)
        for time, target in climbing:
            if target // width == beam and 0 <= time - arrival < window:
                loss = rule.a_minus * np.exp(-(time - arrival) / rule.tau)
                weights[cell, target % width] -= loss * (first[cell, target % width] > 0)
    return weights


@settings(max_examples=8)
@given(
    granules=st.sampled_from([7, 50]),
    targets=st.sampled_from([4, 11]),
    beams=st.sampled_from([1, 2]),
    share=st.sampled_from([1.0, 0.5]),
    dtype=st.sampled_from(["float32", "uint16"]),
    path=st.sampled_from(["event", "dense"]),
    seed=st.integers(0, 99),
)
def test_weights_follow_every_pair_of_spikes(granules, targets, beams, share, dtype, path, seed):
    spec = taught(granules, targets, beams=beams, dtype=dtype, share=share, path=path)
    circuit = cb.build(spec, jax.random.key(seed))
    state = cb.init(circuit, KEY)
    unit = fixed.unit(2.0) if dtype == "uint16" else 1.0
    first = np.asarray(state.weights["granule_cells"]) * unit
    granule, olive = spikes(90, granules, 0.04, seed), spikes(90, targets, 0.02, seed + 1)
    want = reference(spec, jax.random.key(seed), first, granule, olive)
    got = run(circuit, state, {"granule": granule, "olive": olive})
    fired = granule.sum(axis=0).max()
    tolerance = 1e-5 if dtype == "float32" else unit * (1 + fired)
    np.testing.assert_allclose(
        np.asarray(got.weights["granule_cells"]) * unit, want, atol=tolerance
    )


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_weights_stay_within_their_bounds(dtype):
    rule = replace(RULE, a_plus=0.4, a_minus=0.45)
    spec = taught(20, 6, dtype=dtype, rule=rule)
    circuit = cb.build(spec, KEY)
    drive = {"granule": spikes(300, 20, 0.3, 0), "olive": spikes(300, 6, 0.03, 1)}
    weights = np.asarray(run(circuit, cb.init(circuit, KEY), drive).weights["granule_cells"])
    top = fixed.LEVELS if dtype == "uint16" else 2.0
    assert weights.min() >= 0
    assert weights.max() == top


def test_absent_contacts_stay_absent():
    spec = taught(60, 9, dtype="uint16", share=0.4)
    circuit = cb.build(spec, KEY)
    state = cb.init(circuit, KEY)
    absent = np.asarray(state.weights["granule_cells"]) == 0
    assert 0.5 < absent.mean() < 0.7
    drive = {"granule": spikes(100, 60, 0.2, 0), "olive": spikes(100, 9, 0.01, 1)}
    after = np.asarray(run(circuit, state, drive).weights["granule_cells"])
    assert (after[absent] == 0).all()
    assert (after[~absent] > 0).all()


def test_a_batch_learns_as_its_members_do():
    circuit = cb.build(taught(30, 6, dtype="uint16"), KEY)
    keys = jax.random.split(KEY, 3)
    drives = [
        {"granule": spikes(60, 30, 0.1, seed), "olive": spikes(60, 6, 0.05, seed + 9)}
        for seed in range(3)
    ]
    states = jax.vmap(cb.init, (None, 0))(circuit, keys)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *drives)
    together = jax.vmap(lambda s, d: run(circuit, s, d))(states, stacked)
    alone = [run(circuit, cb.init(circuit, k), d) for k, d in zip(keys, drives, strict=True)]
    chex.assert_trees_all_close(
        together.weights, jax.tree.map(lambda *x: jnp.stack(x), *[s.weights for s in alone]), atol=0
    )


@pytest.mark.parametrize("rule", [None, RULE])
def test_the_compiled_step_holds_no_second_copy_of_the_weights(rule):
    spec = taught(20_000, 64, dtype="uint16", rule=rule, beams=2)
    circuit = cb.build(spec, KEY)
    state = cb.init(circuit, KEY)
    size = state.weights["granule_cells"].nbytes

    def scan(state):
        def body(state, _):
            return cb.step(circuit.params, circuit.wiring, state, {})[0], None

        return jax.lax.scan(body, state, None, length=5)[0]

    compiled = jax.jit(scan, donate_argnums=0).lower(state).compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 0.5 * size
    assert memory.alias_size_in_bytes >= size


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": replace(RULE, teacher="moss")}, "granule_cells.rule.teacher: 'moss'; one of"),
        ({"rule": replace(RULE, tau=0.0)}, "granule_cells.rule.tau: 0.0 ms; above zero"),
        ({"rule": replace(RULE, a_plus=-1.0)}, "rule.a_plus: -1.0; finite, not negative"),
        ({"rule": replace(RULE, a_minus=1.0)}, "rule: steps of over a quarter of w_max 2.0"),
        ({"plastic": False, "dtype": "float32"}, "granule_cells.rule: given; its weights must be"),
        ({"plastic": False}, "granule_cells.dtype: 'uint16'; weights that are not plastic"),
        ({"w_max": None}, "granule_cells.w_max: missing; uint16 weights need one"),
        ({"w_max": 1.2}, "granule_cells.w_max: 1.2; at least the largest first weight, 1.3"),
        ({"spread": 2.0}, "granule_cells.spread: 2.0; between 0 and 1"),
        ({"dtype": "int8"}, "granule_cells.dtype: 'int8'; one of float32, uint16"),
    ],
)
def test_impossible_learning_is_refused_by_name(change, message):
    spec = taught(20, 6, dtype="uint16")
    changed = replace(spec.projections[0], **change)
    with pytest.raises(UsageError, match=message):
        replace(spec, projections=(changed, *spec.projections[1:]))


def test_drawn_rows_survive_consolidation():
    circuit = cb.build(taught(20, 6, dtype="uint16"), KEY)
    state = cb.init(circuit, KEY)
    after = replace(circuit, params=circuits.consolidate(circuit.params, state))
    chex.assert_trees_all_equal(cb.init(after, KEY).weights, state.weights)
