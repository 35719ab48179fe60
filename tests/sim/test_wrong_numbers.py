"""What would give wrong numbers without a word is refused, or gives the right ones."""

from dataclasses import replace

import circuits
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.model import plasticity
from cerebellum.model.homeostasis import Scaling, Threshold
from cerebellum.model.neurons import conductance
from cerebellum.sim import drive as drives

KEY = jax.random.key(0)


def circuit(path="event", dt=0.5, delay=1.0):
    spec = circuits.feed_forward(8, 4, 4, delays=(delay,), dt=dt)
    return cb.build(spec, KEY, path=path)


def run(held, state=None, drive=None, **more):
    state = cb.init(held, KEY) if state is None else state
    return cb.simulate(held, state, drive or {}, **{"duration_ms": 5, **more})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dt": 0.25}, r"the delay line of input has 2 steps; 4 at .* dt of 0\.25 ms"),
        ({"delay": 3.0}, "the delay line of input has 2 steps; 6 at the circuit's delays"),
        ({"path": "dense"}, "of a circuit on the event path; this one is on dense"),
    ],
)
def test_a_state_of_another_circuit_is_refused(other, message):
    with pytest.raises(cb.UsageError, match=message):
        run(circuit(**other), cb.init(circuit(), KEY))


@pytest.mark.parametrize("duration", [0.3, 5.2, 0.25, 1e-9])
def test_a_duration_off_the_grid_is_refused(duration):
    with pytest.raises(cb.UsageError, match=f"duration_ms: {duration}"):
        run(circuit(), duration_ms=duration)


@pytest.mark.parametrize(
    ("delay", "dt", "near"), [(1.25, 0.1, "1.2"), (2.5, 1.0, "2"), (1, 0.3, 0.9)]
)
def test_a_delay_off_the_grid_is_refused(delay, dt, near):
    with pytest.raises(cb.UsageError, match=rf"delay: {delay} ms; a multiple .* such as {near}$"):
        circuits.feed_forward(8, 4, 4, delays=(delay,), dt=dt)


@given(steps=st.integers(1, 40), dt=st.sampled_from([0.1, 0.25, 1 / 3]))
def test_a_duration_on_the_grid_is_taken_however_it_is_rounded(steps, dt):
    from cerebellum.sim.simulate import _steps

    assert _steps({}, dt, float(np.float32(steps * dt))) == steps


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tau_m": 0.0}, r"cells\.params\.tau_m: 0; above zero"),
        ({"tau_m": float("nan")}, "cells.params.tau_m: nan; a finite number"),
        ({"c_m": -3.0}, r"cells\.params\.c_m: -3; above zero"),
        ({"t_ref": -1.0}, r"cells\.params\.t_ref: -1 ms; zero or more"),
    ],
)
def test_parameters_that_cannot_be_are_refused(params, message):
    with pytest.raises(cb.UsageError, match=message):
        circuits.feed_forward(8, 4, 4, cell=conductance.Params(**params))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("cells", np.nan, "drive 'cells': nan in an array; finite, pA"),
        ("cells", -np.inf, "drive 'cells': -inf in an array; finite, pA"),
        ("input", 3.0, "drive 'input': 3 in an array; spikes, 0 or 1"),
        ("input", 0.5, "drive 'input': 0.5 in an array; spikes, 0 or 1"),
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_drive_that_is_no_current_or_no_spikes_is_refused(name, value, message, kind):
    given = np.zeros((10, 8 if name == "input" else 4), np.float32)
    given[3, 1] = value
    with pytest.raises(cb.UsageError, match=message):
        run(circuit(), drive={name: kind(given)})


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([[0, 0, -3]], "-3 contacts of a pair; at least 1"),
        ([[0, 0, 0]], "0 contacts of a pair; at least 1"),
        ([[0, 1, 1], [2, 1, 1], [0, 1, 2]], r"the pair \[0, 1\] twice; each pair once"),
    ],
)
def test_edges_that_cannot_be_are_refused(edges, message):
    spec = circuits.feed_forward(8, 4, 4)
    with pytest.raises(cb.UsageError, match=message):
        cb.build(spec, KEY, {"input_p0_cells": np.array(edges)})


@given(step=st.integers(0, 3_600_000), dt=st.sampled_from([0.1, 0.5, 1.0]))
def test_a_time_falls_into_its_step_as_long_as_its_type_can_tell_steps_apart(step, dt):
    for kind in (np.float64, np.float32):
        time = np.array([(step + 1) * dt]).astype(kind)
        spikes = cb.drive.SpikeTimes(np.zeros(1, int), time)
        # With float32: 17 minutes at 0.1 ms.
        if np.spacing(time[0]) < 0.65 * dt:
            assert drives.spike_steps(spikes, dt)[0] == step


def test_spike_times_may_be_arrays_of_jax():
    times = cb.drive.SpikeTimes(jnp.array([0, 3]), jnp.array([1.0, 2.0]))
    _, recording = run(circuit(), drive={"input": times}, record="raster:input")
    assert recording.rasters["input"].cell.tolist() == [0, 3]
    np.testing.assert_allclose(recording.rasters["input"].time_ms, [1.0, 2.0])


def test_a_burst_may_begin_at_once():
    held = circuit()
    drive = {"input": cb.drive.burst(8, 0.0, 2_000.0, 0.0, 2.0, 2)}
    _, recording = run(held, drive=drive, record="raster:input")
    raster = recording.rasters["input"]
    assert raster.time_ms.max() <= 2.0
    assert set(raster.cell) == {0, 1}
    assert raster.cell.size == 8


def test_states_of_a_batch_at_different_steps_are_refused():
    held = circuit()
    states = jax.vmap(lambda key: cb.init(held, key))(jax.random.split(KEY, 2))
    apart = replace(states, step=states.step + jnp.arange(2))
    with pytest.raises(cb.UsageError, match=r"state: members at steps 0 to 1; all at one"):
        cb.simulate_batch(held, apart, {}, duration_ms=5)


STEP_MS = 0.1
"""A step that no binary number is."""


@pytest.fixture(scope="module")
def held():
    return circuit(dt=STEP_MS)


def sources(start: int, steps: int) -> dict[str, cb.drive.Poisson]:
    """A source of each kind for `input`, which changes within the steps after `start`."""
    since = (start + np.arange(steps + 1)) * STEP_MS
    rng = np.random.default_rng(start)
    cells, times = np.nonzero(rng.random((8, steps)) < 0.3)
    return {
        "poisson": cb.drive.burst(8, 1_000.0, 9_000.0, since[2], since[steps - 2], 5),
        "function": cb.drive.RateFunction(
            lambda t: jnp.where(t < 0.55, 9_000.0, 500.0), period_ms=1.0
        ),
        "times": cb.drive.SpikeTimes(cells, since[times + 1]),
    }


@examples(12)
@given(
    start=st.integers(0, 1_000_000_000),
    cut=st.integers(1, 11),
    kind=st.sampled_from(["poisson", "function", "times", "array"]),
)
def test_a_run_cut_anywhere_up_to_thirty_hours_is_the_whole(held, start, cut, kind):
    """A billion steps of 0.1 ms are 28 hours."""
    steps, options = 12, {"record": ("raster:input", "v:cells"), "chunk_steps": 1}
    state = cb.init(held, KEY).replace(step=jnp.int32(start))
    spikes = np.random.default_rng(start).random((steps, 8)) < 0.3
    given = sources(start, steps).get(kind, spikes)
    copy = jax.tree.map(jnp.copy, state)
    end, whole = run(held, copy, {"input": given}, duration_ms=steps * STEP_MS, **options)
    parts = []
    for first, last in ((0, cut), (cut, steps)):
        part = spikes[first:last] if kind == "array" else given
        duration = (last - first) * STEP_MS
        state, recording = run(held, state, {"input": part}, duration_ms=duration, **options)
        parts.append(recording)
    joined = cb.record.join(parts)
    assert whole.spikes["input"].sum() > 0
    jax.tree.map(np.testing.assert_array_equal, joined.spikes, whole.spikes)
    np.testing.assert_array_equal(joined.traces["v:cells"].values, whole.traces["v:cells"].values)
    jax.tree.map(np.testing.assert_array_equal, state, end)


@examples(12)
@given(start=st.integers(0, 1_000_000_000), length=st.integers(1, 6))
def test_a_burst_has_its_steps_however_late(held, start, length):
    first, last = ((start + n) * STEP_MS for n in (3, 3 + length))
    burst = cb.drive.burst(8, 0.0, 10_000.0, first, last, 8)
    state = cb.init(held, KEY).replace(step=jnp.int32(start))
    _, recording = run(held, state, {"input": burst}, duration_ms=1.2, chunk_steps=1)
    expected = np.zeros(12)
    expected[3 : 3 + length] = 8
    np.testing.assert_array_equal(recording.spikes["input"], expected)


def test_times_that_float32_cannot_tell_apart_are_refused(held):
    late = np.array([0.0, 1e7 + 0.3], np.float32)
    with pytest.raises(cb.UsageError, match=r"starts: 1\d+ ms as float32, .*; float64 of NumPy"):
        run(held, drive={"input": cb.drive.Poisson(jnp.ones((2, 8)), jnp.asarray(late))})
    with pytest.raises(cb.UsageError, match=r"time_ms: 1\d+ ms as float32"):
        run(held, drive={"input": cb.drive.SpikeTimes(np.zeros(2, int), late)})
    state = cb.init(held, KEY).replace(step=jnp.int32(36_000_000))
    with pytest.raises(cb.UsageError, match="a float32 time cannot tell steps"):
        run(held, state, {"input": cb.drive.RateFunction(lambda t: 5.0)})
    with pytest.raises(cb.UsageError, match=r"period_ms 0.25; whole steps of 0.1 ms"):
        run(held, drive={"input": cb.drive.RateFunction(lambda t: 5.0, period_ms=0.25)})


def test_spikes_before_the_run_are_said_to_be_lost(held, caplog):
    state, _ = run(held)
    times = cb.drive.SpikeTimes(np.zeros(3, int), np.array([1.0, 2.0, 7.0]))
    _, recording = run(held, state, {"input": times}, record=("raster:input",))
    np.testing.assert_allclose(recording.rasters["input"].time_ms, [7.0])
    assert "drive 'input': 2 of 3 spikes are before 5 ms, where this run begins" in caplog.text


def test_no_run_is_longer_than_steps_can_be_counted(held):
    state = cb.init(held, KEY).replace(step=jnp.int32(1_999_999_990))
    with pytest.raises(
        cb.UsageError, match=r"duration_ms: 5 after .*; at most 2,000,000,000 steps"
    ):
        run(held, state)


def changed(held, **changes):
    """The circuit with other parameters of its cells, or other weights."""
    params = held.params
    weights = {**params.weights, **changes.pop("weights", {})}
    cells = {**params.cells, "cells": params.cells["cells"].replace(**changes)}
    return held.replace(params=params.replace(weights=weights, cells=cells))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"input_p0_cell": jnp.float32(0)}}, "'input_p0_cell'; perhaps input_p0_cells"),
        ({"weights": {"input_p0_cells": jnp.zeros(3)}}, r"input_p0_cells: \[3\]; one value, or \["),
        (
            {"weights": {"input_p0_cells": jnp.float32(jnp.nan)}},
            "input_p0_cells: one is not finite",
        ),
        ({"weights": {"input_p0_cells": jnp.float32(-2)}}, "input_p0_cells: -2; zero or more"),
        ({"i_e": jnp.ones(7)}, r"i_e of cells: \[7\]; one value, or \[4\]"),
        ({"t_ref": jnp.float32(30)}, "t_ref of cells: 30 ms; at most 255 steps of 0.1 ms"),
        ({"tau_m": jnp.array([1.0, 2, 0, 4])}, "tau_m of cells: 0; above zero"),
        ({"v_th": jnp.array([1.0, 2, jnp.nan, 4])}, "v_th of cells: nan; finite"),
    ],
)
def test_parameters_of_a_built_circuit_are_checked(held, changes, message):
    with pytest.raises(cb.UsageError, match=message):
        run(changed(held, **changes))


@pytest.mark.parametrize(
    ("drive", "message"),
    [
        ({"cell": 1.0}, "population 'cell'"),
        ({"cells": jnp.ones(3)}, r"drive 'cells': float32 \[3\]; one value, \[4\], or packed"),
        ({"input": jnp.ones(2, jnp.uint32)}, r"drive 'input': uint32 \[2\]"),
    ],
)
def test_the_drive_of_a_step_is_checked(held, drive, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.step(held.params, held.wiring, cb.init(held, KEY), drive)


@pytest.mark.parametrize("wrap", [jax.jit, jax.vmap])
def test_a_run_within_a_compiled_function_is_refused(held, wrap):
    keys = jax.random.split(KEY, 2) if wrap is jax.vmap else KEY
    with pytest.raises(cb.UsageError, match="simulate: within jit, vmap or grad"):
        wrap(lambda key: run(held, cb.init(held, key))[1].spikes["cells"])(keys)


def test_a_gradient_of_the_event_path_is_refused(held):
    state = cb.init(held, KEY)

    def voltage(gain):
        weights = {name: gain * weight for name, weight in held.params.weights.items()}
        params = held.params.replace(weights=weights)
        return cb.step(params, held.wiring, state, {})[0].cells["cells"].v.sum()

    with pytest.raises(cb.UsageError, match="path: 'event', which has no gradients"):
        jax.grad(voltage)(1.0)


def test_a_state_with_other_delays_of_the_same_depth_is_refused():
    one, other = (
        cb.build(circuits.feed_forward(8, 4, 4, delays=delays, dt=0.5), KEY, path="event")
        for delays in ((1.0, 3.0), (2.0, 3.0))
    )
    with pytest.raises(cb.UsageError, match="had a delay of 2 steps; this circuit's has 4"):
        run(other, cb.init(one, KEY))
    same_steps = circuit(dt=0.25, delay=0.5)
    with pytest.raises(cb.UsageError, match=r"state: of a circuit with a dt of 0.5 ms; .* 0.25"):
        run(same_steps, cb.init(circuit(), KEY))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, -1.0, 9.0, 1.0, 2.0, 4), "background_hz: -1.0; Hz, zero or more"),
        ((8, 1.0, 9.0, 2.0, 2.0, 4), "burst: from 2.0 to 2.0 ms; ascending"),
        ((8, 1.0, 9.0, 1.0, 2.0, 9), "cells: 9; a mask, or a whole number from 0 to 8"),
        ((8, 1.0, 9.0, 1.0, 2.0, 2.5), "cells: 2.5; a mask, or a whole number from 0 to 8"),
        ((8, 1.0, 9.0, 1.0, 2.0, "all"), "cells: 'all'; a mask, or a whole number"),
        ((8, 1.0, "9", 1.0, 2.0, 4), "burst_hz: '9'; Hz, zero or more"),
        ((8, 1.0, 9.0, None, 2.0, 4), "burst: from None to 2.0 ms; ascending"),
        ((8.5, 1.0, 9.0, 1.0, 2.0, 4), "size: 8.5; a whole number, at least 1"),
        ((8, 1.0, 9.0, 1.0, 2.0, np.ones(8)), r"cells: float64 \[8\]; a mask, bool \[8\]"),
        ((8, 1.0, 9.0, 1.0, 2.0, np.ones(5, bool)), r"cells: bool \[5\]; a mask, bool \[8\]"),
    ],
)
def test_a_burst_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.drive.burst(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": {"purkinje": 9}}, r"sizes: dict; presets.Sizes\(purkinje=...\)"),
        ({"sizes": cb.presets.Sizes(purkinje=2.5)}, "purkinje.size: 2.5; at least 1 cell"),  # pyright: ignore[reportArgumentType]
        ({"granule_size": 1e4}, "granule_size: 10000.0; a whole number, at least 100"),
        ({"beams": 0}, "beams: 0; a whole number, at least 1"),
        ({"learning_rate": "fast"}, "learning_rate: 'fast'; between 0 and 0.1"),
        ({"sparsity": None}, "sparsity: None; at least 0, below 1"),
    ],
)
def test_arguments_of_a_preset_are_checked(arguments, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.presets.beams(**{"granule_size": 1_000, **arguments})


def test_a_preset_is_no_protocol():
    preset = cb.presets.PRESETS["beams"]
    with pytest.raises(cb.UsageError, match=r"protocol: Preset; its \.protocol"):
        cb.drive.standard(preset, cb.presets.beams(1_000), KEY)  # pyright: ignore[reportArgumentType]


def test_edges_that_the_projection_does_not_allow_are_refused():
    edges = {"input_p0_cells": np.array([[0, 0, 3]])}
    learning = circuits.feed_forward(8, 4, 4, plastic=True)
    bounded = learning.with_projection("input_p0_cells", w_max=2.0)
    with pytest.raises(cb.UsageError, match="3 contacts weigh 3; at most w_max 2"):
        cb.build(bounded, KEY, edges)
    cb.build(learning.with_projection("input_p0_cells", w_max=3.0), KEY, edges)
    with pytest.raises(cb.UsageError, match=r"given, with a spread of 0\.5; spread 0"):
        cb.build(learning.with_projection("input_p0_cells", spread=0.5), KEY, edges)


def test_one_number_is_meant_where_one_is_needed():
    spec = circuits.feed_forward(8, 4, 4)
    with pytest.raises(cb.UsageError, match=r"weight: array\(\[1., 3.\]\); one number for all"):
        spec.with_projection("input_p0_cells", weight=np.array([1.0, 3.0]))
    with pytest.raises(cb.UsageError, match="chunk_steps: 0; a whole number, at least 1"):
        run(circuit(), chunk_steps=0)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t: 100 * jnp.sin(t), r"drive 'input': a rate of -\d.* ms; Hz, from 0 to 10000"),
        (lambda t: jnp.where(t > 3, jnp.nan, 1.0), "drive 'input': a rate of nan at 3.1"),
        (lambda t: jnp.ones(5), r"drive 'input': rates \[5\]; one, or \[8\]"),
        (lambda t: jnp.full(8, 2e4), "a rate of 20000 at 0 ms; Hz, from 0 to 10000"),
    ],
)
def test_the_rates_of_a_function_are_looked_at(held, function, message):
    with pytest.raises(cb.UsageError, match=message):
        run(held, drive={"input": cb.drive.RateFunction(function)})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_ms": "twenty"}, "duration_ms: 'twenty'; a number, ms"),
        ({"duration_ms": [20]}, r"duration_ms: \[20\]; a number, ms"),
        ({"record": None}, 'record: None; text such as "raster:purkinje"'),
        ({"record": (5,)}, r"record: \(5,\); text"),
        ({"drive": [1]}, "drive: list; a dictionary of sources by population"),
    ],
)
def test_arguments_of_another_kind_are_refused(held, arguments, message):
    with pytest.raises(cb.UsageError, match=message):
        run(held, **arguments)


def test_what_is_no_circuit_no_state_and_no_key_is_refused(held):
    state = cb.init(held, KEY)
    for circuit_given, state_given, message in (
        (held.spec, state, r"circuit: Spec; what cb.build\(spec, key\) returns"),
        (held, (state, None), r"state: tuple; what cb.init\(circuit, key\) returns"),
        (held, state.replace(step=3), "state: step 3; a whole number, int32"),
        (held, state.replace(step=np.int64(2**40)), "state: step 1099511627776; at most 2,000,0"),
        (held, state.replace(step=jnp.int32(-5)), "state: step -5; zero or more"),
    ):
        with pytest.raises(cb.UsageError, match=message):
            cb.simulate(circuit_given, state_given, {}, duration_ms=1)
    for key, message in (
        (0.5, r"key: 0.5; a seed, or jax.random.key\(seed\)"),
        (True, "key: True; a seed"),
        (-1, "key: -1; a seed from 0 to 4,294,967,295"),
    ):
        with pytest.raises(cb.UsageError, match=message):
            cb.init(held, key)
        with pytest.raises(cb.UsageError, match=message):
            cb.build(held.spec, key)
    empty = jax.tree.map(lambda x: jnp.zeros((0, *x.shape), x.dtype), state)
    with pytest.raises(cb.UsageError, match="state: none; jax"):
        cb.simulate_batch(held, empty, {}, duration_ms=1)


def test_the_values_of_a_state_are_checked(held):
    def with_voltage(value):
        state = cb.init(held, KEY)
        cells = {**state.cells, "cells": state.cells["cells"].replace(v=value)}
        return state.replace(cells=cells)

    for voltage in (jnp.full(4, jnp.nan), jnp.array([0.0, jnp.inf, 0, 0])):
        with pytest.raises(cb.UsageError, match=r"state: cells\.v is not finite"):
            run(held, with_voltage(voltage))
    plastic = cb.build(
        circuits.feed_forward(8, 4, 4, delays=(1.0,), dt=0.5, plastic=True), KEY, path="event"
    )
    state = cb.init(plastic, KEY)
    weights = {name: value.astype(jnp.float16) for name, value in state.weights.items()}
    with pytest.raises(cb.UsageError, match="weights of input_p0_cells are float16; float32"):
        run(plastic, state.replace(weights=weights))


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf, np.ones(5)])
def test_gains_of_learning_are_checked(value):
    spec = cb.presets.beams(100, learning_rate=1e-3)
    held = cb.build(spec, KEY)
    name = next(p.name for p in spec.projections if p.rule is not None)
    for rates, message in (
        ({name: value}, f"params.learning_gain: {name}: "),
        ({name + "x": 1.0}, f"params.learning_gain: '{name}x'; perhaps {name}"),
        ({}, "params.learning_gain: without"),
    ):
        other = held.replace(params=held.params.replace(learning_gain=rates))
        with pytest.raises(cb.UsageError, match=message):
            cb.simulate(other, cb.init(other, KEY), {}, duration_ms=1)


def test_integers_are_numbers(held):
    run(changed(held, c_m=jnp.int32(5), weights={"input_p0_cells": jnp.full((8, 4), 2)}))
    for changes, message in (
        ({"weights": {"input_p0_cells": jnp.int32(-5)}}, "input_p0_cells: -5; zero or more"),
        ({"t_ref": jnp.int32(400)}, "t_ref of cells: 400 ms; at most 255 steps"),
        ({"v_th": jnp.array(True)}, "v_th of cells: nan; finite"),
    ):
        with pytest.raises(cb.UsageError, match=message):
            run(changed(held, **changes))
    cells = circuits.feed_forward(np.int64(8), 4, 4, weight=np.float32(2.0))
    assert type(cells.population("input").size) is int


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((10, 4), 1e39), r"drive 'cells': 1e\+39 in an array; finite, pA"),
        (np.ma.masked_array(np.ones((10, 4)), mask=True), "drive 'cells': a masked array"),
    ],
)
def test_currents_that_float32_cannot_hold_are_refused(held, array, message):
    with pytest.raises(cb.UsageError, match=message):
        run(held, drive={"cells": array}, duration_ms=1)
    with pytest.raises(cb.UsageError, match="drive 'input': 2 in an array; spikes, 0 or 1"):
        run(held, drive={"input": np.full((10, 8), 2, np.uint32)}, duration_ms=1)


def test_spikes_that_move_are_said_to(held, caplog):
    times = cb.drive.SpikeTimes(np.zeros(3, int), np.full(3, 0.5))
    _, recording = run(held, drive={"input": times}, record=("raster:input",), duration_ms=1)
    assert recording.spikes["input"].sum() == 3
    assert "2 of 3 spikes fell into a step that has one of their cell" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling": Threshold(target=5.0)}, "scaling: Threshold; a Scaling"),
        ({"scaling": Scaling(target="5")}, "scaling.target: '5'; a number"),
        ({"plastic": "no"}, "plastic: 'no'; True or False"),
        ({"weight": True}, "weight: True; one number for all synapses"),
        ({"w_max": "x"}, "w_max: 'x'; a number, or None"),
    ],
)
def test_fields_of_another_kind_are_refused(changes, message):
    spec = circuits.feed_forward(8, 4, 4, plastic=True)
    with pytest.raises(cb.UsageError, match=message):
        spec.with_projection("input_p0_cells", **changes)


@pytest.mark.parametrize("gain", [np.nan, -1.0, np.inf])
def test_the_gain_of_a_threshold_is_checked(gain):
    spec = circuits.feed_forward(8, 4, 4)
    population = replace(spec.population("cells"), homeostasis=Threshold(target=5.0, gain=gain))
    with pytest.raises(cb.UsageError, match=f"homeostasis.gain: {gain}; finite, zero or more"):
        replace(spec, populations=(spec.population("input"), population))


@pytest.mark.parametrize("shape", [lambda lag, tau: lag * np.nan, lambda lag, tau: np.ones(3)])
def test_the_values_of_a_window_are_checked(shape, monkeypatch):
    monkeypatch.setitem(plasticity.WINDOWS, "mine", cb.Window(shape))
    rule = plasticity.Rule(teacher="cells", kernel="mine", per_pair=0.1, window=20.0, tau=10.0)
    with pytest.raises(cb.UsageError, match=r"window 'mine': values .*; a finite one for each lag"):
        plasticity.window.kernel(rule, 1.0)


@pytest.mark.parametrize("path", ["event", "dense"])
@pytest.mark.parametrize("in_degree", [8, 1])
@pytest.mark.parametrize("plastic", [False, True])
def test_one_weight_is_that_of_every_synapse(path, in_degree, plastic):
    """In rows and in lists; whole numbers, too."""
    spec = circuits.feed_forward(8, 4, in_degree, dt=0.5, plastic=plastic)
    built = cb.build(spec, KEY, path=path)
    name = spec.projections[0].name
    full, drive = built.params.weights[name], {"input": cb.drive.poisson(200.0)}

    def conductances(weight):
        other = built.replace(params=built.params.replace(weights={name: weight}))
        _, recording = run(other, drive=drive, record=("g_exc:cells",))
        return recording.traces["g_exc:cells"].values

    assert conductances(0).max() == 0
    if path == "dense" and in_degree == 1:
        with pytest.raises(cb.UsageError, match="one value, 3; an array, whose zeros are the cont"):
            conductances(3.0)
        return
    each = conductances(jnp.where(jnp.asarray(full) > 0, 3.0, 0.0))
    assert each.max() > 0
    for weight in (jnp.float32(3), jnp.int32(3), 3):
        np.testing.assert_array_equal(conductances(weight), each)
