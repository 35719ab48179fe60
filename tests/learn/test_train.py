"""Training learns, resumes bit for bit and stops at bad losses; online learning follows a flip."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import laws
import numpy as np
import pytest
import series

from cerebellum.errors import FailedError, UsageError
from cerebellum.learn import climbing, decode, network, online, readouts, train, updates
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.tasks import patterns, ticks

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

SIZES = {"granule": 100, "purkinje": 12, "nuclei": 48}
PLAN = Plan(epochs=2, plasticity=2e-3)
"""The plan of most tests. Each other plan is another program to compile."""


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


def accuracy(net, learner, feed, split="test") -> float:
    rates, labels = feed.rates(net, learner, split)
    logits = decode.logits(learner.readout, jnp.asarray(rates))
    return float(np.mean(np.argmax(logits, axis=-1) == labels))


def finish(plan, feed, net, training, history, step=0):
    """The last state of a run, from a step on."""
    for after, _ in train.run(plan, feed, net, training, history, step):
        training = after
    return training


@pytest.mark.parametrize(
    "method",
    [
        pytest.param("surrogate_gradient", marks=[pytest.mark.slow, pytest.mark.soak]),
        "climbing_fiber",
        "stdp",
        pytest.param("hybrid", marks=[pytest.mark.slow, pytest.mark.soak]),
    ],
)
def test_a_run_goes_on_bit_for_bit(momentum, net, method):
    """A run resumed from the state after any step ends with the same arrays and history."""
    feed = Ticks(data=momentum, size=16)
    plan = replace(PLAN, method=method, epochs=3 if method == "hybrid" else 2)
    training, history = train.begin(plan, feed, net), []
    stops = {3, feed.steps, feed.steps + 5}
    snapshots = {}
    for after, progress in train.run(plan, feed, net, training, history):
        training = after
        if progress.step in stops:
            history_so_far = [dict(epoch) for epoch in history]
            snapshots[progress.step] = jax.tree.map(np.array, after), history_so_far
    for step, (snapshot, resumed_history) in snapshots.items():
        resumed = jax.tree.map(jnp.asarray, snapshot)
        resumed = finish(plan, feed, net, resumed, resumed_history, step)
        jax.tree.map(np.testing.assert_array_equal, resumed, training)
        assert resumed_history == history


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        pytest.param("surrogate_gradient", marks=pytest.mark.soak),
        "climbing_fiber",
        "stdp",
        pytest.param("hybrid", marks=pytest.mark.soak),
    ],
)
def test_momentum_is_learned(momentum, net, method):
    """The next step repeats the last with probability 0.8, which bounds the accuracy."""
    feed = Ticks(data=momentum, size=16)
    # Climbing fibres with a smaller gain have learned in some runs of so few epochs and not in
    # others, as rounding has it.
    few, plasticity = (5, 3e-3) if method == "climbing_fiber" else (3, 1e-3)
    plan = Plan(method=method, epochs=6 if laws.THOROUGH else few, plasticity=plasticity)
    history = []
    training = finish(plan, feed, net, train.begin(plan, feed, net), history)
    if method == "stdp":
        assert history[-1]["validation_loss"] < 0.6
    least = 0.72 if plan.descends else 0.68
    assert accuracy(net, training.best, feed) > least


@pytest.mark.slow
def test_labels_that_mean_nothing_are_not_learned(momentum):
    rng = np.random.default_rng(0)
    labels = momentum.labels.copy()
    questions = labels != ticks.NONE
    labels[questions] = rng.permutation(labels[questions])
    data = replace(momentum, labels=labels)
    net, feed = built(data), Ticks(data=data, size=16)
    training = finish(PLAN, feed, net, train.begin(PLAN, feed, net), [])
    assert abs(accuracy(net, training.best, feed) - 0.5) < 0.1


@pytest.mark.parametrize(
    ("method", "step"),
    [
        ("climbing_fiber", updates.climb),
        pytest.param(
            "surrogate_gradient", updates.descend, marks=[pytest.mark.slow, pytest.mark.soak]
        ),
    ],
)
def test_no_recompilation(momentum, net, method, step):
    """One program for every step of a run, and none for a second run."""
    feed, plan = Ticks(data=momentum, size=16), replace(PLAN, method=method)
    initial = train.begin(plan, feed, net)
    before = step._cache_size()
    finish(plan, feed, net, jax.tree.map(jnp.copy, initial), [])
    after = step._cache_size()
    assert after <= before + 1
    finish(plan, feed, net, initial, [])
    assert step._cache_size() == after


def test_a_loss_that_is_not_finite_ends_the_run(momentum, net):
    feed, plan = Ticks(data=momentum, size=16), replace(PLAN, method="climbing_fiber")
    training = train.begin(plan, feed, net)
    readout = replace(training.learner.readout, bias=jnp.full(3, jnp.nan))
    bad = replace(training, learner=replace(training.learner, readout=readout))
    with pytest.raises(FailedError, match="step 1: the loss is nan; a lower training"):
        finish(plan, feed, net, bad, [])


def test_patience(momentum, net):
    feed = Ticks(data=momentum, size=16)
    plan = replace(PLAN, method="climbing_fiber", epochs=9, early_stopping_patience=1)
    training = train.begin(plan, feed, net)
    history = []
    finish(plan, feed, net, replace(training, best_loss=jnp.float32(0)), history)
    assert len(history) == 1


def test_balanced_weights_give_choices_the_same_total(momentum):
    feed = Ticks(data=momentum, size=16)
    weights = train._class_weights(feed, 3)
    counts = np.bincount(feed.examples()[1], minlength=3)
    np.testing.assert_allclose(weights[0] * counts[0], weights[2] * counts[2], rtol=1e-5)


@pytest.mark.slow
def test_calibration_makes_confidence_as_often_right(momentum, net):
    feed = Ticks(data=momentum, size=16)
    training = train.begin(PLAN, feed, net)
    overconfident = replace(training.best.readout, weights=9 * training.best.readout.weights)
    learner = replace(training.best, readout=overconfident)
    calibrated = readouts.calibrate(feed, net, learner)
    assert calibrated.readout.temperature > 2
    assert accuracy(net, calibrated, feed) == accuracy(net, learner, feed)


def test_a_plan_names_what_it_does_not_know():
    with pytest.raises(UsageError, match=r"training\.method: 'magic'"):
        Plan(method="magic")


def test_climbing_fibres_teach_the_delta_rule():
    """Averaged over the random spikes, the change of a weight is trace times error.

    Its unit does not depend on the largest weight.
    """
    sizes = {"granule": 100, "purkinje": 4, "nuclei": 4}
    design = Design(inputs=6, fields=0, choices=(0, 1), largest_weight=25.0, **sizes)
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(1))
    trace = network.Traces(mossy=jnp.ones((1, 6)), granule=jnp.zeros((1, 100)).at[0, 7].set(2.0))
    error = jnp.asarray([[0.4, -0.4]])

    def change(key):
        errors = climbing.by_zone(net, error)
        after = climbing.teach(net, learner, trace, errors, jnp.ones(1), jnp.float32(1e-3), key)
        return jax.tree.map(lambda a, b: a - b, after.weights, learner.weights)

    mean = jax.tree.map(
        lambda x: x.mean(axis=0), jax.vmap(change)(jax.random.split(jax.random.key(2), 2_000))
    )
    initial_weights = net.circuit.params.weights
    for name, sign, at, size in (
        ("granule_purkinje", -1, 7, 2.0),
        ("mossy_fiber_nuclei", 1, 0, 1.0),
    ):
        unit = network.W_MAX * network.mean_weight(initial_weights[name])
        gain = 1e-3 * unit * climbing.GAIN
        expected = sign * gain * size * jnp.asarray([0.4, -0.4, 0.4, -0.4])
        np.testing.assert_allclose(mean[name][at], expected, rtol=0.25)
    assert not jnp.any(mean["granule_purkinje"][8])


def test_online_without_gain_is_frozen(momentum, net):
    learner = network.begin(net, jax.random.key(0))
    split = ticks.Split(start=0, stop=400)
    gains = online.Gains(climbing=0.0, readout=0.0, local=0.0)
    after, _ = online.prequential(net, learner, momentum, split, gains)
    jax.tree.map(np.testing.assert_array_equal, after, learner)


@pytest.mark.parametrize("method", ["climbing_fiber", "surrogate_gradient", "hybrid"])
def test_climbing_fibres_teach_on_only_what_they_taught(method):
    gains = online.gains_of(Plan(method=method, plasticity=2e-3))
    if method == "climbing_fiber":
        assert (gains.climbing, gains.local) == (jnp.float32(2e-3 * online.GAIN), None)
    else:
        assert (gains.climbing, gains.local) == (None, jnp.float32(online.LOCAL))


@pytest.fixture(scope="module")
def untaught(momentum, net):
    """A learner that has learned nothing, with balanced rates and the readout of zones."""
    with jax.numpy_rank_promotion("allow"):
        feed = Ticks(data=momentum, size=16)
        return train.begin(Plan(method="climbing_fiber"), feed, net).learner


def surprise(chances: np.ndarray, data: ticks.Data, start: int, stop: int) -> float:
    """Mean of the negative logarithm of the probability of what came."""
    asked = data.asked(ticks.Split(start=start, stop=stop))
    return float(-np.mean(np.log(chances[asked, data.labels[asked]])))


def test_online_does_not_look_ahead(momentum, net, untaught):
    """Other outcomes from a tick on do not change the predictions before it."""
    split = ticks.Split(start=0, stop=400)
    gains = online.Gains(climbing=1e-3, readout=1e-2, local=1e-3)
    after, chances = online.prequential(net, untaught, momentum, split, gains, mixing=True)
    for name in ("mossy_fiber_nuclei", "granule_purkinje"):
        assert not np.array_equal(after.weights[name], untaught.weights[name])
    labels = momentum.labels.copy()
    labels[200:] = 2 - labels[200:]
    changed = replace(momentum, labels=np.where(momentum.labels < 0, -1, labels).astype(np.int8))
    _, other = online.prequential(net, untaught, changed, split, gains, mixing=True)
    # The answer to the question at 200 is known at 201.
    np.testing.assert_array_equal(chances[:201], other[:201])
    assert not np.array_equal(chances[202:], other[202:])


def test_an_outcome_that_comes_too_late_is_refused(momentum):
    """What its question left is no longer there; to leave the outcome out would tell nobody."""
    known = np.minimum(momentum.known + online.WAITING, len(momentum.labels))
    split = ticks.Split(start=100, stop=400)
    late = online.WAITING + 1
    with pytest.raises(ValueError, match=f"that of {late} questions before; at most"):
        online.events(replace(momentum, known=known), split)


def test_a_model_learns_on_with_what_is_best_in_a_split(momentum, net, untaught):
    """Of the steps that may be chosen it has the one with the least loss, and goes on from what was
    learned with it."""
    plan, split = Plan(method="surrogate_gradient"), ticks.Split(start=0, stop=600)
    gains, after = online.best(net, untaught, momentum, split, plan)
    told = {}
    for step in online.LOCALS:
        tried = replace(gains, local=None if step is None else jnp.float32(step))
        learned, chances = online.prequential(net, untaught, momentum, split, tried, mixing=True)
        told[step] = surprise(chances, momentum, 0, 600)
        if tried.local == gains.local:
            jax.tree.map(np.testing.assert_array_equal, after, learned)
            chosen = told[step]
    assert len(set(told.values())) == len(online.LOCALS)
    assert chosen == min(told.values())


def test_the_circuit_learns_on_down_a_local_gradient(momentum, net, untaught):
    """With a readout that stays, the answers become better than those of the frozen circuit."""
    split, told = ticks.Split(start=0, stop=2_000), []
    for step in (None, 2e-2):
        gains = online.Gains(readout=0.0, local=step)
        after, chances = online.prequential(net, untaught, momentum, split, gains)
        jax.tree.map(np.testing.assert_array_equal, after.readout, untaught.readout)
        told.append(surprise(chances, momentum, 1_000, 2_000))
    assert told[1] < told[0] - 0.01


def test_trust_goes_to_the_readout_that_is_right():
    """One readout answers the opposite of the other; which of them is right changes once."""
    trust, right = jnp.full(1, online.TRUST), jnp.asarray([[4.0, -4.0, 0.0]])
    course = []
    for better in (1, 1, -1):
        for _ in range(200):
            both = better * right, -better * right
            trust = online._trusted(trust, *both, jnp.zeros(1, int), jnp.ones(1))
        course.append(float(trust[0]))
    assert course[0] == pytest.approx(course[1], abs=1e-4)
    assert course[1] > 0.99
    assert course[2] < 0.01
    kept = online._trusted(trust, right, -right, jnp.zeros(1, int), jnp.zeros(1))
    np.testing.assert_array_equal(kept, trust)


def test_a_readout_is_judged_by_what_it_answered(momentum, net, untaught):
    """Not by what it would answer when the outcome is known and it has learned from others."""
    markets = online.begin(net, untaught, mixing=True)
    taught = jax.tree.map(lambda x: x + 0.0, markets.readout)
    taught = replace(taught, bias=jnp.asarray([[9.0, 0.0, -9.0]]))
    event = online.Event(
        inputs=jnp.asarray(momentum.ranks[:1]),
        back=jnp.zeros(1, int),
        label=jnp.zeros(1, int),
        asks=jnp.ones(1, bool),
    )
    gains, key = online.Gains(readout=0.0), jax.random.key(0)
    _, asked, _, _ = online.step(net, untaught, markets, event, gains, key)
    known = replace(event, back=jnp.ones(1, int))
    # Since the question its readout has become sure of what came.
    _, later = online.learn(net, untaught, replace(asked, readout=taught), known, gains, key)
    assert float(later.trust[0]) == pytest.approx(online.TRUST, abs=1e-6)


def test_two_readouts_answer_together(momentum, net, untaught):
    """With the trust that they have: at first that of both is the same, as they are."""
    gains, split = online.Gains(readout=0.05), ticks.Split(start=0, stop=400)
    _, alone = online.prequential(net, untaught, momentum, split, gains)
    _, frozen = online.prequential(net, untaught, momentum, split, online.Gains(readout=0.0))
    after, mixed = online.prequential(net, untaught, momentum, split, gains, mixing=True)
    jax.tree.map(np.testing.assert_array_equal, after.readout, untaught.readout)
    least, most = np.minimum(alone, frozen), np.maximum(alone, frozen)
    assert (mixed >= least - 1e-5).all()
    assert (mixed <= most + 1e-5).all()
    share = (mixed - frozen)[50:] / np.where(alone == frozen, 1, alone - frozen)[50:]
    assert 0.1 < np.median(share) < 0.9


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("control", ["memoryless series", "shuffled labels"])
def test_controls_are_at_chance(tmp_path, control):
    """Where there is nothing to learn, accuracy is chance to within three standard errors."""
    again = 0.5 if control == "memoryless series" else 0.85
    path = series.write(tmp_path / "x.csv", series.steps(12_000, again, 3))
    data = ticks.prepare(ticks.load(path), "event")
    if control == "shuffled labels":
        questions = np.flatnonzero(data.labels != ticks.NONE)
        labels = data.labels.copy()
        labels[questions] = np.random.default_rng(0).permutation(labels[questions])
        data = replace(data, labels=labels)
    net, feed = built(data), Ticks(data=data)
    plan = Plan(epochs=2, gradient_checkpointing=False)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    samples = len(data.asked(data.test))
    assert abs(accuracy(net, training.best, feed) - 0.5) < 3 * 0.5 / samples**0.5


@pytest.mark.soak
@pytest.mark.slow
def test_online_follows_a_rule_that_flips(tmp_path):
    """It keeps nine tenths of its accuracy, where the frozen model is worse than chance."""
    count = 12_000
    path = series.write(tmp_path / "x.csv", series.steps(count, 0.85, 0, flip=count // 2))
    whole = ticks.prepare(ticks.load(path), "event")
    # Training uses ticks before the flip only.
    data = replace(
        whole,
        train=ticks.Split(start=0, stop=3_000),
        validation=ticks.Split(start=3_000, stop=4_000),
        test=ticks.Split(start=4_000, stop=count),
    )
    net, feed = built(data), Ticks(data=data, size=16)
    plan = Plan(epochs=3)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    learner = readouts.calibrate(feed, net, training.best)

    def accuracy_between(chances: np.ndarray, start: int, stop: int) -> float:
        questions = data.asked(data.test)
        questions = questions[(questions >= start) & (questions < stop)]
        predicted = np.argmax(chances[questions - data.test.start], axis=1)
        return float(np.mean(predicted == data.labels[questions]))

    adapts = online.Gains(climbing=2e-4, readout=0.1)
    _, frozen = online.prequential(net, learner, data, data.test, online.Gains(readout=0.0))
    _, adapting = online.prequential(net, learner, data, data.test, adapts)
    before = accuracy_between(adapting, 4_000, 6_000)
    assert before > 0.78
    assert accuracy_between(frozen, 9_000, count) < 0.5
    assert accuracy_between(adapting, 9_000, count) > 0.9 * before


CALM = patterns.Noise(jitter=0.5, loss=0.05, background=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "least", "options"),
    [
        pytest.param("surrogate_gradient", 0.95, {"epochs": 4}, marks=pytest.mark.soak),
        pytest.param(
            "climbing_fiber",
            0.92,
            {"epochs": 20, "plasticity": 2e-3},
            marks=pytest.mark.soak,
        ),
    ],
)
def test_ten_spike_patterns(method, least, options):
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
    plan = Plan(method=method, early_stopping_patience=99, **options)
    training = finish(plan, feed, net, train.begin(plan, feed, net), [])
    assert accuracy(net, training.best, feed) > least


def test_patterns_come_from_their_seed():
    one, same, other = (patterns.delayed_xor(50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.spikes, same.spikes)
    assert not np.array_equal(one.spikes, other.spikes)
    chex.assert_shape(one.spikes, (50, 4, 10, 60))
    assert set(one.labels) == {0, 1}
