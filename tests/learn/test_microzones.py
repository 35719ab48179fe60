"""Microzones that learn each alone, and swap noise."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import series

from cerebellum.errors import UsageError
from cerebellum.learn import decode, losses, network, start, train, updates
from cerebellum.learn.decode import Readout
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import ticks

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

CELLS, CHOICES = 24, 3


@pytest.fixture(scope="module")
def momentum(tmp_path_factory):
    path = tmp_path_factory.mktemp("ticks") / "x.csv"
    with jax.numpy_rank_promotion("allow"):
        return ticks.prepare(ticks.load(series.write(path, series.steps(3_000, 0.8, 0))), "event")


def readout(cells: int, seed: int) -> Readout:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape), jnp.float32)

    return Readout(
        centre=normal(cells),
        scale=jnp.float32(0.5 + rng.random()),
        weights=normal(cells, CHOICES),
        bias=normal(CHOICES),
        temperature=jnp.float32(1),
    )


def rates(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).random(shape), jnp.float32)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_answer_is_the_mean_of_microzones(count):
    """Every cell is in one microzone, and each microzone has cells of every choice's zone."""
    design, held, seen = Design(inputs=1), readout(CELLS, 1), rates(5, CELLS)
    zones = design.microzone(CELLS, count)
    np.testing.assert_array_equal(zones.sum(axis=0), 1)
    for zone in zones:
        assert set(design.zone(CELLS)[zone]) == set(design.choices)
    each = decode.microzone_logits(held, seen, zones)
    assert each.shape == (count, 5, CHOICES)
    np.testing.assert_allclose(each.mean(axis=0), decode.logits(held, seen), atol=1e-5)


def test_joined_readouts_answer_with_their_mean():
    seen = rates(7, CELLS)
    cells = [np.arange(0, CELLS, 2), np.arange(1, CELLS, 2)]
    parts = [readout(len(some), seed) for seed, some in enumerate(cells)]
    each = [decode.logits(part, seen[:, some]) for part, some in zip(parts, cells, strict=True)]
    joined = decode.logits(decode.joined(parts, cells), seen)
    np.testing.assert_allclose(joined, sum(each) / 2, atol=1e-4)


@pytest.mark.parametrize("method", ["climbing_fiber", "stdp"])
def test_only_gradients_teach_microzones(method):
    with pytest.raises(UsageError, match=r"training\.microzones: 2; 1 with training\.method '"):
        Plan(method=method, microzones=2)


@pytest.mark.parametrize("method", ["climbing_fiber", "stdp"])
def test_only_gradients_have_dropout(method):
    with pytest.raises(UsageError, match=r"training\.dropout: 0\.3; 0 with training\.method '"):
        Plan(method=method, dropout=0.3)


def test_a_microzone_learns_nothing_of_the_others():
    """The gradient of a cell's readout does not depend on the rates of other microzones."""
    zones, held = Design(inputs=1).microzone(CELLS, 2), readout(CELLS, 1)
    labels = jnp.arange(6) % CHOICES

    def gradient(seen: jax.Array) -> jax.Array:
        def loss(weights: jax.Array) -> jax.Array:
            each = decode.microzone_logits(replace(held, weights=weights), seen, zones)
            broadcast = jnp.broadcast_to(labels, each.shape[:-1])
            return jnp.mean(losses.cross_entropy(each, broadcast))

        return jax.grad(loss)(held.weights)

    seen = rates(6, CELLS)
    other = jnp.where(zones[1], seen + 1, seen)
    one, two = gradient(seen), gradient(other)
    np.testing.assert_array_equal(one[zones[0]], two[zones[0]])
    assert not np.allclose(one[zones[1]], two[zones[1]])


def test_swap_noise_takes_values_of_the_same_feature_from_the_training_split(momentum):
    """Each value comes from its feature in the training split, and the share is the wished one."""
    stop, features = momentum.train.stop, momentum.ranks.shape[1]
    marked = np.broadcast_to(np.arange(features, dtype=np.uint8), momentum.ranks.shape).copy()
    marked += 100 * (np.arange(len(marked)) >= stop)[:, None].astype(np.uint8)
    feed = Ticks(data=replace(momentum, ranks=marked), size=16, swap_noise=0.9)
    batch = feed.batch(0, 0).inputs
    np.testing.assert_array_equal(batch, np.broadcast_to(np.arange(features), batch.shape))
    numbered = np.arange(momentum.ranks.size).reshape(momentum.ranks.shape)
    data = replace(momentum, ranks=numbered)
    plain = [Ticks(data=data, size=16).batch(0, step) for step in range(20)]
    noisy = Ticks(data=data, size=16, swap_noise=0.25)
    swapped = [noisy.batch(0, step) for step in range(20)]
    changed = [a.inputs != b.inputs for a, b in zip(plain, swapped, strict=True)]
    count = np.stack(changed).size
    assert abs(np.mean(changed) - 0.25) < 4 * (0.25 * 0.75 / count) ** 0.5 + 1 / stop
    for a, b in zip(plain, swapped, strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        np.testing.assert_array_equal(a.weights, b.weights)
    np.testing.assert_array_equal(noisy.batch(0, 3).inputs, swapped[3].inputs)


@pytest.mark.slow
def test_a_run_with_microzones_goes_on_bit_for_bit(momentum):
    """As a run without them; the readout that each microzone starts with is right alone."""
    design = Design(
        inputs=momentum.ranks.shape[1], choices=(0, 2), granule=100, purkinje=12, nuclei=48
    )
    net = network.build(design, jax.random.key(0))
    feed = Ticks(data=momentum, size=16, swap_noise=0.2)
    plan = Plan(epochs=1, microzones=4, dropout=0.2)
    training, history = train.begin(plan, feed, net), []
    seen, labels = feed.rates(net, training.learner, "validation")
    zones = design.microzone(design.nuclei, plan.microzones)
    each = decode.microzone_logits(training.learner.readout, jnp.asarray(seen), zones)
    for logits in each:
        assert np.mean(np.argmax(logits, axis=-1) == labels) > 0.65
    halfway = None
    for after, progress in train.run(plan, feed, net, training, history):
        training = after
        if progress.step == feed.steps // 2:
            halfway = jax.tree.map(np.array, after)
    resumed, resumed_history = jax.tree.map(jnp.asarray, halfway), []
    for after, _ in train.run(plan, feed, net, resumed, resumed_history, feed.steps // 2):
        resumed = after
    jax.tree.map(np.testing.assert_array_equal, resumed, training)
    assert resumed_history == history


def test_dropout_keeps_the_mean_and_leaves_out_the_share():
    """Over many draws the readout hears each cell's rate; in each, a share is at its mean."""
    held, seen = readout(CELLS, 1), rates(400, 1, CELLS)
    plan, key = Plan(dropout=0.25), jax.random.key(0)
    heard = updates._heard(plan, held, seen, key)
    left_out = np.asarray(heard == held.centre)
    count = left_out.size
    assert abs(left_out.mean() - 0.25) < 4 * (0.25 * 0.75 / count) ** 0.5
    draws = jax.vmap(lambda k: updates._heard(plan, held, seen[:4], k))(
        jax.random.split(key, 4_000)
    )
    spread = np.abs(seen[:4] - held.centre) * (1 / 3) ** 0.5
    error = np.abs(draws.mean(axis=0) - seen[:4])
    assert np.all(error < 5 * spread / 4_000**0.5 + 1e-4)
    np.testing.assert_array_equal(updates._heard(Plan(), held, seen, key), seen)


def test_regressions_that_run_together_are_as_alone():
    """The readout of each group of regressors is what it is without the others."""
    rng = np.random.default_rng(0)
    groups = jnp.asarray(rng.standard_normal((600, 3, 5)), jnp.float32)
    labels = rng.integers(0, CHOICES, 600)
    together = start.regress(lambda at: groups[at], labels, CHOICES)
    for group in range(3):
        alone = start.regress(lambda at, group=group: groups[at, group], labels, CHOICES)
        each = jax.tree.map(lambda array, group=group: array[group], together)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), each, alone
        )
        assert each.temperature.shape == alone.temperature.shape == ()
