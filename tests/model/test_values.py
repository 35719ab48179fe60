"""Values that differ from cell to cell, from the spec to the built circuit and a checkpoint."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.model import values
from cerebellum.store import describe

SIZE = 10
DISTRIBUTIONS = (
    cb.Normal(-50.0, 1.0),
    cb.Normal(-50.0, 1.0, low=-50.5, high=-49.0),
    cb.LogNormal(20.0, 5.0),
    cb.LogNormal(20.0, 5.0, high=21.0),
    cb.Uniform(-52.0, -48.0),
    cb.Normal(3.0, 0.0),
)


def spec(**params) -> cb.Spec:
    cell = cb.neurons.current.Params(**params)
    population = cb.Population(name="E", size=SIZE, model="current", params=cell)
    return cb.Spec(name="one", populations=(population,), projections=())


def built(seed: int = 0, **params):
    return cb.build(spec(**params), jax.random.key(seed)).params.cells["E"]


@pytest.mark.parametrize("value", DISTRIBUTIONS)
def test_draws_are_within_bounds_and_have_the_moments(value):
    drawn = values.draw(value, np.random.default_rng(0), (200, 100))
    assert drawn.shape == (200, 100)
    assert drawn.dtype == np.float64
    assert values.least(value) <= drawn.min() <= drawn.max() <= values.largest(value)
    if value in (cb.Normal(-50.0, 1.0), cb.LogNormal(20.0, 5.0)):
        np.testing.assert_allclose(drawn.mean(), value.mean, atol=value.sd * 0.03)
        np.testing.assert_allclose(drawn.std(), value.sd, rtol=0.03)


@given(
    st.floats(-1e3, 1e3),
    st.floats(0.01, 1e3),
    st.floats(0.0, 2.0),
    st.floats(0.0, 2.0),
)
def test_redrawn_values_lie_within_any_bounds_that_are_taken(mean, sd, below, above):
    low, high = mean - below * sd, mean + above * sd
    if below + above < 0.1:
        return
    drawn = values.draw(cb.Normal(mean, sd, low, high), np.random.default_rng(1), (50,))
    assert (drawn >= low).all()
    assert (drawn <= high).all()


@pytest.mark.parametrize("value", [*DISTRIBUTIONS, values.PerCell([1.0, 0.1, 3.0])])
def test_values_are_hashable_and_come_back_from_json(value):
    cells = values.PerCell(np.full(SIZE, 2.0)) if isinstance(value, values.PerCell) else value
    one = spec(drive=cells)
    again = describe.from_json(json.loads(json.dumps(describe.to_json(one), allow_nan=False)))
    assert again == one
    assert hash(again) == hash(one)


@pytest.mark.parametrize(
    "kind", [list, tuple, np.asarray, jnp.asarray], ids=["list", "tuple", "numpy", "jax"]
)
def test_one_value_a_cell_in_any_form(kind):
    thresholds = np.linspace(10.0, 19.0, SIZE)
    params = built(v_th=kind(thresholds.tolist()))
    assert params.v_th.dtype == jnp.float32
    np.testing.assert_array_equal(params.v_th, thresholds.astype(np.float32))
    assert params.tau_m.shape == ()


def test_distributions_are_drawn_from_the_key_and_the_field():
    value = cb.Normal(15.0, 1.0)
    first, again, other = built(v_th=value), built(v_th=value), built(1, v_th=value)
    np.testing.assert_array_equal(first.v_th, again.v_th)
    assert (first.v_th != other.v_th).all()
    two = built(v_th=value, drive=value)
    np.testing.assert_array_equal(first.v_th, two.v_th)
    assert (two.v_th != two.drive).all()


def test_cells_that_differ_run_spread_and_come_back(tmp_path):
    circuit = cb.build(
        spec(drive=[0.0] * 5 + [100.0] * 5, v_th=cb.Normal(15.0, 1.0)), jax.random.key(0)
    )
    state = cb.init(circuit, jax.random.key(1), spread=True)
    cb.store.save_circuit(tmp_path, circuit, state)
    loaded, restored = cb.store.load_circuit(tmp_path)
    assert loaded.spec == circuit.spec
    _, recording = cb.simulate(circuit, state, duration_ms=100, record=("counts:E",))
    _, same = cb.simulate(loaded, restored, duration_ms=100, record=("counts:E",))
    counts = recording.counts["E"]
    np.testing.assert_array_equal(counts, same.counts["E"])
    assert counts[5:].min() > counts[:5].max()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"v_th": [1.0] * 7}, "E.params.v_th: 7 values; 10, one a cell"),
        ({"v_th": np.ones((2, 5))}, r"E.params.v_th: float64 \[2, 5\]; one number a cell"),
        ({"v_th": [np.nan] * SIZE}, "E.params.v_th: number 0 is nan"),
        ({"v_th": "high"}, "E.params.v_th: 'high'; a finite number, a list"),
        ({"tau_m": [1.0] * 9 + [0.0]}, "E.params.tau_m: 0; above zero"),
        ({"t_ref": [1e6] * SIZE}, "E.t_ref: 1000000.0 ms is over 65535 steps"),
        ({"tau_m": cb.Uniform(-3.0, 1.0)}, "E.params.tau_m: -1; above zero"),
        ({"tau_m": cb.Normal(1.0, 50.0)}, "tau_m of E: -.*; above zero"),
    ],
)
def test_impossible_values_are_refused_by_name(wrong, message):
    with pytest.raises(cb.UsageError, match=message):
        built(**wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cb.Normal(0.0, 1.0, low=5.0), "Normal: 2.9e-07 of the values"),
        (lambda: cb.Normal("a", 1.0), "Normal.mean: 'a'; a number"),
        (lambda: cb.Normal(0.0, -1.0), "Normal.sd: -1; finite, zero or more"),
        (lambda: cb.LogNormal(0.0, 1.0), "LogNormal.mean: 0; finite, above zero"),
        (lambda: cb.Uniform(3.0, 1.0), "Uniform: from 3.0 to 1.0"),
        (lambda: values.draw([1.0, 2.0], np.random.default_rng(0), (3,)), "values: 2 of them; 3"),
    ],
)
def test_impossible_distributions_are_refused(make, message):
    with pytest.raises(cb.UsageError, match=message):
        make()


def test_values_cannot_be_changed():
    kept = values.PerCell([1.0, 2.0])
    with pytest.raises(ValueError, match="read-only"):
        kept.values[0] = 3.0
    with pytest.raises(AttributeError, match="cannot be changed"):
        kept.values = np.ones(2)
