"""Homeostasis: cells come to the wanted rate, within bounds, and only where it is switched on."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import matrix

import cerebellum as cb
from cerebellum.model import homeostasis
from cerebellum.model.homeostasis import Scaling, Threshold
from cerebellum.model.neurons import current, relay
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec

KEY = jax.random.key(2)
THRESHOLD = Threshold(target=20.0, gain=1.0, tau_rate=500.0)
SCALING = Scaling(target=20.0, tau=4_000.0, tau_rate=500.0)


def watched(
    *, threshold: Threshold | None = None, scaling: Scaling | None = None, **options
) -> Spec:
    """60 relays onto 12 cells, some of which fire far too much and others too little."""
    options = {"in_degree": 20, "spread": 0.8, "weight": 0.8, "plastic": True} | options
    return Spec(
        name="watched",
        populations=(
            Population(name="input", size=60, model="relay", params=relay.Params()),
            Population(
                name="cells",
                size=12,
                model="current",
                params=current.Params(drive=8.0),
                homeostasis=threshold,
            ),
        ),
        projections=(
            Projection(
                source="input",
                target="cells",
                receptor="exc",
                delay=1.0,
                scaling=scaling,
                **options,
            ),
        ),
    )


def rates(circuit: cb.Circuit, state: cb.model.circuit.State | None = None, ms: float = 20_000.0):
    """The state after a long run at 30 Hz of input, and the cells' rates in its last quarter."""
    state = cb.init(circuit, KEY) if state is None else state
    drive = {"input": cb.drive.poisson(30.0)}
    state, _ = cb.simulate(circuit, state, drive, duration_ms=0.75 * ms)
    state, last = cb.simulate(
        circuit, state, drive, duration_ms=0.25 * ms, record=("counts:cells",)
    )
    return state, last.counts["cells"] / (0.25 * ms * 1e-3)


@pytest.mark.parametrize(
    "rule", [{"threshold": THRESHOLD}, {"scaling": SCALING}], ids=["threshold", "scaling"]
)
def test_cells_come_to_the_wanted_rate(rule):
    before = rates(cb.build(watched(), KEY, path="event"))[1]
    assert abs(before - 20).max() > 8
    circuit = cb.build(watched(**rule), KEY, path="event")
    state, after = rates(circuit)
    np.testing.assert_allclose(after, 20, atol=5)
    (watch,) = state.homeostasis.values()
    assert np.asarray(watch.rate).mean() == pytest.approx(after.mean(), rel=0.2)


def test_one_step_is_the_equation():
    spikes = jnp.array([0.0, 1.0])
    rule = Scaling(target=10.0, tau=100.0, tau_rate=50.0)
    watch = homeostasis.begin(rule, 2)
    after = homeostasis.adjust(watch, spikes, rule, jnp.float32(1), 1.0)
    kept = np.exp(-1 / 50)
    mean = 10 * kept + np.array([0, 1_000]) * (1 - kept)
    np.testing.assert_allclose(after.rate, mean, rtol=1e-5)
    np.testing.assert_allclose(after.value, 1 + (1 - mean / 10) / 100, rtol=1e-5)
    rule = Threshold(target=10.0, gain=0.5, tau_rate=50.0)
    after = homeostasis.adjust(homeostasis.begin(rule, 2), spikes, rule, jnp.float32(1), 1.0)
    np.testing.assert_allclose(after.value, 0.5 * (mean - 10) * 1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    "rule",
    [
        {"threshold": replace(THRESHOLD, gain=100.0, lowest=-1.0, highest=2.0)},
        {"scaling": replace(SCALING, tau=20.0, lowest=0.5, highest=1.5)},
    ],
    ids=["threshold", "scaling"],
)
def test_bounds_hold(rule):
    (bounds,) = rule.values()
    circuit = cb.build(watched(**rule), KEY, path="event")
    state = cb.init(circuit, KEY)
    low, high = np.inf, -np.inf
    for hertz in [250.0] * 30 + [0.0] * 60:
        state, _ = cb.simulate(circuit, state, {"input": cb.drive.poisson(hertz)}, duration_ms=50)
        (watch,) = state.homeostasis.values()
        assert bounds.lowest <= watch.value.min() <= watch.value.max() <= bounds.highest
        low, high = min(low, float(watch.value.min())), max(high, float(watch.value.max()))
    assert (low, high) == (bounds.lowest, bounds.highest)


def test_learning_is_switched_off_by_its_factor():
    circuit = cb.build(watched(threshold=THRESHOLD, scaling=SCALING), KEY, path="event")
    assert set(circuit.params.learning_gain) == {"cells", "input_cells"}
    still = {name: jnp.float32(0) for name in circuit.params.learning_gain}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=still))
    state, _ = rates(circuit, ms=1_000)
    assert not np.asarray(state.homeostasis["cells"].value).any()
    assert (np.asarray(state.homeostasis["input_cells"].value) == 1).all()


@pytest.mark.parametrize("form", ["list", "row", "uint16"])
@pytest.mark.parametrize("path", ["event", "dense"])
def test_what_is_consolidated_goes_on_as_before(form, path):
    """Scaled weights and shifted thresholds, started afresh, fire like the learned circuit."""
    options = {
        "list": {},
        "row": {"in_degree": 60, "weight": 0.25},
        "uint16": {"in_degree": 60, "weight": 0.25, "dtype": "uint16", "w_max": 4.0},
    }[form]
    spec = watched(threshold=THRESHOLD, scaling=replace(SCALING, tau=500.0), **options)
    circuit = cb.build(spec, KEY, path=path)
    state, _ = rates(circuit, ms=2_000)
    learned = cb.consolidate(circuit, state)
    factor, shift = state.homeostasis["input_cells"].value, state.homeostasis["cells"].value
    assert float(jnp.abs(factor - 1).max()) > 0.1
    if form != "uint16":
        scaled = np.asarray(factor)[None] * matrix(circuit, "input_cells")
        np.testing.assert_allclose(matrix(learned, "input_cells"), scaled, rtol=1e-5)
    threshold = circuit.params.cells["cells"].v_th + shift
    np.testing.assert_allclose(learned.params.cells["cells"].v_th, threshold, rtol=1e-6)
    still = {name: jnp.float32(0) for name in circuit.params.learning_gain}
    drive = {"input": cb.drive.poisson(30.0)}
    recordings = []
    for variant, watches in (
        (circuit, state.homeostasis),
        (learned, cb.init(learned, KEY).homeostasis),
    ):
        frozen = replace(variant, params=replace(variant.params, learning_gain=still))
        initial = replace(cb.init(frozen, KEY), homeostasis=jax.tree.map(jnp.copy, watches))
        _, recording = cb.simulate(frozen, initial, drive, duration_ms=500, record=("v:cells",))
        recordings.append(recording)
    if form == "uint16":
        assert abs(recordings[0].spikes["cells"].sum() - recordings[1].spikes["cells"].sum()) <= 3
    else:
        np.testing.assert_array_equal(recordings[0].spikes["cells"], recordings[1].spikes["cells"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: watched(threshold=replace(THRESHOLD, target=0.0)), "homeostasis.target: 0.0"),
        (lambda: watched(scaling=replace(SCALING, lowest=1.5)), "scaling: from 1.5 to 10.0; arou"),
        (lambda: watched(scaling=SCALING, plastic=False), "input_cells.scaling: given; its weig"),
    ],
)
def test_wrong_rules_are_refused_by_name(make, message):
    with pytest.raises(cb.UsageError, match=message):
        make()
