"""Training on a batch divided among devices gives the same as on the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.errors import UsageError
from cerebellum.learn import network, parallel, train
from cerebellum.learn.feed import Trials
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")


def trials() -> Trials:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 96)
    spikes = (rng.random((96, 2, 10, 24)) < 0.1).astype(np.uint8)
    spikes[labels == 1, :, :, :8] |= rng.random((int(labels.sum()), 2, 10, 8)) < 0.4
    return Trials(spikes=spikes, labels=labels, parts=(64, 80), size=16)


def train_trials(method: str, devices: int):
    """Losses, history and the final state of a run on so many devices."""
    design = Design(inputs=24, fields=0, choices=(0, 1), granule=100, purkinje=4, nuclei=8)
    net = network.build(design, jax.random.key(0))
    plan = Plan(method=method, epochs=2)  # pyright: ignore[reportArgumentType]
    feed, history = trials(), []
    training = train.begin(plan, feed, net)
    losses = []
    for after, progress in train.run(plan, feed, net, training, history, devices=devices):
        training = after
        losses.append(progress.loss)
    return losses, history, jax.tree.map(np.asarray, training)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pytest.param("surrogate_gradient", marks=pytest.mark.soak),
        "climbing_fiber",
        pytest.param("stdp", marks=pytest.mark.soak),
    ],
)
def test_devices_learn_what_one_learns(method):
    losses, history, training = train_trials(method, 1)
    divided_losses, divided_history, divided = train_trials(method, 4)
    np.testing.assert_allclose(divided_losses, losses, rtol=1e-5)
    assert len(divided_history) == len(history) == 2
    for name, weights in training.learner.weights.items():
        others, atol = divided.learner.weights[name], 1e-5 * np.abs(weights).max()
        np.testing.assert_allclose(others, weights, rtol=1e-5, atol=atol)


@pytest.mark.slow
def test_a_gradient_is_the_same_to_rounding():
    design = Design(inputs=24, fields=0, choices=(0, 1), granule=100, purkinje=4, nuclei=8)
    net, feed = network.build(design, jax.random.key(0)), trials()
    learner = network.begin(net, jax.random.key(1))
    carry = network.fresh(net, jax.random.key(2), feed.size)
    batch = feed.batch(0, 0)

    @jax.jit
    def gradient(learner, carry, inputs):
        def loss(learner):
            circuit = network.with_learned(net.circuit, learner)
            _, ends = network.unroll(design, circuit, carry, inputs, 0)
            return jnp.mean(ends.rates)

        return jax.grad(loss)(learner).weights

    whole = gradient(learner, carry, jnp.asarray(batch.inputs))
    mesh = parallel.mesh(4, feed.size)
    inputs = parallel.divided(jnp.asarray(batch.inputs), mesh, axis=1)
    divided = gradient(parallel.replicated(learner, mesh), parallel.divided(carry, mesh), inputs)
    for name, values in whole.items():
        largest = np.abs(values).max()
        assert largest > 0
        np.testing.assert_allclose(divided[name], values, rtol=1e-6, atol=1e-6 * largest)


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(UsageError, match="--devices: 3; a divisor of the 16 streams of a batch"):
        parallel.mesh(3, 16)
