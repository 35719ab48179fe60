"""A network of rates, and the spiking circuit that starts from it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import series

from cerebellum.errors import UsageError
from cerebellum.learn import decode, network, rate_network, start, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.rate_network import Examples, Lesson
from cerebellum.learn.tasks import ticks
from cerebellum.learn.train import Plan

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

LESSON = Lesson(microzones=2, passes=12, swap_noise=0.1, dropout=0.2)


@pytest.fixture(scope="module")
def momentum(tmp_path_factory):
    """Steps that mostly go on in their direction: right by that in four cases of five."""
    path = tmp_path_factory.mktemp("ticks") / "x.csv"
    with jax.numpy_rank_promotion("allow"):
        return ticks.prepare(ticks.load(series.write(path, series.steps(3_000, 0.8, 0))), "event")


@pytest.fixture(scope="module")
def feed(momentum):
    return Ticks(data=momentum, size=16)


@pytest.fixture(scope="module")
def design(momentum):
    features = momentum.ranks.shape[1]
    return Design(
        inputs=features, choices=(0, 2), code="regular", granule=100, purkinje=12, nuclei=48
    )


def examples(feed: Ticks, what: str) -> Examples:
    inputs, labels = feed.examples(what)
    return Examples(inputs=inputs[:, -1], labels=labels)


@pytest.fixture(scope="module")
def learned(feed, design):
    with jax.numpy_rank_promotion("allow"):
        return rate_network.learn(
            design, LESSON, examples(feed, "train"), examples(feed, "validation")
        )


def test_it_learns(feed, design, learned):
    """Its answers are right as often as the rule of the series, and its weights are in bounds."""
    held_out = examples(feed, "validation")
    cell_rates = rate_network.rates(design, learned, jnp.asarray(held_out.inputs))
    answer = rate_network.logits(design, learned, cell_rates).mean(axis=0)
    assert np.mean(np.argmax(answer, axis=-1) == held_out.labels) > 0.75
    loss = rate_network.mean_loss(design, LESSON.loss, learned, held_out)
    inputs = jnp.asarray(held_out.inputs)
    fresh = rate_network.begin(design, LESSON.microzones, inputs, jax.random.key(0))
    assert loss < 0.56 < rate_network.mean_loss(design, LESSON.loss, fresh, held_out)
    most = network.W_MAX / rate_network.DRIVE * rate_network._mean_weight(design)
    assert 0 <= float(learned.weights.min()) < float(learned.weights.max()) <= most


def test_the_same_seed_learns_the_same(feed, design, learned):
    """Another seed does not, nor does learning with less noise."""
    short = replace(LESSON, passes=1)
    parts = examples(feed, "train"), examples(feed, "validation")

    def weights(lesson: Lesson) -> np.ndarray:
        return np.asarray(rate_network.learn(design, lesson, *parts).weights)

    one = weights(short)
    np.testing.assert_array_equal(one, weights(short))
    for other in ({"seed": 1}, {"swap_noise": 0.0}, {"dropout": 0.0}):
        assert not np.array_equal(one, weights(replace(short, **other)))


def test_a_choice_without_weight_is_never_answered(feed, design):
    parts = examples(feed, "train"), examples(feed, "validation")
    only_sell = np.asarray([0.0, 0.0, 1.0], np.float32)
    lesson = replace(LESSON, passes=2)
    net = rate_network.learn(design, lesson, *parts, only_sell)
    cell_rates = rate_network.rates(design, net, jnp.asarray(parts[1].inputs))
    answer = rate_network.logits(design, net, cell_rates).mean(axis=0)
    assert np.all(np.argmax(answer, axis=-1) == 2)


def test_spiking_cells_follow_the_rates(feed, design, learned):
    """Each cell has its share of the mean rate, and fires more in ticks in which its unit does."""
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(0))
    learner = rate_network.with_rate_network(net, learner, learned)
    inputs = feed.sample()
    carry = network.fresh(net, jax.random.key(1), inputs.shape[1])
    flat = jnp.asarray(inputs.reshape(-1, inputs.shape[-1]))
    shares = rate_network.shares(design, learned, flat)
    assert float(shares.mean()) == pytest.approx(1, rel=1e-5)
    learner = start.balance(net, learner, carry, inputs, shares)
    _, ends = network.respond(net.design, net.circuit, learner, carry, jnp.asarray(inputs))
    half = len(inputs) // 2
    spiking = np.asarray(ends.rates[half:]).reshape(-1, design.nuclei)
    fade = float(np.exp(-design.dt / design.tau))
    goal = np.clip(network.RATES["nuclei"] * np.asarray(shares), *start.RATE_LIMITS)
    np.testing.assert_allclose(spiking.mean(axis=0) * (1 - fade), goal, atol=0.02)
    units = rate_network.rates(
        design, learned, jnp.asarray(inputs[half:]).reshape(-1, flat.shape[1])
    )
    units = np.asarray(units)
    alive = (units.std(axis=0) > 0) & (spiking.std(axis=0) > 0)
    assert alive.mean() > 0.4
    alike = [np.corrcoef(units[:, n], spiking[:, n])[0, 1] for n in np.flatnonzero(alive)]
    assert np.median(alike) > 0.5


@pytest.mark.slow
def test_a_run_that_starts_from_it_is_right_at_once(momentum, feed, design):
    """Before its first step, and more often than one of as many cells that starts untaught."""
    net = network.build(design, jax.random.key(0))
    plan = Plan(epochs=1, microzones=2, rate_epochs=12)
    learner = train.begin(plan, feed, net).learner
    rates, labels = feed.rates(net, learner, "validation")
    logits = decode.logits(learner.readout, jnp.asarray(rates))
    assert np.mean(np.argmax(logits, axis=-1) == labels) > 0.72


def test_only_gradients_start_from_it():
    with pytest.raises(UsageError, match=r"training\.rate_epochs: 5; 0 with training\.method '"):
        Plan(method="climbing_fiber", rate_epochs=5)
