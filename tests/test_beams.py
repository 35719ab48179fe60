"""The large circuit: laws at every size, rates, memory."""

import math
import re
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model import contacts, events
from cerebellum.model.part import Part
from cerebellum.model.presets import PRESETS
from cerebellum.model.presets.beams import REFERENCE_HZ, counts
from cerebellum.sim import memory
from cerebellum.sim.chunk import Inputs, advance
from cerebellum.sim.loop import chunk_of

KEY = jax.random.key(5)
DRIVE = {"mossy_fiber": cb.drive.poisson(30.0)}

SPECS = st.builds(
    cb.presets.beams,
    granule_size=st.sampled_from([400, 1_000, 1_703]),
    beams=st.sampled_from([1, 2, 3]),
    learning_rate=st.sampled_from([0.0, 0.01]),
    sparsity=st.sampled_from([0.0, 0.3]),
    dtype=st.sampled_from(["uint16", "float32"]),
)


def spikes_of(recording) -> dict[str, np.ndarray]:
    return {name: np.asarray(counts) for name, counts in recording.spikes.items()}


@settings(max_examples=2)
@given(spec=SPECS, seed=st.integers(0, 99))
def test_chunked_is_whole_and_a_batch_is_its_members(spec, seed):
    circuit = cb.build(spec, jax.random.key(seed), path="event")
    keys = jax.random.split(jax.random.key(seed + 1), 2)

    def start(key):
        return cb.init(circuit, key, spread=True)

    whole = [cb.simulate(circuit, start(key), DRIVE, duration_ms=60) for key in keys]
    state, first = cb.simulate(circuit, start(keys[0]), DRIVE, duration_ms=20)
    state, rest = cb.simulate(circuit, state, DRIVE, duration_ms=40, chunk_steps=20)
    for name, count in spikes_of(whole[0][1]).items():
        joined = np.concatenate([first.spikes[name], rest.spikes[name]])
        np.testing.assert_array_equal(joined, count)
    chex.assert_trees_all_equal(state, whole[0][0])
    batch, recordings = cb.simulate_batch(circuit, jax.vmap(start)(keys), DRIVE, duration_ms=60)
    for member, (state, recording) in enumerate(whole):
        chex.assert_trees_all_equal(spikes_of(recordings[member]), spikes_of(recording))
        mine = jax.tree.map(lambda x, i=member: x[i], batch.weights)
        if spec.projections[5].dtype == "uint16":
            chex.assert_trees_all_equal(mine, state.weights)


@jax.jit
def delivered(fans, weights, sent, outs):
    """What arrives through every projection, by events and by the dense path."""
    return {
        name: (
            events.push(events.pack(sent[name]), (fan,), (weights[name],), (outs[name],))[0],
            events.dense(sent[name], fan, weights[name], outs[name]),
        )
        for name, fan in fans.items()
    }


@settings(max_examples=2)
@given(spec=SPECS, seed=st.integers(0, 99))
def test_event_and_dense_paths_deliver_alike(spec, seed):
    rng = np.random.default_rng(seed)
    circuit = cb.build(spec, jax.random.key(seed), path="event")
    weights = {**circuit.params.weights, **cb.init(circuit, KEY).weights}
    size = {population.name: population.size for population in spec.populations}
    sent = {p.name: jnp.float32(rng.random(size[p.source]) < 0.5) for p in spec.projections}
    outs = {p.name: jnp.zeros(size[p.target]) for p in spec.projections}
    for event, dense in delivered(circuit.wiring.fans, weights, sent, outs).values():
        np.testing.assert_allclose(event, dense, rtol=1e-4, atol=1e-5 * float(dense.max()))


@settings(max_examples=8)
@given(spec=SPECS, seed=st.integers(0, 99))
def test_only_the_olivary_loop_leaves_its_beam(spec, seed):
    circuit = cb.build(spec, jax.random.key(seed), path="event")
    for projection in spec.projections:
        fan = circuit.wiring.fans[projection.name]
        if isinstance(fan, events.AllToAll):
            assert fan.beams == spec.beams
            continue
        table = np.asarray(fan.targets).astype(int)
        source, place = np.nonzero(table < spec.population(projection.target).size)
        target = table[source, place]
        if projection.crosses:
            assert projection.source in ("purkinje", "nuclei", "inferior_olive")
            if source.size > 30:
                span = spec.beam_size(projection.source)
                assert len(set(source // span)) > 1
        else:
            spans = spec.beam_size(projection.source), spec.beam_size(projection.target)
            np.testing.assert_array_equal(source // spans[0], target // spans[1])
        degrees = np.bincount(target, minlength=spec.population(projection.target).size)
        assert abs(degrees.mean() - projection.in_degree) < 1
        assert len(set(zip(source, target, strict=True))) == source.size


def test_any_beam_can_be_rebuilt_alone():
    spec = cb.presets.beams(1_200, beams=3)
    projection = spec.projections[0]
    table = np.asarray(cb.build(spec, KEY, path="event").wiring.fans[projection.name].targets)
    source, target = contacts.draw(projection, spec, KEY, beam=2)
    rebuilt = set(zip(source.tolist(), target.tolist(), strict=True))
    size, span = spec.population("granule").size, spec.beam_size("mossy_fiber")
    rows = range(2 * span, len(table))
    assert {(row, int(cell)) for row in rows for cell in table[row] if cell < size} == rebuilt


@pytest.mark.parametrize("learning_rate", [0.0, 2e-4])
def test_one_trace_and_no_second_copy_of_a_large_array(learning_rate):
    spec = cb.presets.beams(20_000, learning_rate=learning_rate)
    circuit = cb.build(spec, KEY, path="event")
    state = cb.init(circuit, KEY)
    rows = state.weights["granule_purkinje"].nbytes
    loop, inputs = chunk_of(circuit, 10), Inputs(sources=DRIVE)
    compiled = advance.lower(loop, circuit.params, circuit.wiring, state, inputs).compile()
    sizes = compiled.memory_analysis()
    assert sizes is not None
    assert sizes.temp_size_in_bytes < 0.5 * rows
    copied = re.findall(r"= \w+\[([\d,]+)\]\S* copy\(", compiled.as_text())
    least = min(state.delay_lines["granule"].size, rows)
    assert all(math.prod(map(int, shape.split(","))) < least for shape in copied), copied
    chex.clear_trace_counter()
    run = jax.jit(chex.assert_max_traces(loop.__call__, n=1))
    for _ in range(3):
        state, _ = run(circuit.params, circuit.wiring, state, inputs)


@pytest.mark.parametrize(
    ("granules", "beams", "dtype"),
    [(1_000, 1, "uint16"), (30_000, 3, "uint16"), (20_000, 2, "float32")],
)
def test_memory_is_known_before_it_is_allocated(granules, beams, dtype):
    spec = cb.presets.beams(granules, beams=beams, dtype=dtype, learning_rate=1e-3)
    circuit = cb.build(spec, KEY, path="event")
    state = cb.init(circuit, KEY)
    allocated = sum(leaf.nbytes for leaf in jax.tree.leaves((circuit, state)))
    assert sum(memory.arrays(Part(spec=spec), "event").values()) == pytest.approx(
        allocated, rel=0.1
    )
    operands = circuit.params, circuit.wiring, state, Inputs(sources=DRIVE)
    program = advance.lower(chunk_of(circuit, 10), *operands)
    sizes = program.compile().memory_analysis()
    assert sizes is not None
    copies = 2 if dtype == "float32" else 1
    assert sizes.argument_size_in_bytes * copies >= 0.9 * allocated


@pytest.mark.parametrize(
    ("granules", "seeds"),
    [
        (1_000, 6),
        pytest.param(10_000, 2, marks=pytest.mark.slow),
        pytest.param(100_000, 1, marks=pytest.mark.slow),
    ],
)
def test_rates_are_physiological_and_the_same_at_every_size(granules, seeds):
    """Issue ranges: granule .5-3 and 5-20, Golgi 5-20, Purkinje 30-90, interneurons 10-40,
    nuclei 10-50; within 20 % of the reference size."""
    protocol = replace(PRESETS["beams"].protocol, burst_ms=(1_700.0, 2_300.0))
    spec = cb.presets.beams(granules)
    spans = {"background": (200, 1_700), "burst": (1_700, 2_300)}
    rates = {name: [] for name in spans}
    for seed in range(seeds):
        circuit = cb.build(spec, jax.random.key(seed), path="event")
        state = cb.init(circuit, jax.random.key(seed + 50), spread=True)
        drive = cb.drive.standard(protocol, spec, jax.random.key(seed))
        _, recording = cb.simulate(circuit, state, drive, duration_ms=2_300)
        for name, span in spans.items():
            rates[name].append(cb.record.rates(recording, *span))
    for name, wanted in REFERENCE_HZ.items():
        for population, hz in wanted.items():
            got = np.mean([rate[population] for rate in rates[name]])
            assert got == pytest.approx(hz, rel=0.2), (name, population)
    ranges = {"golgi": (5, 20), "purkinje": (30, 90), "basket": (10, 40), "stellate": (10, 40)}
    ranges["nuclei"] = (10, 50)
    for name in spans:
        for population, (least, most) in ranges.items():
            assert least <= REFERENCE_HZ[name][population] <= most
    assert 0.5 <= REFERENCE_HZ["background"]["granule"] <= 3
    assert 5 <= REFERENCE_HZ["burst"]["granule"] <= 20


def test_production_numbers():
    sizes = cb.presets.Sizes(golgi=400, nuclei=100)
    spec = cb.presets.beams(4_000_000, sizes=sizes)
    assert spec.beams == 20
    assert spec.population("purkinje").size == 15_000
    rows = next(p for p in spec.projections if p.name == "granule_purkinje")
    assert rows.in_degree == 200_000
    assert memory.arrays(Part(spec=spec), "event")["weights.granule_purkinje"] == 6_000_000_000
    assert counts(10_000_000)["granule"] == 10_000_000


def test_every_beam_bursts():
    spec = cb.presets.beams(2_000, beams=4)
    drive = cb.drive.standard(PRESETS["beams"].protocol, spec, jax.random.key(0))["mossy_fiber"]
    bursting = np.asarray(drive.rates[1]) > 50
    assert (bursting.reshape(4, -1).sum(axis=1) == 0.1 * bursting.size / 4).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"granule_size": 20}, "granule_size: 20; a whole number, at least 100"),
        ({"beams": 0}, "beams: 0; a whole number, at least 1"),
        ({"sparsity": 1.0}, "sparsity: 1.0; at least 0, below 1"),
        ({"learning_rate": -0.1}, "learning_rate: -0.1; between 0 and 0.1"),
        ({"beams": 30, "sizes": cb.presets.Sizes(golgi=4)}, "golgi.size: 4; enough for 30 beams"),
    ],
)
def test_impossible_circuits_are_refused_by_name(change, message):
    with pytest.raises(UsageError, match=message):
        cb.presets.beams(**{"granule_size": 3_000, **change})
