"""Events: nothing lost, and two paths with one answer."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads
from laws import examples

from cerebellum.model import events

SIZES = st.sampled_from([1, 31, 32, 33, 700, 2_100])
SHARES = st.sampled_from([0.0, 0.003, 0.1, 0.7, 1.0])


def problem(n: int, targets: int, fan: int, share: float, seed: int, kind: str):
    """Spikes [n], a fan, its weights and first targets' values, in double precision."""
    rng = np.random.default_rng(seed)
    spikes = (rng.random(n) < share).astype(float)
    out = rng.normal(size=targets)
    if kind == "all-to-all":
        return spikes, events.AllToAll(), rng.normal(size=(n, targets)), out
    table = rng.integers(0, targets, (n, fan)).astype(np.uint16)
    unused = rng.random((n, fan)) < 0.3
    table[unused] = np.iinfo(np.uint16).max
    table = np.take_along_axis(table, np.argsort(unused, axis=1, kind="stable"), axis=1)
    weight = np.asarray(0.7) if kind == "scalar" else rng.normal(size=(n, fan))
    return spikes, events.FanOut(targets=jnp.asarray(table)), weight, out


KINDS = st.sampled_from(["fan-out", "scalar", "all-to-all"])


@examples(30)
@given(n=SIZES, share=SHARES, seed=st.integers(0, 99))
def test_pack_unpack_count_select(n, share, seed):
    spikes = np.random.default_rng(seed).random(n) < share
    words = events.pack(jnp.asarray(spikes))
    chex.assert_shape(words, (-(-n // 32),))
    chex.assert_type(words, jnp.uint32)
    np.testing.assert_array_equal(events.unpack(words, n), spikes)
    assert events.count(words) == spikes.sum()
    ranks = jnp.arange(n)
    cells = events.select(words, events.tally(words), ranks)
    np.testing.assert_array_equal(cells[: spikes.sum()], np.flatnonzero(spikes))
    assert (np.asarray(cells) < len(words) * 32).all()


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 100])
def test_all_cells_are_those_packed(n):
    packed = events.pack(jnp.ones(n)) if n else np.zeros(0, np.uint32)
    np.testing.assert_array_equal(events.all_of(n), packed)
    assert events.all_of(n).dtype == jnp.uint32


@partial(jax.jit, static_argnames="path")
def arrived(spikes, fan, weight, out, path):
    """What arrives by a path."""
    if path == "dense":
        return events.dense(spikes, fan, weight, out)
    return events.push(events.pack(spikes), (fan,), (weight,), (out,))[0]


@examples(30)
@given(
    n=st.sampled_from([1, 33, 2_100]),
    targets=st.sampled_from([1, 40]),
    share=SHARES,
    seed=st.integers(0, 99),
    kind=KINDS,
)
def test_event_and_dense_paths_agree(n, targets, share, seed, kind):
    spikes, fan, weight, out = problem(n, targets, 5, share, seed, kind)
    with jax.enable_x64(True):
        operands = jnp.asarray(spikes), fan, jnp.asarray(weight), jnp.asarray(out)
        event, dense = (arrived(*operands, path) for path in ("event", "dense"))
        assert event.dtype == jnp.float64
        chex.assert_trees_all_close(event, dense, atol=1e-10)


@pytest.mark.parametrize("kind", ["fan-out", "scalar", "all-to-all"])
def test_the_gradient_is_the_true_one(kind):
    """Against finite differences in double precision, for graded spikes."""
    _, fan, weight, out = problem(50, 7, 4, 0.5, 3, kind)
    graded = np.random.default_rng(0).random(50)
    with jax.enable_x64(True):
        check_grads(
            lambda s, w, o: jnp.sum(events.dense(s, fan, w, o) ** 2),
            tuple(map(jnp.asarray, (graded, weight, out))),
            order=1,
            modes=["rev"],
        )


@examples(15)
@given(n=st.sampled_from([40, 700]), share=SHARES, seed=st.integers(0, 99))
def test_every_contact_is_delivered_once(n, share, seed):
    """Integer weights: sums are exact, so a lost or doubled event cannot hide."""
    spikes, fan, _, _ = problem(n, 40, 6, share, seed, "fan-out")
    got = events.push(
        events.pack(jnp.asarray(spikes)), (fan,), (jnp.float32(1),), (jnp.zeros(40),)
    )[0]
    table = np.asarray(fan.targets)  # pyright: ignore
    want = np.zeros(40)
    source, place = np.nonzero(table < 40)
    np.add.at(want, table[source, place], spikes[source])
    np.testing.assert_array_equal(got, want)


@jax.jit
def pushed(words, fan, weight, out):
    return events.push(words, (fan,), (weight,), (out,))[0]


@partial(jax.jit, static_argnames="axis")
def pushed_batch(words, fan, weight, out, axis):
    """The same for every member of a batch, whose weights lie along an axis or are shared."""
    return jax.vmap(pushed, in_axes=(0, None, axis, 0))(words, fan, weight, out)


@examples(15)
@given(
    members=st.sampled_from([1, 3]),
    share=SHARES,
    seed=st.integers(0, 99),
    kind=KINDS,
    own_weights=st.booleans(),
)
def test_a_batch_is_its_members(members, share, seed, kind, own_weights):
    problems = [problem(130, 20, 5, share, seed + m, kind) for m in range(members)]
    fan = problems[0][1]
    words = jnp.stack([events.pack(jnp.asarray(p[0])) for p in problems])
    weights = jnp.stack([jnp.asarray(p[2], jnp.float32) for p in problems])
    weights = weights if own_weights else weights[0]
    outs = jnp.stack([jnp.asarray(p[3], jnp.float32) for p in problems])

    got = pushed_batch(words, fan, weights, outs, 0 if own_weights else None)
    for m in range(members):
        want = pushed(words[m], fan, weights[m] if own_weights else weights, outs[m])
        np.testing.assert_allclose(got[m], want, rtol=1e-5, atol=1e-5)


def test_a_batch_of_batches():
    _, fan, weight, out = problem(70, 9, 3, 0.5, 0, "fan-out")
    words = events.pack(jax.random.bernoulli(jax.random.key(0), 0.3, (2, 4, 70)))
    weights = jnp.asarray(np.stack([weight, 2 * weight]), jnp.float32)
    out = jnp.asarray(out, jnp.float32)

    def one(words, weight):
        return events.push(words, (fan,), (weight,), (out,))[0]

    got = jax.vmap(jax.vmap(one, in_axes=(0, None)))(words, weights)
    for a in range(2):
        for b in range(4):
            np.testing.assert_allclose(
                got[a, b], one(words[a, b], weights[a]), rtol=1e-5, atol=1e-5
            )


def test_the_loop_over_events_is_never_mapped():
    """Under vmap the while loop keeps a scalar counter: no member waits for another."""
    _, fan, weight, _ = problem(70, 9, 3, 0.5, 0, "fan-out")
    weight = jnp.asarray(weight, jnp.float32)

    def one(words):
        return events.push(words, (fan,), (weight,), (jnp.zeros(9),))[0]

    text = str(jax.make_jaxpr(jax.vmap(one))(jnp.zeros((8, 3), jnp.uint32)))
    assert "while[" in text
    loops = [line for line in text.splitlines() if "while[" in line]
    assert all(":i32[] " in line and "i32[8]" not in line for line in loops)


@pytest.mark.parametrize("kind", ["fan-out", "all-to-all"])
def test_training_through_a_batch(kind):
    """The gradient of shared weights is the sum of those of the members, without an array of those.

    One that had a weight of each member would take a batch's times its memory and its time.
    """
    members, cells, targets = 64, 130, 20
    _, fan, weight, _ = problem(cells, targets, 5, 0.5, 0, kind)
    spikes = jax.random.bernoulli(jax.random.key(1), 0.2, (members, cells)).astype(jnp.float32)
    weight = jnp.asarray(weight, jnp.float32)

    def loss(weight, spikes):
        out = jax.vmap(lambda s: events.dense(s, fan, weight, jnp.zeros(targets)))(spikes)
        return jnp.sum(out**2)

    each = [jax.grad(loss)(weight, s[None]) for s in spikes]
    got = jax.jit(jax.grad(loss))
    np.testing.assert_allclose(got(weight, spikes), sum(each), rtol=1e-4, atol=1e-4)
    if kind == "all-to-all":
        taken = got.lower(weight, spikes).compile().memory_analysis().temp_size_in_bytes
        assert taken < members * weight.nbytes / 4


def test_unused_batch_of_silence():
    out = events.push(
        jnp.zeros(3, jnp.uint32), (events.AllToAll(),), (jnp.ones((70, 4)),), (jnp.full(4, 2.0),)
    )
    np.testing.assert_array_equal(out[0], np.full(4, 2.0))
