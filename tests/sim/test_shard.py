"""A circuit that is cut into shards is the circuit: the same spikes, states and draws."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from laws import examples
from same import host, same, same_recording

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model.step import step
from cerebellum.model.surrogate import Surrogate
from cerebellum.sim import shard
from cerebellum.sim.chunk import Inputs, advance
from cerebellum.sim.loop import chunk_of

KEY = jax.random.key(3)
RECORD = ("raster:purkinje", "raster:granule:3::7", "counts:nuclei:1:", "v:golgi:1:9:2")


def standard(spec: cb.Spec):
    return cb.drive.standard(cb.presets.PRESETS["beams"].protocol, spec, KEY)


def check(
    spec: cb.Spec, shards: int, duration_ms: float, burst_at: float, backend: str = "auto"
) -> None:
    """Run whole and cut: first states, recordings and last states are the same."""
    whole = cb.build(spec, KEY, path="event", backend=backend)
    size = spec.population("mossy_fiber").size
    span = burst_at, burst_at + 50
    drive = {"mossy_fiber": cb.drive.burst(size, 10, 100, *span, size // 5, beams=spec.beams)}
    initial = host(cb.init(whole, KEY, spread=True))
    state, recording = cb.simulate(
        whole, jax.tree.map(jnp.asarray, initial), drive, duration_ms=duration_ms, record=RECORD
    )
    cut = shard.split(whole, shard.mesh(shards))
    divided = shard.init(cut, KEY, spread=True)
    same(shard.join_state(cut, divided), initial)
    from_whole = shard.split_state(cut, initial)
    assert jax.tree.map(jnp.shape, divided) == jax.tree.map(jnp.shape, from_whole)
    end_state, recording_of_shards = cb.simulate(
        cut, from_whole, drive, duration_ms=duration_ms, record=RECORD
    )
    for name in ("purkinje", "nuclei", "inferior_olive"):
        assert recording.spikes[name].sum()
    same_recording(recording, recording_of_shards)
    same(shard.join_state(cut, end_state), host(state))


def test_a_circuit_that_is_cut_is_the_whole():
    spec = cb.presets.beams(1_400, beams=5, learning_rate=1e-3, sparsity=0.2)
    check(spec, 3, 300, 100)


@pytest.mark.slow
@settings(examples(3), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    granules=st.integers(1_000, 3_000),
    beams=st.integers(1, 9),
    shards=st.integers(1, 8),
    learning=st.booleans(),
    sparsity=st.sampled_from([0.0, 0.2]),
    backend=st.sampled_from(["xla", "loop-free", "auto"]),
)
def test_shards_are_the_whole(granules, beams, shards, learning, sparsity, backend):
    spec = cb.presets.beams(granules, beams=beams, learning_rate=1e-3 * learning, sparsity=sparsity)
    check(spec, min(beams, shards), 300, 100, backend)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize(("granules", "beams"), [(10_000, 8), (10_000, 11), (100_000, 9)])
@pytest.mark.parametrize("learning", [0.0, 1e-3])
def test_large_shards_are_the_whole(granules, learning, beams):
    spec = cb.presets.beams(granules, beams=beams, learning_rate=learning)
    for shards in (1, 2, 4, 8):
        check(spec, shards, 400, 200)


@pytest.mark.slow
def test_every_kind_of_drive():
    spec = cb.presets.beams(1_050, beams=3)
    whole, size, rng = (
        cb.build(spec, KEY, path="event"),
        spec.population("mossy_fiber").size,
        np.random.default_rng(1),
    )
    golgi = spec.population("golgi").size
    cut = shard.split(whole, shard.mesh(2))
    times = cb.drive.SpikeTimes(rng.integers(0, size, 500), rng.uniform(0, 120, 500))

    def rates(t_ms, phases):
        return 40 * (1 + jnp.sin(t_ms / 20 + phases))

    phases = jnp.linspace(0, 3, size)
    for mossy in (
        times,
        cb.drive.RateFunction(rates, (phases,)),
        cb.drive.RateFunction(lambda t_ms: 20 + t_ms / 10),
        (rng.random((120, size)) < 0.04).astype(np.float32),
    ):
        drive = {"mossy_fiber": mossy, "golgi": rng.normal(0, 3, (120, golgi)).astype(np.float32)}
        drive["purkinje"] = np.ones((120, 1), np.float32)
        initial = host(cb.init(whole, KEY))
        state = jax.tree.map(jnp.asarray, initial)
        state, recording = cb.simulate(whole, state, drive, duration_ms=120, record=RECORD)
        divided = shard.split_state(cut, initial)
        end_state, recording_of_shards = cb.simulate(
            cut, divided, drive, duration_ms=120, record=RECORD
        )
        assert recording.spikes["granule"].sum()
        same_recording(recording, recording_of_shards)
        same(shard.join_state(cut, end_state), host(state))


@pytest.mark.slow
def test_a_batch_lies_along_its_own_axis():
    spec = cb.presets.beams(1_000, beams=3, learning_rate=1e-3)
    whole = cb.build(spec, KEY, path="event")
    size = spec.population("mossy_fiber").size
    arrays = (np.random.default_rng(0).random((4, 90, size)) < 0.05).astype(np.float32)
    keys = jax.random.split(KEY, 4)
    initial = host(jax.vmap(lambda key: cb.init(whole, key))(keys))
    for drive in ({"mossy_fiber": arrays}, {"mossy_fiber": cb.drive.poisson(30)}):
        state = jax.tree.map(jnp.asarray, initial)
        state, recordings = cb.simulate_batch(whole, state, drive, duration_ms=90, record=RECORD)
        cut = shard.split(whole, shard.mesh(2, batch=2))
        divided = shard.split_state(cut, initial)
        end_state, recordings_of_shards = cb.simulate_batch(
            cut, divided, drive, duration_ms=90, record=RECORD
        )
        for a, b in zip(recordings, recordings_of_shards, strict=True):
            same_recording(a, b)
        same(shard.join_state(cut, end_state), host(state))


@pytest.mark.soak
@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_shards():
    spec = cb.presets.beams(1_500, beams=5, learning_rate=1e-3)
    whole, drive = cb.build(spec, KEY, path="event"), {"mossy_fiber": cb.drive.poisson(30)}
    state = cb.init(whole, KEY)
    state, recording = cb.simulate(whole, state, drive, duration_ms=200)
    spikes, whole_state = [], host(cb.init(whole, KEY))
    for shards in (4, 1, 5, 3):
        cut = shard.split(whole, shard.mesh(shards))
        end_state, next_recording = cb.simulate(
            cut, shard.split_state(cut, whole_state), drive, duration_ms=50
        )
        spikes.append(next_recording.spikes["purkinje"])
        whole_state = shard.join_state(cut, end_state)
    np.testing.assert_array_equal(np.concatenate(spikes), recording.spikes["purkinje"])
    same(whole_state, host(state))


def compiled(spec: cb.Spec, shards: int):
    """The program of a chunk of 20 steps."""
    whole = cb.build(spec, KEY, path="event")
    cut = shard.split(whole, shard.mesh(shards))
    inputs = Inputs(sources=shard.split_sources(cut, {"mossy_fiber": cb.drive.poisson(10)}))
    operands = cut.params, cut.wiring, shard.init(cut, KEY), inputs
    return cut, advance.lower(chunk_of(cut, 20), *operands).compile()


COLLECTIVES = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter"


def test_a_step_exchanges_once_and_what_grows_with_purkinje_cells():
    received_bytes = {}
    for granules, purkinje in ((2_000, 64), (8_000, 64), (2_000, 640)):
        sizes = cb.presets.Sizes(purkinje=purkinje, nuclei=8, inferior_olive=8)
        spec = cb.presets.beams(granules, beams=4, sizes=sizes, learning_rate=1e-3)
        cut, program = compiled(spec, 4)
        sent = re.findall(
            rf"= u32\[([\d,]+)\]\S* (?:{COLLECTIVES})(?:-start)?\(", program.as_text()
        )
        collectives = re.findall(rf" (?:{COLLECTIVES})(?:-start)?\(", program.as_text())
        assert len(sent) == len(collectives) == 1
        received = 4 * int(np.prod([int(n) for n in sent[0].split(",")]))
        assert received == shard.exchanged_bytes(cut.wiring.part, "event")
        received_bytes[granules, purkinje] = received
        rows = spec.beam_size("granule") * spec.beam_size("purkinje") * 2
        assert program.memory_analysis().temp_size_in_bytes < rows / 2 + 200_000
    # 3 words for each of 4 shards: 16 Purkinje, 2 nuclear, 2 olivary cells; then 5 + 1 + 1.
    assert received_bytes == {(2_000, 64): 48, (8_000, 64): 48, (2_000, 640): 112}


def test_a_second_run_is_not_compiled_again():
    spec = cb.presets.beams(1_000, beams=2)
    cut = shard.split(cb.build(spec, KEY, path="event"), shard.mesh(2))
    drive, state = {"mossy_fiber": cb.drive.poisson(10)}, shard.init(cut, KEY)
    state, _ = cb.simulate(cut, state, drive, duration_ms=30)
    before = advance._cache_size()
    state, _ = cb.simulate(cut, state, drive, duration_ms=30)
    assert advance._cache_size() == before


@pytest.mark.soak
@pytest.mark.slow
def test_gradients_of_shards_are_those_of_the_whole():
    spec = replace(cb.presets.beams(400, beams=3, dtype="float32"), surrogate=Surrogate())
    whole = cb.build(spec, KEY, path="dense")
    cut = shard.split(whole, shard.mesh(2))
    size, steps = spec.population("mossy_fiber").size, 15
    spikes = (np.random.default_rng(2).random((steps, size)) < 0.1).astype(np.float32)

    def loss(weights, params, wiring, state, spikes):
        state = replace(state, weights={**state.weights, "granule_purkinje": weights})

        def body(state, now):
            state, activity = step(params, wiring, state, {"mossy_fiber": now})
            return state, activity.spikes["nuclei"].sum() + activity.spikes["purkinje"].sum() / 9

        return jnp.mean(jax.lax.scan(body, state, spikes)[1])

    state = cb.init(whole, KEY)
    weights = state.weights["granule_purkinje"]
    want_value, want_gradient = jax.value_and_grad(loss)(
        weights, whole.params, whole.wiring, state, spikes
    )

    def shards(weights, *operands):
        first_shard = jax.tree.map(lambda x: x[0], (weights, *operands))
        return loss(*first_shard)[None]

    axes = jax.sharding.PartitionSpec(shard.BEAM)
    mapped = jax.shard_map(
        shards, mesh=shard.mesh_of(cut), in_specs=axes, out_specs=axes, check_vma=False
    )
    divided = shard.split_state(cut, state)
    sent = shard.split_arrays(cut, {"mossy_fiber": spikes}, ())["mossy_fiber"]
    value, by_shard = jax.value_and_grad(
        lambda w: mapped(w, cut.params, cut.wiring, divided, sent).sum()
    )(divided.weights["granule_purkinje"])
    gradient = np.asarray(by_shard).reshape(-1, by_shard.shape[-1])[: len(weights)]
    assert np.abs(want_gradient).max() > 0
    np.testing.assert_allclose(value, want_value, rtol=1e-6)
    np.testing.assert_allclose(
        gradient, want_gradient, rtol=1e-6, atol=1e-6 * np.abs(want_gradient).max()
    )


def test_what_cannot_be_cut_is_refused():
    spec = cb.presets.beams(1_000, beams=2)
    whole = cb.build(spec, KEY, path="event")
    with pytest.raises(UsageError, match=r"devices: 3; a beam is not divided, and .* has 2"):
        shard.split(whole, shard.mesh(3))
    with pytest.raises(UsageError, match="devices: 9; there are 8"):
        shard.mesh(9)
    cut = shard.split(whole, shard.mesh(2))
    with pytest.raises(UsageError, match="circuit: cut already"):
        shard.split(cut, shard.mesh(2))
    with pytest.raises(UsageError, match="state: not in 2 shards"):
        cb.simulate(cut, cb.init(whole, KEY), {}, duration_ms=5)
    projection = replace(spec.projections[0], crosses=True, plastic=True)
    with pytest.raises(UsageError, match=r"mossy_fiber_granule\.plastic: True; one that crosses"):
        replace(
            spec,
            projections=tuple(
                projection
                if p.name == projection.name
                else replace(p, crosses=True)
                if p.source == "mossy_fiber"
                else p
                for p in spec.projections
            ),
        )
    with pytest.raises(UsageError, match=r"crosses: False; other projections of inferior_olive"):
        spec.with_projection("inferior_olive_nuclei", crosses=False)
