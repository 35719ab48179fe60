"""Sweeps: each run is that of `simulate`, alone and in a batch."""

from dataclasses import replace
from itertools import count

import jax
import numpy as np
import pytest
from circuits import feed_forward

import cerebellum as cb
from cerebellum.sim.sweep import SweepInterrupted

KEY = jax.random.key(7)
DRIVE = {"input": cb.drive.poisson(80.0)}
NAMES = count()
VALUES = {"cells.v_th": [-60.0, -50.0], "input_p0_cells.weight": [1.0, 3.0]}


@pytest.fixture(scope="module")
def circuit():
    return cb.build(feed_forward(60, 40, 20, weight=3.0, plastic=True), KEY, path="dense")


@pytest.mark.parametrize("at_once", [1, 4])
def test_runs_of_a_sweep_are_runs_of_simulate(circuit, at_once):
    table = cb.sweep(
        circuit,
        VALUES,
        DRIVE,
        duration_ms=30,
        keys=[4],
        skip_ms=10,
        record="v:cells:0",
        measure=lambda recording: {"last": recording.traces["v:cells"].values[-1, 0]},
        at_once=at_once,
    )
    assert len(table) == 4
    for index, (v_th, weight) in enumerate([(-60, 1), (-60, 3), (-50, 1), (-50, 3)]):
        cells = replace(circuit.params.cells["cells"], v_th=np.float32(v_th))
        weights = circuit.params.weights["input_p0_cells"] * np.float32(weight / 3.0)
        params = replace(
            circuit.params,
            cells={**circuit.params.cells, "cells": cells},
            weights={"input_p0_cells": weights},
        )
        alone = replace(circuit, params=params)
        state = cb.init(alone, jax.random.key(4))
        _, recording = cb.simulate(alone, state, DRIVE, duration_ms=30, record="v:cells:0")
        assert table["cells.v_th"][index] == v_th
        assert table["key"][index] == 4
        assert table["rate.cells"][index] == cb.record.rates(recording, 10)["cells"]
        assert table["last"][index] == recording.traces["v:cells"].values[-1, 0]
    assert len(set(table["rate.cells"])) > 2
    assert "cells.v_th" in repr(table)


def test_pairs_and_keys(circuit):
    table = cb.sweep(circuit, VALUES, DRIVE, duration_ms=30, keys=2, pairing="zip", at_once=4)
    assert table["cells.v_th"].tolist() == [-60, -60, -50, -50]
    assert table["input_p0_cells.weight"].tolist() == [1, 1, 3, 3]
    assert table["key"].tolist() == [0, 1, 0, 1]
    assert table["rate.input"][0] != table["rate.input"][1]


@pytest.mark.parametrize("weight", [3.0, cb.LogNormal(3.0, 1.0)])
@pytest.mark.parametrize("path", ["event", "dense"])
def test_weights_are_those_of_the_spec_after_others(weight, path):
    """A sweep counts from the weight that a projection has, however it came to have it."""
    spec = feed_forward(60, 40, 20, weight=weight)
    (name,) = (p.name for p in spec.projections)
    circuit = cb.build(spec, KEY, path=path)
    halved = cb.scale_weights(circuit, name, 0.5)
    tables = [
        cb.sweep(each, {f"{name}.weight": [1.0, 2.0]}, DRIVE, duration_ms=30)
        for each in (circuit, halved)
    ]
    assert tables[0]["rate.cells"][0] != tables[0]["rate.cells"][1]
    np.testing.assert_array_equal(tables[0]["rate.cells"], tables[1]["rate.cells"])


def test_a_plastic_weight_stays_within_its_bound():
    spec = feed_forward(60, 40, 20, weight=3.0, plastic=True)
    (projection,) = spec.projections
    spec = replace(spec, projections=(replace(projection, w_max=4.0),))
    circuit, values = cb.build(spec, KEY), {f"{projection.name}.weight": [3.0, 5.0]}
    with pytest.raises(cb.UsageError, match="weight': 5; at most w_max 4"):
        cb.sweep(circuit, values, DRIVE, duration_ms=30)


def test_blocked_synapses_cannot_be_scaled():
    spec = feed_forward(60, 40, 20, weight=cb.LogNormal(3.0, 1.0))
    (name,) = (p.name for p in spec.projections)
    blocked = cb.scale_weights(cb.build(spec, KEY), name, 0)
    with pytest.raises(cb.UsageError, match="weight': all its weights are 0"):
        cb.sweep(blocked, {f"{name}.weight": [1.0]}, DRIVE, duration_ms=30)


def test_the_number_of_threads_changes_nothing():
    spec = feed_forward(60, 40, 20, weight=3.0, plastic=True)
    circuit = cb.build(spec, KEY, path="event")
    values = {"cells.v_th": np.linspace(-60, -50, 9)}
    tables = [
        cb.sweep(circuit, values, DRIVE, duration_ms=30, threads=n, at_once=k)
        for n, k in ((1, 1), (2, 1), (4, 1), (2, 2))
    ]
    for table in tables[1:]:
        for name in table.columns:
            np.testing.assert_array_equal(table[name], tables[0][name])
    assert len(set(tables[0]["rate.cells"])) > 2


@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupted_sweep_has_the_runs_that_were_done(circuit, threads):
    done = []

    def measure(recording):
        done.append(recording)
        if len(done) == 3:
            raise KeyboardInterrupt
        return 0

    values = {"cells.v_th": np.linspace(-60, -50, 8)}
    with pytest.raises(SweepInterrupted, match="after 2 of 8 runs") as caught:
        cb.sweep(
            circuit, values, DRIVE, duration_ms=10, at_once=1, threads=threads, measure=measure
        )
    np.testing.assert_array_equal(caught.value.table["cells.v_th"], values["cells.v_th"][:2])


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ({"cells.vth": [1.0]}, {}, "values: 'cells.vth'; perhaps cells.v_th"),
        ({"cells.v_th": []}, {}, "a list of numbers, at least one"),
        ({"cells.v_th": [np.nan]}, {}, "finite numbers"),
        ({"cells.tau_m": [-1.0]}, {}, "params.cells: tau_m of cells: -1; above zero"),
        ({}, {}, "values: none"),
        (VALUES, {"pairing": "all"}, "pairing: 'all'; one of grid, zip"),
        ({**VALUES, "cells.v_reset": [1.0]}, {"pairing": "zip"}, "of equal length"),
        (VALUES, {"skip_ms": 10}, "skip_ms: 10"),
        (VALUES, {"keys": 0}, "keys: 0"),
        (VALUES, {"at_once": 0}, "at_once: 0; a whole number, at least 1"),
        (VALUES, {"threads": 1.5}, "threads: 1.5; a whole number, at least 1"),
        (VALUES, {"measure": lambda r: r.spikes["cells"], "at_once": 1}, "one number a run"),
        (VALUES, {"measure": lambda r: {"key": 1}}, "measure: 'key', which the table has already"),
        (VALUES, {"measure": lambda r: {next(NAMES): 1}}, "the same names in every run"),
    ],
)
def test_what_cannot_be_swept_is_refused(circuit, values, more, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.sweep(circuit, values, DRIVE, duration_ms=10, **more)
