"""Operations without loops: no spike is dropped, whatever the size, and no loop depends on data."""

import math
import re
from dataclasses import replace
from functools import cache
from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import feed_forward
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from same import host, same
from test_conformance import projections

import cerebellum as cb
from cerebellum import backends
from cerebellum.backends import loop_free
from cerebellum.backends.loop_free import deliver, exact, learning
from cerebellum.backends.loop_free.slots import Size, Spikes
from cerebellum.model import events, ordering
from cerebellum.model.delivery import Delivery
from cerebellum.model.events import FanOut
from cerebellum.model.presets.common import common
from cerebellum.model.primitives import REFERENCE, Primitives
from cerebellum.model.values import Normal
from cerebellum.sim.chunk import Inputs, ScanChunk, advance

KEY = jax.random.key(0)
SMALL = Size(share=64, synapses=1), Size(share=16, synapses=1)
"""Sizes that a few spikes fill, so that small circuits use every rung."""


def table(sizes: tuple[Size, ...] = SMALL, complete: bool = True) -> Primitives:
    return Primitives(
        deliver=deliver.Deliver(sizes, complete),
        settle=learning.Settle(sizes[0], complete),
        incur=learning.incur,
    )


@examples(30)
@given(
    cells=st.sampled_from([1, 33, 700, 5_000, 140_000]),
    groups=st.sampled_from([1, 3]),
    size=st.sampled_from([1, 8, 50]),
    extra=st.sampled_from(["none", -1, 0, 1, "all"]),
    seed=st.integers(0, 99),
)
def test_slots_hold_every_spike_once(cells, groups, size, extra, seed):
    rng = np.random.default_rng(seed)
    groups = min(groups, cells)
    edges = events.beam_edges(cells, groups)
    size = min(size, -(-cells // groups))
    fired = np.zeros(cells, bool)
    for first, end in pairwise(edges):
        span = max(0, end - first)
        count = {"none": 0, "all": span}.get(extra)
        count = min(span, size + extra) if count is None else count
        fired[rng.permutation(np.arange(first, end))[:count]] = True
    spikes = Spikes.of(events.pack(jnp.asarray(fired)), cells, groups)
    assert spikes.most() == max(fired[a:b].sum() for a, b in pairwise(edges))
    found: list[np.ndarray] = []
    for block in range(-(-int(spikes.most()) // size)):
        cell, real = map(np.asarray, spikes.slots(size, block))
        assert cell.shape == (groups, size)
        for group, (first, end) in enumerate(pairwise(edges)):
            own = cell[group][real[group]]
            assert ((own >= first) & (own < end)).all()
            found.append(own)
    visited = np.concatenate(found) if found else np.zeros(0, int)
    np.testing.assert_array_equal(np.sort(visited), np.flatnonzero(fired))


SOURCES, BEAMS = 640, 2


@cache
def deliveries():
    """A delivery in beams through one projection of every kind, and one into a ring of arrivals.

    Returns:
      The deliveries without their spikes, and the arrays.
    """
    rng = np.random.default_rng(7)
    fans, weights, outs, gains = projections(rng, SOURCES, BEAMS)
    scales = tuple(
        jnp.asarray(rng.random(out.size), jnp.float32) if k % 2 else None
        for k, out in enumerate(outs)
    )
    ends = tuple(f"end {k}" for k in range(len(fans)))
    mixed = Delivery(
        words=jnp.zeros(0), fans=fans, weights=weights, gains=gains, scales=scales, ends=ends
    )
    targets = jnp.asarray(rng.integers(0, 40, (SOURCES, 5)), jnp.uint16)
    delays = jnp.asarray(rng.integers(1, 9, (SOURCES, 5)), jnp.uint8)
    lists = FanOut(targets=targets, delays=delays, longest=8).into_ring(jnp.int32(13), 8)
    each = jnp.asarray(rng.normal(size=(SOURCES, 5)), jnp.float32)
    ring = Delivery(
        words=jnp.zeros(0),
        fans=(lists, lists),
        weights=(each, jnp.float32(0.3)),
        gains=(None, None),
        scales=(None, None),
        ends=("ring 0", "ring 1"),
    )
    # A second one to an end of the first: what is in fixed point is added up over both.
    again = Delivery(
        words=jnp.zeros(0),
        fans=(fans[1], fans[0]),
        weights=(weights[1] * 3, weights[0]),
        gains=(None, None),
        scales=(None, None),
        ends=(ends[1], ends[0]),
    )
    arrays = dict(zip(ends, outs, strict=True))
    arrays |= {f"ring {k}": jnp.asarray(rng.normal(size=(8, 40)), jnp.float32) for k in range(2)}
    return [mixed, ring, again], arrays


@cache
def delivering(operation, members: bool = False):
    """A compiled function of the packed spikes of each delivery."""
    given, arrays = deliveries()

    def run(words: tuple) -> dict:
        sent = [replace(each, words=own) for each, own in zip(given, words, strict=True)]
        return operation(sent, arrays, events.sweep)

    return jax.jit(jax.vmap(run) if members else run)


def fire(counts: tuple[int, int, int], seed: int) -> tuple:
    """Packed spikes of each delivery: so many, in the first one in every beam."""
    rng, words = np.random.default_rng(seed), []
    for number, count in enumerate(counts):
        fired = np.zeros(SOURCES, bool)
        half = SOURCES // BEAMS
        for cells in np.split(np.arange(SOURCES), BEAMS) if number == 0 else [np.arange(SOURCES)]:
            top = half if number == 0 else SOURCES
            fired[rng.permutation(cells)[: min(count, top)]] = True
        words.append(events.pack(jnp.asarray(fired)))
    return tuple(words)


SLOTS = [size.of(SOURCES, 1, 2**20) for size in SMALL]
AROUND = sorted(
    {0, SOURCES, *(k + d for k in [*SLOTS, SLOTS[0] // 2, SLOTS[1] // 2] for d in (-1, 0, 1))}
)


@examples(60)
@given(counts=st.tuples(*[st.sampled_from(AROUND)] * 3), seed=st.integers(0, 999))
def test_every_size_gives_the_same_bits(counts, seed):
    words = fire(counts, seed)
    results = [
        delivering(deliver.Deliver(sizes))(words) for sizes in (SMALL, SMALL[1:], deliver.SIZES)
    ]
    for other in results[1:]:
        same(results[0], other)
    theirs = delivering(REFERENCE.deliver)(words)
    # Lists with one weight, and uint16 rows, are exact.
    for end in ("end 2", "ring 1"):
        np.testing.assert_allclose(results[0][end], theirs[end], rtol=1e-5, atol=2e-5)
    for end in ("end 0", "end 3", "ring 1"):
        np.testing.assert_array_equal(results[0][end], theirs[end], strict=True)


@examples(9)
@given(counts=st.lists(st.sampled_from(AROUND), min_size=3, max_size=3), seed=st.integers(0, 999))
def test_members_of_a_batch_are_alone(counts, seed):
    """Also where some fit a size and others do not."""
    members = [fire((count, count, count), seed) for count in counts]
    operation = deliver.Deliver(SMALL)
    batch = delivering(operation, members=True)(jax.tree.map(lambda *x: jnp.stack(x), *members))
    for index, words in enumerate(members):
        same(jax.tree.map(lambda x, i=index: x[i], batch), delivering(operation)(words))


@examples(30)
@given(count=st.sampled_from(AROUND), seed=st.integers(0, 999))
def test_sums_in_fixed_point_are_within_the_stated_error(count, seed):
    """Of a list and a row of floats: half a unit for each addend, and the rounding of the sum."""
    words = fire((count, 0, 0), seed)
    (mixed, _, _), arrays = deliveries()
    ours = delivering(deliver.Deliver(SMALL))(words)
    fired = np.flatnonzero(np.asarray(events.unpack(words[0], SOURCES)))
    list_fan = mixed.fans[1]
    assert isinstance(list_fan, FanOut)
    gain = np.asarray(mixed.gains[1])
    values = (np.asarray(mixed.weights[1])[fired] * gain[fired, None]).astype(np.float64)
    targets = np.asarray(list_fan.targets)[fired].astype(np.int64)
    for name, index, value in (
        ("end 1", targets.ravel(), values.ravel()),
        (
            "end 4",
            ((fired // (SOURCES // BEAMS))[:, None] * 9 + np.arange(9)[None]).ravel(),
            np.asarray(mixed.weights[4])[fired].astype(np.float64).ravel(),
        ),
    ):
        size = arrays[name].size
        index, value = index[index < size], value[index < size]
        total, largest, number = np.zeros(size), np.zeros(size), np.zeros(size)
        np.add.at(total, index, value)
        np.maximum.at(largest, index, np.abs(value))
        np.add.at(number, index, 1)
        before = np.asarray(arrays[name], np.float64)
        scale = mixed.scales[int(name[-1])]
        factor = 1.0 if scale is None else np.asarray(scale, np.float64)
        exactly = before + factor * total
        bound = factor * (number * largest * 2.0**-22 + np.abs(total) * 2.0**-23)
        bound = bound + (np.abs(exactly) + np.abs(factor * total)) * 2.0**-23 + 1e-30
        assert (np.abs(np.asarray(ours[name], np.float64) - exactly) <= bound).all()
        assert count == 0 or number.any()


def test_what_no_sum_can_hold_is_not_a_number():
    huge = exact.Sum(
        limbs=jnp.array([[2**30 - 1, 0], [2**30 - 1, 2**13], [-(2**30) - 1, 0]], jnp.int32),
        exponent=jnp.full(3, 127, jnp.int32),
    )
    values = np.asarray(exact.value(exact.carry(huge)))
    assert values[0] == np.float32((2**30 - 1) * 2.0**11 * 2.0**-21)
    assert np.isnan(values[1:]).all()
    # In a projection, it is so for the targets of that weight alone.
    targets = jnp.array([[0, 1], [2, 3]], jnp.uint16)
    for bad in (np.inf, np.nan, -3e38):
        sent = Delivery(
            words=events.pack(jnp.ones(2)),
            fans=(FanOut(targets=targets),),
            weights=(jnp.array([[1.0, bad], [2.0, 1e-30]], jnp.float32),),
            gains=(None,),
            scales=(None,),
            ends=("end",),
        )
        after = deliver.Deliver()([sent], {"end": jnp.zeros(4)}, events.sweep)["end"]
        np.testing.assert_array_equal(np.isnan(after), [False, True, False, False])
        np.testing.assert_array_equal(after[jnp.array([0, 2])], [1.0, 2.0])


@pytest.mark.slow
def test_more_addends_than_a_limb_holds_are_carried(monkeypatch):
    """A limit of a few addends, and rows and lists that pass it many times, give the same bits."""
    words = fire((SOURCES, SOURCES, SOURCES), 3)
    given, arrays = deliveries()
    sent = [replace(each, words=own) for each, own in zip(given, words, strict=True)]
    plain = delivering(deliver.Deliver())(words)
    monkeypatch.setattr(exact, "LANES", 1_500)
    monkeypatch.setattr("cerebellum.backends.loop_free.synapses.MOST_ROWS", 100)
    same(jax.jit(lambda: deliver.Deliver(SMALL)(sent, arrays, events.sweep))(), plain)
    same(jax.jit(lambda: deliver.Deliver()(sent, arrays, events.sweep))(), plain)


def test_sizes_come_from_the_circuit_alone():
    """Those of the circuit of 4,000,000 granule cells: rates of 1 and 5 Hz in steps of 1 ms."""
    first, second = deliver.SIZES
    granule = [size.of(4_000_000, 20, 800) for size in (first, second)]
    assert granule == [313, 1_563]
    for slots, rate_hz in zip(granule, (1.04, 5.24), strict=True):
        mean = 200_000 * rate_hz * 1e-3
        assert slots > mean + 6 * math.sqrt(mean)
    assert first.of(200_000, 1, 130) > 200_000 * 0.010 * 1.5
    # Every Purkinje cell has a slot.
    assert first.of(15_000, 1, 12) == 15_000
    # No more synapses than asked for, nor more than twice where every cell has a slot.
    for cells, groups, synapses in ((10_000, 1, 1_800), (88_158, 1, 400), (5_000, 1, 200)):
        slots = first.of(cells, groups, synapses) * groups
        most = max(2 * first.synapses, cells / first.share * synapses)
        assert 0 < slots * synapses <= most + groups * synapses


CIRCUITS = {
    "beams": lambda: cb.presets.beams(2_000, beams=2, learning_rate=2e-3),
    "anatomical": lambda: common("S", wiring="anatomical"),
    "random": lambda: common("S"),
    "mouse": lambda: cb.presets.mouse(scale=0.02),
    "mouse-eglif, dynamic terminals": lambda: cb.presets.mouse_eglif(dt=1.0, short_term=True),
    "cortex, delays of their own": lambda: cb.presets.microcircuit(0.01),
}


def program(spec: cb.Spec, primitives: Primitives, steps: int):
    """The program of a chunk of a circuit, traced."""
    circuit = cb.build(spec, KEY, path="event", backend="loop-free")
    relays = [p.name for p in spec.populations if p.model == "relay"]
    inputs = Inputs(sources={name: cb.drive.poisson(10.0) for name in relays[:1]})
    operands = circuit.params, circuit.wiring, cb.init(circuit, KEY), inputs
    return advance.trace(ScanChunk(steps=steps, primitives=primitives), *operands)


def loops(text: str) -> list[str]:
    """The conditions of all loops of a lowered program."""
    return re.findall(r"stablehlo\.while.*?cond \{(.*?)\} do", text, re.S)


def tiers(names: list[str]):
    """The first in the default tier, two in the slow one, the others before a release."""
    slow = [pytest.param(name, marks=pytest.mark.slow) for name in names[1:3]]
    soak = [pytest.param(name, marks=[pytest.mark.slow, pytest.mark.soak]) for name in names[3:]]
    return [names[0], *slow, *soak]


@pytest.mark.parametrize("name", tiers([*CIRCUITS]))
def test_on_a_gpu_the_only_loop_is_the_scan(name):
    """But for what is done with spikes that do not fit, which is left out here."""
    spec = CIRCUITS[name]()
    one, two = (
        program(spec, table(sizes, complete=False), 77).lower(lowering_platforms=("cuda",))
        for sizes in (SMALL[:1], SMALL)
    )
    (scan,) = loops(one.as_text())
    assert "dense<77>" in scan
    # Another size costs one loop, of one trip or none, for all deliveries of a step.
    assert len(loops(two.as_text())) == 2


@pytest.mark.parametrize("learns", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("ordered", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_weights_are_not_copied(monkeypatch, learns, ordered):
    """Rows of 16 MB: the memory that a program needs besides its operands is a part of that.

    Also without the order that is forced on XLA's compiler for CPUs alone, as on a GPU.
    """
    if not ordered:
        monkeypatch.setattr(ordering, "_materialize_once", lambda tree: tree)
    spec = feed_forward(4_000, 2_000, 4_000, delays=(1.0, 1.0))
    rows, teacher = spec.projections
    rule = cb.Rule(teacher=teacher.name, per_spike=1e-3, per_pair=-1e-3) if learns else None
    rows = replace(rows, plastic=True, dtype="uint16", w_max=2.0, rule=rule)
    spec = replace(spec, projections=(rows, replace(teacher, in_degree=1)))
    memory = program(spec, table(), 5).lower().compile().memory_analysis()
    assert memory is not None
    assert memory.alias_size_in_bytes > 16e6
    assert memory.temp_size_in_bytes < 8e6


@pytest.fixture
def small(monkeypatch) -> str:
    """The name of a backend whose sizes a few spikes fill."""
    backend = loop_free.LoopFree(name="small", table=table())
    monkeypatch.setitem(backends.BACKENDS, "small", backend)
    return backend.name


RUN = ("raster:cells", "v:cells:0:3")
DRIVE = {"input": cb.drive.poisson(90.0)}


def floats(backend: str) -> cb.Circuit:
    """Lists of float weights with delays of their own, lists with one weight, and rows."""
    spec = feed_forward(700, 80, 6.0, delays=(1.0, 2.0, 1.0), weight=0.2)
    first, second, third = spec.projections
    own = replace(first, delay=Normal(4.0, 1.0), weight=Normal(0.5, 0.1, low=0.0), label="own")
    rows = replace(third, weight=0.1, in_degree=700, spread=0.5, plastic=True, w_max=0.2)
    spec = replace(spec, projections=(own, second, rows))
    return cb.build(spec, KEY, path="event", backend=backend)


def test_chunks_cuts_and_restarts_change_no_bit(small):
    circuit = floats(small)

    def run(*spans: float, chunk_steps: int) -> tuple:
        state, spikes = cb.init(circuit, KEY), []
        for span in spans:
            options = {"record": RUN, "chunk_steps": chunk_steps}
            state, recording = cb.simulate(circuit, state, DRIVE, duration_ms=span, **options)
            spikes.append(recording.spikes["cells"])
            state = jax.tree.map(jnp.asarray, host(state))
        return host(state), np.concatenate(spikes)

    whole = run(60, chunk_steps=1_000)
    assert whole[1].sum() > 20
    same(run(60, chunk_steps=7), whole)
    same(run(20, 33, 7, chunk_steps=64), whole)


def test_a_batch_is_its_runs(small):
    circuit, keys = floats(small), jax.random.split(KEY, 2)
    states = jax.vmap(cb.init, in_axes=(None, 0))(circuit, keys)
    states, batch = cb.simulate_batch(circuit, states, DRIVE, duration_ms=30, record=RUN)
    for index, key in enumerate(keys):
        state, recording = cb.simulate(
            circuit, cb.init(circuit, key), DRIVE, duration_ms=30, record=RUN
        )
        chex.assert_trees_all_equal(batch[index].spikes, recording.spikes)
        same(host(jax.tree.map(lambda x, i=index: x[i], states)), host(state))


def test_xla_uses_it_on_a_gpu_and_auto_never_chooses_it(monkeypatch):
    circuit = cb.build(feed_forward(10, 10, 2.0), KEY, path="event")
    assert backends.BACKENDS["xla"].primitives(circuit) is REFERENCE
    assert backends.of(circuit).name != "loop-free"
    assert "loop-free" in backends.usable()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert backends.of(circuit).name == "xla"
    assert backends.primitives_of(circuit) is loop_free.PRIMITIVES
    dense = cb.build(circuit.spec, KEY, path="dense")
    assert not loop_free.BACKEND.suits(dense)
