"""Learning against a slow reference that walks over spike pairs."""

import math
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import rows, run, spikes
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model import contacts, fixed
from cerebellum.model.neurons import current, relay
from cerebellum.model.plasticity import (
    WINDOWS,
    Rule,
    kernel,
    mossy_fibre_nuclei,
    pair_stdp,
    parallel_fibre_interneuron,
    parallel_fibre_purkinje,
    ring_steps,
)
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

KEY = jax.random.key(3)
RULE = Rule(teacher="olive_cells", per_spike=0.003, per_pair=-0.02, tau=12.0, window=30.0)


def taught(granules: int, targets: int, *, beams=1, dtype="float32", share=1.0, rule=RULE) -> Spec:
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
    )


def reference(spec: Spec, key, first: np.ndarray, granule: np.ndarray, olive: np.ndarray):
    """Weights [N, R] from the definition, one pair of spikes after the other, without bounds."""
    steps, width = len(granule), first.shape[1]
    rule, weights = spec.projections[0].rule, first.astype(float).copy()
    assert rule is not None
    window, back, span = round(rule.window), round(rule.back), spec.beam_size("granule")
    closed = WINDOWS[rule.kernel].closed
    fibres = [contacts.draw(spec.projections[1], spec, key, beam) for beam in range(spec.beams)]
    climbing = [
        (step + 4, target)
        for sources, targets in fibres
        for source, target in zip(sources, targets, strict=True)
        for step in np.flatnonzero(olive[:, source])
    ]
    for step, cell in zip(*np.nonzero(granule), strict=True):
        arrival, beam = step + 3, cell // span
        if arrival + window + closed - 1 >= steps:
            continue
        weights[cell] += np.where(first[cell] > 0, rule.per_spike, 0)
        for time, target in climbing:
            lag = time - arrival
            if target // width == beam and -back <= lag < window + closed:
                change = rule.per_pair * WINDOWS[rule.kernel].shape(np.float64(lag), rule.tau)
                weights[cell, target % width] += change * (first[cell, target % width] > 0)
    return weights


RULES = {
    "trace": RULE,
    "parallel fibre to Purkinje": parallel_fibre_purkinje("olive_cells", 0.003, -0.02),
    "parallel fibre to interneuron": parallel_fibre_interneuron("olive_cells", 0.02, -0.003),
    "mossy fibre to nuclei": mossy_fibre_nuclei("olive_cells", 0.003, -0.02),
    "pairs": replace(pair_stdp("olive_cells", 0.01), tau=7.0, window=35.0, back=35.0),
}


@examples(16)
@given(
    granules=st.sampled_from([7, 50]),
    targets=st.sampled_from([4, 11]),
    beams=st.sampled_from([1, 2]),
    share=st.sampled_from([1.0, 0.5, 0.3]),
    dtype=st.sampled_from(["float32", "uint16"]),
    path=st.sampled_from(["event", "dense"]),
    rule=st.sampled_from(list(RULES.values())),
    seed=st.integers(0, 99),
)
def test_weights_follow_every_pair_of_spikes(
    granules, targets, beams, share, dtype, path, rule, seed
):
    spec = taught(granules, targets, beams=beams, dtype=dtype, share=share, rule=rule)
    circuit = cb.build(spec, jax.random.key(seed), path=path)
    state = cb.init(circuit, KEY)
    unit = fixed.unit(2.0) if dtype == "uint16" else 1.0
    initial_weights = rows(circuit, "granule_cells", state.weights["granule_cells"]) * unit
    granule, olive = spikes(270, granules, 0.01, seed), spikes(270, targets, 0.008, seed + 1)
    want = reference(spec, jax.random.key(seed), initial_weights, granule, olive)
    got = run(circuit, state, {"granule": granule, "olive": olive})[0]
    fired = granule.sum(axis=0).max()
    tolerance = 1e-5 if dtype == "float32" else unit * (1 + fired)
    np.testing.assert_allclose(
        rows(circuit, "granule_cells", got.weights["granule_cells"]) * unit, want, atol=tolerance
    )


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_weights_stay_within_their_bounds(dtype):
    rule = replace(RULE, per_spike=0.4, per_pair=-0.45)
    spec = taught(20, 6, dtype=dtype, rule=rule)
    circuit = cb.build(spec, KEY, path="event")
    drive = {"granule": spikes(300, 20, 0.3, 0), "olive": spikes(300, 6, 0.03, 1)}
    weights = np.asarray(run(circuit, cb.init(circuit, KEY), drive)[0].weights["granule_cells"])
    top = fixed.LEVELS if dtype == "uint16" else 2.0
    assert weights.min() >= 0
    assert weights.max() == top


def test_absent_contacts_stay_absent():
    spec = taught(60, 9, dtype="uint16", share=0.4)
    circuit = cb.build(spec, KEY, path="event")
    state = cb.init(circuit, KEY)
    absent = np.asarray(state.weights["granule_cells"]) == 0
    assert 0.5 < absent.mean() < 0.7
    drive = {"granule": spikes(100, 60, 0.2, 0), "olive": spikes(100, 9, 0.01, 1)}
    after = np.asarray(run(circuit, state, drive)[0].weights["granule_cells"])
    assert (after[absent] == 0).all()
    assert (after[~absent] > 0).all()


def test_a_batch_learns_as_its_members_do():
    circuit = cb.build(taught(30, 6, dtype="uint16"), KEY, path="event")
    keys = jax.random.split(KEY, 3)
    drives = [
        {"granule": spikes(60, 30, 0.1, seed), "olive": spikes(60, 6, 0.05, seed + 9)}
        for seed in range(3)
    ]
    states = jax.vmap(cb.init, (None, 0))(circuit, keys)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *drives)
    together = jax.vmap(lambda s, d: run(circuit, s, d)[0])(states, stacked)
    alone = [run(circuit, cb.init(circuit, k), d)[0] for k, d in zip(keys, drives, strict=True)]
    chex.assert_trees_all_close(
        together.weights, jax.tree.map(lambda *x: jnp.stack(x), *[s.weights for s in alone]), atol=0
    )


@pytest.mark.parametrize("rule", [None, RULE])
def test_the_compiled_step_holds_no_second_copy_of_the_weights(rule):
    spec = taught(20_000, 64, dtype="uint16", rule=rule, beams=2)
    circuit = cb.build(spec, KEY, path="event")
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
        ({"rule": replace(RULE, back=-1.0)}, "granule_cells.rule.back: -1.0 ms; zero or more"),
        ({"rule": replace(RULE, kernel="hat")}, "rule.kernel: 'hat'; one of exponential, sine"),
        ({"rule": replace(RULE, per_spike=math.nan)}, "rule.per_spike: nan; a finite number"),
        (
            {"rule": replace(RULE, per_pair=-1.0)},
            "rule.per_pair: -1.0; at most a quarter of",
        ),
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
    circuit = cb.build(taught(20, 6, dtype="uint16"), KEY, path="event")
    state = cb.init(circuit, KEY)
    after = cb.consolidate(circuit, state)
    chex.assert_trees_all_equal(cb.init(after, KEY).weights, state.weights)


def lags(rule: Rule) -> np.ndarray:
    return np.arange(len(kernel(rule, 1.0))) - round(rule.back)


def test_kernels_have_the_published_peaks_windows_and_sums():
    purkinje = parallel_fibre_purkinje("t", 1.0, -1.0)
    k, lag = kernel(purkinje, 1.0), lags(purkinje)
    assert lag[np.argmax(k)] - 1 == pytest.approx(100, abs=5)
    s = -np.arange(1, 201)
    wave = np.exp(-(s - 150) / 1000) * np.sin(2 * 3.1415 * (s - 150) / 1000) ** 20 / 1.2848
    np.testing.assert_allclose(k.max(), 1.0, atol=0.003)
    np.testing.assert_allclose(k.sum(), wave.sum(), rtol=1e-5)
    assert (lag[0], lag[-1]) == (0, 201)
    assert k[0] == k[1] == 0

    interneuron = parallel_fibre_interneuron("t", 1.0, -1.0)
    k, lag = kernel(interneuron, 1.0), lags(interneuron)
    assert lag[np.argmax(k)] - 1 == 50
    np.testing.assert_allclose(k.max(), 1.0, atol=1e-5)
    q = math.exp(-1 / 50)
    total = math.e / 50 * q * (1 - 201 * q**200 + 200 * q**201) / (1 - q) ** 2
    np.testing.assert_allclose(k.sum(), total, rtol=1e-5)

    nuclei = mossy_fibre_nuclei("t", 1.0, -1.0)
    k, lag = kernel(nuclei, 1.0), lags(nuclei)
    assert lag[np.argmax(k)] == 1
    assert (lag[k > 0].min(), lag[k > 0].max()) == (-9, 11)
    s = np.arange(-10, 11)
    np.testing.assert_allclose(k.max(), 1.0, atol=1e-5)
    np.testing.assert_allclose(
        k.sum(), (np.exp(-0.4 * abs(s)) * np.cos(s / 1000) ** 2).sum(), rtol=1e-5
    )

    pairs = pair_stdp("t", 1.0)
    k, lag = kernel(pairs, 1.0), lags(pairs)
    np.testing.assert_allclose(k[lag == 0], 0)
    np.testing.assert_allclose(k[lag > 0], np.exp(-lag[lag > 0] / 30), rtol=1e-5)
    np.testing.assert_allclose(k.sum(), -math.exp(-150 / 30), rtol=1e-3)

    trace = kernel(replace(RULE, window=1e3), 1.0)
    np.testing.assert_allclose(trace.sum(), 1 / (1 - math.exp(-1 / 12)), rtol=1e-5)


@given(
    window=st.integers(1, 4_000),
    back=st.integers(0, 4_000),
    step=st.sampled_from([1, 2, 3, 7, 10]),
    closed=st.booleans(),
)
def test_a_window_holds_the_lags_that_lie_in_it_wherever_it_ends(window, back, step, closed):
    """Times in hundredths of a millisecond, of which a window and a step are whole numbers."""
    rule = Rule(
        teacher="t",
        kernel="cosine" if closed else "exponential",
        window=window / 100,
        back=back / 100,
    )
    ahead, before = ring_steps(rule, step / 100)
    assert max(k for k in range(window // step + 2) if k * step < window + closed) == ahead - 1
    assert max(k for k in range(back // step + 2) if k * step <= back) == before


def test_a_cell_that_fires_teaches_its_own_synapses():
    """Source, then target: stronger; target, then source: weaker; both times as they arrive."""
    spec = taught(2, 1, rule=pair_stdp("cells", 0.1, tau=10.0))
    eager = replace(spec.populations[2], params=current.Params())
    spec = replace(spec, populations=(*spec.populations[:2], eager))
    circuit = cb.build(spec, KEY, path="event")
    state = cb.init(circuit, KEY)
    current_in = np.zeros((150, 1), np.float32)
    current_in[40] = 1e5
    granule = np.zeros((150, 2), np.float32)
    granule[30, 0] = granule[45, 1] = 1

    drive = {"granule": granule, "cells": current_in}
    state_after, (fired, _) = run(circuit, state, drive)
    (step,) = np.flatnonzero(np.asarray(fired["cells"])[:, 0])
    change = rows(
        circuit,
        "granule_cells",
        state_after.weights["granule_cells"] - state.weights["granule_cells"],
    )
    np.testing.assert_allclose(change[0, 0], 0.1 * np.exp(-(step - 33) / 10), rtol=1e-4)
    np.testing.assert_allclose(change[1, 0], -0.1 * np.exp(-(48 - step) / 10), rtol=1e-4)


def test_learning_is_switched_off_and_on_by_a_factor():
    circuit = cb.build(taught(20, 6), KEY, path="event")
    drive = {"granule": spikes(100, 20, 0.1, 0), "olive": spikes(100, 6, 0.05, 1)}
    state = cb.init(circuit, KEY)
    (name,) = circuit.params.learning_gain
    change = {}
    for factor in (0.0, 1.0, 0.5):
        params = replace(circuit.params, learning_gain={name: jnp.float32(factor)})
        after = run(replace(circuit, params=params), state, drive)[0]
        change[factor] = np.asarray(after.weights[name] - state.weights[name])
    assert not change[0.0].any()
    assert change[1.0].any()
    np.testing.assert_allclose(change[0.5], change[1.0] / 2, atol=1e-6)
