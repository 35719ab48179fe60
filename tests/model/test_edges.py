"""Synapses with weights and delays of their own: laws, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model.neurons import current, relay
from cerebellum.model.surrogate import Surrogate

SIZES = {"mf": 40, "e": 50, "i": 20}


def own_spec(**changes) -> cb.Spec:
    populations = [cb.Population(name="mf", size=40, model="relay", params=relay.Params())]
    populations += [
        cb.Population(name=n, size=SIZES[n], model="current", params=current.Params(drive=14.0))
        for n in ("e", "i")
    ]
    ends = (("mf", "e", "exc"), ("e", "i", "exc"), ("i", "e", "inh"))
    projections = tuple(
        cb.Projection(source=s, target=t, receptor=r, weight=2.0, delay=1.0, in_degree=3)
        for s, t, r in ends
    )
    spec = cb.Spec(
        name="own", populations=tuple(populations), projections=projections, dt=0.1, **changes
    )
    return spec


def drawn(seed: int, source: str, target: str, number: int, longest: int = 30) -> cb.Edges:
    rng = np.random.default_rng(seed)
    pre, post = (rng.integers(0, SIZES[end], number) for end in (source, target))
    steps = rng.integers(1, longest + 1, number)
    return cb.Edges(pre, post, rng.uniform(1, 8, number), steps * 0.1)


def own_edges(seed: int) -> dict[str, cb.Edges]:
    return {"mf_e": drawn(seed, "mf", "e", 300), "e_i": drawn(seed + 1, "e", "i", 200)}


def run(circuit: cb.Circuit, ms: float = 100, calls: int = 1):
    state = cb.init(circuit, jax.random.key(1))
    trace = []
    for _ in range(calls):
        record = ("v:e", "raster:i")
        options = {"duration_ms": ms / calls, "record": record, "progress": False}
        state, recording = cb.simulate(circuit, state, {"mf": cb.drive.poisson(40.0)}, **options)
        trace.append(recording)
    return state, cb.record.join(trace)


def test_edges_between_two_ends_are_a_projection():
    """It computes what the projection that the spec lists does, and says its mean weight."""
    spec, edges = own_spec(), own_edges(0)
    ends = {"mf_e": ("mf", "e", "exc"), "e_i": ("e", "i", "exc")}
    listed = replace(spec, projections=spec.projections[:2])
    bare = replace(spec, projections=())
    one = cb.build(listed, 0, edges)
    other = cb.build(bare, 0, {ends[name]: each for name, each in edges.items()})
    assert run(one)[1].rasters["i"].time_ms.tolist() == run(other)[1].rasters["i"].time_ms.tolist()
    weight, delay = (np.mean(each) for each in (edges["mf_e"].weight, edges["mf_e"].delay))
    projection = other.spec.projections[0]
    assert projection.name == "mf_e"
    assert projection.weight == pytest.approx(weight)
    assert projection.delay == pytest.approx(delay, abs=0.05)


@pytest.mark.parametrize(
    ("name", "edges", "message"),
    [
        (("mf", "e"), drawn(0, "mf", "e", 3), r"a name, or \(source, target, receptor\)"),
        (("mf", "e", "exc"), cb.Edges([0], [1], 2.0), "without weights and delays"),
        (("mf", "e", "exc"), cb.Edges([], [], 2.0, 1.0), "none; at least one synapse"),
        (("mf", "x", "exc"), cb.Edges([0], [1], 2.0, 1.0), "population 'x'"),
        (("mf", "e", "ampa"), cb.Edges([0], [1], 2.0, 1.0), "ampa"),
    ],
)
def test_ends_that_are_wrong_are_refused(name, edges, message):
    with pytest.raises(UsageError, match=message):
        cb.build(replace(own_spec(), projections=()), 0, {name: edges})


def test_paths_and_backends_give_the_same():
    spec, edges = own_spec(), own_edges(0)
    kinds = [("event", "xla"), ("dense", "xla"), ("event", "auto")]
    results = [
        run(cb.build(spec, jax.random.key(0), edges, path=path, backend=backend))[1]
        for path, backend in kinds
    ]
    assert results[0].spikes["i"].sum() > 20
    for other in results[1:]:
        np.testing.assert_array_equal(other.spikes["e"], results[0].spikes["e"])
        np.testing.assert_array_equal(other.rasters["i"].cell, results[0].rasters["i"].cell)
        v, expected = (r.traces["v:e"].values for r in (other, results[0]))
        np.testing.assert_allclose(v, expected, atol=2e-4)


def test_a_run_in_several_calls_is_one_run():
    circuit = cb.build(own_spec(), jax.random.key(0), own_edges(0), path="event")
    (whole_state, whole), (parts_state, parts) = run(circuit), run(circuit, calls=4)
    np.testing.assert_array_equal(parts.traces["v:e"].values, whole.traces["v:e"].values)
    jax.tree.map(np.testing.assert_array_equal, parts_state, whole_state)


@settings(max_examples=6, deadline=None)
@given(delay=st.integers(1, 40), short=st.integers(1, 40), path=st.sampled_from(["event", "dense"]))
def test_a_spike_arrives_after_the_delay_of_each_synapse(delay, short, path):
    """One spike of cell 0 in step 4 reaches each target in the step 4 + delay, with its weight."""
    post, steps = np.array([0, 1, 1]), np.array([delay, short, short])
    edges = {"mf_e": cb.Edges([0, 0, 0], post, [1.0, 2.0, 4.0], steps * 0.1)}
    spec = own_spec()
    spec = replace(spec, projections=spec.projections[:1])
    circuit = cb.build(spec, jax.random.key(0), edges, path=path)
    spikes = np.zeros((60, 40))
    spikes[4, 0] = 1
    _, recording = cb.simulate(
        circuit, cb.init(circuit, jax.random.key(0)), {"mf": spikes}, record=["i_exc:e"]
    )
    trace = recording.traces["i_exc:e"].values
    for cell, weight in ((0, 1.0), (1, 6.0)):
        first = np.flatnonzero(trace[:, cell])[0]
        assert first == 4 + steps[cell]
        assert trace[first, cell] == weight
    assert not trace[:, 2:].any()


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 1000), number=st.integers(0, 200), path=st.sampled_from(["event", "dense"])
)
def test_edges_come_back_as_they_were_given(seed, number, path):
    given_edges = drawn(seed, "mf", "e", number)
    circuit = cb.build(own_spec(), jax.random.key(0), {"mf_e": given_edges}, path=path)
    back = circuit.edges("mf_e")
    for edges in (given_edges, back):
        assert len(edges) == number

    def rows(edges: cb.Edges) -> list[tuple]:
        weight = np.broadcast_to(np.float32(edges.weight), edges.pre.shape)
        steps = np.round(np.broadcast_to(edges.delay, edges.pre.shape) / 0.1)
        columns = edges.pre, edges.post, weight, steps
        return sorted(zip(*(column.tolist() for column in columns), strict=True))

    assert rows(back) == rows(given_edges)


def test_multapses_are_merged_on_request():
    pre, post = [0, 0, 0, 1], [2, 2, 2, 2]
    weight, delay = [1.0, 2.0, 4.0, 8.0], [0.5, 0.5, 0.7, 0.5]
    merged = cb.Edges(pre, post, weight, delay, multapses="merge")
    circuit = cb.build(own_spec(), jax.random.key(0), {"mf_e": merged})
    back = circuit.edges("mf_e")
    assert sorted(back.weight.tolist()) == [3.0, 4.0, 8.0]


def test_weights_have_gradients():
    """A weight that arrives in time has the gradient of a finite difference."""
    spec = own_spec(surrogate=Surrogate())
    circuit = cb.build(spec, jax.random.key(0), own_edges(0), path="dense")
    weights, state = circuit.params.weights, cb.init(circuit, jax.random.key(0))
    fired = jnp.zeros((40, 40)).at[2].set(1.0)

    def voltage(factor):
        params = replace(circuit.params, weights={**weights, "mf_e": weights["mf_e"] * factor})

        def step(state, spikes):
            state, _ = cb.step(params, circuit.wiring, state, {"mf": spikes})
            return state, state.cells["e"].v.sum()

        return jax.lax.scan(step, state, fired)[1][:15].sum()

    slope = (voltage(1.01) - voltage(0.99)) / 0.02
    np.testing.assert_allclose(jax.grad(voltage)(1.0), slope, rtol=1e-2)
    assert slope > 1


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (lambda: cb.build(own_spec(), 0, cb.Edges([0], [0])), "edges: Edges; a dictionary"),
        (lambda: cb.Edges([0, 1], [0]), "2 pre and 1 post"),
        (
            lambda: cb.Spec("x", (cb.Population("e", 2, "current", {"v_th": None}),)),
            "e.params.v_th: None; a number",
        ),
        (lambda: cb.Edges([0.5], [0]), "whole numbers"),
        (lambda: cb.Edges([0], [0], [1.0, 2.0]), r"weight \[2\]; \[1\]"),
        (lambda: cb.Edges([0], [0], ["a"]), "weight .*; numbers"),
        (lambda: cb.Edges([40], [0]), "pre 40; numbered 0 to 39"),
        (lambda: cb.Edges([0], [-1]), "post -1"),
        (lambda: cb.Edges([0], [0], -1.0), "weight -1; finite, zero or more"),
        (lambda: cb.Edges([0], [0], np.nan), "weight nan"),
        (lambda: cb.Edges([0], [0], 1.0, 0.25), "delay 0.25 ms; a multiple of the step"),
        (lambda: cb.Edges([0], [0], 1.0, 0.0), "delay 0 ms; from one step"),
        (lambda: cb.Edges([0], [0], 1.0, 1500.0), "delay 1500 ms; from one step .* to 1000 ms"),
        (lambda: cb.Edges([0], [0], multapses="sum"), "multapses 'sum'; one of keep, merge"),
        (lambda: [[0, 1]], "list; cb.Edges"),
    ],
)
def test_wrong_edges_are_refused(edges, message):
    with pytest.raises(UsageError, match=message):
        cb.build(own_spec(), jax.random.key(0), {"mf_e": edges()})


def test_a_wrong_name_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="'mf_ee': perhaps mf_e"):
        cb.build(own_spec(), jax.random.key(0), {"mf_ee": cb.Edges([0], [0])})


def plastic_spec(beams: int = 1) -> cb.Spec:
    rule = cb.Rule(teacher="e", per_spike=-0.01, per_pair=0.1, tau=10.0, window=20.0)
    spec = own_spec(beams=beams)
    changes = {"plastic": True, "w_max": 20.0, "rule": rule}
    return spec.with_projection("mf_e", **changes)


def test_plastic_synapses_with_delays_of_their_own_learn_alike_on_both_paths():
    learned = []
    for path in ("event", "dense"):
        circuit = cb.build(plastic_spec(), jax.random.key(0), own_edges(0), path=path)
        state, _ = run(circuit)
        first, later = circuit.edges("mf_e"), circuit.edges("mf_e", state)
        assert np.ptp(later.weight - first.weight) > 0.05
        np.testing.assert_array_equal(later.delay, first.delay)
        learned.append(later.weight)
    np.testing.assert_allclose(learned[0], learned[1], atol=1e-4)


@pytest.mark.parametrize("path", ["event", "dense"])
def test_a_checkpoint_holds_edges_and_what_is_on_its_way(tmp_path, path):
    from cerebellum import store
    from cerebellum.store import snapshot

    circuit = cb.build(plastic_spec(), jax.random.key(0), own_edges(0), path=path)
    state, _ = run(circuit, 50)
    assert np.any(state.arrivals["e.exc"])
    tree, about = snapshot.tree(circuit, state), snapshot.about(circuit)
    store.write(tmp_path, int(state.step), tree, about)
    back, loaded = snapshot.restore(store.newest(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, loaded, state)
    drive = {"mf": cb.drive.poisson(40.0)}
    results = [
        cb.simulate(c, s, drive, duration_ms=20, record=("v:e",), progress=False)[1]
        for c, s in ((circuit, state), (back, loaded))
    ]
    values = [result.traces["v:e"].values for result in results]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("path", ["event", "dense"])
def test_synapses_that_have_learned_to_weigh_nothing_are_still_there(path):
    falls = cb.Rule(teacher="b", per_spike=-0.1, per_pair=0.0, tau=20.0, window=100.0)
    link = {"weight": 2.0, "delay": 1.0, "in_degree": 5, "rule": falls, "w_max": 4.0}
    populations = (cb.Population("a", 20, "relay"), cb.Population("b", 10, "current"))
    spec = cb.Spec("falling", populations, (cb.Projection("a", "b", "exc", **link),))
    circuit = cb.build(spec, 0, path=path)
    state, _ = cb.simulate(circuit, None, {"a": cb.drive.poisson(45.0)}, duration_ms=1_000)
    before, after = circuit.edges("a_b"), circuit.edges("a_b", state)
    assert (after.weight == 0).sum() > 10
    np.testing.assert_array_equal(after.pre, before.pre)
    np.testing.assert_array_equal(after.post, before.post)


def in_beams(edges: cb.Edges, source: str, target: str) -> cb.Edges:
    """Those of the edges that stay within one of two beams."""
    halves = [
        cells >= SIZES[end] // 2 for cells, end in ((edges.pre, source), (edges.post, target))
    ]
    keep = halves[0] == halves[1]
    return cb.Edges(edges.pre[keep], edges.post[keep], edges.weight[keep], edges.delay[keep])


def test_a_synapse_stays_in_its_beam():
    with pytest.raises(UsageError, match="a synapse stays in its beam"):
        cb.build(own_spec(beams=2), jax.random.key(0), {"mf_e": cb.Edges([0], [49])})


def test_copies_have_arrivals_of_their_own():
    circuit = cb.build(own_spec(), jax.random.key(0), own_edges(0), path="event")
    keys = jax.random.split(jax.random.key(5), 3)
    drive, options = {"mf": cb.drive.poisson(40.0)}, {"duration_ms": 40, "progress": False}
    states = jax.vmap(cb.init, (None, 0))(circuit, keys)
    _, together = cb.simulate_batch(circuit, states, drive, **options)
    for key, recording in zip(keys, together, strict=True):
        _, alone = cb.simulate(circuit, cb.init(circuit, key), drive, **options)
        np.testing.assert_array_equal(recording.spikes["e"], alone.spikes["e"])
