"""Training: learns, resumes bit for bit, stops before nonsense; online learning follows a flip."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import series

from cerebellum.errors import FailedError, UsageError
from cerebellum.learn import climbing, decode, network, online, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.tasks import patterns, ticks
from cerebellum.learn.train import Plan

pytestmark = pytest.mark.usefixtures("broadcasting")

SIZES = {"granule": 100, "purkinje": 12, "nuclei": 48}
PLAN = Plan(epochs=2, plasticity=2e-3)
"""One for as many tests as can have it: each other one is another program to compile."""


@pytest.fixture(scope="module")
def momentum(tmp_path_factory):
    path = tmp_path_factory.mktemp("ticks") / "x.csv"
    with jax.numpy_rank_promotion("allow"):
        return ticks.prepare(ticks.load(series.write(path, series.steps(3_000, 0.8, 0))), "event")


def built(data: ticks.Data) -> network.Net:
    inputs, choices = data.ranks.shape[1], ticks.CHOICES[data.task]
    return network.build(Design(inputs=inputs, choices=choices, **SIZES), jax.random.key(0))


@pytest.fixture(scope="module")
def net(momentum):
    with jax.numpy_rank_promotion("allow"):
        return built(momentum)


def accuracy(net, learner, feed, part="test") -> float:
    rates, labels = feed.rates(net, learner, part)
    logits = decode.logits(learner.readout, jnp.asarray(rates))
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def finish(plan, feed, net, training, history, step=0):
    for held, _ in train.run(plan, feed, net, training, history, step):
        training = held
    return training


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("surrogate_gradient", marks=[pytest.mark.slow, pytest.mark.soak]),
        "climbing_fiber",
        pytest.param("hybrid", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_bit_for_bit(momentum, net, method):
    """Stopped after any step and gone on with from what is kept: the same arrays and history."""
    feed, plan = Ticks(data=momentum, size=16), replace(PLAN, method=method)
    training, history = train.begin(plan, feed, net), []
    stops = {3, feed.steps, feed.steps + 5}
    kept = {}
    for held, seen in train.run(plan, feed, net, training, history):
        training = held
        if seen.step in stops:
            kept[seen.step] = jax.tree.map(np.array, held), [dict(each) for each in history]
    for step, (held, before) in kept.items():
        again = jax.tree.map(jnp.asarray, held)
        ended = finish(plan, feed, net, again, before, step)
        jax.tree.map(np.testing.assert_array_equal, ended, training)
        assert before == history


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [pytest.param("surrogate_gradient", marks=pytest.mark.soak), "climbing_fiber", "hybrid"],
)
def test_momentum_is_learned(momentum, net, method):
    """The next step repeats the last with 0.8: no more than that is to be had."""
    feed = Ticks(data=momentum, size=16)
    plan = Plan(method=method, epochs=6, plasticity=1e-3)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    assert accuracy(net, training.best, feed) > (0.68 if method == "climbing_fiber" else 0.72)


@pytest.mark.slow
def test_labels_that_mean_nothing_are_not_learned(momentum):
    rng = np.random.default_rng(0)
    labels = momentum.labels.copy()
    asked = labels != ticks.NONE
    labels[asked] = rng.permutation(labels[asked])
    data = replace(momentum, labels=labels)
    net, feed = built(data), Ticks(data=data, size=16)
    training = finish(PLAN, feed, net, train.begin(PLAN, feed, net), [])
    assert abs(accuracy(net, training.best, feed) - 0.5) < 0.1


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("climbing_fiber", train.climb),
        pytest.param("surrogate_gradient", train.descend, marks=pytest.mark.slow),
    ],
)
def test_no_recompilation(momentum, net, method, step):
    """One program for every step of a run, and none for a second run."""
    feed, plan = Ticks(data=momentum, size=16), replace(PLAN, method=method)
    begun = train.begin(plan, feed, net)
    before = step._cache_size()
    finish(plan, feed, net, jax.tree.map(jnp.copy, begun), [])
    after = step._cache_size()
    assert after <= before + 1
    finish(plan, feed, net, begun, [])
    assert step._cache_size() == after


def test_a_loss_that_is_not_finite_ends_the_run(momentum, net):
    feed, plan = Ticks(data=momentum, size=16), replace(PLAN, method="climbing_fiber")
    training = train.begin(plan, feed, net)
    readout = replace(training.learner.readout, bias=jnp.full(3, jnp.nan))
    bad = replace(training, learner=replace(training.learner, readout=readout))
    with pytest.raises(FailedError, match="step 1: the loss is nan; the last checkpoint is good"):
        finish(plan, feed, net, bad, [])


def test_patience(momentum, net):
    feed = Ticks(data=momentum, size=16)
    plan = replace(PLAN, method="climbing_fiber", epochs=9, early_stopping_patience=1)
    training = train.begin(plan, feed, net)
    history = []
    finish(plan, feed, net, replace(training, best_loss=jnp.float32(0)), history)
    assert len(history) == 1


def test_rare_choices_count_for_more_where_asked(momentum):
    feed = Ticks(data=momentum, size=16)
    factor = train._balance(feed, 3)
    counts = np.bincount(feed.examples()[1], minlength=3)
    np.testing.assert_allclose(factor[0] * counts[0], factor[2] * counts[2], rtol=1e-5)


@pytest.mark.slow
def test_calibration_makes_confidence_as_often_right(momentum, net):
    feed = Ticks(data=momentum, size=16)
    training = train.begin(PLAN, feed, net)
    loud = replace(training.best.readout, weights=9 * training.best.readout.weights)
    learner = replace(training.best, readout=loud)
    calibrated = train.calibrate(feed, net, learner)
    assert calibrated.readout.temperature > 2
    assert accuracy(net, calibrated, feed) == accuracy(net, learner, feed)


def test_a_plan_names_what_it_does_not_know():
    with pytest.raises(UsageError, match=r"training\.method: 'magic'"):
        Plan(method="magic")


def test_climbing_fibres_teach_the_delta_rule():
    """On average over their draws, the change of a weight is trace times error."""
    design = Design(inputs=6, fields=0, choices=(0, 1), granule=100, purkinje=4, nuclei=4)
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    trace = network.Traces(mossy=jnp.ones((1, 6)), granule=jnp.zeros((1, 100)).at[0, 7].set(2.0))
    wrong = jnp.asarray([[0.4, -0.4]])

    def change(key):
        errors = climbing.by_zone(net, wrong)
        after = climbing.teach(net, learner, trace, errors, jnp.ones(1), jnp.float32(1e-3), key)
        return jax.tree.map(lambda a, b: a - b, after.weights, learner.weights)

    mean = jax.tree.map(
        lambda x: x.mean(axis=0), jax.vmap(change)(jax.random.split(jax.random.key(2), 2_000))
    )
    first = net.circuit.params.weights
    for name, sign, at, size in (
        ("granule_purkinje", -1, 7, 2.0),
        ("mossy_fiber_nuclei", 1, 0, 1.0),
    ):
        gain = 1e-3 * network.bound(first[name]) * climbing.GAIN
        wanted = sign * gain * size * jnp.asarray([0.4, -0.4, 0.4, -0.4])
        np.testing.assert_allclose(mean[name][at], wanted, rtol=0.25)
    assert not jnp.any(mean["granule_purkinje"][8])


def test_online_does_not_look_ahead(momentum, net):
    """Other outcomes from a tick on: nothing that was said before it changes."""
    learner = network.begin(net, jax.random.key(0))
    part = ticks.Split(start=0, stop=400)
    _, said = online.prequential(net, learner, momentum, part, gain=1e-3, rate=1e-2)
    labels = momentum.labels.copy()
    labels[200:] = 2 - labels[200:]
    changed = replace(momentum, labels=np.where(momentum.labels < 0, -1, labels).astype(np.int8))
    _, other = online.prequential(net, learner, changed, part, gain=1e-3, rate=1e-2)
    # What was asked at 200 is known at 201.
    np.testing.assert_array_equal(said[:201], other[:201])
    assert not np.array_equal(said[202:], other[202:])


def test_online_without_gain_is_frozen(momentum, net):
    learner = network.begin(net, jax.random.key(0))
    part = ticks.Split(start=0, stop=400)
    held, _ = online.prequential(net, learner, momentum, part, gain=0.0, rate=0.0)
    jax.tree.map(np.testing.assert_array_equal, held, learner)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("control", ["memoryless series", "shuffled labels"])
def test_controls_are_at_chance(tmp_path, control):
    """Where there is nothing to learn, nothing is found: within three standard errors."""
    again = 0.5 if control == "memoryless series" else 0.85
    path = series.write(tmp_path / "x.csv", series.steps(12_000, again, 3))
    data = ticks.prepare(ticks.load(path), "event")
    if control == "shuffled labels":
        asked = np.flatnonzero(data.labels != ticks.NONE)
        labels = data.labels.copy()
        labels[asked] = np.random.default_rng(0).permutation(labels[asked])
        data = replace(data, labels=labels)
    net, feed = built(data), Ticks(data=data)
    plan = Plan(epochs=2, gradient_checkpointing=False)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    samples = len(data.asked(data.test))
    assert abs(accuracy(net, training.best, feed) - 0.5) < 3 * 0.5 / samples**0.5


@pytest.mark.slow
def test_online_follows_a_rule_that_flips(tmp_path):
    """Nine tenths of the accuracy before, where the frozen model is worse than chance."""
    count = 12_000
    path = series.write(tmp_path / "x.csv", series.steps(count, 0.85, 0, flip=count // 2))
    whole = ticks.prepare(ticks.load(path), "event")
    # Learned from ticks before the flip alone.
    data = replace(
        whole,
        train=ticks.Split(start=0, stop=3_000),
        validation=ticks.Split(start=3_000, stop=4_000),
        test=ticks.Split(start=4_000, stop=count),
    )
    net, feed = built(data), Ticks(data=data, size=16)
    plan = Plan(epochs=3)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    learner = train.calibrate(feed, net, training.best)

    def right(said: np.ndarray, start: int, stop: int) -> float:
        asked = data.asked(data.test)
        asked = asked[(asked >= start) & (asked < stop)]
        guess = np.argmax(said[asked - data.test.start], axis=1)
        return float(np.mean(guess == data.labels[asked]))

    _, frozen = online.prequential(net, learner, data, data.test, gain=0.0, rate=0.0)
    _, said = online.prequential(net, learner, data, data.test, gain=2e-4, rate=0.1)
    before = right(said, 4_000, 6_000)
    assert before > 0.78
    assert right(frozen, 9_000, count) < 0.5
    assert right(said, 9_000, count) > 0.9 * before


CALM = patterns.Noise(jitter=0.5, loss=0.05, background=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "least", "more"),
    [
        ("surrogate_gradient", 0.95, {"epochs": 4}),
        pytest.param(
            "climbing_fiber",
            0.85,
            {"epochs": 20, "plasticity": 5e-4},
            marks=pytest.mark.soak,
        ),
    ],
)
def test_ten_spike_patterns(method, least, more):
    feed = patterns.ten_classes(noise=CALM)
    design = Design(
        inputs=60,
        fields=0,
        choices=tuple(range(10)),
        granule=300 if method == "surrogate_gradient" else 500,
        purkinje=40,
        nuclei=100 if method == "surrogate_gradient" else 200,
        tau=20.0,
        memory=20.0,
    )
    net = network.build(design, jax.random.key(0))
    plan = Plan(method=method, early_stopping_patience=99, **more)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    assert accuracy(net, training.best, feed) > least


def test_patterns_come_from_their_seed():
    one, same, other = (patterns.delayed_xor(50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.spikes, same.spikes)
    assert not np.array_equal(one.spikes, other.spikes)
    chex.assert_shape(one.spikes, (50, 4, 10, 60))
    assert set(one.labels) == {0, 1}
