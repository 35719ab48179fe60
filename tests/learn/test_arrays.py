"""Training on one's own arrays: encoders, first weights, differentiable runs, refusals."""

import runpy
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.learn import arrays
from cerebellum.model.surrogate import Surrogate

pytestmark = pytest.mark.usefixtures("broadcasting")
KEY = jax.random.key(0)
SIZES = {"input": 6, "hidden": 8, "out": 3}


def projection(source: str, target: str, degree: float) -> cb.Projection:
    return cb.Projection(
        source=source, target=target, receptor="exc", weight=20.0, delay=1.0, in_degree=degree
    )


def network(surrogate: Surrogate | None = Surrogate(), path: Any = "dense") -> cb.Circuit:  # noqa: B008
    models = {"input": ("relay", cb.neurons.relay.Params())}
    cell = "current", cb.neurons.current.Params()
    spec = cb.Spec(
        name="own",
        populations=tuple(
            cb.Population(name=name, size=size, model=kind, params=params)
            for name, size in SIZES.items()
            for kind, params in [models.get(name, cell)]
        ),
        projections=(projection("input", "hidden", 3), projection("hidden", "out", 8)),
        surrogate=surrogate,
    )
    return cb.build(spec, KEY, path=path)


@pytest.fixture(scope="module")
def circuit() -> cb.Circuit:
    return network()


@given(low=st.floats(0, 1), hold=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_rates_are_those_asked_for(low, hold, seed):
    values = np.full((20, 100, 2), low)
    values[..., 1] = 1.0
    spikes = np.asarray(arrays.rate(values, jax.random.key(seed), most_hz=200.0, hold=hold))
    assert spikes.shape == (20, 100 * hold, 2)
    assert set(np.unique(spikes)) <= {0.0, 1.0}
    expected = 0.2 * np.array([low, 1.0])
    error = np.sqrt(expected * (1 - expected) / (2_000 * hold))
    assert (np.abs(spikes.mean(axis=(0, 1)) - expected) <= 5 * error).all()


def test_larger_values_fire_earlier_and_small_ones_never():
    spikes = np.asarray(arrays.latency([[1.0, 0.7, 0.3, 0.1]], 10))
    assert spikes.shape == (1, 10, 4)
    np.testing.assert_array_equal(spikes[0].sum(axis=0), [1, 1, 1, 0])
    first = spikes[0].argmax(axis=0)[:3]
    assert first[0] == 0
    assert (np.diff(first) > 0).all()


def test_the_nearest_field_is_the_strongest():
    intensity = np.asarray(arrays.fields([[[0.0, 1.0, 0.5]]], 5)).reshape(3, 5)
    np.testing.assert_array_equal(intensity.argmax(axis=1), [0, 4, 2])
    assert intensity.max() == 1.0


@given(n=st.integers(1, 30), size=st.integers(1, 30), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_an_epoch_has_every_sample_once_with_its_label(n, size, seed):
    x, y = np.arange(n).reshape(n, 1, 1), np.arange(n)
    if size > n:
        with pytest.raises(UsageError, match="size"):
            arrays.batches(x, y, size, jax.random.key(seed))
        return
    parts = list(arrays.batches(x, y, size, jax.random.key(seed)))
    assert {len(labels) for _, labels in parts} == {size}
    labels = np.concatenate([labels for _, labels in parts])
    np.testing.assert_array_equal(np.concatenate([some for some, _ in parts])[:, 0, 0], labels)
    assert len(set(labels.tolist())) == len(labels) == n // size * size


def test_first_weights_keep_to_contacts_and_to_their_spread(circuit):
    exists = np.asarray(circuit.params.weights["input_hidden"]) != 0
    for draw in (arrays.normal, arrays.kaiming, arrays.orthogonal):
        weights = draw(circuit, KEY)
        assert set(weights) == {"input_hidden", "hidden_out"}
        drawn = np.asarray(weights["input_hidden"])
        np.testing.assert_array_equal(drawn != 0, exists)
        assert (np.asarray(draw(circuit, KEY, ["input_hidden"])["input_hidden"]) == drawn).all()
    square = np.asarray(arrays.orthogonal(circuit, KEY, gain=2.0)["hidden_out"])
    np.testing.assert_allclose(square.T @ square, 4 * np.eye(3), atol=1e-5)
    many = [arrays.kaiming(circuit, jax.random.key(seed), gain=15.0) for seed in range(50)]
    for name, fan_in in (("input_hidden", 3), ("hidden_out", 8)):
        values = np.stack([np.asarray(weights[name]) for weights in many])
        assert values[values != 0].std() == pytest.approx(15 / np.sqrt(fan_in), rel=0.1)


def test_a_run_is_what_simulate_does_and_passes_gradients(circuit):
    spikes = arrays.rate(np.full((2, 30, 6), 0.5), KEY, most_hz=500.0)
    weights = arrays.normal(circuit, KEY, mean=30.0, sd=5.0)

    @jax.jit
    def total(weights):
        ran = arrays.run(circuit, weights, {"input": spikes}, traces=["v:out"])
        return jnp.sum(arrays.mean_voltage(ran.traces["v:out"])), ran

    gradient, ran = jax.grad(total, has_aux=True)(weights)
    assert ran.spikes["hidden"].shape == (2, 30, 8)
    assert ran.traces["v:out"].shape == (2, 30, 3)
    held = replace(circuit, params=replace(circuit.params, weights=weights))
    _, recording = cb.simulate(
        held,
        cb.init(held, KEY),
        {"input": spikes[1]},
        record=["v:out", "counts:hidden"],
        progress=False,
    )
    counts = arrays.spike_count(ran.spikes["hidden"])[1]
    np.testing.assert_array_equal(counts, recording.counts["hidden"])
    assert counts.sum() > 0
    np.testing.assert_allclose(ran.traces["v:out"][1], recording.traces["v:out"].values, atol=1e-4)
    exists = np.asarray(circuit.params.weights["input_hidden"]) != 0
    assert (np.asarray(gradient["input_hidden"])[~exists] == 0).all()
    assert (np.asarray(gradient["input_hidden"])[exists] != 0).mean() > 0.5
    full = jax.eval_shape(
        lambda params: arrays.run(circuit, params, {"input": spikes}, record=["out"]), held.params
    )
    assert {name: x.shape for name, x in full.spikes.items()} == {"out": (2, 30, 3)}
    step = np.asarray(arrays.spike_count(ran.spikes["hidden"], 3)).reshape(2, 3, 8)
    np.testing.assert_array_equal(step.sum(axis=1), arrays.spike_count(ran.spikes["hidden"]))


X, Y = np.zeros((4, 5, 6)), np.arange(4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: arrays.check(X[0], Y), "X: [5, 6]; [n, time, features], none of them 0"),
        (lambda c: arrays.check(X[:0], Y), "X: [0, 5, 6]; [n, time, features], none of them 0"),
        (lambda c: arrays.check(X.astype(str), Y), "X: <U32; real numbers"),
        (lambda c: arrays.check(X * np.nan, Y), "X: 120 not finite; finite numbers"),
        (
            lambda c: arrays.check(X, Y * 1.0),
            "y: float64; whole numbers 0 to C - 1, such as y.astype(int)",
        ),
        (
            lambda c: arrays.check(X, np.eye(4, dtype=int)),
            "y: [4, 4]; [4], one label for each of X [4, 5, 6]",
        ),
        (lambda c: arrays.check(X, Y - 1), "y: labels -1 to 2; 0 to C - 1"),
        (lambda c: arrays.check(X, Y, 3), "y: labels 0 to 3; 0 to 2"),
        (lambda c: arrays.batches(X, Y, 5, KEY), "size: 5; a whole number, 1 to the 4 samples"),
        (
            lambda c: arrays.rate(X - 2, KEY),
            "values: -2 to -2; 0 to 1, such as (X - low) / (high - low)",
        ),
        (
            lambda c: arrays.rate(X, KEY, most_hz=2e3),
            "most_hz: 2000; above 0, at most 1000, a spike a step",
        ),
        (lambda c: arrays.rate(X, KEY, hold=0), "hold: 0; a whole number of steps, at least 1"),
        (lambda c: arrays.latency(X, 10), "values: [4, 5, 6]; [n, features], none of them 0"),
        (lambda c: arrays.fields(X, 1), "count: 1; a whole number of fields, at least 2"),
        (
            lambda c: arrays.kaiming(c, KEY, ["input_hiden"]),
            "projections: 'input_hiden'; perhaps input_hidden",
        ),
        (lambda c: arrays.normal(c, KEY, sd=np.inf), "sd: inf; a finite number"),
        (
            lambda c: arrays.run(c, {}, {"inputs": X}),
            "inputs: 'inputs'; perhaps input",
        ),
        (
            lambda c: arrays.run(c, {}, {}),
            "inputs: none; at least one population, [batch, time, cells]",
        ),
        (
            lambda c: arrays.run(c, {}, {"input": X[0]}),
            "inputs 'input': [5, 6]; [batch, time, 6]",
        ),
        (
            lambda c: arrays.run(c, {}, {"input": X, "hidden": X[:2, :, :1]}),
            "inputs 'hidden': [2, 5, 1]; 4 samples of 5 steps, as the others",
        ),
        (
            lambda c: arrays.run(c, {}, {"input": X.astype(np.uint32)}),
            "inputs 'input': uint32; spikes or currents as float32",
        ),
        (
            lambda c: arrays.run(c, {"input_hidden": jnp.zeros((6, 7))}, {"input": X}),
            "params: input_hidden: [6, 7]; [6, 8]",
        ),
        (
            lambda c: arrays.run(c, {}, {"input": X}, record=["hiden"]),
            "record: 'hiden'; perhaps hidden",
        ),
        (
            lambda c: arrays.run(c, {}, {"input": X}, traces=["w:out"]),
            "traces 'w:out': out has v, i_exc, i_inh",
        ),
        (
            lambda c: arrays.run(network(surrogate=None), {}, {"input": X}),
            "surrogate: None, so that spikes pass no gradients; a Surrogate in the Spec",
        ),
        (
            lambda c: arrays.run(network(path="event"), {}, {"input": X}),
            "path: 'event', which has no gradients; cb.build(.., path='dense')",
        ),
        (
            lambda c: arrays.spike_count(jnp.zeros((1, 5, 2)), 2),
            "bins: 2; a whole number that divides 5 steps",
        ),
        (lambda c: arrays.rate(X, "0"), "key: '0'; a seed, or jax.random.key(seed)"),
        (
            lambda c: arrays.training(times, {}, 0.5),
            "optimizer: float; one of Optax, such as optax.adam(0.5)",
        ),
        (lambda c: arrays.training({}, times, optax.sgd(1.0)), "answer: dict; a function"),
        (lambda c: arrays.training(times, {}, optax.sgd(1.0), 0.5), "loss: float; a function"),
    ],
)
def test_wrong_arrays_are_refused_by_one_line(circuit, call, message):
    with pytest.raises(UsageError) as refused:
        call(circuit)
    assert str(refused.value) == message


def test_a_seed_is_its_key(circuit):
    values = np.full((3, 20, 6), 0.5)
    key = jax.random.key(7)
    for one, other in (
        (arrays.rate(values, 7), arrays.rate(values, key)),
        (arrays.kaiming(circuit, 7), arrays.kaiming(circuit, key)),
        (arrays.normal(circuit, 7), arrays.normal(circuit, key)),
        (arrays.orthogonal(circuit, 7), arrays.orthogonal(circuit, key)),
        (arrays.linear(8, 3, 7), arrays.linear(8, 3, key)),
        (
            next(arrays.batches(values, np.arange(3), 2, 7)),
            next(arrays.batches(values, np.arange(3), 2, key)),
        ),
    ):
        assert jax.tree.all(jax.tree.map(np.array_equal, one, other))


def squared(answer, labels):
    return (answer - labels) ** 2


def times(model, inputs):
    return model["slope"] * inputs


def test_a_step_of_training_is_one_of_optax():
    """Of a model whose loss and gradient are known: 2 x (slope x - y), averaged."""
    inputs, labels = jnp.array([1.0, 2.0]), jnp.array([3.0, 3.0])
    training = arrays.training(times, {"slope": jnp.array(1.0)}, optax.sgd(0.1), squared)
    after, loss = training.step(inputs, labels)
    assert loss == pytest.approx((4.0 + 1.0) / 2)
    assert after.model["slope"] == pytest.approx(1.0 + 0.1 * (4.0 + 4.0) / 2)
    assert training.model["slope"] == 1.0, "the training before the step is as it was"
    for _ in range(50):
        after, loss = after.step(inputs, labels)
    assert after.model["slope"] == pytest.approx(9 / 5, rel=1e-4)


def test_the_memory_of_an_optimiser_lasts_from_step_to_step():
    inputs, labels = jnp.array([1.0]), jnp.array([3.0])
    optimizer, model = optax.adam(0.1), {"slope": jnp.array(1.0)}
    training, memory = arrays.training(times, model, optimizer, squared), optimizer.init(model)
    for _ in range(3):
        training, _ = training.step(inputs, labels)
        gradient = jax.grad(lambda m: squared(times(m, inputs), labels).mean())(model)
        change, memory = optimizer.update(gradient, memory, model)
        model = optax.apply_updates(model, change)
    assert training.model["slope"] == pytest.approx(model["slope"])


@pytest.mark.slow
def test_the_guide_learns_its_words(capsys):
    ran = runpy.run_path(str(ROOT / "docs/guide/own_data.py"))
    assert float(ran["share"]) > 0.9
    assert "accuracy on new samples" in capsys.readouterr().out
