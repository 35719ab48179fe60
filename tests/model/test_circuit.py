"""Laws of the step."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import KEEPS, as_double, feed_forward, matrix, run, spikes
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model.neurons import conductance

KEY = jax.random.key(0)


@examples(12)
@given(
    sources=st.sampled_from([5, 40]),
    targets=st.sampled_from([3, 30]),
    share=st.sampled_from([0.02, 0.3, 1.0]),
    delays=st.sampled_from([(1.0,), (2.0, 5.0), (3.0, 3.0)]),
    path=st.sampled_from(["event", "dense"]),
    dt=st.sampled_from([1.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_every_spike_arrives_once_per_contact_after_its_delay(
    sources, targets, share, delays, path, dt, seed
):
    """Up to all cells firing in every step; targets count what arrives and forget nothing."""
    spec = feed_forward(sources, targets, sources / 3, delays=delays, cell=KEEPS, dt=dt)
    circuit = cb.build(spec, jax.random.key(seed), path=path)
    sent = spikes(25, sources, share, seed)
    _, (_, cells) = run(circuit, cb.init(circuit, KEY), {"input": sent})
    for receptor in ("exc", "inh"):
        want = np.zeros((25, targets))
        for projection in spec.projections:
            if projection.receptor == receptor:
                late = round(projection.delay / dt)
                want[late:] += sent[: 25 - late] @ matrix(circuit, projection.name)
        got = getattr(cells["cells"], receptor).g
        np.testing.assert_array_equal(got, np.cumsum(want, axis=0))


@examples(10)
@given(
    sources=st.sampled_from([20, 50]),
    share=st.sampled_from([0.05, 0.5]),
    delays=st.sampled_from([(1.0,), (1.0, 2.0)]),
    seed=st.integers(0, 99),
)
def test_event_and_dense_circuits_fire_alike(sources, share, delays, seed):
    """In double precision: the two paths add in different orders."""
    spec = feed_forward(sources, 25, sources / 2, delays=delays, weight=1.5, dt=0.5)
    drive = {"input": spikes(80, sources, share, seed)}
    fired = {}
    for path in ("event", "dense"):
        circuit = cb.build(spec, jax.random.key(seed), path=path)
        with jax.enable_x64(True):
            circuit, state = as_double(circuit), as_double(cb.init(circuit, KEY))
            _, (z, _) = run(circuit, state, as_double(jax.tree.map(jnp.asarray, drive)))
            fired[path] = np.asarray(z["cells"])
    np.testing.assert_array_equal(fired["event"], fired["dense"])
    assert share < 0.5 or fired["event"].any()


def test_refractory_cells_are_silent():
    circuit = cb.build(feed_forward(30, 20, 20, weight=40.0, dt=0.5), KEY, path="event")
    drive = {"input": np.ones((100, 30), np.float32)}
    _, (z, _) = run(circuit, cb.init(circuit, KEY), drive)
    for train in np.asarray(z["cells"]).T:
        times = np.flatnonzero(train)
        assert len(times) > 5
        assert np.diff(times).min() > 3


@pytest.mark.parametrize(("path", "dt"), [("event", 0.1), ("event", 1.0), ("dense", 1.0)])
def test_all_cells_firing_all_the_time_is_finite(path, dt):
    circuit = cb.build(cb.presets.mouse(scale=0.003, dt=dt), KEY, path=path)
    size = circuit.spec.population("glomerulus").size
    drive = {"glomerulus": np.ones((200, size), np.float32)}
    state, (z, _) = run(circuit, cb.init(circuit, KEY), drive)
    chex.assert_tree_all_finite(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), state))
    assert np.asarray(z["granule"]).mean() > 0.05 * dt


def test_one_trace(small_mouse):
    """Neither data nor time nor a quiet or busy step compiles anything again."""

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(params, wiring, state, drive):
        return cb.step(params, wiring, state, drive)

    state = cb.init(small_mouse, KEY)
    size = small_mouse.spec.population("glomerulus").size
    for share in (0.0, 0.01, 1.0, 0.0):
        drive = {"glomerulus": jnp.asarray(spikes(1, size, share, 0)[0])}
        state, _ = step(small_mouse.params, small_mouse.wiring, state, drive)
    assert int(state.step) == 4


def test_shapes_and_types_are_kept(small_mouse):
    state = cb.init(small_mouse, KEY)
    after, activity = jax.eval_shape(cb.step, small_mouse.params, small_mouse.wiring, state, {})
    chex.assert_trees_all_equal_shapes_and_dtypes(after, jax.eval_shape(lambda: state))
    for population in small_mouse.spec.populations:
        chex.assert_shape(activity.spikes[population.name], (population.size,))


def test_no_two_arrays_of_a_state_share_memory(small_mouse):
    """Or it could not be donated."""
    leaves = jax.tree.leaves(cb.init(small_mouse, KEY))
    pointers = [leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size > 1]
    assert len(set(pointers)) == len(pointers)


def test_the_compiled_step_copies_no_weights(small_mouse):
    """A hidden copy of the state's weights would show as temporary memory."""
    circuit = cb.build(cb.presets.mouse(scale=0.1), KEY, path="event")
    state = cb.init(circuit, KEY)

    def steps(params, wiring, state):
        def body(state, _):
            return cb.step(params, wiring, state, {})[0], None

        return jax.lax.scan(body, state, None, length=10)[0]

    compiled = jax.jit(steps, donate_argnums=2).lower(circuit.params, circuit.wiring, state)
    memory = compiled.compile().memory_analysis()
    weights = sum(w.nbytes for w in state.weights.values())
    assert memory is not None
    assert memory.temp_size_in_bytes < weights / 4


def test_current_drives_cells():
    """The olive is silent unless driven, and its climbing fibres reach Purkinje cells."""
    circuit = cb.build(cb.presets.mouse(scale=0.003), KEY, path="event")
    olive = circuit.spec.population("inferior_olive").size
    current = np.zeros((600, olive), np.float32)
    current[100:] = 400.0
    _, (z, cells) = run(circuit, cb.init(circuit, KEY), {"inferior_olive": current})
    fired = np.asarray(z["inferior_olive"])
    assert not fired[:100].any()
    assert (fired[100:].sum(axis=0) >= 2).all()
    first_spike = np.flatnonzero(fired.any(axis=1))[0]
    assert cells["purkinje"].exc.g[first_spike + 39].max() < 100
    assert cells["purkinje"].exc.g[first_spike + 40].max() >= 300


def test_plastic_weights_live_in_the_state_and_are_used_from_there():
    circuit = cb.build(feed_forward(9, 7, 3, plastic=True, cell=KEEPS), KEY, path="event")
    state = cb.init(circuit, KEY)
    name = "input_p0_cells"
    assert list(state.weights) == [name]
    doubled = replace(state, weights={name: 2 * state.weights[name]})
    drive = {"input": np.ones((3, 9), np.float32)}
    g = [run(circuit, s, drive)[0].cells["cells"].exc.g for s in (state, doubled)]
    np.testing.assert_array_equal(2 * g[0], g[1])
    going_on = cb.consolidate(circuit, doubled)
    np.testing.assert_array_equal(going_on.params.weights[name], doubled.weights[name])
    chex.assert_trees_all_equal(going_on.params.cells, circuit.params.cells)
    cb.simulate(going_on, doubled, duration_ms=5)
    assert cb.init(going_on, KEY).weights[name].sum() > 0


def test_spread_voltages_and_leak():
    circuit = cb.build(feed_forward(9, 500, 3), KEY, path="event")
    at_leak = cb.init(circuit, KEY).cells["cells"].v
    assert (at_leak == conductance.Params().e_l).all()
    spread = cb.init(circuit, KEY, spread=True).cells["cells"].v
    assert -84 <= spread.min() < -82
    assert -44 < spread.max() <= -42
    other = cb.init(circuit, jax.random.key(1), spread=True).cells["cells"].v
    assert (spread != other).any()


@pytest.mark.parametrize(("t_ref", "counter"), [(25.5, "uint8"), (25.6, "uint16")])
def test_a_refractory_period_of_any_length_is_kept(t_ref, counter):
    """Over 255 steps it is counted in uint16; a current this strong fires a cell at once."""
    cell = replace(conductance.Params(), t_ref=t_ref)
    circuit = cb.build(feed_forward(9, 7, 3, cell=cell, dt=0.1), KEY, path="event")
    state = cb.init(circuit, KEY)
    assert state.cells["cells"].refractory.dtype == counter
    drive = {"cells": np.full((600, 7), 1e5, np.float32)}
    fired = np.flatnonzero(np.asarray(run(circuit, state, drive)[1][0]["cells"])[:, 0])
    assert np.diff(fired).tolist() == [round(t_ref / 0.1) + 1] * 2


def test_the_large_circuit_runs_at_steps_that_its_olive_takes_over_255_of():
    """Its refractory period is 20 ms; a step may be as short as its other delays allow."""
    spec = cb.presets.beams(1_000, dt=0.05)
    circuit = cb.build(spec, KEY, path="event")
    state = cb.init(circuit, KEY)
    assert state.cells["inferior_olive"].refractory.dtype == "uint16"
    assert state.cells["granule"].refractory.dtype == "uint8"
    after, recording = cb.simulate(
        circuit, state, {"mossy_fiber": cb.drive.poisson(100.0)}, duration_ms=20, progress=False
    )
    assert after.cells["inferior_olive"].refractory.dtype == "uint16"
    assert recording.spikes["mossy_fiber"].sum() > 0


@pytest.mark.parametrize("value", [0.3, 1.0, 7.0, 0.0, -1.0])
def test_relays_fire_or_do_not_on_both_paths(value):
    drive = {"input": np.full((5, 9), value, np.float32)}
    g = {}
    for path in ("event", "dense"):
        circuit = cb.build(feed_forward(9, 7, 3, cell=KEEPS), KEY, path=path)
        g[path] = run(circuit, cb.init(circuit, KEY), drive)[0].cells["cells"].exc.g
    np.testing.assert_array_equal(g["event"], g["dense"])
    np.testing.assert_array_equal(g["event"], 12.0 if value > 0 else 0.0)


def test_other_kinds_of_key_are_refused():
    circuit = cb.build(feed_forward(9, 7, 3), KEY, path="event")
    with pytest.raises(UsageError, match="key: 4 words; a threefry key"):
        cb.init(circuit, jax.random.key(0, impl="rbg"))


def test_an_unknown_population_is_refused():
    circuit = cb.build(feed_forward(9, 7, 3), KEY, path="event")
    with pytest.raises(UsageError, match="population 'granula': feed_forward has input, cells"):
        cb.step(circuit.params, circuit.wiring, cb.init(circuit, KEY), {"granula": jnp.ones(9)})


def test_relays_pass_spikes_on():
    """Mossy fibre to glomerulus: a relay fires one step after a spike arrives, once."""
    spec = feed_forward(4, 4, 4)
    inputs = replace(spec.populations[0], name="mossy_fiber")
    glomerulus = replace(spec.populations[0], name="glomerulus")
    projection = replace(
        spec.projections[0], source="mossy_fiber", target="glomerulus", receptor="spikes", delay=2.0
    )
    spec = replace(spec, populations=(inputs, glomerulus), projections=(projection,))
    circuit = cb.build(spec, KEY, path="event")
    drive = np.zeros((6, 4), np.float32)
    drive[1] = 1
    _, (z, _) = run(circuit, cb.init(circuit, KEY), {"mossy_fiber": drive})
    np.testing.assert_array_equal(np.asarray(z["glomerulus"]).sum(axis=1), [0, 0, 0, 0, 4, 0])


@pytest.mark.parametrize("train", ["weights", "cells"])
def test_the_dense_path_has_gradients(train):
    """Voltages follow weights and cell parameters through many steps; checked by differences."""
    spec = feed_forward(12, 5, 6, cell=conductance.Params(v_th=1e9), weight=0.3)
    circuit = cb.build(spec, KEY, path="dense")
    drive = {"input": spikes(20, 12, 0.3, 0)}
    with jax.enable_x64(True):
        circuit, state = as_double(circuit), as_double(cb.init(circuit, KEY))
        drive = as_double(jax.tree.map(jnp.asarray, drive))

        def loss(scale):
            params = circuit.params
            if train == "weights":
                weights = {name: w * scale for name, w in params.weights.items()}
                params = replace(params, weights=weights)
            else:
                cell = params.cells["cells"]
                cells = {**params.cells, "cells": replace(cell, tau_m=cell.tau_m * scale)}
                params = replace(params, cells=cells)

            def body(state, now):
                return cb.step(params, circuit.wiring, state, now)[0], None

            return jnp.sum(jax.lax.scan(body, state, drive)[0].cells["cells"].v)

        got = jax.grad(loss)(jnp.float64(1.0))
        want = (loss(jnp.float64(1 + 1e-6)) - loss(jnp.float64(1 - 1e-6))) / 2e-6
        assert abs(float(want)) > 1e-3
        assert float(got) == pytest.approx(float(want), rel=1e-5)
