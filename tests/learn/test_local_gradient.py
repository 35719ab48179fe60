"""The local gradient: the gradient of a network of rates, from the ends of ticks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum.learn import climbing, decode, local_gradient, losses, network
from cerebellum.learn.decode import Readout
from cerebellum.learn.network import Design, Traces

pytestmark = pytest.mark.usefixtures("broadcasting")

DESIGN = Design(inputs=3, choices=(0, 1, 2), granule=100, golgi=4, purkinje=6, nuclei=12)
TICKS = 5
MOSSY = "mossy_fiber_nuclei"


@pytest.fixture(scope="module")
def net():
    with jax.numpy_rank_promotion("allow"):
        return network.build(DESIGN, jax.random.key(0))


@pytest.fixture(scope="module")
def ticks():
    """Traces, labels, and a readout."""
    rng = np.random.default_rng(0)
    traces = Traces(
        mossy=jnp.asarray(rng.random((TICKS, DESIGN.mossy_fibers)), jnp.float32),
        granule=jnp.zeros((TICKS, DESIGN.granule)),
    )
    readout = Readout(
        centre=jnp.asarray(rng.random(12), jnp.float32),
        scale=jnp.float32(1e3),
        weights=jnp.asarray(rng.standard_normal((12, 3)), jnp.float32),
        bias=jnp.zeros(3),
        temperature=jnp.float32(1),
    )
    return traces, jnp.asarray([0, 1, 2, 0, 2]), readout


def units(weights, current, trace):
    """Rates of rectified units that take weights for mV."""
    return jax.nn.relu(trace @ weights + current)


def taught(net, learner, traces, rates, labels, at, step=1e-3):
    """The changes of weights and currents after the ticks of a slice."""
    traces, rates, labels = jax.tree.map(lambda x: x[at], (traces, rates, labels))
    error = climbing.error(decode.logits(learner.readout, rates), labels)
    after = local_gradient.teach(net, learner, traces, rates, error, jnp.float32(step))
    return (
        after.weights[MOSSY] - learner.weights[MOSSY],
        after.drive["nuclei"] - learner.drive["nuclei"],
    )


def test_it_is_the_gradient_of_rectified_units(net, ticks):
    """Down the gradient of the loss, in proportion; a unit that is silent does not change."""
    traces, labels, readout = ticks
    learner = replace(network.begin(net, jax.random.key(1)), readout=readout)
    weights = learner.weights[MOSSY]
    # The active units are above `FIRED`, the others below zero.
    currents = jnp.where(jnp.arange(12) % 3 == 0, -1e4, 1.0)

    def loss(weights, currents, tick):
        rates = units(weights, currents, traces.mossy[tick])
        return losses.cross_entropy(decode.logits(readout, rates)[None], labels[tick][None]).sum()

    rates = units(weights, currents, traces.mossy)
    for tick in range(TICKS):
        down = [-x for x in jax.grad(loss, (0, 1))(weights, currents, tick)]
        at = slice(tick, tick + 1)
        changes = taught(net, learner, traces, rates, labels, at)
        for change, expected in zip(changes, down, strict=True):
            ratio = jnp.sum(change * expected) / jnp.sum(expected * expected)
            assert ratio > 0
            size = float(jnp.abs(change).max())
            np.testing.assert_allclose(change, ratio * expected, atol=2e-3 * size)
            assert not change[..., ::3].any()


def test_ticks_add_up(net, ticks):
    traces, labels, readout = ticks
    learner = replace(network.begin(net, jax.random.key(1)), readout=readout)
    rates = jnp.ones((TICKS, 12))
    operands = net, learner, traces, rates, labels
    together = taught(*operands, slice(0, TICKS))
    each = [taught(*operands, slice(tick, tick + 1)) for tick in range(TICKS)]
    for place, change in enumerate(together):
        np.testing.assert_allclose(change, sum(one[place] for one in each), rtol=1e-3, atol=1e-5)


def test_weights_stay_in_their_bounds(net, ticks):
    traces, labels, readout = ticks
    learner = replace(network.begin(net, jax.random.key(1)), readout=readout)
    rates = jnp.ones((TICKS, 12))
    change, _ = taught(net, learner, traces, rates, labels, slice(0, TICKS), step=1e3)
    weights = learner.weights[MOSSY] + change
    most = network.bound(DESIGN, net.circuit.params.weights[MOSSY])
    np.testing.assert_allclose([weights.min(), weights.max()], [0, most], rtol=1e-5, atol=1e-5)


def test_the_size_of_the_readout_does_not_matter(net, ticks):
    """Nor does that of the traces: a step is a share of a mean weight."""
    traces, labels, readout = ticks
    learner = replace(network.begin(net, jax.random.key(1)), readout=readout)
    rates, error = jnp.ones((TICKS, 12)), 0.3 * jnp.eye(3)[labels]
    larger = replace(learner, readout=replace(readout, weights=7 * readout.weights))
    more = replace(traces, mossy=5 * traces.mossy)
    changed = [
        local_gradient.teach(net, *operands, rates, error, jnp.float32(1e-3))
        for operands in ((learner, traces), (larger, more))
    ]
    np.testing.assert_allclose(
        changed[0].weights[MOSSY], changed[1].weights[MOSSY], rtol=1e-5, atol=1e-6
    )
    assert not np.allclose(changed[0].weights[MOSSY], learner.weights[MOSSY], atol=1e-6)
