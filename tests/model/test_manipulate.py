"""Lesions: what is silent, scaled or changed, and that nothing is compiled for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.sim.chunk import advance

DRIVE = {"S": cb.drive.poisson(400.0)}
RECORD = ("counts:S", "counts:E", "counts:I")


def spec(beams: int = 1) -> cb.Spec:
    cell = cb.neurons.current.Params(tau_exc=2.0)
    populations = (
        cb.Population(name="S", size=40, model="relay", params=cb.neurons.relay.Params()),
        cb.Population(name="E", size=38, model="current", params=cell),
        cb.Population(name="I", size=8, model="current", params=cell),
    )
    link = {"delay": 1.0, "in_degree": 4.0}
    projections = (
        cb.Projection(source="S", target="E", receptor="exc", weight=9.0, **link),
        cb.Projection(
            source="E", target="I", receptor="exc", weight=40.0, plastic=True, w_max=80.0, **link
        ),
        cb.Projection(source="I", target="E", receptor="inh", weight=9.0, delay=1.0, in_degree=2.0),
    )
    return cb.Spec(name="three", populations=populations, projections=projections, beams=beams)


@pytest.fixture(scope="module", params=["event", "dense"])
def circuit(request) -> cb.Circuit:
    return cb.build(spec(), jax.random.key(0), path=request.param)


def counts(circuit, state=None, ms=60):
    state = cb.init(circuit, jax.random.key(1)) if state is None else state
    state, recording = cb.simulate(circuit, state, DRIVE, duration_ms=ms, record=RECORD)
    return state, recording.counts


def test_manipulations_need_no_compiling():
    circuit = cb.build(spec(), jax.random.key(0))
    counts(circuit)
    programs = advance._cache_size()
    changed = cb.silence(circuit, "I", [0, 2])
    changed = cb.scale_weights(changed, "S_E", 1.5)
    changed = cb.with_params(changed, "E", v_th=14.0, drive=1)
    state, _ = counts(changed)
    counts(cb.silence(changed, "E"), cb.scale_weights(state, "E_I", 0.5))
    assert advance._cache_size() == programs
    changed = cb.with_params(circuit, "E", v_th=cb.Normal(15, 1), key=jax.random.key(0))
    counts(changed)
    assert advance._cache_size() == programs + 1
    counts(cb.with_params(changed, "E", v_th=cb.Normal(14, 1), key=jax.random.key(1)))
    counts(cb.with_params(changed, "E", v_th=12.0))
    assert advance._cache_size() == programs + 1


@pytest.mark.parametrize(
    "cells", [[1, 3], slice(None, None, 2), np.arange(38) < 9, range(5), 7, None]
)
def test_exactly_the_silenced_cells_are_silent(circuit, cells):
    _, before = counts(circuit)
    silent = np.zeros(38, bool)
    silent[slice(None) if cells is None else cells] = True
    _, after = counts(cb.silence(circuit, "E", cells))
    assert not after["E"][silent].any()
    assert (after["E"][~silent] > 0).all()
    np.testing.assert_array_equal(before["S"], after["S"])


def test_silence_is_what_its_targets_see(circuit):
    """Without inhibition the excited cells fire as with blocked inhibitory synapses."""
    _, silenced = counts(cb.silence(circuit, "I"))
    _, blocked = counts(cb.scale_weights(circuit, "I_E", 0))
    np.testing.assert_array_equal(silenced["E"], blocked["E"])
    assert (counts(circuit)[1]["E"] != blocked["E"]).any()
    assert blocked["I"].any()
    assert not silenced["I"].any()


def test_a_silenced_relay_sends_nothing(circuit):
    _, after = counts(cb.silence(circuit, "S"))
    assert not any(each.any() for each in after.values())


def test_silence_in_mid_run_and_back(circuit):
    state, _ = counts(circuit)
    state, silent = counts(cb.silence(circuit, "E"), state)
    state, awake = counts(circuit, state)
    assert not silent["E"].any()
    assert awake["E"].any()


def test_silence_adds_up_and_is_saved(circuit, tmp_path):
    lesioned = cb.silence(cb.silence(circuit, "E", slice(0, 10)), "E", 20)
    state = cb.init(lesioned, jax.random.key(1))
    cb.store.save_circuit(tmp_path, lesioned, state)
    restored, state = cb.store.load_circuit(tmp_path)
    _, after = counts(restored, state)
    assert not after["E"][[*range(10), 20]].any()
    assert after["E"][21:].all()
    assert "11 silenced" in repr(restored)


def test_shards_are_silenced_alike():
    whole = cb.build(spec(beams=4), jax.random.key(0), path="event")
    lesioned = cb.with_params(cb.silence(whole, "E", slice(3, 25)), "E", v_th=np.arange(38) / 9 + 9)
    _, wanted = counts(lesioned)
    mesh = cb.shard.mesh(3)
    cut = cb.shard.split(whole, mesh)
    cut = cb.with_params(cb.silence(cut, "E", slice(3, 25)), "E", v_th=np.arange(38) / 9 + 9)
    for divided in (cut, cb.shard.split(lesioned, mesh)):
        state = cb.shard.split_state(divided, cb.init(whole, jax.random.key(1)))
        _, got = counts(divided, state)
        for name, each in wanted.items():
            np.testing.assert_array_equal(got[name], each)


def test_weights_are_scaled_within_bounds(circuit):
    state = cb.init(circuit, jax.random.key(1))
    half = cb.scale_weights(state, "E_I", 0.5)
    np.testing.assert_allclose(half.weights["E_I"], state.weights["E_I"] / 2)
    most = cb.scale_weights(state, "E_I", 100, circuit=circuit)
    assert float(most.weights["E_I"].max()) == 80.0
    rows = state.replace(weights={"E_I": jnp.uint16([[0, 3, 40_000]])})
    scaled = cb.scale_weights(rows, "E_I", 2.5).weights["E_I"]
    assert scaled.dtype == jnp.uint16
    assert scaled.tolist() == [[0, 8, 65_535]]
    weights = cb.scale_weights(circuit, "S_E", 0.5).params.weights["S_E"]
    np.testing.assert_array_equal(weights, circuit.params.weights["S_E"] * 0.5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda c, s: cb.silence(c, "F"), "population 'F': unknown; one of S, E, I"),
        (lambda c, s: cb.silence(s, "E"), "circuit: State; what cb.build"),
        (lambda c, s: cb.silence(c, "E", 38), "silence 'E': cell 38; numbered 0 to 37"),
        (lambda c, s: cb.silence(c, "E", [True]), r"silence 'E': a mask of \[1\]; \[38\]"),
        (lambda c, s: cb.silence(c, "E", [0.5]), "silence 'E': cells float64"),
        (lambda c, s: cb.scale_weights(c, "S_F", 2), "projection 'S_F': unknown; perhaps S_E"),
        (lambda c, s: cb.scale_weights(c, "E_I", 2), "'E_I': plastic, its weights are in the sta"),
        (lambda c, s: cb.scale_weights(s, "S_E", 2), "'S_E': not plastic, its weights are in the"),
        (lambda c, s: cb.scale_weights(s, "E_I", 2), "circuit=circuit too, whose w_max bounds"),
        (lambda c, s: cb.scale_weights(c, "S_E", -1), "factor: -1; a finite number"),
        (lambda c, s: cb.with_params(c, "E", v_t=1), "E.params 'v_t': unknown; perhaps v_th"),
        (lambda c, s: cb.with_params(c, "E", v_th=[1.0]), "E.params.v_th: 1 values; 38"),
        (lambda c, s: cb.with_params(c, "E", v_th=cb.Normal(1, 1)), "key=seed"),
        (lambda c, s: cb.with_params(c, "E", tau_m=0), "tau_m of E: 0; above zero"),
        (lambda c, s: cb.with_params(c, "E", t_ref=300.0), "t_ref of E: 300 ms; at most 255"),
    ],
)
def test_wrong_manipulations_are_refused(circuit, wrong, message):
    with pytest.raises(cb.UsageError, match=message):
        wrong(circuit, cb.init(circuit, jax.random.key(1)))
