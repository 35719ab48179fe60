"""Laws of the CUDA kernels beyond those of every backend, on a CPU by their emulation."""

import os
from dataclasses import replace
from functools import partial
from typing import Any

import chex
import emulated
import jax
import jax.numpy as jnp
import needed
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from test_conformance import tables

import cerebellum as cb
from cerebellum.backends.cuda import delivery_calls, operations
from cerebellum.model import delivery, events, fixed, noise, plasticity, primitives
from cerebellum.model.neurons import conductance, current, eglif
from cerebellum.model.plasticity import Closing, Synapses
from cerebellum.model.primitives import REFERENCE

BACKEND = emulated.BACKENDS["cuda-emulated"]


@pytest.fixture(scope="module", autouse=True)
def kernels():
    needed.emulation()


@pytest.fixture(params=["0", "3", "11"])
def order(request, monkeypatch):
    """Threads in the order of their numbers, and in two that are drawn."""
    monkeypatch.setenv("CEREBELLUM_EMULATE_SEED", request.param)
    return request.param


OURS = operations.on("cpu")


def lists(rng, sources, targets, fan, dtype, delays=None, step=0, depth=16) -> events.FanOut:
    """Lists, with delays of their own of a type, for a step."""
    table = jnp.asarray(tables(rng, sources, targets, fan, dtype))
    own = events.FanOut(targets=table)
    if delays is None:
        return own
    drawn = jnp.asarray(rng.integers(1, depth + 1, (sources, fan)), delays)
    return replace(own, delays=drawn).into_ring(jnp.int32(step), depth)


@examples(9)
@given(
    sources=st.sampled_from([1, 40, 1_030]),
    fan=st.sampled_from([1, 14, 600]),
    delays=st.sampled_from([None, "uint8", "uint16"]),
    share=st.sampled_from([0.02, 1.0]),
    members=st.sampled_from([0, 3]),
    clear=st.sampled_from(["whole", "where spikes arrive"]),
    seed=st.integers(0, 99),
)
def test_lists_and_rings(sources, fan, delays, share, members, clear, seed):
    """Lists of one weight as the reference, bit for bit; of others within a derived bound."""
    rng = np.random.default_rng(seed)
    targets, depth = 37, 16
    make = partial(lists, rng, sources, targets, fan, delays=delays, step=seed)
    fans = make(np.uint16), make(np.uint32), make(np.uint16)
    weights = jnp.float32(0.7), jnp.float32(-0.3), jnp.asarray(rng.normal(size=(sources, fan)))
    weights = tuple(jnp.asarray(x, jnp.float32) for x in weights)
    gains = None, jnp.asarray(rng.random(sources), jnp.float32), None
    shape = (targets,) if delays is None else (depth, targets)
    outs = tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in fans)
    fired = rng.random((members, sources) if members else sources) < share

    def run(table):
        def one(words):
            return events.push(words, fans, weights, outs, gains, sweep=table.sweep)

        return jax.jit(jax.vmap(one) if members else one)(events.pack(jnp.asarray(fired)))

    before = delivery_calls.CLEARED_BYTES
    delivery_calls.CLEARED_BYTES = before if clear == "whole" else -1
    try:
        ours = run(OURS)
    finally:
        delivery_calls.CLEARED_BYTES = before
    chex.assert_trees_all_equal(ours[0], run(REFERENCE)[0])
    for k in (1, 2):
        check_sums(ours[k], outs[k], fans[k], weights[k], gains[k], fired)


def check_sums(ours, out, fan, weight, gain, fired):
    """Each sum of n values is within n 2^-33 of the exact one, then rounded twice to 2^-24."""
    table, weight = np.asarray(fan.targets).astype(np.int64), np.asarray(weight)
    value = np.broadcast_to(weight, table.shape)
    if gain is not None:
        value = value * np.asarray(gain)[:, None]
    assert value.dtype == np.float32
    size = out.shape[-1]
    if fan.delays is not None:
        slot = (int(fan.row) + np.asarray(fan.delays).astype(np.int64)) % fan.depth
        table = np.where(table < size, slot * size + table, out.size)
    sums, spikes = np.asarray(ours).reshape(-1, out.size), np.atleast_2d(fired)
    for own, sent in zip(sums, spikes, strict=True):
        exact, count = np.zeros(out.size + 1), np.zeros(out.size + 1)
        places = np.minimum(table[sent], out.size)
        np.add.at(exact, places, value[sent].astype(np.float64))
        np.add.at(count, places, 1)
        total = exact[:-1] + np.asarray(out).reshape(-1)
        bound = count[:-1] * 2.0**-33 + 2.0**-24 * (abs(exact[:-1]) + abs(total))
        assert (abs(own - total) <= bound * (1 + 1e-6)).all()


@examples(9)
@given(
    count=st.sampled_from([1, 4, 12]),
    members=st.sampled_from([0, 2]),
    share=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 99),
)
def test_all_deliveries_of_a_step(count, members, share, seed):
    """Several onto the same targets, in their order, scaled or not, by lists, rings and rows."""
    rng = np.random.default_rng(seed)
    arrays = {
        "one": jnp.asarray(rng.normal(size=40), jnp.float32),
        "two": jnp.asarray(rng.normal(size=40), jnp.float32),
        "ring": jnp.asarray(rng.normal(size=(16, 7)), jnp.float32),
    }

    def make(number):
        sources, end = int(rng.choice([1, 64, 330])), str(rng.choice(["one", "two", "ring"]))
        scale = None
        if end == "ring":
            fan, weight = lists(rng, sources, 7, 3, np.uint16, np.uint8, step=seed), 0.5
        elif number % 3 == 0:
            fan, weight = lists(rng, sources, 40, 5, np.uint16), 0.3
            scale = jnp.linspace(0.5, 1.5, 40) if rng.random() < 0.4 else None
        else:
            # The last of the targets that a beam's rows have room for is none.
            fan, weight = (
                events.AllToAll(beams=3, unit=1e-5),
                rng.integers(0, 65_536, (sources, 14)),
            )
        weight = jnp.asarray(weight, jnp.uint16 if np.ndim(weight) else jnp.float32)
        fired = rng.random((members, sources) if members else sources) < share
        return events.pack(jnp.asarray(fired)), fan, weight, scale, end

    made = [make(number) for number in range(count)]

    def run(table):
        def one(words):
            sent = [
                delivery.Delivery(
                    words=word,
                    fans=(fan,),
                    weights=(weight,),
                    gains=(None,),
                    scales=(scale,),
                    ends=(end,),
                )
                for word, (_, fan, weight, scale, end) in zip(words, made, strict=True)
            ]
            return table.deliver(sent, arrays, table.sweep)

        words = [word for word, *_ in made]
        return jax.jit(jax.vmap(one) if members else one)(words)

    chex.assert_trees_all_equal(run(OURS), run(REFERENCE))


def test_more_projections_than_one_launch_takes():
    rng = np.random.default_rng(0)
    fans = tuple(lists(rng, 100, 20, 3, np.uint16) for _ in range(19))
    fans += (events.AllToAll(beams=3, unit=1e-5), events.AllToAll(beams=3))
    rows = jnp.asarray(rng.integers(0, 65_536, (100, 5)), jnp.uint16)
    weights = (*(jnp.float32(k + 1) for k in range(19)), rows, jnp.ones((100, 5)))
    outs = (*(jnp.zeros(20) for _ in range(19)), jnp.zeros(15), jnp.zeros(14))
    words = events.pack(jnp.asarray(rng.random(100) < 0.5))
    operands = words, fans, weights, outs
    ours = events.push(*operands, sweep=OURS.sweep)
    chex.assert_trees_all_equal(ours, events.push(*operands))


@pytest.mark.parametrize("width", [4, 6, 7])
def test_sums_of_levels_do_not_overflow(width):
    """65,600 spikes of the largest level: no sum of them fits in 32 bits."""
    weights = jnp.full((65_600, width), 65_535, jnp.uint16)
    words = jnp.full(2_050, 0xFFFFFFFF, jnp.uint32)
    fan = events.AllToAll(unit=1.0)
    operands = words, (fan,), (weights,), (jnp.zeros(width),)
    (ours,) = events.push(*operands, sweep=OURS.sweep)
    np.testing.assert_array_equal(ours, np.float32(65_600 * 65_535))


def test_a_weight_that_is_no_number_is_seen():
    fan = events.FanOut(targets=jnp.uint16([[0, 1], [1, 2]]))
    rows = events.AllToAll()
    weights = jnp.float32([[1, jnp.nan], [1, 1]]), jnp.float32([[1, jnp.inf, 0], [0, 1, 2]])
    operands = jnp.uint32([3]), (fan, rows), weights, (jnp.zeros(3), jnp.zeros(3))
    listed, summed = events.push(*operands, sweep=OURS.sweep)
    np.testing.assert_array_equal(listed, [1, jnp.nan, 1])
    np.testing.assert_array_equal(summed, [1, jnp.nan, 2])


def test_the_order_of_threads_changes_nothing(order):
    """Against one order, with everything that adds to the same targets."""
    rng = np.random.default_rng(5)
    fans = (
        lists(rng, 300, 7, 5, np.uint16),
        lists(rng, 300, 7, 5, np.uint32),
        lists(rng, 300, 7, 9, np.uint16, np.uint8, 5),
        events.AllToAll(beams=2),
        events.AllToAll(beams=2, unit=1e-5),
    )
    floats = jnp.asarray(rng.normal(size=(300, 9)), jnp.float32)
    levels = jnp.asarray(rng.integers(0, 65_536, (300, 9)), jnp.uint16)
    weights = jnp.float32(0.1), floats[:, :5], floats, floats, levels
    outs = (*(jnp.zeros(7),) * 2, jnp.zeros((16, 7)), *(jnp.zeros(18),) * 2)
    words = events.pack(jnp.asarray(rng.random((2, 300)) < 0.5))

    def push(words):
        return events.push(words, fans, weights, outs, sweep=OURS.sweep)

    ours = jax.jit(jax.vmap(push))(words)
    os.environ["CEREBELLUM_EMULATE_SEED"] = "0"
    chex.assert_trees_all_equal(ours, jax.jit(jax.vmap(push))(words))
    assert (ours[0] > 0).all()


CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "current": (current, {"tau_m": 8.0, "drive": 16.5, "v_leak": -1.0, "v_reset": -3.0}),
    "averaged": (conductance, {"i_e": 45.0, "c_m": 3.0}),
    "rk4": (conductance, {"i_e": 45.0, "integrator": "rk4"}),
    "alpha": (conductance, {"i_e": 45.0, "synapse": "alpha"}),
    "alpha, rk4": (conductance, {"i_e": 45.0, "synapse": "alpha", "integrator": "rk4"}),
    "eglif": (eglif, {"i_e": 5.0}),
    "eglif, 1": (eglif, {"i_e": 5.0, "e_rev": (0.0,), "tau_syn": (2.0,)}),
    "eglif, 3": (eglif, {"e_rev": (0.0, -80.0, 0.0), "tau_syn": (5.8, 13.61, 1.0), "i_e": 5.0}),
    "eglif, 4": (eglif, {"e_rev": (0.0,) * 4, "tau_syn": (5.8, 13.61, 1.0, 9.0), "i_e": 5.0}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("own", [False, True])
def test_cells(name, own):
    """Spikes as those of the reference, and states to the last bits, over 40 steps.

    A step of the reference rounds each of its operations once, as the kernel does, but XLA may
    round a product and a sum together, and its exponential function is another: so a step may
    differ by some 2^-23 of the largest term, and 40 steps by 40 times that, 5e-6.
    """
    model, values = CELLS[name]
    rng = np.random.default_rng(3)
    size, members, steps = 70, 2, 40
    params = model.Params(**values)
    if own:
        thresholds = params.v_th + rng.normal(0, 0.1, size)
        params = replace(
            params, v_th=jnp.asarray(thresholds, jnp.float32), t_ref=jnp.full(size, 2.0)
        )
    counter = jnp.uint16 if own else jnp.uint8
    initial = model.init(params, (members, size))
    initial = replace(initial, refractory=initial.refractory.astype(counter))
    weights = jnp.asarray(rng.exponential(0.3, (members, steps, size)), jnp.float32)
    uniform = jnp.asarray(rng.random((members, steps, size)), jnp.float32)
    injected = jnp.asarray(rng.normal(0, 1, (steps, 1)), jnp.float32)

    def run(table):
        def run_member(state, weights, uniform):
            def body(state, row):
                weight, drawn, amount = row
                input = model.outside(amount)
                if model.DRAWS_NOISE:
                    input = replace(input, uniform=drawn)
                state, spikes, words = table.integrate(model, params, state, input, 0.5, None)
                first, *others = model.receptors(state).items()
                receptors = {
                    first[0]: first[1] + weight,
                    **{k: x + 0.1 * weight for k, x in others},
                }
                return model.with_receptors(state, receptors), (spikes, words, state)

            return jax.lax.scan(body, state, (weights, uniform, injected))

        return jax.jit(jax.vmap(run_member))(initial, weights, uniform)[1]

    (spikes, words, ours), (their_spikes, their_words, theirs) = run(OURS), run(REFERENCE)
    assert 0 < their_spikes.mean() < 0.5
    chex.assert_trees_all_equal((spikes, words), (their_spikes, their_words))
    chex.assert_trees_all_close(ours, theirs, rtol=5e-6, atol=5e-5)
    chex.assert_trees_all_equal_dtypes(ours, theirs)


def test_cells_that_pass_gradients_and_others_are_the_references():
    """What has no kernel is not given to one."""
    state = current.init(current.Params(), (40,))
    wide = replace(state, v=state.v.astype(jnp.float16))
    five = eglif.Params(e_rev=(0.0,) * 5, tau_syn=(1.0,) * 5)
    cases = [
        (current, current.Params(), state, current.Input(), cb.Surrogate()),
        (current, current.Params(), wide, current.Input(), None),
        (current, current.Params(), state, current.Input(exc=jnp.ones(40)), None),
        (eglif, five, eglif.init(five, (40,)), eglif.Input(), None),
    ]
    for model, params, held, input, surrogate in cases:
        call = partial(OURS.integrate, model, params, dt=1.0, surrogate=surrogate)
        assert "ffi_call" not in str(jax.make_jaxpr(call)(held, input))
    call = partial(OURS.integrate, CELLS["current"][0], current.Params(), dt=1.0, surrogate=None)
    assert "ffi_call" in str(jax.make_jaxpr(lambda s: call(s, current.Input()))(state))


@pytest.mark.parametrize("kind", ["uint16", "float32", "lists"])
def test_settle_members(kind):
    """A batch of batches, in which members share what they do not own."""
    rng = np.random.default_rng(1)
    sources, width, beams = 60, 7, 2
    shape = (3, 2, sources, width)
    fan = events.AllToAll(beams=beams, unit=fixed.unit(0.5))
    weights = jnp.asarray(rng.uniform(0, 0.5, shape), jnp.float32)
    targets = beams * width
    if kind == "uint16":
        weights = fixed.encode(weights, 0.5)
    if kind == "lists":
        targets = 11
        fan = events.FanOut(targets=jnp.asarray(tables(rng, sources, targets, width, np.uint32)))
    words = events.pack(jnp.asarray(rng.random((3, sources)) < 0.3))
    change = jnp.asarray(rng.normal(0, 0.1, (2, targets)), jnp.float32)

    def run(table):
        def one(weights, words, change):
            closing = Closing(words=words, change=change, key=jnp.uint32([3, 1]))
            synapses = Synapses(
                fan=fan,
                contacts_key=jnp.uint32([7, 8]),
                rule=plasticity.Rule(teacher="t", per_spike=1e-3),
                dt=1.0,
                share=0.4 if kind != "lists" else 1.0,
                w_max=0.5,
            )
            return table.settle(weights, closing, synapses)

        inner = jax.vmap(one, in_axes=(0, None, 0))
        return jax.jit(jax.vmap(inner, in_axes=(0, 0, None)))(weights, words, change)

    ours, theirs = run(OURS), run(REFERENCE)
    chex.assert_trees_all_equal(ours, theirs)
    assert (ours != weights).any()


def test_draws_and_rings_of_members():
    keys = jnp.asarray(np.random.default_rng(0).integers(0, 2**32, (3, 2), np.uint32))
    chance = jnp.linspace(0.0, 1.0, 70)
    rings = jnp.arange(3 * 4 * 9, dtype=jnp.float32).reshape(3, 4, 9)

    def run(table):
        draw = partial(table.draw, name="x", cells=noise.CellRange(size=70, offset=5))
        own = jax.vmap(lambda key: draw(key, step=jnp.int32(9), chance=chance))(keys)
        steps = jax.vmap(lambda step: draw(keys[0], step=step, chance=chance[9:10]))(jnp.arange(4))
        same = jax.vmap(lambda ring: table.take(ring, jnp.int32(6)))(rings)
        return own, steps, same, jax.vmap(table.take)(rings, jnp.int32([1, 7, 8]))

    chex.assert_trees_all_equal(jax.jit(run, static_argnums=0)(OURS), run(REFERENCE))


def test_a_draw_of_every_chance():
    """At and beside the edges of what a chance can be, as the reference compares it."""
    edges = [0.0, 1e-45, 2.0**-64, 2.0**-33, 2.0**-32, 0.5, 1 - 2.0**-24, 1.0, 2.0, -1.0, np.nan]
    chance = jnp.asarray(np.repeat(edges, 40), jnp.float32)
    cells = noise.CellRange(size=chance.size)
    operands = jnp.uint32([1, 2]), "x", jnp.int32(3), chance, cells
    np.testing.assert_array_equal(OURS.draw(*operands), primitives.draw(*operands))
