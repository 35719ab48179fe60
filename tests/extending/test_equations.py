"""Models that are defined by their equations."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quadratic

import cerebellum as cb
from cerebellum.model import neurons
from cerebellum.model.surrogate import Surrogate
from cerebellum.sim.chunk import advance

DRIVE = {"input": cb.drive.poisson(80.0), "cells": cb.drive.current(40.0, cells=slice(0, 20))}
NUMBERS = {"c": 20.0, "k": 0.5, "v_rest": -60.0, "v_th": -45.0, "v_reset": -65.0, "t_ref": 2.0}
QUADRATIC = {
    "params": NUMBERS | {"tau_exc": 5.0},
    "start": {"v": "v_rest"},
    "slopes": lambda p, cell, current: {
        "v": (p.k * (cell.v - p.v_rest) * (cell.v - p.v_th) + current + cell.exc) / p.c
    },
    "reset": lambda p, cell: {"v": p.v_reset},
}


@pytest.fixture(autouse=True)
def _models_as_they_were():
    before = dict(neurons.CIRCUIT_MODELS)
    yield
    neurons.CIRCUIT_MODELS.clear()
    neurons.CIRCUIT_MODELS.update(before)


def spec(model: str, params=None, **changes) -> cb.Spec:
    return cb.Spec(
        "mine",
        (cb.Population("input", 60, "relay"), cb.Population("cells", 40, model, params)),
        (cb.Projection("input", "cells", "exc", weight=9.0, delay=2.0, in_degree=12),),
        **changes,
    )


@pytest.mark.parametrize("dt", [0.1, 0.25])
@pytest.mark.parametrize("spread", [False, True])
def test_equations_are_the_model_that_is_written_in_full(dt, spread):
    cb.define_neuron("short", **QUADRATIC)
    cb.register("neuron", "full", quadratic)
    ran = []
    for model, params in (("short", None), ("full", {"noise": 0.0})):
        circuit = cb.build(spec(model, params, dt=dt), 0)
        state = cb.init(circuit, 1, spread=spread)
        record = ["raster:cells", "v:cells"]
        ran.append(cb.simulate(circuit, state, DRIVE, duration_ms=200, record=record)[1])
    one, other = ran
    assert len(one.rasters["cells"].cell) > 50
    np.testing.assert_array_equal(one.rasters["cells"].time_ms, other.rasters["cells"].time_ms)
    np.testing.assert_allclose(one.traces["v:cells"].values, other.traces["v:cells"].values, 1e-3)


def test_a_long_refractory_period_is_kept():
    cb.define_neuron("short", **QUADRATIC)
    circuit = cb.build(spec("short", {"t_ref": 30.0}, dt=0.1), 0)
    drive = {"cells": cb.drive.current(500.0)}
    _, recording = cb.simulate(circuit, None, drive, duration_ms=200, record="raster:cells")
    intervals = np.diff(recording.rasters["cells"].trains()[0])
    assert intervals.size
    assert intervals.min() >= 30.0


def test_its_spikes_pass_gradients():
    cb.define_neuron("short", **QUADRATIC)
    circuit = cb.build(spec("short", dt=0.5, surrogate=Surrogate()), 0, path="dense")

    def spikes(current):
        def step(state, _):
            drive = {"input": jnp.ones(60), "cells": jnp.full(40, current)}
            state, activity = cb.step(circuit.params, circuit.wiring, state, drive)
            return state, activity.spikes["cells"].sum()

        return jax.lax.scan(step, cb.init(circuit, 1), None, 100)[1].sum()

    assert np.isfinite(gradient := jax.grad(spikes)(20.0))
    assert gradient > 0


def test_it_is_saved_and_comes_back(tmp_path):
    cb.define_neuron("short", **QUADRATIC)
    circuit = cb.build(spec("short", {"k": cb.Normal(0.5, 0.05)}, dt=0.1), 0)
    state, _ = cb.simulate(circuit, None, DRIVE, duration_ms=20)
    cb.store.save_circuit(tmp_path, circuit, state)
    again = cb.store.load_circuit(tmp_path)
    rasters = [
        cb.simulate(*each, DRIVE, duration_ms=50, record="raster:cells")[1].rasters["cells"].time_ms
        for each in ((circuit, state), again)
    ]
    np.testing.assert_array_equal(*rasters)
    slopes = {"slopes": lambda p, cell, current: {"v": 0.0 * cell.v + current}}
    cb.define_neuron("short", **QUADRATIC | slopes)
    with pytest.raises(cb.UsageError, match="short"):
        cb.store.load_circuit(tmp_path)


def test_what_is_defined_again_is_what_runs():
    def count():
        circuit = cb.build(spec("short", dt=0.1), 0)
        return cb.simulate(circuit, None, DRIVE, duration_ms=100)[1].spikes["cells"].sum()

    cb.define_neuron("short", **QUADRATIC)
    before = count()
    slopes = QUADRATIC["slopes"]
    weak = {"slopes": lambda p, cell, current: {"v": 0.1 * slopes(p, cell, current)["v"]}}
    cb.define_neuron("short", **QUADRATIC | weak)
    assert count() < before
    with pytest.raises(cb.UsageError, match="'current': taken"):
        cb.define_neuron("current", **QUADRATIC)


PULL = 0.1


def test_the_same_again_changes_nothing_and_another_value_that_it_reads_does(monkeypatch):
    def define():
        slopes = QUADRATIC["slopes"]
        pulled = {"slopes": lambda p, cell, current: {"v": slopes(p, cell, current)["v"] - PULL}}
        return cb.define_neuron("short", **QUADRATIC | pulled)

    def count(circuit):
        return cb.simulate(circuit, None, DRIVE, duration_ms=100)[1].spikes["cells"].sum()

    model = define()
    circuit = cb.build(spec("short", dt=0.1), 0)
    before, programs = count(circuit), advance._cache_size()
    assert define() is model
    assert count(circuit) == count(cb.build(spec("short", dt=0.1), 0)) == before
    assert advance._cache_size() == programs
    monkeypatch.setitem(globals(), "PULL", 5.0)
    assert count(circuit) < before
    assert define() is not model


def test_variables_and_receptors_are_recorded_with_their_units():
    cb.define_neuron("short", **QUADRATIC, units={"v": "mV", "exc": "pA"})
    circuit = cb.build(spec("short", dt=0.1), 0)
    record = ["v:cells:0", "exc:cells:0"]
    traces = cb.simulate(circuit, None, DRIVE, duration_ms=20, record=record)[1].traces
    assert [trace.unit for trace in traces.values()] == ["mV", "pA"]
    assert traces["exc:cells"].values.max() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slopes": 1.0}, "slopes: 1.0; a function"),
        ({"start": {"v": "v_res"}}, "params: without 'v_res'; perhaps v_rest"),
        ({"start": {"v": 0.0, "v-x": 0.0}}, "name 'v-x'; letters, digits and underscores"),
        ({"start": {"v": 0.0, "k": 0.0}}, "name 'k': used twice"),
        ({"start": {"v": 0.0, "refractory": 0.0}}, "name 'refractory': used twice"),
        ({"receptors": {"exc": "tau"}}, "params: without 'tau'; perhaps tau_exc"),
        ({"units": {"u": "mV"}}, "units: 'u'"),
        ({"params": {"v_th": "high"}}, "params: v_th 'high'; a number"),
        ({"params": {"k": 1.0, "v_rest": 0.0}}, "excess: not given; a function, or v and the"),
    ],
)
def test_wrong_definitions_are_refused(changes, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.define_neuron("short", **QUADRATIC | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slopes": lambda p, cell, current: {}}, "slopes: without v; the slope of every"),
        ({"slopes": lambda p, cell, current: current}, "slopes: .*; a dictionary by variable"),
        ({"reset": lambda p, cell: {"vv": 0.0}}, "reset: 'vv'; perhaps v"),
    ],
)
def test_wrong_functions_are_refused_when_they_run(changes, message):
    cb.define_neuron("short", **QUADRATIC | changes)
    circuit = cb.build(replace(spec("short"), dt=0.1), 0)
    with pytest.raises(cb.UsageError, match=message):
        cb.simulate(circuit, None, DRIVE, duration_ms=5)
