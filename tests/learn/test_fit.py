"""Fits: values with which `simulate` gives the rates that were asked for."""

import os
import re
import runpy
import signal
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum.learn import rate_gradient, unknowns
from cerebellum.learn.rate_gradient import Span
from cerebellum.model.plasticity import pair_stdp

KEY = jax.random.key(0)
DRIVE = {"input": cb.drive.poisson(20.0)}
TARGET = {"granule": 3.0, "golgi": 8.0}
OVER = ["input_granule.weight", "golgi.drive"]
SPAN = {"duration_ms": 200, "skip_ms": 50}
FEW = {"duration_ms": 30, "skip_ms": 10, "steps": 2}
"""for what is refused, or ends, before the rates are right"""


def spec_of(surrogate: cb.Surrogate | None = cb.Surrogate()) -> cb.Spec:  # noqa: B008
    """Mossy fibres excite granule cells and Golgi cells, which inhibit them and each other."""
    params = cb.neurons.current.Params

    def link(source: str, target: str, receptor: str, weight: float, in_degree: float):
        return cb.Projection(
            source=source,
            target=target,
            receptor=receptor,
            weight=weight,
            delay=1.0,
            in_degree=in_degree,
        )

    return cb.Spec(
        name="layer",
        populations=(
            cb.Population(name="input", size=100, model="relay", params=cb.neurons.relay.Params()),
            cb.Population(name="granule", size=200, model="current", params=params()),
            cb.Population(
                name="golgi", size=40, model="current", params=params(tau_m=20.0, drive=9.0)
            ),
        ),
        projections=(
            link("input", "granule", "exc", 15.0, 4),
            link("input", "golgi", "exc", 2.0, 20),
            link("golgi", "granule", "inh", 3.0, 6),
            link("granule", "golgi", "exc", 2.0, 30),
            link("golgi", "golgi", "inh", 1.0, 10),
        ),
        surrogate=surrogate,
    )


@pytest.fixture(scope="module")
def circuit() -> cb.Circuit:
    return cb.build(spec_of(), KEY, path="dense")


@pytest.fixture(scope="module")
def fitted(circuit):
    return cb.fit(circuit, TARGET, DRIVE, over=OVER, keys=4, steps=60, tolerance=0.03, **SPAN)


def rates_of(circuit: cb.Circuit, seeds) -> dict[str, float]:
    """Mean rates over seeds, as `simulate` gives them."""
    each = []
    for seed in seeds:
        state = cb.init(circuit, jax.random.key(seed))
        _, recording = cb.simulate(circuit, state, DRIVE, duration_ms=SPAN["duration_ms"])
        each.append(cb.record.rates(recording, SPAN["skip_ms"]))
    return {name: float(np.mean([rates[name] for rates in each])) for name in each[0]}


def test_rates_are_reached(circuit, fitted):
    before = rates_of(circuit, range(4))
    assert before["golgi"] == 0
    assert before["granule"] < 1
    for name, hz in TARGET.items():
        assert fitted.rates[name] == pytest.approx(hz, rel=0.03)
    assert fitted.rates == rates_of(fitted.circuit, range(4))
    others = rates_of(fitted.circuit, range(100, 120))
    for name, hz in TARGET.items():
        assert others[name] == pytest.approx(hz, rel=0.15)


def test_the_table_has_every_step_as_simulate_runs_it(circuit, fitted):
    table = fitted.table
    best = int(np.argmin(table["loss"]))
    assert table["step"].tolist() == list(range(len(table)))
    assert {name: table[f"rate.{name}"][best] for name in fitted.rates} == fitted.rates
    assert {name: table[name][best] for name in OVER} == fitted.values
    assert {name: table[f"rate.{name}"][0] for name in fitted.rates} == rates_of(circuit, range(4))
    assert table[OVER[0]][0] == 15
    assert re.search(r"golgi +8 ", repr(fitted))
    assert "golgi.drive" in repr(fitted)


def test_the_spec_has_the_values_too(fitted):
    again = cb.build(fitted.circuit.spec, KEY, path="dense")
    pairs = zip(jax.tree.leaves(again.params), jax.tree.leaves(fitted.circuit.params), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_event_path_gives_the_same(fitted, caplog):
    event = cb.build(spec_of(), KEY, path="event")
    other = cb.fit(event, TARGET, DRIVE, over=OVER, keys=4, steps=1, tolerance=0.03, **SPAN)
    assert other.circuit.wiring.path == "event"
    for name in OVER:
        np.testing.assert_allclose(other.table[name], fitted.table[name][:2], rtol=1e-4)
    assert other.rates == rates_of(other.circuit, range(4))
    assert "fit: golgi fires at " in caplog.text
    assert f"% away from its target of {TARGET['golgi']:.4g} Hz, after 1 steps" in caplog.text


@pytest.mark.soak
@pytest.mark.slow
def test_the_surrogate_gradient_is_that_of_the_whole_run(circuit):
    """It does not depend on how the run is divided into segments, and none is zero."""

    def gradient(span: Span) -> np.ndarray:
        numbers = unknowns.of(circuit, OVER, None)
        _, gradients = rate_gradient.evaluate(
            tuple(number.target for number in numbers),
            span,
            [number.array(circuit, number.first) for number in numbers],
            circuit,
            jax.numpy.asarray(jax.random.key_data(KEY))[None],
            rate_gradient.inputs_of(circuit, DRIVE, span),
            {name: jax.numpy.float32(hz) for name, hz in TARGET.items()},
        )
        pairs = zip(numbers, gradients, strict=True)
        return np.array([number.slope(circuit, x, number.first) for number, x in pairs])

    class Whole(Span):
        segment = property(lambda self: self.steps)

    divided = gradient(Span(60, 10))
    assert Span(60, 10).segments == 8
    np.testing.assert_allclose(divided, gradient(Whole(60, 10)), rtol=1e-4)
    assert (divided < 0).all()


def test_bounds_are_kept(circuit):
    bounds = {"input_granule.weight": (14.0, 15.5), "golgi.drive": (8.5, 9.5)}
    fitted = cb.fit(
        circuit,
        TARGET,
        DRIVE,
        over=OVER,
        bounds=bounds,
        optimizer=optax.sgd(1.0),
        **{**FEW, "steps": 5},
    )
    for name, (low, high) in bounds.items():
        assert low <= fitted.table[name].min() <= fitted.table[name].max() <= high
    assert fitted.table["input_granule.weight"].max() == pytest.approx(15.5)


def test_cells_that_differ_keep_their_differences():
    cells = cb.neurons.current.Params(
        tau_m=cb.LogNormal(20.0, 2.0), v_th=cb.Normal(12.0, 1.0), drive=11.0
    )
    populations = [
        replace(p, params=cells) if p.name == "golgi" else p for p in spec_of().populations
    ]
    circuit = cb.build(replace(spec_of(), populations=tuple(populations)), KEY, path="dense")
    over = ["golgi.tau_m", "golgi.v_th"]
    fitted = cb.fit(circuit, {"golgi": 60.0}, DRIVE, over=over, **FEW)
    before, after = (x.params.cells["golgi"] for x in (circuit, fitted.circuit))
    ratio, shift = after.tau_m / before.tau_m, after.v_th - before.v_th
    assert ratio[0] != 1
    assert shift[0] != 0
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    np.testing.assert_allclose(shift, shift[0], atol=1e-5)
    assert fitted.values["golgi.v_th"] == pytest.approx(float(after.v_th.mean()), rel=1e-5)


def test_an_interrupted_fit_keeps_the_best(circuit):
    adam = optax.adam(0.1)

    def update(*operands, **more):
        os.kill(os.getpid(), signal.SIGINT)
        return adam.update(*operands)

    with pytest.raises(cb.FitInterrupted, match="after 1 of 50 steps") as stopped:
        cb.fit(
            circuit,
            TARGET,
            DRIVE,
            over=OVER,
            optimizer=optax.GradientTransformation(adam.init, update),
            **{**FEW, "steps": 50},
        )
    fitted = stopped.value.fitted
    assert len(fitted.table) == 2
    best = int(np.argmin(fitted.table["loss"]))
    assert fitted.values == {name: fitted.table[name][best] for name in OVER}
    assert isinstance(stopped.value, KeyboardInterrupt)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_hz": {"golgy": 8.0}}, "target_hz: 'golgy'; perhaps golgi"),
        ({"target_hz": {"golgi": -8.0}}, "target_hz: 'golgi': -8.0; above 0 Hz, at most 1000"),
        ({"target_hz": {"golgi": 0}}, "target_hz: 'golgi': 0; above 0 Hz"),
        ({"target_hz": {"golgi": np.nan}}, "target_hz: 'golgi': nan; above 0 Hz"),
        ({"target_hz": {"input": 8.0}}, "target_hz: 'input': input has relay cells"),
        ({"target_hz": {}}, "target_hz: {}; Hz by population"),
        ({"over": ["golgi.driv"]}, "over: 'golgi.driv'; perhaps golgi.drive"),
        ({"over": []}, r"over: \[\]; a list of names"),
        ({"over": ["golgi.drive"] * 2}, "over: 'golgi.drive' twice"),
        ({"over": "golgi.t_ref"}, "over: 'golgi.t_ref': counted in whole steps"),
        ({"over": "granule.drive"}, "'granule.drive': 0, which gives its steps no unit; bounds="),
        ({"over": "golgi_granule.weight"}, "no gradient; golgi is silent"),
        ({"bounds": {"golgi.tau_m": (1, 2)}}, "bounds: 'golgi.tau_m'; over has"),
        (
            {"bounds": {"golgi.drive": (12, 10)}},
            r"bounds: 'golgi.drive': \(12, 10\); \(low, high\)",
        ),
        ({"bounds": {"golgi.drive": (10, 12)}}, "around its first value, 9"),
        ({"bounds": {"input_granule.weight": (-1, 20)}}, "within 0 to inf"),
        ({"steps": 0}, "steps: 0; a whole number, at least 1"),
        ({"skip_ms": 30}, "skip_ms: 30; ms, from 0 to less than duration_ms"),
        ({"duration_ms": "long"}, "duration_ms: 'long'; a number, ms"),
        ({"keys": 0}, "keys: 0; their number"),
        ({"tolerance": -1}, "tolerance: -1; a share"),
        ({"optimizer": "adam"}, "optimizer: str; one of Optax"),
        ({"drive": {"inputs": 1.0}}, "drive 'inputs'"),
        ({"circuit": None}, "circuit: NoneType; what cb.build"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_one_line(circuit, changes, message):
    arguments = {"circuit": circuit, "target_hz": TARGET, "drive": DRIVE, "over": OVER, **FEW}
    with pytest.raises(cb.UsageError, match=message) as refused:
        cb.fit(**{**arguments, **changes})
    assert "\n" not in str(refused.value)


def eglif(spec: cb.Spec) -> cb.Spec:
    """The same with Golgi cells that pass no gradients."""
    golgi = cb.Population(name="golgi", size=40, model="eglif", params=cb.neurons.eglif.Params())
    receptors = {"exc": "r1", "inh": "r2"}
    return replace(
        spec,
        populations=(*spec.populations[:2], golgi),
        projections=tuple(
            replace(p, receptor=receptors[p.receptor]) if p.target == "golgi" else p
            for p in spec.projections
        ),
    )


def learns(spec: cb.Spec) -> cb.Spec:
    rule = pair_stdp("golgi", 0.1)
    return spec.with_projection("input_golgi", plastic=True, w_max=9.0, rule=rule)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, surrogate=None), "surrogate: None, so that spikes pass no gradients"),
        (lambda s: replace(s, surrogate=cb.Surrogate(soft=True)), "surrogate: soft"),
        (eglif, "golgi has eglif cells, without gradients; conductance, current"),
        (learns, "circuit: input_golgi learns, and its rule passes no gradients"),
    ],
)
def test_circuits_without_gradients_are_refused_by_name(change, message):
    circuit = cb.build(change(spec_of()), KEY)
    with pytest.raises(cb.UsageError, match=message):
        cb.fit(circuit, TARGET, DRIVE, over=OVER, **FEW)


def test_a_weight_stays_below_its_bound():
    spec = spec_of().with_projection("input_granule", plastic=True, w_max=16.0)
    circuit = cb.build(spec, KEY, path="dense")
    fitted = cb.fit(circuit, {"granule": 50.0}, DRIVE, over="input_granule.weight", **FEW)
    assert fitted.table["input_granule.weight"].max() == pytest.approx(16.0, rel=1e-5)
    assert float(fitted.circuit.params.weights["input_granule"].max()) <= 16


@pytest.mark.soak
@pytest.mark.slow
def test_purkinje_cells_of_the_mouse_are_fitted():
    """Conductance-based cells at 0.1 ms, where gradients of long runs would grow."""
    spec = replace(cb.presets.mouse(scale=0.02), surrogate=cb.Surrogate())
    fitted = cb.fit(
        cb.build(spec, KEY),
        {"purkinje": 50.0, "stellate": 30.0},
        {"glomerulus": cb.drive.poisson(4.0)},
        over=["purkinje.i_e", "granule_parallel_stellate.weight"],
        duration_ms=250,
        skip_ms=50,
        keys=2,
        steps=15,
        tolerance=0.03,
    )
    assert fitted.rates["purkinje"] == pytest.approx(50, rel=0.05)
    assert fitted.rates["stellate"] == pytest.approx(30, rel=0.05)
    assert len(fitted.table) < 16


@pytest.mark.slow
def test_the_guide_reaches_its_rates(capsys):
    ran = runpy.run_path(str(ROOT / "docs/guide/fit.py"))
    for name, hz in ran["TARGET"].items():
        assert ran["fitted"].rates[name] == pytest.approx(hz, rel=0.05)
    assert "purkinje" in capsys.readouterr().out
