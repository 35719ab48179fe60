"""STDP with a teacher's spikes sums over all pairs and keeps its bounds; its teacher is fair."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cerebellum.errors import UsageError
from cerebellum.learn import network, stdp
from cerebellum.learn.network import RATES, Design
from cerebellum.learn.stdp import Timing

pytestmark = pytest.mark.usefixtures("compiled_quickly")

DESIGN = Design(inputs=2, granule=100, golgi=4, purkinje=4, nuclei=12)


@pytest.fixture(scope="module")
def net():
    with jax.numpy_rank_promotion("allow"):
        return network.build(DESIGN, jax.random.key(0))


def by_pairs(timing: Timing, dt: float, mossy: np.ndarray, post: np.ndarray) -> np.ndarray:
    """The changes, pair by pair."""
    total = np.zeros((mossy.shape[2], post.shape[2]))
    for stream in range(mossy.shape[1]):
        for pre_step, fibre in zip(*np.nonzero(mossy[:, stream]), strict=True):
            for post_step, cell in zip(*np.nonzero(post[:, stream]), strict=True):
                lag = (post_step - pre_step) * dt
                weight = post[post_step, stream, cell]
                if lag >= 0:
                    total[fibre, cell] += weight * timing.a_plus * np.exp(-lag / timing.tau_pre)
                else:
                    total[fibre, cell] -= weight * timing.a_minus * np.exp(lag / timing.tau_post)
    return total


@given(
    seed=st.integers(0, 2**31),
    tau_pre=st.floats(1, 50),
    tau_post=st.floats(1, 50),
    a_minus=st.floats(0, 2),
)
def test_a_change_is_the_sum_over_all_pairs(seed, tau_pre, tau_post, a_minus):
    rng, dt = np.random.default_rng(seed), 0.5
    timing = Timing(tau_pre=tau_pre, tau_post=tau_post, a_plus=1.0, a_minus=a_minus)
    mossy = (rng.random((20, 2, 3)) < 0.3).astype(np.float32)
    post = rng.integers(-1, 2, (20, 2, 4)).astype(np.float32)
    found = stdp.change(timing, dt, jnp.asarray(mossy), jnp.asarray(post))
    np.testing.assert_allclose(found, by_pairs(timing, dt, mossy, post), rtol=1e-4, atol=1e-4)


def test_the_teacher_fires_the_right_zone_at_twice_the_rate_and_all_at_the_mean_rate():
    labels = jnp.tile(jnp.arange(3, dtype=jnp.int32), 400)[None]
    spikes = np.asarray(stdp.teaching_spikes(DESIGN, labels, jax.random.key(1)))
    assert spikes.shape == (DESIGN.steps, 1_200, 12)
    right = DESIGN.zone(12) == np.asarray(labels)[0, :, None]
    rate = RATES["nuclei"]
    np.testing.assert_allclose(spikes[:, right].mean(), 2 * rate, atol=0.01)
    np.testing.assert_allclose(spikes[:, ~right].mean(), rate / 2, atol=0.01)
    two = replace(DESIGN, choices=(0, 2))
    spikes = np.asarray(stdp.teaching_spikes(two, 0 * labels, jax.random.key(1)))
    assert not spikes[..., two.zone(12) == 2].any()


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_weights_stay_between_their_bounds(sign):
    design = replace(DESIGN, largest_weight=25.0)
    net = network.build(design, jax.random.key(0))
    timing = Timing(a_plus=1.0, a_minus=0.0, w_min=0.02, w_max=0.3)
    mossy = jnp.ones((5, 1, DESIGN.mossy_fibers))
    post = jnp.full((5, 1, DESIGN.nuclei), sign)
    learner = network.begin(net, jax.random.key(0))
    after = stdp.teach(net, learner, timing, mossy, post, jnp.float32(1))
    initial = net.circuit.params.weights[stdp.PROJECTION]
    bound = network.bound(design, initial)
    np.testing.assert_allclose(bound, 25 * np.asarray(initial)[initial > 0].mean(), rtol=1e-5)
    wanted = bound * (0.3 if sign > 0 else 0.02)
    np.testing.assert_allclose(
        after.weights[stdp.PROJECTION], np.where(initial > 0, wanted, 0), rtol=1e-6
    )
    for name, weights in learner.weights.items():
        if name != stdp.PROJECTION:
            np.testing.assert_array_equal(after.weights[name], weights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau_pre": 0.0}, r"stdp.tau_pre: 0.0 ms; above 0"),
        ({"a_minus": -0.1}, r"stdp.a_minus: -0.1; 0 or above"),
        ({"w_min": 0.5, "w_max": 0.5}, r"stdp.w_min, w_max: 0.5, 0.5; shares"),
        ({"w_max": 1.5}, r"stdp.w_min, w_max: 0.0, 1.5; shares"),
    ],
)
def test_constants_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        Timing(**changes)
