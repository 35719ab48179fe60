"""Shards of a circuit whose synapses have weights and delays of their own are the circuit."""

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
from cerebellum.model import events
from cerebellum.model.neurons import current, relay
from cerebellum.sim import shard

KEY = jax.random.key(3)
DRIVE = {"mf": cb.drive.poisson(40.0)}
OPTIONS = {"record": ("v:e", "raster:i", "i_exc:i:0::2"), "progress": False}
LEARNS = cb.Rule(teacher="e", per_spike=-0.01, per_pair=0.1, tau=10.0, window=20.0)


def spec(beams: int, *, learning: bool = False, longest_ms: float = 3.0, extra: int = 0) -> cb.Spec:
    """Fibres, cells and interneurons; the last beam is smaller by `extra` cells of each kind."""
    sizes = {"mf": 16 * beams - extra, "e": 20 * beams - extra, "i": 8 * beams - extra}
    cells = [cb.Population(name="mf", size=sizes["mf"], model="relay", params=relay.Params())]
    cells += [
        cb.Population(name=n, size=sizes[n], model="current", params=current.Params(drive=14.0))
        for n in ("e", "i")
    ]
    drawn = {"weight": cb.Uniform(1.0, 4.0), "delay": cb.Uniform(0.1, longest_ms), "in_degree": 4}
    projections = [
        cb.Projection(source=source, target=target, receptor=receptor, **drawn)
        for source, target, receptor in (("mf", "e", "exc"), ("e", "i", "exc"), ("i", "e", "inh"))
    ]
    if learning:
        projections[0] = replace(projections[0], plastic=True, w_max=20.0, rule=LEARNS)
    return cb.Spec(
        name="delays",
        populations=tuple(cells),
        projections=tuple(projections),
        beams=beams,
        dt=0.1,
    )


def own_edges(circuit: cb.Spec) -> dict[str, cb.Edges]:
    """Edges of cells with several synapses or none, each within its beam."""
    rng, edges = np.random.default_rng(0), {}
    for source, target in (("mf", "e"), ("e", "i")):
        width = {name: circuit.beam_size(name) for name in (source, target)}
        pre = rng.integers(0, circuit.population(source).size // 2, 40 * circuit.beams)
        start = pre // width[source] * width[target]
        room = np.minimum(width[target], circuit.population(target).size - start)
        post = start + rng.integers(0, room)
        steps = rng.integers(1, 300, pre.size)
        edges[f"{source}_{target}"] = cb.Edges(pre, post, rng.uniform(1, 8, pre.size), steps * 0.1)
    return edges


def check(circuit: cb.Spec, shards: int, path: str, backend: str, edges=None) -> int:
    """Run whole and cut: first states, recordings and last states are the same.

    On the dense path they are so but for rounding.

    Returns:
      Number of places in rings of arrivals where something is on its way at the end.
    """
    whole = cb.build(circuit, KEY, edges, path=path, backend=backend)
    fans = [fan for fan in whole.wiring.fans.values() if isinstance(fan, events.FanOut)]
    assert sum(fan.delays is not None for fan in fans) >= 2
    initial = host(cb.init(whole, KEY, spread=True))
    state, recording = cb.simulate(
        whole, jax.tree.map(jnp.asarray, initial), DRIVE, duration_ms=60, **OPTIONS
    )
    assert recording.spikes["e"].sum() > 0
    waiting = sum(np.count_nonzero(ring) for ring in state.arrivals.values())
    cut = shard.split(whole, shard.mesh(shards))
    same(shard.join_state(cut, shard.init(cut, KEY, spread=True)), initial)
    end, of_shards = cb.simulate(
        cut, shard.split_state(cut, initial), DRIVE, duration_ms=60, **OPTIONS
    )
    if path == "event":
        same_recording(recording, of_shards)
        same(shard.join_state(cut, end), host(state))
    else:
        same(recording.spikes["i"], of_shards.spikes["i"])
        for x, y in zip(
            jax.tree.leaves(shard.join_state(cut, end)), jax.tree.leaves(state), strict=True
        ):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)
    return waiting


@pytest.mark.parametrize(
    ("path", "backend", "learning", "extra"),
    [
        ("event", "auto", True, 3),
        pytest.param("event", "xla", False, 0, marks=[pytest.mark.slow, pytest.mark.soak]),
        pytest.param("dense", "xla", True, 3, marks=[pytest.mark.slow, pytest.mark.soak]),
    ],
)
def test_drawn_weights_and_delays(path, backend, learning, extra):
    assert check(spec(5, learning=learning, extra=extra), 3, path, backend) > 0


def test_edges_that_were_given():
    """One shard has delays that no other shard has, up to 30 ms, and cells without synapses."""
    circuit = spec(3, learning=True, extra=2)
    assert check(circuit, 2, "event", "auto", own_edges(circuit)) > 0


@pytest.mark.slow
@settings(examples(6), phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    beams=st.integers(1, 6),
    shards=st.integers(1, 6),
    learning=st.booleans(),
    own=st.booleans(),
    longest_ms=st.sampled_from([0.4, 3.0, 40.0]),
    extra=st.integers(0, 4),
    way=st.sampled_from([("event", "auto"), ("event", "xla"), ("dense", "xla")]),
)
def test_shards_are_the_whole(beams, shards, learning, own, longest_ms, extra, way):
    circuit = spec(beams, learning=learning, longest_ms=longest_ms, extra=extra)
    check(circuit, min(beams, shards), *way, own_edges(circuit) if own else None)


@pytest.mark.soak
@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_shards():
    """What is on its way when a run stops arrives in the next one, however it is cut."""
    whole = cb.build(spec(4, learning=True), KEY, path="event")
    initial = host(cb.init(whole, KEY))
    state, recording = cb.simulate(
        whole, jax.tree.map(jnp.asarray, initial), DRIVE, duration_ms=60, **OPTIONS
    )
    parts = []
    for shards in (4, 1, 3):
        cut = shard.split(whole, shard.mesh(shards))
        end, part = cb.simulate(
            cut, shard.split_state(cut, initial), DRIVE, duration_ms=20, **OPTIONS
        )
        parts.append(part)
        initial = shard.join_state(cut, end)
    same_recording(recording, cb.record.join(parts))
    same(initial, host(state))


@pytest.mark.soak
@pytest.mark.slow
def test_a_batch_lies_along_its_own_axis():
    whole = cb.build(spec(3, learning=True), KEY, path="event")
    initial = host(jax.vmap(lambda key: cb.init(whole, key))(jax.random.split(KEY, 4)))
    state, alone = cb.simulate_batch(
        whole, jax.tree.map(jnp.asarray, initial), DRIVE, duration_ms=40, **OPTIONS
    )
    cut = shard.split(whole, shard.mesh(2, batch=2))
    end, of_shards = cb.simulate_batch(
        cut, shard.split_state(cut, initial), DRIVE, duration_ms=40, **OPTIONS
    )
    for a, b in zip(alone, of_shards, strict=True):
        same_recording(a, b)
    same(shard.join_state(cut, end), host(state))


def test_what_crosses_beams_has_no_delays_of_its_own():
    """The lists of such a projection are sorted anew for each shard, and delays would not be."""
    circuit = spec(2)
    with pytest.raises(UsageError, match=r"mf_e\.weight: a distribution; .* do not cross beams"):
        circuit.with_projection("mf_e", crosses=True)
    crossing = {"crosses": True, "weight": 2.0, "delay": 1.0}
    with pytest.raises(UsageError, match=r"edges 'mf_e': given; .* do not cross beams"):
        cb.build(circuit.with_projection("mf_e", **crossing), KEY, own_edges(circuit))
