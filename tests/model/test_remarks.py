"""What is right about a circuit or a run and yet hardly meant is said in the log."""

import numpy as np
import pytest

import cerebellum as cb


def spec(cells: dict | None = None, **projection) -> cb.Spec:
    """Relays onto four cells."""
    given = {"weight": 1.0, "delay": 1.0, "in_degree": 2, **projection}
    return cb.Spec(
        "small",
        (cb.Population("inputs", 6, "relay"), cb.Population("cells", 4, "current", cells)),
        (cb.Projection("inputs", "cells", "exc", **given),),
    )


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
        (onto_relays(plastic=True), None, "cells_inputs: what its weights are has no effect"),
        (onto_relays(spread=0.5), None, "inputs has relays, which repeat every spike"),
        (spec({"t_ref": 3.0}), None, ""),
        (spec({"t_ref": 2.5}), None, "cells.t_ref: 2.5 ms, taken as 2 in steps of 1 ms"),
        (spec({"t_ref": 10.4}), None, ""),
        (spec({"t_ref": [1, 1.2, 2, 3.7]}), None, "cells.t_ref of 2 of 4 cells: 1.2 ms, taken as"),
        (spec({"t_ref": cb.Normal(2.0, 0.1)}), None, ""),
    ],
)
def test_a_build_says_what_is_hardly_meant(caplog, circuit, edges, said):
    cb.build(circuit, 0, edges)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_a_run_says_what_it_does_not_take_of_an_array(caplog):
    circuit = cb.build(spec(), 0)
    cb.simulate(circuit, drive={"cells": np.zeros((20, 4))}, duration_ms=20.0)
    assert not caplog.records
    cb.simulate(circuit, drive={"cells": np.zeros((21, 4))}, duration_ms=20.0)
    assert "drive 'cells': an array of 21 rows, of which this run of 20 steps" in caplog.text


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
    assert "cells.v: not finite at the end of the run" in caplog.text
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
    assert "init: cells of cells start alike with spread, too" in caplog.text


def test_a_reset_above_the_threshold_is_refused():
    with pytest.raises(cb.UsageError, match=r"cells\.params\.v_reset: 15; below v_th, which is 15"):
        spec({"v_reset": 15.0})
    with pytest.raises(cb.UsageError, match=r"v_reset: 0; below v_th, which is -1"):
        spec({"v_th": [1.0, 2.0, -1.0, 3.0]})


def connects(circuit: cb.Circuit, pair: tuple[int, int]) -> bool:
    """Whether the weight of a pair can be recorded."""
    record = [cb.record.weights("inputs_cells", synapses=[pair])]
    try:
        cb.simulate(circuit, duration_ms=1.0, record=record)
    except cb.UsageError:
        return False
    return True


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
