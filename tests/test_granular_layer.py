"""The options of Model B's granular layer: off, nothing changes; on, each changes what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model.edges import Edges
from cerebellum.model.neurons import eglif
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_granular import FAST_MS, REST_HZ
from cerebellum.model.short_term import mean_factor

BrushCells, DiverseTerminals = cb.presets.BrushCells, cb.presets.DiverseTerminals
GranularLayer, SlowGolgi = cb.presets.GranularLayer, cb.presets.SlowGolgi
ALL = cb.presets.TEMPORAL_BASIS
KEY = jax.random.key(1)


@pytest.fixture(scope="module")
def plain():
    spec = cb.presets.mouse_eglif()
    assert spec.place is not None
    return spec.place(KEY)


@pytest.fixture(scope="module")
def edges():
    spec = cb.presets.mouse_eglif(granular=ALL)
    assert spec.place is not None
    return spec.place(KEY)


def test_no_mechanism_is_the_published_circuit():
    spec = cb.presets.mouse_eglif("awake", granular=GranularLayer())
    assert spec == cb.presets.mouse_eglif("awake")
    assert spec != cb.presets.mouse_eglif("awake", granular=ALL)
    assert {p.name for p in spec.populations} == set(SIZES)


def test_the_rest_of_the_wiring_stays(plain, edges):
    altered = {"mossy_fiber_glomerulus", "glomerulus_granule"}
    for name in set(plain) - altered:
        np.testing.assert_array_equal(plain[name], edges[name])
    np.testing.assert_array_equal(
        plain["glomerulus_granule"][:, 0], edges["glomerulus_granule"].pre
    )
    np.testing.assert_array_equal(
        plain["glomerulus_granule"][:, 1], edges["glomerulus_granule"].post
    )


def test_every_glomerulus_has_one_source_and_brush_cells_have_their_share(plain, edges):
    of_fibre = edges["mossy_fiber_glomerulus"]
    of_brush = [edges["brush_on_glomerulus"], edges["brush_off_glomerulus"]]
    driven = np.concatenate([of_fibre, *of_brush])[:, 1]
    np.testing.assert_array_equal(np.sort(driven), np.arange(SIZES["glomerulus"]))
    assert len(of_fibre) == pytest.approx(0.3 * SIZES["glomerulus"], abs=1)
    # Those that are left keep their fibres, and every brush cell has four or five.
    fibre = plain["mossy_fiber_glomerulus"][:, 0]
    np.testing.assert_array_equal(of_fibre[:, 0], fibre[of_fibre[:, 1]])
    for pairs in of_brush:
        assert set(np.bincount(pairs[:, 0])) <= {4, 5}


def test_a_brush_cell_hears_one_fibre_with_a_weight_that_fits_its_time_constant(edges):
    brush = BrushCells()
    for name, count in brush.sizes().items():
        synapses = edges[f"mossy_fiber_{name}"]
        assert isinstance(synapses, Edges)
        np.testing.assert_array_equal(synapses.post, np.arange(count))
        assert len(np.unique(synapses.pre)) > 60
        tau = brush.taus(name)
        assert (tau.min() > 30) & (tau.max() < 500) & (np.diff(np.log(tau)).std() < 1e-9)
        used = mean_factor(brush.rule, REST_HZ)
        mean = REST_HZ * 1e-3 * used * np.asarray(synapses.weight) * np.e * tau
        if name == "brush_on":
            assert (mean < brush.threshold).all()
            assert (10 * mean > 1.5 * brush.threshold).all()
        else:
            np.testing.assert_allclose(mean, brush.off_conductance)


def test_cells_have_synaptic_time_constants_of_their_own():
    """Each of a population's cells has the conductance of a cell that is alone with its tau."""
    taus = [60.0, 200.0, 700.0]
    both = eglif.Params(tau_syn=(taus, 2.0))  # pyright: ignore[reportArgumentType]
    spec = cb.Spec("brush", (cb.Population("cells", 3, "eglif", both),), dt=0.1)
    circuit = cb.build(spec, KEY)
    drive = {"cells.r1": np.eye(1, 3_000, dtype=np.float32).T}
    _, recording = cb.simulate(
        circuit, cb.init(circuit, KEY), drive, duration_ms=300, record=["g_r1:cells"]
    )
    trace = recording.traces["g_r1:cells"]
    # The weight arrives at the end of the first step.
    time = trace.time_ms[:, None] - 0.1
    want = np.e / np.array(taus) * time * np.exp(-time / np.array(taus))
    np.testing.assert_allclose(trace.values, want, atol=2e-4)


def test_terminals_count_at_rest_as_much_as_without(edges):
    """On average over glomeruli, and in each group by its amplitude."""
    terminals, count = ALL.terminals, SIZES["glomerulus"]
    assert terminals is not None
    rule, synapses = terminals.rule(count), edges["glomerulus_granule"]
    at_rest = synapses.weight * mean_factor(rule, REST_HZ)[synapses.pre]
    driver = terminals.of_driver(count)
    for group, amplitude in zip((driver, ~driver), terminals.amplitude, strict=True):
        np.testing.assert_allclose(at_rest[group[synapses.pre]], 0.23 * amplitude, rtol=1e-5)
    in_tone = mean_factor(rule, 40.0) / mean_factor(rule, REST_HZ)
    assert (in_tone[driver] < 1).all()
    assert np.median(in_tone[~driver]) > 3 * np.median(in_tone[driver])
    assert rule == terminals.rule(count)


def test_slow_inhibition_takes_over_its_share_of_the_charge():
    slow = SlowGolgi(tau_ms=150.0, share=0.6)
    before = {p.name: p for p in cb.presets.mouse_eglif().projections}
    spec = cb.presets.mouse_eglif(granular=GranularLayer(slow_golgi=slow))
    after = {p.name: p for p in spec.projections}
    fast, spilled = after["golgi_granule"], after["golgi_spillover_granule"]
    charge = before["golgi_granule"].mean_weight * FAST_MS
    assert fast.mean_weight * FAST_MS == pytest.approx(0.4 * charge)
    assert spilled.mean_weight * 150.0 == pytest.approx(0.6 * charge)
    params = spec.population("granule").params
    assert (params.e_rev[2], params.tau_syn[2], spilled.receptor) == (-80.0, 150.0, "r3")


def test_terminals_replace_those_of_short_term_plasticity():
    static = cb.presets.mouse_eglif("awake", granular=ALL)
    dynamic = cb.presets.mouse_eglif("awake", granular=ALL, short_term=True)
    of = [{p.name: p for p in spec.projections} for spec in (static, dynamic)]
    assert of[0]["glomerulus_granule"] == of[1]["glomerulus_granule"]
    for name in ("golgi_granule", "golgi_spillover_granule"):
        assert of[0][name].short_term is None
        assert getattr(of[1][name].short_term, "tau_fac", None) == 58.0


def test_a_circuit_with_all_of_them_runs_and_is_kept(tmp_path):
    spec = cb.presets.mouse_eglif("awake", dt=1.0, granular=ALL)
    circuit = cb.build(spec, KEY)
    rate = jnp.full(SIZES["mossy_fiber"], 40.0)
    state, recording = cb.simulate(
        circuit, cb.init(circuit, KEY), {"mossy_fiber": cb.drive.poisson(rate)}, duration_ms=200
    )
    spikes = {name: recording.spikes[name].sum() for name in ("granule", "brush_on", "brush_off")}
    assert min(spikes.values()) > 5
    cb.store.save_circuit(tmp_path, circuit, state)
    restored, kept = cb.store.load_circuit(tmp_path)
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)
    assert restored.spec.projections == circuit.spec.projections


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BrushCells(cells=0), "brush_cells.cells: 0; at least 1"),
        (lambda: BrushCells(off=1.5), "brush_cells.off: 1.5; a share, from 0 to 1"),
        (lambda: BrushCells(tau_ms=(0.0, 5.0)), "brush_cells.tau_ms: "),
        (lambda: DiverseTerminals(driver_u=(0.5, 1.5)), r"terminals.driver_u: \(0.5, 1.5\); "),
        (lambda: SlowGolgi(tau_ms=0.0), "slow_golgi.tau_ms: 0.0"),
        (lambda: SlowGolgi(share=-0.5), "slow_golgi.share: -0.5; a share, from 0 to 1"),
        (lambda: DiverseTerminals(drivers=2), "terminals.drivers: 2; a share, from 0 to 1"),
        (lambda: GranularLayer(slow_golgi=True), r"granular.slow_golgi: True; SlowGolgi\(\)"),  # pyright: ignore[reportArgumentType]
        (lambda: cb.presets.mouse_eglif(granular=True), "granular: True; a GranularLayer"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_input_is_one_line(make, message):
    with pytest.raises(cb.UsageError, match=message):
        make()
