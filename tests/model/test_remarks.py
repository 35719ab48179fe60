"""What is valid about a circuit or a run but probably not intended is logged."""

import numpy as np
import pytest

import cerebellum as cb
from cerebellum.model import remarks


def spec(cells: dict | None = None, **projection) -> cb.Spec:
    """Relays onto four cells."""
    given = {"weight": 1.0, "delay": 1.0, "in_degree": 2, **projection}
    return cb.Spec(
        "small",
        (cb.Population("inputs", 6, "relay"), cb.Population("cells", 4, "current", cells)),
        (cb.Projection("inputs", "cells", "exc", **given),),
    )


@pytest.mark.parametrize("dt", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("preset", [cb.presets.mouse, cb.presets.mouse_eglif])
def test_presets_have_the_periods_that_are_taken(preset, dt):
    """A build at a coarser step has nothing to say about them."""
    given = {p.name: getattr(p.params, "t_ref", 0) for p in preset().populations}
    spec = preset(dt=dt)
    for population in spec.populations:
        taken = getattr(population.params, "t_ref", 0)
        assert round(taken / dt) == round(given[population.name] / dt)
        assert abs(taken - given[population.name]) <= 0.51 * dt
        assert remarks._off_grid(population, dt) is None


def onto_relays(**projection) -> cb.Spec:
    given = {"weight": 1.0, "delay": 1.0, "in_degree": 2, **projection}
    back = cb.Projection("cells", "inputs", "spikes", **given)
    return cb.Spec("small", spec().populations, (back,))


PAIRS = np.array([[0, 0, 1], [1, 3, 1]])


@pytest.mark.parametrize(
    ("circuit", "edges", "said"),
    [
        (spec(), None, ""),
        (spec(in_degree=0), None, "inputs_cells: no synapses; they need an in_degree"),
        (spec(in_degree=0), {"inputs_cells": PAIRS}, ""),
        (spec(in_degree=0, connect=cb.connect.FixedInDegree(2)), None, ""),
        (onto_relays(), None, ""),
        (onto_relays(plastic=True), None, "cells_inputs: weights above zero act alike"),
        (onto_relays(spread=0.5), None, "inputs has relays, which repeat every spike"),
        (spec({"t_ref": 3.0}), None, ""),
        (spec({"t_ref": 2.5}), None, "cells.t_ref: 2.5 ms, taken as 2 in steps of 1 ms"),
        (spec({"t_ref": 10.4}), None, ""),
        (spec({"t_ref": [1, 1.2, 2, 3.7]}), None, "cells.t_ref of 2 of 4 cells: 1.2 ms, taken as"),
        (spec({"t_ref": cb.Normal(2.0, 0.1)}), None, ""),
        (spec({"tau_exc": 1.0}), None, ""),
        (
            spec({"tau_exc": 0.5, "tau_m": 0.9}),
            None,
            "cells: tau_m 0.9 ms, tau_exc 0.5 ms: shorter",
        ),
    ],
)
def test_a_build_logs_what_is_probably_not_intended(caplog, circuit, edges, said):
    cb.build(circuit, 0, edges)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_a_run_says_that_its_cells_have_lost_their_voltage(caplog):
    """An Euler step along a slope that grows with the cube ends beyond all numbers."""
    cb.define_neuron(
        "explodes",
        params={"v_th": 1e30},
        start={"v": 1.0, "w": 0.0},
        slopes=lambda p, cell, current: {"v": cell.v**3, "w": 0.0 * cell.w},
        reset=lambda p, cell: {"v": -cell.v},
    )
    circuit = cb.build(cb.Spec("one", (cb.Population("cells", 2, "explodes"),)), 0)
    cb.simulate(circuit, duration_ms=2.0)
    assert not caplog.records
    state, _ = cb.simulate(circuit, duration_ms=30.0)
    assert "cells.v: NaN or infinite at the end of the run" in caplog.text
    with pytest.raises(cb.UsageError, match=r"state: cells\.v is not finite"):
        cb.simulate(circuit, state, duration_ms=1.0)


def test_cells_that_have_no_range_of_voltages_start_alike_and_it_is_said(caplog):
    cb.define_neuron(
        "climbs",
        params={"v_peak": 10.0},
        start={"v": 1.0},
        slopes=lambda p, cell, current: {"v": 1.0 + 0 * cell.v},
        reset=lambda p, cell: {"v": 0.0},
    )
    circuit = cb.build(cb.Spec("one", (cb.Population("cells", 2, "climbs"),)), 0)
    cb.init(circuit, 0)
    assert not caplog.records
    cb.init(circuit, 0, spread=True)
    again = cb.build(cb.Spec("two", (cb.Population("cells", 2, "climbs"),)), 0)
    cb.init(again, 0, spread=True)
    cb.init(again, 1, spread=True)
    assert caplog.text.count("init: spread=True changes nothing for cells: model climbs") == 3


def threshold_model(name: str, **given) -> cb.Spec:
    """Cells of a model of equations with the thresholds of `given`."""
    cb.define_neuron(
        name,
        params={"v_th": 1.0, "v_reset": 0.0, **given.pop("params", {})},
        start={"v": 0.0},
        slopes=lambda p, cell, current: {"v": current - cell.v},
        reset=lambda p, cell: {"v": p.v_reset},
        **given,
    )
    return cb.Spec("one", (cb.Population("cells", 2, name, {"v_reset": 2.0}),))


@pytest.mark.parametrize(
    ("circuit", "said"),
    [
        (spec({"v_reset": 14.0}), ""),
        (spec({"v_reset": 15.0}), "cells.v_reset: 15, not below v_th of 15: they fire again"),
        (
            spec({"v_th": [1.0, 2.0, -1.0, 3.0]}),
            "cells.v_reset of 1 of 4 cells: 0, not below v_th of",
        ),
        (spec({"v_reset": cb.Normal(15.0, 5.0)}), " of 4 cells: "),
        (threshold_model("at_threshold"), "cells.v_reset: 2, not below v_th of 1"),
        (threshold_model("at_peak", params={"v_peak": 3.0}), ""),
        (threshold_model("otherwise", excess=lambda p, cell: cell.v - 9.0), ""),
    ],
)
def test_a_reset_at_or_above_the_threshold_is_logged(caplog, circuit, said):
    """The threshold is where the model fires, whatever it is called."""
    cb.build(circuit, 0)
    assert len(caplog.records) == bool(said)
    assert said in caplog.text


def connects(circuit: cb.Circuit, pair: tuple[int, int]) -> bool:
    """Whether the weight of a pair can be recorded."""
    record = [cb.record.weights("inputs_cells", synapses=[pair])]
    try:
        cb.simulate(circuit, duration_ms=1.0, record=record)
    except cb.UsageError:
        return False
    return True


def test_contacts_of_complete_rows_exist_whatever_their_weight():
    circuit = cb.build(spec(weight=0.0, plastic=True, in_degree=6), 0, path="dense")
    assert all(connects(circuit, (i, j)) for i in range(6) for j in range(4))


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_contacts_of_rows_that_learn_are_those_of_their_key(dtype):
    rule = cb.Rule(teacher="cells", per_spike=0.1)
    learning = spec(in_degree=3, rule=rule, dtype=dtype, w_max=2.0)
    circuit = cb.build(learning, 0, path="dense")
    weights = np.asarray(cb.init(circuit, 0).weights["inputs_cells"])
    found = {(i, j) for i in range(6) for j in range(4) if connects(circuit, (i, j))}
    assert found == set(zip(*map(list, np.nonzero(weights)), strict=True))
    assert 0 < len(found) < 24


@pytest.mark.parametrize("path", ["dense", "event"])
def test_weights_of_a_pair_without_a_synapse_are_refused(path):
    circuit = cb.build(spec(plastic=True), 0, path=path)
    pairs = [(i, j) for i in range(6) for j in range(4)]
    there = {pair for pair in pairs if connects(circuit, pair)}
    assert len(there) == 8


def test_a_class_where_an_object_is_meant_is_named():
    with pytest.raises(cb.UsageError, match="rule: the class Rule; an object"):
        spec(rule=cb.Rule)
    with pytest.raises(cb.UsageError, match=r"spec: Circuit; a cb\.Spec"):
        cb.build(cb.build(spec(), 0), 0)
