"""Delivery when spikes arrive gives what delivery when they are emitted gives, bit for bit."""

import itertools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from needed import need
from threads import printed

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends.cpu import BACKEND, deferred
from cerebellum.model import collect
from cerebellum.model.circuit import ring_of, rings
from cerebellum.model.events import FanOut
from cerebellum.model.short_term import ShortTerm

SIZES = {"mf": 40, "e": 50, "i": 33}
DRIVE = {"mf": cb.drive.poisson(60.0)}


def spec(longest_ms: float = 2.0) -> cb.Spec:
    """Two projections of one source into one ring, a ring less deep, and delays of one kind.

    The rings are not in the order of their names, and differ in size.
    """
    relays = cb.Population("mf", SIZES["mf"], "relay")
    cells = [cb.Population(n, SIZES[n], "current", {"drive": 14.0}) for n in ("e", "i")]
    late = cb.Normal(longest_ms / 2, longest_ms / 4, low=0.1, high=longest_ms)
    brief = cb.Normal(0.5, 0.2, low=0.1, high=0.9)
    each = cb.Normal(3.0, 1.0, low=0.1)
    projections = (
        cb.Projection("mf", "i", "exc", weight=each, delay=late, in_degree=5),
        cb.Projection("i", "e", "inh", weight=each, delay=brief, in_degree=3),
        cb.Projection("mf", "e", "exc", weight=each, delay=late, in_degree=6),
        cb.Projection("mf", "e", "exc", weight=2.0, delay=late, in_degree=4, label="again"),
        cb.Projection("e", "i", "exc", weight=each, delay=late, in_degree=5),
        cb.Projection("e", "e", "exc", weight=0.5, delay=1.0, in_degree=2),
    )
    return cb.Spec("deferred", (relays, *cells), projections, dt=0.1)


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Deferred delivery for rings of any size."""
    why = BACKEND.unavailable(jax.default_backend())
    need(None if why is None else f"native: {why}")
    monkeypatch.setattr(deferred, "LEAST_BYTES", 0)
    monkeypatch.setattr(deferred, "LEAST_SLICE", 0)
    monkeypatch.setattr(deferred, "LEAST_STEPS", 0)


def run(circuit: cb.Circuit, spans_ms: list[float], chunk_steps: int = 1_000, state=None):
    """The state and the spikes of runs one after the other, as if each were restored."""
    state = cb.init(circuit, 1) if state is None else state
    rasters = []
    for span in spans_ms:
        state = jax.tree.map(np.asarray, state)
        options = {"duration_ms": span, "chunk_steps": chunk_steps, "progress": False}
        record = ("raster:e", "raster:i")
        state, recording = cb.simulate(circuit, state, DRIVE, record=record, **options)
        rasters.append(recording.rasters)
    spikes = {
        name: [
            np.concatenate([getattr(x[name], of) for x in rasters]) for of in ("time_ms", "cell")
        ]
        for name in rasters[0]
    }
    return jax.tree.map(np.asarray, state), spikes


def reference(circuit: cb.Circuit, *arguments):
    """The same by XLA, which delivers spikes when they are emitted."""
    return run(replace(circuit, backend="xla"), *arguments)


def test_it_is_used(monkeypatch):
    circuit = cb.build(spec(), 0, path="event", backend="native")
    called = []
    arrive = deferred.arrive
    monkeypatch.setattr(deferred, "arrive", lambda *x: called.append(1) or arrive(*x))
    run(circuit, [1.3], 13)
    assert called


@pytest.mark.parametrize("longest_ms", [2.0, 30.0])
def test_all_is_as_in_the_reference(longest_ms):
    """At every cut, too: what a state has on its way is that of the reference."""
    circuit = cb.build(spec(longest_ms), 0, path="event", backend="native")
    names = list(rings(circuit.wiring))
    assert names != sorted(names)
    fan = circuit.wiring.fans["mf_e"]
    assert isinstance(fan, FanOut)
    assert fan.delays is not None
    assert fan.delays.dtype == (jnp.uint16 if longest_ms > 25 else jnp.uint8)
    state, spikes = run(circuit, [20, 0.1, 1.7, 78.2], 64)
    assert min(cells.size for _, cells in spikes.values()) > 50
    assert np.any(state.arrivals["e.exc"])
    chex.assert_trees_all_equal((state, spikes), reference(circuit, [100]))


def test_a_run_goes_on_without_it_and_with_it():
    circuit = cb.build(spec(), 0, path="event", backend="native")
    middle, _ = run(circuit, [30])
    after = reference(circuit, [30], 1_000, middle)
    chex.assert_trees_all_equal(after, run(circuit, [30], 1_000, middle))
    whole, _ = reference(circuit, [60])
    chex.assert_trees_all_equal(after[0], whole)


def test_silent_cells_stay_silent():
    circuit = cb.build(spec(), 0, path="event", backend="native")
    circuit = cb.silence(circuit, "i", [0, 5, 32])
    state, spikes = run(circuit, [50])
    assert not np.isin(spikes["i"][1], [0, 5, 32]).any()
    chex.assert_trees_all_equal((state, spikes), reference(circuit, [50]))


def test_new_weights_are_seen():
    """Merged lists are made once for the same arrays, and again for others."""
    circuit = cb.build(spec(), 0, path="event", backend="native")
    first = deferred.merged(circuit, 100)
    assert deferred.merged(replace(circuit, backend="auto"), 100) is first
    weights = {**circuit.params.weights, "mf_e": circuit.params.weights["mf_e"] * 2}
    stronger = replace(circuit, params=replace(circuit.params, weights=weights))
    chex.assert_trees_all_equal(run(stronger, [50]), reference(stronger, [50]))
    assert deferred.merged(stronger, 100) is not first


def test_merged_lists_go_with_their_circuit():
    circuit = cb.build(spec(), 0, path="event", backend="native")
    before = len(deferred._KNOWN)
    deferred.merged(circuit, 100)
    assert len(deferred._KNOWN) == before + 1
    del circuit
    assert len(deferred._KNOWN) == before


@pytest.mark.parametrize(
    "change",
    [
        {
            "plastic": True,
            "rule": cb.Rule(teacher="e", per_spike=0.01, per_pair=-0.1, tau=20.0, window=10.0),
        },
        {"short_term": ShortTerm(utilisation=0.5, tau_rec=100.0, tau_fac=50.0)},
    ],
    ids=["rule", "short term"],
)
def test_weights_that_change_are_delivered_when_emitted(change):
    projections = tuple(replace(p, **change) if p.name == "mf_e" else p for p in spec().projections)
    circuit = cb.build(replace(spec(), projections=projections), 0)
    assert deferred.merged(circuit, 100) is None


def test_lists_shorter_than_the_longest_delay_are_not_worth_it(monkeypatch):
    monkeypatch.setattr(deferred, "LEAST_SLICE", 0.3)
    for longest_ms, used in ((0.3, True), (30.0, False)):
        circuit = cb.build(spec(longest_ms), 0, path="event", backend="native")
        assert (deferred.merged(circuit, 100) is not None) == used


def test_large_rings_alone_are_worth_it(monkeypatch):
    circuit = cb.build(spec(), 0, path="event", backend="native")
    held = sum(x.size * 4 for x in cb.init(circuit, 0).arrivals.values())
    monkeypatch.setattr(deferred, "LEAST_BYTES", held)
    assert deferred.merged(circuit, 100) is not None
    monkeypatch.setattr(deferred, "LEAST_BYTES", held + 1)
    assert deferred.merged(circuit, 100) is None
    assert backends.merged(circuit, 100) is circuit


def said(circuit: cb.Circuit, chunk_steps: int = 1_000) -> str:
    """How a run says that its steps were taken."""
    options = {"duration_ms": 3, "chunk_steps": chunk_steps, "progress": False}
    return cb.simulate(circuit, cb.init(circuit, 1), DRIVE, **options)[1].loop


def test_short_chunks_deliver_when_emitted(monkeypatch):
    """At the end of each chunk all rings are written."""
    monkeypatch.setattr(deferred, "LEAST_STEPS", 30)
    circuit = cb.build(spec(), 0, path="event", backend="native")
    late = f"{backends.SCAN}; spikes are delivered when they arrive"
    assert (said(circuit), said(circuit, 30), said(circuit, 29)) == (late, late, backends.SCAN)
    # The program of a shorter run has room for more steps than it takes.
    monkeypatch.setattr(deferred, "LEAST_STEPS", 31)
    assert said(circuit) == backends.SCAN


def test_weights_of_numpy_or_of_double_precision_are_delivered_when_emitted():
    circuit = cb.build(spec(), 0, path="event", backend="native")
    own = np.asarray(circuit.params.weights["mf_e"])
    weights = {**circuit.params.weights, "mf_e": own}
    mixed = replace(circuit, params=replace(circuit.params, weights=weights))
    with jax.enable_x64(True):
        doubled = jnp.asarray(own, jnp.float64)
    assert doubled.dtype == jnp.float64
    wide = replace(circuit, params=replace(circuit.params, weights={**weights, "mf_e": doubled}))
    for other in (mixed, wide):
        assert deferred.merged(other, 100) is None
        assert said(other) == backends.SCAN
        chex.assert_trees_all_equal(run(other, [50]), run(circuit, [50]))


@examples(12)
@given(seed=st.integers(0, 99), longest_ms=st.sampled_from([0.3, 2.0, 30.0]))
def test_merged_lists_hold_every_synapse_in_order(seed, longest_ms):
    """By source and delay, each with its slot and weight, the slots of a slice ascending."""
    circuit = cb.build(spec(longest_ms), seed, path="event", backend="native")
    merged = deferred.merged(circuit, 100)
    assert merged is not None
    starts, slots, weights = (np.asarray(x) for x in (merged.starts, merged.slots, merged.weights))
    sizes = [SIZES[ring.target] for ring in rings(circuit.wiring).values()]
    offsets = dict(zip(rings(circuit.wiring), np.cumsum([0, *sizes[:-1]]), strict=True))
    wanted, source = [], 0
    for group in collect.ring_bundles(circuit.wiring):
        for p in group:
            edges = circuit.edges(p.name)
            weight = np.broadcast_to(np.float32(edges.weight), edges.pre.shape)
            delay = np.round(np.broadcast_to(edges.delay, edges.pre.shape) / 0.1).astype(int)
            wanted += zip(
                source + edges.pre, delay, offsets[ring_of(p)] + edges.post, weight, strict=True
            )
        source += SIZES[group[0].source]
    held = []
    for cell, row in enumerate(starts):
        for delay, (first, last) in enumerate(itertools.pairwise(row), 1):
            assert (np.diff(slots[first:last].astype(int)) >= 0).all()
            own = zip(slots[first:last], weights[first:last], strict=True)
            held += [(cell, delay, s, w) for s, w in own]
    assert sorted(held) == sorted(wanted)
    edges = np.asarray(merged.edges)
    assert edges[0] == 0
    assert edges[-1] == 133
    assert (np.diff(edges) >= 0).all()


THREADS = """
import numpy as np
import cerebellum as cb
from cerebellum import backends
from cerebellum.backends.cpu import deferred
deferred.LEAST_BYTES = 0
relays = cb.Population("mf", 2_000, "relay")
cells = [cb.Population(n, size, "current", {"drive": 14.0}) for n, size in (("e", 700), ("i", 300))]
late = cb.Normal(1.0, 0.4, low=0.1, high=2.0)
into = {"weight": cb.Normal(0.01, 0.003, low=0.001), "delay": late, "in_degree": 300}
projections = (
    cb.Projection("mf", "i", "exc", **into),
    cb.Projection("i", "e", "inh", **into),
    cb.Projection("mf", "e", "exc", **into),
)
spec = cb.Spec("threads", (relays, *cells), projections, dt=0.1)
circuit = cb.build(spec, 0, path="event", backend="native")
assert backends.merged(circuit, 100) is not circuit
drive, seen = {"mf": cb.drive.poisson(2_000.0)}, []
for least in (0, 2**60):  # when they arrive, and when they are emitted
    deferred.LEAST_BYTES = least
    state = cb.init(circuit, 1)
    state, recording = cb.simulate(circuit, state, drive, duration_ms=20, progress=False)
    sent = recording.spikes["mf"].mean() * 300 * 1_000 / 2_000
    assert sent > 2 * 16_384, sent  # of which each thread takes a part
    rings = [np.asarray(state.arrivals[name]).tobytes() for name in sorted(state.arrivals)]
    seen.append((rings, {n: x.tolist() for n, x in recording.spikes.items()}))
assert seen[0] == seen[1]
print({n: sum(x) for n, x in seen[0][1].items()})
"""


@pytest.mark.slow
def test_threads_change_nothing():
    """All is as if spikes were delivered when emitted, whether one thread does it or three."""
    assert printed(THREADS, 1) == printed(THREADS, 3)
