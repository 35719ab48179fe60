"""What is refused of recordings: times and bins, other things in their place, and bad files."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import cerebellum as cb
from cerebellum.sim.record import Raster, Recording, Trace

DT, STEPS = 0.1, 100
CELLS = np.array([0, 2])
RECORDING = Recording(
    dt=DT,
    start_ms=20.0,
    steps=STEPS,
    sizes={"golgi": 4},
    spikes={"golgi": np.arange(STEPS, dtype=np.int32) % 3},
    rasters={"golgi": Raster(np.array([20.1, 20.4]), np.array([2, 0]), CELLS)},
    counts={"golgi": np.array([1, 1])},
    traces={"v:golgi": Trace(np.zeros((STEPS, 2), np.float32), CELLS, "mV")},
    seconds={"run": 0.1},
)
NEXT = replace(RECORDING, start_ms=30.0)
NO_NUMBERS = ["5", math.nan, math.inf, True, np.zeros(2)]


def refused(call, message: str) -> None:
    """The call raises UsageError with one line that begins like the message, a pattern."""
    with pytest.raises(cb.UsageError) as error:
        call()
    assert "\n" not in str(error.value)
    error.match(f"^{message}")


@pytest.mark.parametrize("draw", [cb.record.rate_course, cb.plot.rates])
@pytest.mark.parametrize(
    ("bin_ms", "message"),
    [
        *((value, "bin_ms: .*; a finite number, ms") for value in NO_NUMBERS),
        *((value, "bin_ms: .*; whole steps of 0.1 ms") for value in (0, -1, 1e-9, 0.25, 0.05)),
        (10.1, "bin_ms: 10.1; at most 10, the length of the recording"),
    ],
)
def test_bins_that_the_recording_cannot_have(draw, bin_ms, message):
    refused(lambda: draw(RECORDING, bin_ms=bin_ms), message)


@pytest.mark.parametrize("bin_ms", [0.1, 0.3, 2, np.float32(0.7), 10])
def test_bins_of_whole_steps_hold_every_spike(bin_ms):
    times, course = cb.record.rate_course(RECORDING, bin_ms)
    width = round(float(bin_ms) / DT)
    bins = STEPS // width
    assert len(times) == bins
    spikes = RECORDING.spikes["golgi"][: bins * width].sum()
    assert course["golgi"].sum() * width * DT * 1e-3 * 4 == pytest.approx(spikes)


@pytest.mark.parametrize("steps", [0, 1, 7, STEPS])
def test_without_a_width_every_recording_has_a_course(steps):
    short = replace(RECORDING, steps=steps, spikes={"golgi": np.ones(steps, np.int32)})
    times, _ = cb.record.rate_course(short)
    assert len(times) == {0: 0, STEPS: 2}.get(steps, 1)


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["start_ms", "stop_ms"])
def test_limits_are_finite_numbers(name, value):
    refused(
        lambda: cb.record.rates(RECORDING, **{name: value}), rf"{name}: .*; a finite number, ms$"
    )


def test_limits_are_in_order():
    refused(lambda: cb.record.rates(RECORDING, 25, 21), "start_ms: 25; at most stop_ms, 21")
    assert math.isnan(cb.record.rates(RECORDING, 21, 21)["golgi"])
    assert cb.record.rates(RECORDING, None, None) == cb.record.rates(RECORDING, 20, 30)


@pytest.mark.parametrize("given", [("state", RECORDING), None, "r.npz"])
def test_what_simulate_returns_is_not_a_recording(tmp_path, given):
    for call in (
        lambda: cb.record.rates(given),
        lambda: cb.record.rate_course(given, 1.0),
        lambda: cb.record.join([given]),
        lambda: cb.plot.rates(given),
        lambda: cb.plot.raster(given),
        lambda: cb.plot.traces(given),
        lambda: cb.io.save(given, tmp_path / "r.npz"),
    ):
        refused(call, r"recording: \w+; a recording; state, recording = cb\.simulate")
    assert not list(tmp_path.iterdir())


def test_arguments_of_save_in_the_other_order():
    refused(lambda: cb.io.save("r.npz", RECORDING), "recording: 'r.npz'; first the recording")
    refused(lambda: cb.io.save(RECORDING, 5), "path: int; the path of a file")
    refused(lambda: cb.io.load(None), "path: NoneType; the path of a file")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "parts: an empty list; a list of recordings"),
        (RECORDING, "parts: Recording; a list of recordings"),
        ([RECORDING, replace(NEXT, dt=0.2)], "parts: dt 0.2; 0.1, as in the part before"),
        ([RECORDING, replace(NEXT, sizes={"golgi": 5})], "parts: sizes .* 5.*; .* 4"),
        ([RECORDING, replace(NEXT, rasters={})], "parts: records .*; .*raster:golgi"),
        (
            [RECORDING, replace(NEXT, counts={"golgi": np.ones(3)})],
            "parts: records counts:golgi of 3 cells",
        ),
        (
            [RECORDING, replace(NEXT, counted={"golgi": np.array([0, 3])})],
            "parts: records counts:golgi of cells 0:4:3",
        ),
        (
            [replace(RECORDING, traces={}), NEXT],
            "parts: records .*, v:golgi of cells 0:3:2; counts:golgi of 2 cells, raster",
        ),
    ],
)
def test_parts_of_different_runs_are_not_joined(parts, message):
    refused(lambda: cb.record.join(parts), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt": 0}, "dt 0; a number above zero"),
        ({"dt": "0.1"}, "dt '0.1'; a number above zero"),
        ({"dt": math.nan}, "dt nan; a number above zero"),
        ({"start_ms": None}, "start_ms None; a number"),
        ({"steps": -1}, "steps -1; a whole number"),
        ({"steps": 5.5}, "steps 5.5; a whole number"),
        ({"steps": STEPS + 1}, r"spikes of golgi: \[100\]; \[101\]"),
        ({"sizes": [4]}, r"sizes \[4\]; the number of cells by population"),
        ({"sizes": {}}, "spikes of golgi; of no population"),
        ({"sizes": {"golgi": 4, "granule": 9}}, "spikes of golgi; of golgi, granule"),
        ({"sizes": {"golgi": 0}}, "sizes: 0 cells in golgi; a whole number"),
        ({"sizes": {"golgi": 2}}, "raster of golgi: cells 0 to 2; from 0 to 1"),
        ({"seconds": {"run": "long"}}, "seconds .*; wall times by name"),
        ({"backend": 5}, "backend 5; text"),
        ({"units": 5}, "not one, or damaged"),
        ({"spikes/golgi": np.zeros(STEPS - 1)}, r"spikes of golgi: \[99\]; \[100\]"),
        ({"spikes/golgi": np.full(STEPS, "x")}, "spikes of golgi: <U1; numbers"),
        ({"counts/golgi": np.zeros(5)}, r"counts of golgi: \[5\]; \[4\]"),
        ({"counts/basket": np.zeros(5)}, "records of 'basket'; of golgi"),
        ({"counts_cells/golgi": np.array([0, 9])}, "counts of golgi: cells 0 to 9; from 0 to 3"),
        ({"counts_cells/golgi": np.array([0])}, r"counts of golgi: \[2\]; \[1\]"),
        ({"counts_cells/basket": np.zeros(2)}, "cells of the counts of 'basket'; of golgi"),
        ({"raster_cell/golgi": np.zeros(3, int)}, r".*times of the raster of golgi: \[2\]; \[3\]"),
        ({"raster_cell/golgi": np.array([2, 3])}, "raster of golgi: spikes of cells that"),
        ({"trace/v:golgi": np.zeros((STEPS, 3))}, r"trace of v:golgi: \[100, 3\]; \[100, 2\]"),
        ({"trace_cells/v:golgi": np.zeros(2)}, r"v:golgi: cells float64 \[2\]; a row of whole"),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(tmp_path, change, message):
    path = tmp_path / "r.npz"
    cb.io.save(RECORDING, path)
    assert cb.io.load(path).rasters["golgi"].cell.tolist() == [2, 0]
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(str(arrays["about"]))
    for name, value in change.items():
        (arrays if "/" in name else about)[name] = value
    arrays["about"] = np.array(json.dumps(about))
    np.savez(path, **arrays)
    refused(lambda: cb.io.load(path), rf"recording: '.*r\.npz': {message}")


@pytest.mark.parametrize(
    ("kind", "name", "thing", "message"),
    [
        ("window", 5, None, "window 5"),
        ("window", None, None, "window None"),
        ([], "x", None, r"kind \[\]; one of"),
        ("writer", "x", {"suffix": 5}, "writer 'x': suffix 5; text with a dot"),
        ("writer", "x", {"write": "no"}, "writer 'x': write 'no'; a method"),
        ("writer", "x", {"read": None}, "writer 'x': read None; a method"),
    ],
)
def test_what_cannot_be_registered_is_refused_at_once(kind, name, thing, message):
    methods = {"suffix": ".x", "write": print, "read": print}
    thing = cb.Window(np.ones_like) if thing is None else SimpleNamespace(**methods | thing)
    refused(lambda: cb.register(kind, name, thing), f"register: {message}")
    assert name not in cb.io.WRITERS
