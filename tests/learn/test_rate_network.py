"""A network of rates, and the spiking circuit that starts from it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import series

from cerebellum.errors import FailedError, UsageError
from cerebellum.learn import decode, losses, network, rate_network, readouts, start, train
from cerebellum.learn.feed import Ticks
from cerebellum.learn.network import Design
from cerebellum.learn.plan import Plan
from cerebellum.learn.rate_network import Examples, Factored, Lesson, RateNetwork
from cerebellum.learn.tasks import ticks

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

LESSON = Lesson(microzones=2, passes=30, swap_noise=0.1, dropout=0.2)


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


@pytest.mark.parametrize(
    ("fields", "gains"), [(2, [1, 1, 2, 2, 0.5, 0.5, 3, 3, 4]), (0, [1, 2, 0.5, 3, 4, 5])]
)
def test_a_gain_multiplies_all_fields_of_a_feature(fields, gains):
    """Three features and three silent fibres; without fields each fibre is a feature."""
    design = Design(inputs=3, fields=fields, nuclei=6, silent=3)
    count, groups = len(gains), list(dict.fromkeys(gains))
    net = RateNetwork(
        weights=1.0 + jnp.arange(count * 6.0).reshape(count, 6),
        current=jnp.arange(6.0),
        readout=jnp.ones((6, 3)),
        bias=jnp.zeros((1, 3)),
    )
    factored = Factored(of_contacts=net, log_gains=jnp.log(jnp.asarray(groups)))
    found = rate_network.multiplied(design, factored)
    expected = net.weights * np.reshape(gains, (count, 1))
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6)
    np.testing.assert_array_equal(found.current, net.current)


@pytest.mark.parametrize("largest", [10.0, 25.0])
def test_no_product_of_both_factors_is_above_the_bound(feed, design, largest):
    """Nor is it so after `with_rate_network` where the mean weight is the initial one."""
    design = replace(design, largest_weight=largest)
    samples = examples(feed, "train")
    inputs = jnp.asarray(samples.inputs[:256])
    net = rate_network.begin(design, 2, inputs, jax.random.key(0))
    log_gains = jnp.full(design.inputs, 5.0).at[0].set(-1e4)
    factored = Factored(of_contacts=net, log_gains=log_gains)
    optimizer: Any = rate_network._optimizer(net, 1.0, 100)
    after, _ = rate_network._step(
        design,
        LESSON,
        optimizer,
        factored,
        optimizer.init(factored),
        inputs,
        jnp.asarray(samples.labels[:256]),
        jnp.ones(256),
        jax.random.key(1),
    )
    found = rate_network.multiplied(design, after).weights
    unit = rate_network.TOTAL / np.sqrt(design.mossy_fibers) / rate_network.DRIVE
    assert float(found.max()) == pytest.approx(largest * unit, rel=1e-5)
    assert np.isfinite(after.of_contacts.weights).all()


def test_weights_gather_at_the_features_that_decide(feed, design, learned, monkeypatch):
    """Here the last return and the last change, which are the same.

    They have 0.15 of all weights, and 0.07, as any two, where gains are not learned.
    """
    names = feed.data.fields.names
    decide = [names.index("return_0"), names.index("change_0")]

    def share(net: RateNetwork) -> float:
        of_features = net.weights.reshape(len(names), design.fields, -1).sum(axis=(1, 2))
        return float(of_features[jnp.asarray(decide)].sum() / of_features.sum())

    monkeypatch.setattr(rate_network, "GAIN_UNIT", 0.0)
    parts = examples(feed, "train"), examples(feed, "validation")
    without = share(rate_network.learn(design, LESSON, *parts))
    assert 1.5 * without < share(learned)


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


def followed(design: Design, feed: Ticks, learned: RateNetwork) -> tuple[np.ndarray, ...]:
    """Shares of the mean rate, and rates of units and of the spiking cells in the same ticks."""
    net = network.build(design, jax.random.key(0))
    learner = network.begin(net, jax.random.key(0))
    learner = rate_network.with_rate_network(net, learner, learned)
    inputs = feed.sample()
    half = len(inputs) // 2
    carry = network.fresh(net, jax.random.key(1), inputs.shape[1])
    flat = jnp.asarray(inputs[half:].reshape(-1, inputs.shape[-1]))
    shares = rate_network.shares(design, learned, flat)
    learner = start.balance(net, learner, carry, inputs, shares)
    _, ends = network.respond(net.design, net.circuit, learner, carry, jnp.asarray(inputs))
    spiking = np.asarray(ends.rates[half:]).reshape(-1, design.nuclei)
    return np.asarray(shares), np.asarray(rate_network.rates(design, learned, flat)), spiking


@pytest.fixture(scope="module")
def of_cells(design, feed, learned):
    """What `followed` says of the design."""
    with jax.numpy_rank_promotion("allow"):
        return followed(design, feed, learned)


def correlations(units: np.ndarray, spiking: np.ndarray) -> np.ndarray:
    """The correlation of each cell with its unit, [N]; 0 where one of them says nothing."""
    alive = np.flatnonzero((units.std(axis=0) > 0) & (spiking.std(axis=0) > 0))
    alike = np.zeros(units.shape[1])
    alike[alive] = [np.corrcoef(units[:, n], spiking[:, n])[0, 1] for n in alive]
    return alike


def test_spiking_cells_follow_the_rates(design, of_cells):
    """Each cell has its share of the mean rate, and fires more in ticks in which its unit does."""
    shares, units, spiking = of_cells
    assert shares.mean() == pytest.approx(1, rel=1e-5)
    fade = float(np.exp(-design.dt / design.tau))
    goal = np.clip(network.RATES["nuclei"] * shares, *start.rate_limits(design))
    np.testing.assert_allclose(spiking.mean(axis=0) * (1 - fade), goal, atol=0.02)
    alike = correlations(units, spiking)
    assert (alike != 0).mean() > 0.4
    assert np.median(alike[alike != 0]) > 0.5


def test_cells_that_may_fire_in_every_step_follow_more_closely(design, feed, learned, of_cells):
    """Others saturate: here those of two steps that are refractory."""
    assert design.refractory == 2
    free = correlations(*followed(replace(design, refractory=0.0), feed, learned)[1:])
    refractory = correlations(*of_cells[1:])
    both = (free != 0) & (refractory != 0)
    assert np.median(free[both]) > np.median(refractory[both]) + 0.02


def test_a_spike_counts_for_what_it_does_until_the_end_of_the_tick(design):
    """The sum over later steps, one by one; the spikes of a busy fibre have a sum of one."""
    effect = rate_network.effect(design)
    expected = []
    for step in range(design.steps):
        current = rate = 0.0
        for later in range(design.steps):
            rate = rate * np.exp(-design.dt / design.tau) + current
            current *= np.exp(-design.dt / network.NUCLEI["tau_exc"])
            # A spike acts from the step after it on.
            current += later == step
        expected.append(rate)
    np.testing.assert_allclose(effect / effect[0], np.divide(expected, expected[0]), rtol=1e-5)
    assert effect[-1] == 0 < effect[0] < effect[-3]
    assert effect.sum() * design.burst / design.steps == pytest.approx(1, rel=1e-5)


def test_a_run_starts_from_it(feed, design):
    """The weights are those of the rate network that the plan describes; it is right at once."""
    net = network.build(design, jax.random.key(0))
    plan = Plan(epochs=1, microzones=2, rate_epochs=30, dropout=0.2, swap_noise=0.1)
    training = train.begin(plan, feed, net)
    learner = training.learner
    lesson = LESSON
    expected = rate_network.learn(
        design, lesson, examples(feed, "train"), examples(feed, "validation")
    )
    taken = rate_network.with_rate_network(net, learner, expected)
    name = "mossy_fiber_nuclei"
    np.testing.assert_array_equal(learner.weights[name], taken.weights[name])
    rates, labels = feed.rates(net, learner, "validation")
    logits = decode.logits(learner.readout, jnp.asarray(rates))
    assert np.mean(np.argmax(logits, axis=-1) == labels) > 0.75
    loss = float(jnp.mean(losses.cross_entropy(logits, jnp.asarray(labels))))
    assert float(training.best_loss) == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_what_rates_learned_is_kept_where_spikes_make_it_worse(feed, design):
    """With so large a step the circuit forgets, and its best learner is the one it began with."""
    net = network.build(design, jax.random.key(0))
    plan = Plan(epochs=1, microzones=2, rate_epochs=30, learning_rate=3.0)
    training, history = train.begin(plan, feed, net), []
    begun = jax.tree.map(np.array, training.best)
    loss = float(training.best_loss)
    for after, _ in train.run(plan, feed, net, training, history):
        training = after
    assert history[0]["validation_loss"] > loss
    jax.tree.map(np.testing.assert_array_equal, training.best, begun)
    assert float(training.best_loss) == pytest.approx(loss)


def test_the_better_readout_is_taken(feed, design, learned, monkeypatch):
    """A readout that always answers the same, or whose loss is not a number, loses."""
    net = network.build(design, jax.random.key(0))
    learner = rate_network.with_rate_network(net, network.begin(net, jax.random.key(0)), learned)
    carry = network.fresh(net, jax.random.key(1), feed.sample().shape[1])
    learner = start.balance(net, learner, carry, feed.sample())
    plan = Plan(microzones=2, rate_epochs=1)
    with monkeypatch.context() as patch:
        one = replace(design, nuclei=design.nuclei // 2)
        patch.setattr(rate_network, "spiking_readout", lambda *given: blind(one))
        found, _ = readouts.fit_to_rates(net, learner, feed, plan, learned)
        assert float(jnp.abs(found.weights).max()) > 0
    with monkeypatch.context() as patch:
        patch.setattr(readouts, "regress", lambda *given: blind(design))
        told = iter([np.nan, 0.7, np.nan, np.nan])
        patch.setattr(readouts, "mean_loss", lambda *given: next(told))
        _, loss = readouts.fit_to_rates(net, learner, feed, plan, learned)
        assert loss == 0.7
        with pytest.raises(FailedError, match="readout: the validation loss is nan"):
            readouts.fit_to_rates(net, learner, feed, plan, learned)
    with monkeypatch.context() as patch:
        patch.setattr(readouts, "regress", lambda *given: blind(design))
        found, _ = readouts.fit_to_rates(net, learner, feed, plan, learned)
        assert float(jnp.abs(found.weights).max()) > 0


def test_a_tick_of_one_step_has_no_rates(feed, design):
    parts = examples(feed, "train"), examples(feed, "validation")
    with pytest.raises(UsageError, match=r"neural\.steps_per_tick: 1; at least 2 with training\.r"):
        rate_network.learn(replace(design, steps=1), LESSON, *parts)


def test_the_plan_reaches_it(feed, design):
    plan = Plan(rate_epochs=1, microzones=2)

    def weights(**changes) -> np.ndarray:
        return np.asarray(train._rate_network(replace(plan, **changes), feed, design).weights)

    one = weights()
    for changes in (
        {"loss": "mse"},
        {"microzones": 4},
        {"rate_epochs": 2},
        {"swap_noise": 0.3},
        {"dropout": 0.3},
        {"gradient_clipping": 1e-3},
        {"seed": 3},
    ):
        assert not np.array_equal(one, weights(**changes)), changes


def test_balanced_classes_reach_it(feed, design, monkeypatch):
    seen = []
    monkeypatch.setattr(rate_network, "learn", lambda *given: seen.append(given[-1]))
    for balanced in (False, True):
        train._rate_network(Plan(rate_epochs=1, balanced=balanced), feed, design)
    assert seen[0] is None
    np.testing.assert_array_equal(seen[1], train._class_weights(feed, design.outputs))


def test_spiking_cells_answer_as_the_rates_do(design):
    """Cells that mix units with little noise; one that never fires does no harm."""
    rng = np.random.default_rng(0)
    wanted = rng.normal(0, 0.3, (9_000, 3)).astype(np.float32)
    mixed = wanted @ rng.normal(0, 1, (3, design.nuclei)) + rng.normal(0, 0.1, (9_000, 48))
    spiking = (2 + mixed).astype(np.float32)
    spiking[:, 1] = 0
    found = rate_network.spiking_readout(wanted, spiking)
    said = jax.nn.softmax(decode.logits(found, jnp.asarray(spiking)))
    np.testing.assert_allclose(said, jax.nn.softmax(jnp.asarray(wanted)), atol=0.05)
    # The same by the textbook, for all samples at once.
    rates = spiking - spiking.mean(axis=0)
    covariance = rates.T @ rates / len(rates)
    covariance += rate_network.RIDGE * np.trace(covariance) / 48 * np.eye(48)
    goal = wanted - wanted.mean(axis=1, keepdims=True)
    weights = np.linalg.solve(covariance, rates.T @ (goal - goal.mean(axis=0)) / len(rates))
    expected = rates @ weights + goal.mean(axis=0)
    np.testing.assert_allclose(decode.logits(found, jnp.asarray(spiking)), expected, atol=1e-3)
    silent = rate_network.spiking_readout(wanted, np.zeros_like(spiking))
    goal_centre = goal.mean(axis=0)
    np.testing.assert_allclose(decode.logits(silent, jnp.ones(48)), goal_centre, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "steps", "made"),
    [
        (30, 20, (30,)),
        (30, 100, (15, 30)),
        (30, 600, (6, 12)),
        (11, 600, (6,)),
        (2, 600, (2,)),
        (1, 20, (1,)),
        (1_000, 20, (75, 150)),
    ],
)
def test_many_samples_are_shown_less_often(asked, steps, made):
    assert rate_network.passes(Lesson(passes=asked), steps) == made


@pytest.mark.parametrize("losses_told", [[0.4, 0.6, 0.5], [0.7, 0.6, 0.5], [np.nan, 0.6, 0.5]])
def test_the_better_of_two_numbers_of_passes_is_kept(feed, design, monkeypatch, losses_told):
    """As if only so many had been allowed."""
    parts = examples(feed, "train"), examples(feed, "validation")

    def found(allowed: tuple[int, ...], told: list[float]) -> RateNetwork:
        each = iter(told)
        monkeypatch.setattr(rate_network, "passes", lambda lesson, steps: allowed)
        monkeypatch.setattr(rate_network, "mean_loss", lambda *given: next(each))
        return rate_network.learn(design, LESSON, *parts)

    better = 1 if losses_told[0] == 0.4 else 2
    expected = found((better,), [0.6, 0.5][-better:])
    jax.tree.map(np.testing.assert_array_equal, found((1, 2), losses_told), expected)


def test_answers_come_in_parts(feed, design, learned, monkeypatch):
    """As those of all ticks at once."""
    inputs = feed.examples("validation")[0][:, -1]
    cell_rates = rate_network.rates(design, learned, jnp.asarray(inputs))
    expected = rate_network.logits(design, learned, cell_rates)
    monkeypatch.setattr(rate_network, "EVALUATED", 250)
    np.testing.assert_allclose(
        rate_network.answers(design, learned, inputs), expected, rtol=1e-4, atol=1e-5
    )


def test_a_circuit_begins_with_the_answers_of_the_rate_network(feed, design, learned, monkeypatch):
    """On ticks that no regression saw; it is calibrated, with a temperature of one."""
    net = network.build(design, jax.random.key(0))
    plan = Plan(microzones=2, rate_epochs=30, dropout=0.2, swap_noise=0.1)
    monkeypatch.setattr(readouts, "regress", lambda plan, design, rates, labels: blind(design))
    learner = train.begin(plan, feed, net).learner
    rates, labels = feed.rates(net, learner, "validation")
    said = np.asarray(decode.logits(learner.readout, jnp.asarray(rates)))
    wanted = rate_network.answers(design, learned, feed.examples("validation")[0][:, -1]).mean(0)
    differences = said[:, 2] - said[:, 0], wanted[:, 2] - wanted[:, 0]
    assert np.corrcoef(*differences)[0, 1] > 0.9
    assert float(learner.readout.temperature) == 1
    again = readouts.calibrated(learner.readout, rates, labels)
    assert float(again.temperature) == pytest.approx(1, abs=0.02)


def blind(design: Design) -> decode.Readout:
    """A readout that always answers the same."""
    readout = network.readout(design, jnp.zeros((2, design.nuclei)))
    return replace(readout, weights=jnp.zeros_like(readout.weights))


@pytest.mark.parametrize(("refractory", "most"), [(0.0, 0.28), (1.0, 0.28), (3.0, 0.21)])
def test_no_cell_is_to_fire_all_the_time(design, refractory, most):
    limits = start.rate_limits(replace(design, refractory=refractory))
    assert limits == pytest.approx((0.005, most))


def test_a_loss_that_is_never_finite_is_said(feed, design):
    parts = examples(feed, "train"), examples(feed, "validation")
    weights = np.full(3, np.nan, np.float32)
    with pytest.raises(FailedError, match="rate network: the validation loss is nan"):
        rate_network.learn(design, replace(LESSON, passes=1), *parts, weights)


def test_only_gradients_start_from_it():
    with pytest.raises(UsageError, match=r"training\.rate_epochs: 5; 0 with training\.method '"):
        Plan(method="climbing_fiber", rate_epochs=5)
