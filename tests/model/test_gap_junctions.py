"""Gap junctions: what they conduct, how they are drawn and given, and that nothing else changes."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from same import same

import cerebellum as cb
from cerebellum.learn import unknowns
from cerebellum.model import gap_junctions
from cerebellum.model.neurons import conductance, current
from cerebellum.model.part import Part
from cerebellum.model.presets.eglif import CELLS
from cerebellum.sim import memory
from cerebellum.store import snapshot

SIZE = 40
PASSIVE = conductance.Params(c_m=100.0, tau_m=20.0, e_l=-60.0, v_th=1e3, i_e=0.0)
FIRING = conductance.Params(c_m=100.0, tau_m=20.0, e_l=-60.0, v_th=-45.0, v_reset=-60.0, i_e=90.0)
RULE = cb.GapJunctions(0.7, cb.connect.Probability(0.2))


def spec(junctions: cb.GapJunctions | None, cell=FIRING, size=SIZE, **options) -> cb.Spec:
    cells = cb.Population("golgi", size, params=cell, gap_junctions=junctions)
    inputs = cb.Population("input", size, "relay")
    synapses = cb.Projection("input", "golgi", "exc", weight=2.0, delay=1.0, in_degree=2)
    return cb.Spec("coupled", (inputs, cells), (synapses,), dt=0.1, **options)


DRIVE = {"input": cb.drive.poisson(20.0), "golgi": cb.drive.noise(0.0, 30.0, 5.0)}
"""A drive that tells cells apart."""


def run(circuit: cb.Circuit, ms: float, drive=DRIVE, state=None, **options):
    state = cb.init(circuit, 1) if state is None else state
    return cb.simulate(circuit, state, drive, duration_ms=ms, progress=False, **options)


@pytest.mark.parametrize("given", [False, True])
def test_currents_of_a_population_add_up_to_zero(given):
    circuit = cb.build(spec(RULE), 0)
    edges = circuit.edges("golgi")
    if given:
        g = np.random.default_rng(2).uniform(0.1, 1.5, len(edges))
        circuit = cb.build(spec(RULE), 0, {"golgi": replace(edges, weight=g)})
    v = jnp.asarray(np.random.default_rng(1).normal(-60.0, 8.0, SIZE), jnp.float32)
    operands = circuit.wiring.partners["golgi"], circuit.params.gap_junctions["golgi"]
    pa = np.asarray(gap_junctions.current(*operands, v), np.float64)
    assert np.abs(pa).max() > 10
    assert abs(pa.sum()) < 1e-5 * np.abs(pa).sum()
    # The same from the list of junctions.
    direct = np.zeros(SIZE)
    edges = circuit.edges("golgi")
    flow = edges.weight * (np.asarray(v)[edges.post] - np.asarray(v)[edges.pre])
    np.add.at(direct, edges.pre, flow)
    np.add.at(direct, edges.post, -flow)
    np.testing.assert_allclose(pa, direct, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("cell", "g", "share"), [(PASSIVE, 3.0, 3.0 / 5.0), (None, 0.6, 0.6)])
def test_two_passive_cells_relax_with_the_analytic_time_constant(cell, g, share):
    """The difference of two cells decays with 1 / tau_m + 2 g / c_m, their mean with 1 / tau_m."""
    cell = cell or current.Params(tau_m=20.0, v_th=1e3, v_leak=-60.0)
    cells = cb.Population("pair", 2, params=cell, gap_junctions=cb.GapJunctions(g))
    circuit = cb.build(cb.Spec("pair", (cells,), dt=0.1), 0, {"pair": cb.Edges([0], [1])})
    state = cb.init(circuit, 0)
    start = replace(state.cells["pair"], v=jnp.asarray([-50.0, -62.0]))
    state = replace(state, cells={"pair": start})
    _, recording = run(circuit, 30.0, {}, state, record=("v:pair",))
    v = recording.traces["v:pair"].values + 60.0
    t = np.arange(1, len(v) + 1) * 0.1
    tau = 1 / (1 / 20.0 + 2 * share / 20.0)
    # The step holds the current, an error of the first order in dt / tau.
    np.testing.assert_allclose(v[:, 0] - v[:, 1], 12.0 * np.exp(-t / tau), atol=0.06)
    np.testing.assert_allclose(v.mean(axis=1), 4.0 * np.exp(-t / 20.0), atol=2e-3)


def test_without_conductance_is_bit_for_bit_as_without_junctions():
    without, _ = run(cb.build(spec(None), 0), 100.0)
    off, _ = run(cb.build(spec(cb.GapJunctions(0.0, cb.connect.AllToAll())), 0), 100.0)
    on, _ = run(cb.build(spec(RULE), 0), 100.0)
    same(without.cells, off.cells)
    assert np.any(np.asarray(without.cells["golgi"].v) != np.asarray(on.cells["golgi"].v))


@pytest.mark.parametrize("backend", ["xla", "auto"])
@pytest.mark.parametrize("path", ["event", "dense"])
def test_paths_backends_and_cuts_agree(path, backend):
    circuit = cb.build(spec(RULE), 0, path=path, backend=backend)
    reference, _ = run(cb.build(spec(RULE), 0, path="event", backend="xla"), 60.0)
    state, _ = run(circuit, 23.0)
    state, _ = run(circuit, 37.0, state=state, chunk_steps=64)
    same(state.cells, reference.cells)


@pytest.mark.parametrize("given", [False, True])
def test_saved_is_never_stopped(tmp_path, given):
    edges = cb.Edges([0, 5, 9], [3, 3, 20], weight=[0.2, 1.0, 3.0])
    circuit = cb.build(spec(RULE), 0, {"golgi": edges} if given else None)
    state, _ = run(circuit, 20.0)
    cb.store.save_circuit(tmp_path, circuit, state)
    whole, _ = run(circuit, 20.0, state=state)
    restored, state = cb.store.load_circuit(tmp_path)
    assert restored.spec == circuit.spec
    same(restored.wiring.partners, circuit.wiring.partners)
    same(run(restored, 20.0, state=state)[0], whole)


def test_the_digest_of_a_wiring_knows_its_junctions():
    weaker = cb.GapJunctions(0.7, cb.connect.Probability(0.1))
    digests = {snapshot.digest(cb.build(spec(each), 0).wiring) for each in (None, RULE, weaker)}
    assert len(digests) == 3


def test_divided_is_whole():
    spec_of_beams = spec(RULE, size=42, beams=4)
    circuit = cb.build(spec_of_beams, 3)
    edges = circuit.edges("golgi")
    assert (edges.pre // 11 == edges.post // 11).all()
    assert len(edges)
    only_spikes = {"input": DRIVE["input"]}
    whole, _ = run(circuit, 20.0, only_spikes)
    cut = cb.shard.split(circuit, cb.shard.mesh(2))
    divided, _ = run(cut, 20.0, only_spikes, cb.shard.init(cut, jax.random.key(1)))
    same(cb.shard.join_state(cut, divided).cells, whole.cells)


def test_pairs_are_drawn_by_chance_and_by_distance():
    cells = cb.Population("golgi", 300, params=FIRING, gap_junctions=RULE)
    edges = cb.build(cb.Spec("many", (cells,)), 0).edges("golgi")
    assert (edges.pre < edges.post).all()
    assert len(set(zip(edges.pre.tolist(), edges.post.tolist(), strict=True))) == len(edges)
    # 44,850 pairs: the SD is 85.
    assert len(edges) == pytest.approx(0.2 * 300 * 299 / 2, abs=350)
    um = np.random.default_rng(0).uniform(0, 200, (300, 3))
    near = replace(
        cells, gap_junctions=cb.GapJunctions(0.2, cb.connect.Distance("ellipsoid", 50.0))
    )
    edges = cb.build(cb.Spec("many", (near,)), 0, positions={"golgi": um}).edges("golgi")
    apart = np.linalg.norm(um[:, None] - um[None], axis=2)
    expected = {(i, j) for i, j in np.argwhere(apart <= 50.0).tolist() if i < j}
    assert set(zip(edges.pre.tolist(), edges.post.tolist(), strict=True)) == expected


def test_given_pairs_come_back_and_may_be_merged():
    circuit = cb.build(spec(RULE), 0)
    edges = circuit.edges("golgi")
    backwards = cb.Edges(edges.post[::-1], edges.pre[::-1])
    again = cb.build(spec(RULE), 7, {"golgi": backwards})
    same(again.wiring.partners, circuit.wiring.partners)
    twice = cb.Edges([1, 4, 2], [4, 1, 0], weight=[1.0, 0.5, 0.25], multapses="merge")
    edges = cb.build(spec(RULE), 0, {"golgi": twice}).edges("golgi")
    assert list(zip(edges.pre, edges.post, edges.weight, strict=True)) == [
        (0, 2, 0.25),
        (1, 4, 1.5),
    ]
    contacts = np.array([[1, 4, 3]])
    assert cb.build(spec(RULE), 0, {"golgi": contacts}).edges("golgi").weight == pytest.approx(2.1)


def test_coupled_cells_fire_together():
    """Golgi cells in pairs that start out of step: median lag of the nearest spikes of two cells.

    It was 9.5 ms without junctions and 2.6 ms with 1 nS, at intervals of 51 ms.
    """
    kind = CELLS["vitro"]["golgi"]
    cells = cb.Population("golgi", 40, params=replace(kind, i_e=kind.i_e + 40.0))
    pairs = cb.Edges(np.arange(0, 40, 2), np.arange(1, 40, 2))
    begin = np.random.default_rng(0).uniform(-70.0, -56.0, 40).astype(np.float32)
    lags = {}
    for g in (0.0, 1.0):
        coupled = replace(cells, gap_junctions=cb.GapJunctions(g))
        circuit = cb.build(cb.Spec("pairs", (coupled,), dt=0.1), 0, {"golgi": pairs})
        state = cb.init(circuit, 0)
        start = replace(state.cells["golgi"], v=jnp.asarray(begin))
        state = replace(state, cells={"golgi": start})
        _, recording = run(circuit, 1_500.0, {}, state, record=("raster:golgi",))
        raster = recording.rasters["golgi"]
        late = raster.time_ms > 750.0
        times = [raster.time_ms[late & (raster.cell == cell)] for cell in range(40)]
        assert min(map(len, times)) > 10
        each = [
            np.median(np.abs(times[i][:, None] - times[i + 1]).min(axis=1)) for i in range(0, 40, 2)
        ]
        lags[g] = np.median(each)
    assert lags[1.0] < 4.0
    assert lags[0.0] > 7.0


def test_blocking_and_sweeping_junctions():
    circuit = cb.build(spec(RULE), 0)
    blocked = cb.scale_weights(circuit, "golgi", 0.0)
    assert blocked.spec.population("golgi").gap_junctions == replace(RULE, conductance=0.0)
    same(run(blocked, 30.0)[0].cells, run(cb.build(spec(None), 0), 30.0)[0].cells)
    table = cb.sweep(
        circuit, {"golgi.gap_conductance": [0.0, 3.0]}, keys=[1], drive=DRIVE, duration_ms=100.0
    )
    strong = cb.scale_weights(circuit, "golgi", 3.0 / 0.7)
    alone = [cb.record.rates(run(each, 100.0)[1])["golgi"] for each in (blocked, strong)]
    assert alone[0] != alone[1]
    np.testing.assert_allclose(table["rate.golgi"], alone)


def refused(make) -> str:
    with pytest.raises(cb.UsageError) as error:
        make()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_wrong_junctions_are_refused_in_one_line():
    def built(junctions: Any = RULE, edges=None, **options):
        return lambda: cb.build(spec(junctions, **options), 0, edges and {"golgi": edges})

    Junctions, connect = cb.GapJunctions, cb.connect
    assert "nS, zero or more" in refused(built(Junctions(-1.0)))
    assert "nS, zero or more" in refused(built(Junctions("3")))  # pyright: ignore[reportArgumentType]
    assert "cb.GapJunctions" in refused(built(0.5))
    assert "FixedInDegree; one of" in refused(built(Junctions(1.0, connect.FixedInDegree(3))))
    assert "autapses" in refused(built(Junctions(1.0, connect.AllToAll(autapses=True))))
    assert "probability" in refused(built(Junctions(1.0, connect.Probability(2.0))))
    assert "without a rule" in refused(built(Junctions(1.0)))
    assert "positions" in refused(built(Junctions(1.0, connect.Distance("gaussian", 50.0))))
    assert "no membrane" in refused(
        lambda: cb.Spec("x", (cb.Population("mf", 3, "relay", gap_junctions=RULE),))
    )
    assert "numbered 0 to 39" in refused(built(edges=cb.Edges([0], [40])))
    assert "between two cells" in refused(built(edges=cb.Edges([3], [3])))
    assert "each pair once" in refused(built(edges=cb.Edges([3, 4], [4, 3])))
    assert "with a delay" in refused(built(edges=cb.Edges([3], [4], delay=1.0)))
    assert "without gap junctions" in refused(built(None, edges=cb.Edges([3], [4])))
    assert "stays in its beam" in refused(built(edges=cb.Edges([3], [30]), beams=2))
    with pytest.raises(cb.UsageError, match="gap_conductance'; a parameter of cells, or"):
        unknowns.of(cb.build(spec(RULE), 0), "golgi.gap_conductance", None)
    assert "swing" in refused(built(Junctions(30.0, connect.AllToAll())))
    strong = lambda: run(cb.scale_weights(cb.build(spec(RULE), 0), "golgi", 1e3), 1.0)  # noqa: E731
    assert "under 1000 nS in all" in refused(strong)


def test_tables_and_the_estimate_of_memory_know_junctions():
    described = spec(RULE)
    circuit = cb.build(described, 0)
    assert "golgi (gap junctions)" in repr(circuit)
    assert f"{len(circuit.edges('golgi')):,}" in repr(circuit)
    part = circuit.wiring.part
    estimated = memory.arrays(part)["gap_junctions.golgi"]
    assert estimated == pytest.approx(circuit.wiring.partners["golgi"].nbytes, rel=0.5)
    assert "gap_junctions.golgi" not in memory.arrays(Part(spec=spec(None)))
