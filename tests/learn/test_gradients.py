"""Gradients through the spikes of a circuit: correct, cheap in memory, and bounded in effect."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.learn import decode, losses, network, updates
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.model.step import step as advance
from cerebellum.model.surrogate import INTEGRALS, SURROGATES, Surrogate

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

SMALL = Design(
    inputs=12,
    fields=0,
    choices=(0, 1),
    granule=100,
    purkinje=8,
    nuclei=10,
    steps=12,
    inhibition=1.0,
)


def soft(name: str) -> network.Net:
    """A circuit whose spikes are the surrogate's integral, with no refractory period."""
    alpha = {"triangle": 0.5, "circ": 0.5}.get(name, 2.0)
    rule = Surrogate(name=name, alpha=alpha, width=60.0, soft=True, reset=True)
    net = network.build(replace(SMALL, surrogate=rule), jax.random.key(0))
    cells = {
        population: replace(params, t_ref=0 * params.t_ref) if hasattr(params, "t_ref") else params
        for population, params in net.circuit.params.cells.items()
    }
    params = replace(net.circuit.params, cells=cells)
    return replace(net, circuit=replace(net.circuit, params=params))


def double(tree):
    """The tree with its floats in double precision."""
    return jax.tree.map(
        lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


AT_EVERY_PUSH = "superspike"
"""The surrogate that is tested at every push."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == AT_EVERY_PUSH else pytest.mark.soak)
        for name in SURROGATES
    ],
)
def test_gradients_are_those_of_finite_differences(name):
    """With the step replaced by the surrogate's integral, in double precision: to 1e-5."""
    with jax.enable_x64(True):
        net = soft(name)
        learner = double(network.begin(net, jax.random.key(1)))
        carry = double(network.fresh(net, jax.random.key(2), 2))
        circuit = double(net.circuit)
        rng = np.random.default_rng(0)
        spikes = jnp.asarray(rng.random((1, 2, SMALL.steps, 12)) < 0.3)

        def loss(learner):
            learned = double(network.with_learned(circuit, learner))
            _, ends = network.unroll(net.design, learned, carry, spikes.astype(jnp.float64), 0)
            logits = decode.logits(learner.readout, ends.rates[0])
            return jnp.mean(losses.cross_entropy(logits, jnp.asarray([0, 1])))

        # One program for both, because compiling a second one takes longer than it would save.
        both = jax.jit(jax.value_and_grad(loss))
        gradient = both(learner)[1]

        def value(learner) -> float:
            return float(both(learner)[0])

        for place in ("mossy_fiber_granule", "granule_purkinje", "purkinje_nuclei"):
            weights = learner.weights[place]
            direction = jnp.asarray(rng.normal(size=weights.shape)) * (weights > 0)

            def moved(by, place=place, weights=weights, direction=direction):
                changed = weights + by * direction
                return replace(learner, weights={**learner.weights, place: changed})

            ours = float(jnp.sum(gradient.weights[place] * direction))
            assert abs(ours) > 1e-9, place
            # A long step is inexact by curvature or a kink, a short one by rounding.
            slopes = [
                (value(moved(step)) - value(moved(-step))) / (2 * step)
                for step in (1e-2, 1e-3, 1e-4, 1e-5)
            ]
            assert min(abs(slope / ours - 1) for slope in slopes) < 1e-5, (place, ours, slopes)


@pytest.mark.parametrize("name", SURROGATES)
def test_integrals_are_those_of_the_surrogates(name):
    x = jnp.linspace(-2.05, 2.0, 200)
    slope = jax.vmap(jax.grad(lambda x: INTEGRALS[name](x, 0.7)))(x)
    np.testing.assert_allclose(slope, SURROGATES[name](x, 0.7), rtol=2e-5, atol=1e-6)
    assert INTEGRALS[name](jnp.float32(0), 0.7) == 0


@pytest.mark.slow
@pytest.mark.parametrize("segment", [1, pytest.param(2, marks=pytest.mark.soak)])
def test_checkpointed_gradients_are_the_plain_ones(segment):
    net = network.build(SMALL, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    carry = network.fresh(net, jax.random.key(2), 3)
    rng = np.random.default_rng(0)
    spikes = jnp.asarray((rng.random((4, 3, SMALL.steps, 12)) < 0.2).astype(np.uint8))

    def loss(learner, segment):
        circuit = network.with_learned(net.circuit, learner)
        _, ends = network.unroll(net.design, circuit, carry, spikes, segment)
        return jnp.sum(jnp.square(ends.rates))

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    plain, checkpointed = (gradient(learner, size) for size in (0, segment))
    assert float(jnp.abs(plain.weights["granule_purkinje"]).sum()) > 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), plain, checkpointed
    )


def test_a_circuit_without_a_surrogate_has_no_gradient_through_its_spikes():
    spec = cb.presets.beams(500, dtype="float32")
    for surrogate, expected in ((None, False), (Surrogate(), True)):
        circuit = cb.build(replace(spec, surrogate=surrogate), jax.random.key(0), path="dense")
        state = cb.init(circuit, jax.random.key(1), spread=True)
        drive = jnp.ones((20, 40), jnp.float32)

        def loss(weights, circuit=circuit, state=state, drive=drive):
            all_weights = {**circuit.params.weights, "mossy_fiber_granule": weights}
            params = replace(circuit.params, weights=all_weights)

            def body(state, spikes):
                return advance(params, circuit.wiring, state, {"mossy_fiber": spikes})

            _, activity = jax.lax.scan(body, state, drive)
            return jnp.sum(activity.spikes["purkinje"])

        gradient = jax.jit(jax.grad(loss))(circuit.params.weights["mossy_fiber_granule"])
        assert bool(jnp.any(gradient != 0)) == expected


@pytest.mark.parametrize("largest", [network.W_MAX, 25.0])
def test_what_is_learned_stays_within_its_bounds(largest):
    design = replace(SMALL, largest_weight=largest)
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    initial_weights = net.circuit.params.weights
    rng = np.random.default_rng(0)
    far_out = {
        name: weights + 1e3 * jnp.asarray(rng.choice([-1.0, 1.0], weights.shape))
        for name, weights in learner.weights.items()
    }
    bounded = network.bounded(net, replace(learner, weights=far_out))
    for name, weights in bounded.weights.items():
        assert float(weights.min()) >= 0
        initial = np.asarray(initial_weights[name])
        bound = network.bound(design, initial_weights[name])
        np.testing.assert_allclose(bound, largest * initial[initial > 0].mean(), rtol=1e-5)
        np.testing.assert_allclose(weights.max(), bound, rtol=1e-6)
        assert not jnp.any(weights[initial_weights[name] == 0])


@pytest.mark.parametrize(
    ("of_each", "place"),
    [([0.3, 0.2, 0.4], 1), ([np.nan, 0.7], 1), ([np.inf, 0.7, -np.inf], 1), ([np.nan] * 2, 0)],
)
def test_a_loss_that_is_not_finite_is_never_the_lowest(of_each, place):
    assert losses.lowest(of_each) == place
    assert losses.lowest(jnp.asarray(of_each)) == place


def test_every_loss_falls_towards_the_label():
    labels = jnp.asarray([0, 2])
    good = 5.0 * jax.nn.one_hot(labels, 3)
    for name, loss in losses.LOSSES.items():
        assert jnp.all(loss(good, labels) < loss(0 * good, labels)), name
        assert jnp.all(loss(0 * good, labels) < loss(-good, labels)), name
    assert losses.mean(jnp.asarray([1.0, 5.0]), jnp.asarray([1.0, 0.0])) == 1
    assert losses.mean(jnp.asarray([1.0]), jnp.asarray([0.0])) == 0
    counts = jnp.asarray([[5.0, 1.0]])
    assert losses.spike_count(counts, jnp.asarray([0]), 5, 1) == 0
    assert losses.spike_count(counts, jnp.asarray([1]), 5, 1) == 16
    assert losses.rate_penalty(jnp.asarray([[1.0, 3.0]]), 2.0) == 0.5


@pytest.mark.parametrize("optimizer", updates.OPTIMIZERS)
def test_every_optimizer_moves_in_a_weight_s_own_unit(optimizer):
    net = network.build(SMALL, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    plan = Plan(optimizer=optimizer, learning_rate=0.01)
    chain = updates.optimizer_of(plan, net, 100)
    state, update = chain.init(learner), jax.jit(chain.update)
    gradient = jax.tree.map(jnp.ones_like, learner)
    for _ in range(6):
        changes, state = update(gradient, state, learner)
    assert not jnp.any(changes.readout.centre)
    assert not jnp.any(changes.readout.temperature)
    small = jnp.abs(changes.weights["granule_purkinje"]).max()
    large = jnp.abs(changes.weights["mossy_fiber_granule"]).max()
    assert 0 < small < large


@pytest.mark.soak
@pytest.mark.slow
def test_checkpointing_cuts_memory_eightfold():
    """Temporary memory of the programs for 10,000 granule cells, 1,000 steps and four streams.

    `scripts/experiments/checkpointing.py` times them.
    """
    design = Design(inputs=100, fields=0, choices=(0, 1), granule=10_000, golgi=25, nuclei=64)
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    carry = network.fresh(net, jax.random.key(2), 4)
    spikes = jnp.zeros((100, 4, design.steps, 100), jnp.uint8)

    def temporary_bytes(segment: int) -> int:
        def loss(learner):
            circuit = network.with_learned(net.circuit, learner)
            _, ends = network.unroll(design, circuit, carry, spikes, segment)
            return jnp.sum(ends.rates)

        compiled = jax.jit(jax.grad(loss)).lower(learner).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary_bytes(0) > 8 * temporary_bytes(10)


def test_a_gradient_through_delays_keeps_no_place_of_a_synapse():
    """Each has another place in its ring in each step; those of all steps would be kept."""
    mossy, steps = 400, 100
    cells = (cb.Population("mf", mossy, "relay"), cb.Population("e", 200, "current"))
    late = cb.Normal(2.0, 1.0, low=0.1, high=4.0)
    into = cb.Projection("mf", "e", "exc", weight=1.0, delay=late, in_degree=40)
    spec = cb.Spec("late", cells, (into,), dt=0.1, surrogate=Surrogate(name="superspike"))
    circuit = cb.build(spec, 0, path="dense")
    synapses = circuit.wiring.fans["mf_e"].targets.shape  # pyright: ignore
    weights = {"mf_e": jnp.full(synapses, circuit.params.weights["mf_e"], jnp.float32)}
    state = cb.init(circuit, 1)
    spikes = jax.random.bernoulli(jax.random.key(0), 0.05, (steps, mossy)).astype(jnp.float32)

    def loss(weights):
        params = replace(circuit.params, weights=weights)

        def step(state, now):
            state, activity = cb.step(params, circuit.wiring, state, {"mf": now})
            return state, activity.spikes["e"].sum()

        return jax.lax.scan(step, state, spikes)[1].sum()

    compiled = jax.jit(jax.grad(loss)).lower(weights).compile()
    assert np.abs(np.asarray(compiled(weights)["mf_e"])).sum() > 0
    places = 4 * steps * np.prod(synapses)
    assert compiled.memory_analysis().temp_size_in_bytes < places / 4
