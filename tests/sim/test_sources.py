"""Sources for one's own network: several add up, weights reach receptors, currents are as said."""

import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import KEEPS
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from scipy import stats

import cerebellum as cb
from cerebellum.model import events, noise
from cerebellum.model.neurons import relay
from cerebellum.model.noise import CellRange
from cerebellum.sim import drive, shard
from cerebellum.sim.chunk import advance
from cerebellum.sim.drive import SpikeTimes, currents
from cerebellum.sim.drive.counts import counts_of, tails_of

KEY = jax.random.key(0)
WORDS = jax.random.key_data(KEY)
RELAYS, CELLS, BEAMS = 12, 9, 3
SPEC = cb.Spec(
    name="small",
    populations=(
        cb.Population(name="input", size=RELAYS, model="relay", params=relay.Params()),
        # They never fire, and their conductances never decay: these count what has arrived.
        cb.Population(name="cells", size=CELLS, model="conductance", params=KEEPS),
    ),
    projections=(
        cb.Projection(
            source="input", target="cells", receptor="inh", weight=1.0, delay=1.0, in_degree=2
        ),
    ),
    dt=0.5,
    beams=BEAMS,
)
CIRCUITS = {path: cb.build(SPEC, KEY, path=path) for path in ("event", "dense")}
RECORD = ("raster:input", "g_exc:cells", "g_inh:cells", "v:cells")


def run(given, duration_ms=10.0, path="event", seed=0, **more):
    circuit = CIRCUITS[path]
    state = cb.init(circuit, jax.random.key(seed))
    return cb.simulate(circuit, state, given, duration_ms=duration_ms, record=RECORD, **more)


def spikes(recording) -> set[tuple[int, int]]:
    """(step, relay) of every spike of the relays."""
    raster = recording.rasters["input"]
    step = np.round(np.asarray(raster.time_ms) / SPEC.dt).astype(int) - 1
    return set(zip(step.tolist(), np.asarray(raster.cell).tolist(), strict=True))


def arrived(recording) -> np.ndarray:
    """Summed weights that arrived from outside in each step, [time, cells]."""
    total = np.asarray(recording.traces["g_exc:cells"].values)
    return np.diff(total, axis=0, prepend=np.zeros((1, CELLS), np.float32))


def course(source, steps, slot="cells", cells=CELLS) -> np.ndarray:
    """What a source gives to all cells in each of some steps, [steps, cells]."""
    drawn = drive.plan({slot: source}, SPEC).drawn[slot]

    def at(drawn, step):
        now = drive.Moment(key=WORDS, step=step, dt=SPEC.dt)
        value = drive.draw(drawn, slot, now, CellRange(size=cells))
        return jnp.broadcast_to(value, (cells,))

    return np.asarray(jax.vmap(at, (None, 0))(drawn, jnp.asarray(steps, jnp.int32)))


def test_a_burst_at_a_receptor_has_its_weight():
    source = drive.burst(CELLS, 0.0, 2_000.0, 5.0, 10.0, CELLS, weight=0.5)
    steps = np.arange(round(20 / SPEC.dt))
    given = course(source, steps, "cells.exc")
    inside = (steps * SPEC.dt >= 5) & (steps * SPEC.dt < 10)
    assert not given[~inside].any()
    assert given[inside].sum() > 0
    np.testing.assert_array_equal(given % 0.5, 0)
    assert (given[inside] == 0.5).any()


def rising(t_ms, slope):
    """A rate, or a current, that grows with time."""
    return slope * t_ms


def everything() -> dict:
    """A drive of every kind of source."""
    rng = np.random.default_rng(0)
    times = SpikeTimes(rng.integers(0, RELAYS, 40), rng.uniform(0, 10, 40))
    listed = SpikeTimes(rng.integers(0, 2, 30), rng.uniform(0, 10, 30), rng.random(30), [7, 1])
    return {
        "input": [drive.poisson(np.linspace(0, 200, RELAYS)), times, drive.poisson(100, cells=[3])],
        "cells.exc": [
            drive.poisson([9e4, 1e3], weight=[0.5, 2.0], cells=slice(3, 5)),
            listed,
            drive.RateFunction(rising, (400.0,), weight=1.5, cells=[8]),
        ],
        "cells": [
            drive.noise(np.arange(CELLS), 5.0, 4.0),
            drive.step_current(10.0, 2, 8, cells=np.arange(CELLS) < 4),
            drive.ramp(0.0, np.arange(CELLS), 3, 9),
            drive.sine(3.0, 40.0, phase=np.arange(CELLS)),
            drive.CurrentFunction(rising, (jnp.arange(2.0),), cells=[0, 5]),
            drive.array(7.0 * np.ones((20, 2)), cells=[2, 6]),
        ],
    }


def same(a, b) -> None:
    """Two recordings are the same, bit for bit."""
    for name, raster in a.rasters.items():
        np.testing.assert_array_equal(raster.cell, b.rasters[name].cell)
        np.testing.assert_array_equal(raster.time_ms, b.rasters[name].time_ms)
    for name, trace in a.traces.items():
        np.testing.assert_array_equal(trace.values, b.traces[name].values, err_msg=name)


def test_a_drive_is_the_same_however_the_run_is_divided():
    given = everything()
    _, whole = run(given)
    assert len(spikes(whole)) > 50
    assert (arrived(whole)[:, [1, 3, 4, 7, 8]].sum(axis=0) > 0).all()
    state, first = run(given, 2.5)
    _, second = cb.simulate(
        CIRCUITS["event"], state, given, duration_ms=7.5, record=RECORD, chunk_steps=5
    )
    for name, trace in whole.traces.items():
        parts = [first.traces[name].values, second.traces[name].values]
        np.testing.assert_array_equal(trace.values, np.concatenate(parts), err_msg=name)
    assert spikes(whole) == spikes(first) | spikes(second)


def test_other_values_use_the_program_again():
    def given(value):
        return {
            "cells.exc": drive.poisson(1e3 * value, weight=value),
            "cells": [
                drive.current(value),
                drive.step_current(value, value, 2 * value),
                drive.ramp(0, value, 1, 2 + value),
                drive.sine(value, 30 * value),
                drive.noise(value, value, value),
            ],
        }

    _, one = run(given(1.0))
    programs = advance._cache_size()
    _, other = run(given(3.0))
    assert advance._cache_size() == programs
    assert (one.traces["v:cells"].values != other.traces["v:cells"].values).any()
    assert arrived(other).sum() > 5 * arrived(one).sum()


def test_copies_of_a_batch_are_single_runs():
    given = everything()
    states = jax.vmap(cb.init, (None, 0))(CIRCUITS["event"], jax.random.split(KEY, 2))
    _, recordings = cb.simulate_batch(
        CIRCUITS["event"], states, given, duration_ms=10, record=RECORD
    )
    state = cb.init(CIRCUITS["event"], jax.random.split(KEY, 2)[1])
    _, single = cb.simulate(CIRCUITS["event"], state, given, duration_ms=10, record=RECORD)
    same(recordings[1], single)
    assert spikes(recordings[0]) != spikes(single)


def test_shards_get_what_is_theirs():
    given, whole = everything(), CIRCUITS["event"]
    _, recording = run(given)
    cut = shard.split(whole, shard.mesh(2))
    state = shard.split_state(cut, cb.init(whole, jax.random.key(0)))
    _, divided = cb.simulate(cut, state, given, duration_ms=10, record=RECORD)
    same(recording, divided)


def test_spikes_of_several_sources_are_one_and_independent():
    rows = np.zeros((20, RELAYS))
    rows[4, 2] = rows[5, 3] = 1
    sources = [drive.poisson(300.0), drive.poisson(300.0), SpikeTimes([2, 9], [2.5, 6.0]), rows]
    _, recording = run({"input": sources})

    def drawn(slot):
        now = drive.Moment(key=WORDS, step=jnp.arange(20), dt=SPEC.dt)
        draw = jax.vmap(
            lambda step: drive.draw(
                sources[0], slot, now.replace(step=step), CellRange(size=RELAYS)
            )
        )
        return np.asarray(jax.vmap(lambda w: events.unpack(w, RELAYS))(draw(now.step)))

    first, second = drawn("input"), drawn("input[1]")
    assert first.sum() > 10 < (first != second).sum()
    expected = {(step, cell) for step, cell in np.argwhere(first + second + rows).tolist()}
    assert spikes(recording) == expected | {(4, 2), (11, 9)}


@pytest.mark.parametrize("path", ["event", "dense"])
def test_weights_arrive_at_the_end_of_their_step(path):
    rows = np.zeros((20, CELLS))
    rows[3] = np.arange(CELLS)
    listed = SpikeTimes([0, 0, 1, 0], [0.5, 0.4, 2.0, 2.0], [1.0, 2.0, 4.0, 8.0], [5, 2])
    later = SpikeTimes(jnp.array([8]), jnp.array([10.0]), 16)
    _, recording = run({"cells.exc": [listed, later, rows]}, path=path)
    expected = rows.copy()
    expected[0, 5], expected[19, 8] = 3, 16
    expected[3, [5, 2]] += 8, 4
    np.testing.assert_array_equal(arrived(recording), expected)


@pytest.mark.parametrize("mean", [1e-3, 1.6, 200.0])
def test_counts_are_poisson(mean):
    """By a chi-square test of their frequencies, from a table and as computed in a step."""
    numbers = jnp.arange(10_000, dtype=jnp.uint32)
    rates = np.array([[mean * 1e3]])
    table = counts_of(rates, jnp.zeros(1, jnp.int32), np.ones(1), 1.0)
    for tails, draws in ((table.tails, table.draws), tails_of(jnp.float32([mean]))):
        count = np.asarray(noise.counts(WORDS, tails, numbers, draws))
        edges = np.unique(stats.poisson.ppf(np.linspace(0.002, 0.998, 30), mean))
        expected = np.diff(stats.poisson.cdf(edges, mean), prepend=0, append=1)
        found = np.bincount(np.searchsorted(edges, count), minlength=expected.size)
        assert stats.chisquare(found, expected * numbers.size).pvalue > 1e-3


def test_chances_of_counts_are_those_of_poisson_in_the_tail():
    table = counts_of(np.array([[800.0, 1_600.0]]), jnp.zeros(1, jnp.int32), np.ones(1), 1.0)
    k = np.arange(table.tails.shape[0])
    for column, mean in enumerate((0.8, 1.6)):
        exact = stats.poisson.sf(k, mean)
        np.testing.assert_allclose(table.tails[:, column], exact, rtol=1e-6, atol=1e-30)
        computed, draws = tails_of(jnp.float32([mean]))
        assert draws == 1
        np.testing.assert_allclose(computed[: k.size, 0], exact, rtol=3e-6, atol=1e-25)


def test_currents_over_time():
    steps = np.array([0, 3, 4, 7, 8, 19, 20, 1_000_000, 2_000_000_001])
    t = steps * SPEC.dt
    pulse = course(drive.step_current(np.arange(CELLS), 2.0, 4.0), steps)
    np.testing.assert_array_equal(pulse, ((t >= 2) & (t < 4))[:, None] * np.arange(CELLS))
    ramp = course(drive.ramp(2.0, 7.0, 1.5, 9.5), steps)[:, 0]
    np.testing.assert_allclose(ramp, np.interp(t, [1.5, 9.5], [2, 7]), rtol=1e-6)
    assert ramp[0] == 2
    assert ramp[-1] == 7
    number = course(drive.current([1.0, 2.0], cells=[4, 0]), steps)
    assert (number == np.array([2, 0, 0, 0, 1, 0, 0, 0, 0])).all()


@given(st.floats(0, 1000), st.integers(0, 2**31 - 1))
def test_a_sine_has_its_phase_at_any_step(frequency, step):
    numbers = drive.plan({"cells": drive.sine(1.0, frequency)}, SPEC).drawn["cells"].numbers
    turned = currents._turned(jnp.uint32(step), numbers["high"], numbers["low"])
    cycle = round(frequency * SPEC.dt * 1e-3 * 2**64)
    assert int(turned) == (cycle * step % 2**64) >> 32


def test_a_sine_is_one():
    steps = np.arange(50)
    found = course(drive.sine(3.0, 20.0, phase=0.5, offset=1.0), steps)[:, 4]
    expected = 1 + 3 * np.sin(2 * np.pi * 0.02 * steps * SPEC.dt + 0.5)
    np.testing.assert_allclose(found, expected, atol=3e-6)


def test_noise_is_a_stationary_process_with_its_correlation():
    """Of the mean, the deviation and the correlation, the errors are a few standard errors."""
    mean, sd, tau_ms, cells = 3.0, 2.0, 4.0, 300
    wave = drive.plan({"cells": drive.noise(mean, sd, tau_ms)}, SPEC).drawn["cells"]
    use, steps = noise.named(WORDS, "drive cells"), jnp.arange(1_000, 1_600)

    def at(step):
        return currents.value_of(wave, use, step, CellRange(size=cells))

    x = (np.asarray(jax.jit(jax.vmap(at))(steps)) - mean) / sd
    # 300 cells for 75 time constants: 11,000 independent values.
    assert abs(x.mean()) < 0.04
    assert abs(x.var() - 1) < 0.04
    for lag in (1, 3, 8, 16, 40):
        correlation = (x[lag:] * x[:-lag]).mean()
        assert abs(correlation - np.exp(-lag * SPEC.dt / tau_ms)) < 0.04
    # The first interval between points that are drawn independently ends within these steps.
    assert wave.numbers["levels"] == 8
    jump = np.diff(x, axis=0).var(axis=1)
    np.testing.assert_allclose(jump, 2 * (1 - np.exp(-SPEC.dt / tau_ms)), rtol=0.4)
    assert stats.kstest(x[::80].ravel(), "norm").pvalue > 1e-3


@examples(60)
@given(
    level=st.integers(0, 12),
    tau=st.floats(0.05, 300.0),
)
def test_a_halved_interval_keeps_the_covariance(level, tau):
    """The midpoint of two values has the variance, and the covariances, of the process."""
    pull, width = (x.astype(np.float64)[level] for x in currents.bridge(tau))
    r = np.exp(-(2.0**level) / tau)
    assert pull * (1 + r * r) == pytest.approx(r, rel=1e-5, abs=1e-30)
    assert 2 * pull * pull * (1 + r * r) + width * width == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": drive.poisson(1.0)}, "drive 'inputs': perhaps input$"),
        ({"cells.ex": drive.poisson(1.0)}, "drive 'cells.ex': perhaps cells.exc$"),
        ({"input.spikes": drive.poisson(1.0)}, "relays, which repeat spikes; 'input', no weight"),
        ({"input": drive.poisson(1.0, weight=2.0)}, "'input': weight 2.0; none: relays repeat"),
        ({"cells.exc": drive.poisson(1.0)}, "'cells.exc': without a weight; weight=w, of each"),
        ({"cells.exc": drive.poisson(1.0, weight=-2.0)}, "weight -2; zero or more, receptors have"),
        ({"cells.exc": drive.poisson(1.0, weight=[1, 2])}, r"weight \[2\]; one number, or \[9\]"),
        ({"cells.exc": SpikeTimes([0], [1.0], [1, 2])}, r"weight \[2\].*\[1\], one a spike"),
        ({"cells": drive.poisson(1.0, weight=1.0)}, "with a weight at 'cells.exc' or 'cells.inh'"),
        ({"cells.exc": drive.step_current(1.0, 2, 3)}, "a current; its key is 'cells'"),
        ({"cells.exc": -np.ones((4, 9))}, "-1 in an array; weights, finite, zero or more"),
        ({"cells.exc": 5.0}, r"float; cb.drive.poisson\(Hz, weight=w\)"),
        ({"cells.exc": drive.poisson(1e9, weight=1)}, "above 10,000 spikes a step"),
        ({"input": drive.current(1.0)}, r"a current; cb.drive.poisson\(Hz\)"),
        ({"input": 5.0}, r"float; cb.drive.poisson\(Hz\)"),
        ({"cells": np.inf}, "inf; finite, pA"),
        ({"cells": [1.0, 2.0]}, r"a list of numbers; .* cb.drive.current\(values\)"),
        ({"cells": []}, "an empty list"),
        ({"cells": np.ones(9)}, r"array \(9,\); \[time, 9\], or cb.drive.current\(values\)"),
        ({"cells": drive.current(np.ones(5))}, r"values \[5\]; one value, or \[9\], one a cell"),
        ({"cells": drive.sine(1.0, 1_001.0)}, "frequency_hz 1001; at most 1000, half a cycle"),
        ({"cells": drive.noise(0.0, 1.0, 1e9)}, "tau_ms 1e.09; at most"),
        ({"cells": [3.0 * np.ones((2, 9)), drive.current([1, 2])]}, r"drive 'cells\[1\]': values"),
        ({"input": drive.poisson([1, 2, 3], cells=[1, 4])}, "rates for 3 cells; 2"),
        ({"input": drive.poisson(1, cells=[1, 12])}, "cells: 12; from 0 to 11"),
        ({"input": drive.poisson(1, cells=[1, 1])}, "cells: 1 more than once"),
        ({"input": drive.poisson(1, cells=np.ones(5, bool))}, r"cells: bool \[5\]; a mask"),
        ({"input": drive.poisson(1, cells=slice(20, 30))}, "cells: none; at least one"),
        ({"input": drive.poisson(1, cells="all")}, "cells 'all'; a mask"),
        ({"input": drive.poisson(1, cells=[0.5])}, r"cells: float64 \[1\]; a mask"),
        ({"input": drive.array(np.ones((4, 3)), cells=[0])}, r"array \(4, 3\); \[time, 1\]"),
        ({"input": SpikeTimes([2], [1.0], cells=[0, 1])}, "neuron 2; cells are numbered 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused_by_a_line(given, message):
    with pytest.raises(cb.UsageError, match=message) as error:
        drive.check(given, SPEC)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: drive.step_current(1.0, 5, 2), "start_ms, stop_ms: 5, 2; ascending"),
        (lambda: drive.ramp(0.0, np.nan, 1, 2), "stop_value: nan; finite"),
        (lambda: drive.noise(0.0, -1.0, 5.0), "sd: -1; zero or more"),
        (lambda: drive.noise(0.0, 1.0, 0.0), "tau_ms: 0.0; one number, above zero"),
        (lambda: drive.current("much"), "values: 'much'; numbers"),
        (lambda: drive.current(np.ones((2, 2))), r"values: \[2, 2\]; one value, or one a cell"),
        (lambda: SpikeTimes([0, [1]], [1.0, 2.0]), "SpikeTimes: neuron is ragged"),
        (lambda: drive.from_neo([3.0]), "from_neo: float at 0; a neo.SpikeTrain"),
        (lambda: drive.from_nwb("missing.nwb"), "from_nwb: needs the nwb part: pip install"),
    ],
)
def test_sources_that_cannot_be_are_refused(make, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynwb", None)
    with pytest.raises(cb.UsageError, match=message):
        make()


def test_trains_of_neo_are_read():
    """A train of Neo has `rescale`, whose result has a `magnitude`."""

    def train(seconds):
        scaled = SimpleNamespace(magnitude=1e3 * np.array(seconds))
        return SimpleNamespace(rescale=lambda unit: {"ms": scaled}[unit])

    trains = [train([0.001, 0.005]), train([]), train([0.0025])]
    for held in (trains, SimpleNamespace(spiketrains=trains)):
        found = drive.from_neo(held, weight=2.0)
        assert found.neuron.tolist() == [0, 0, 2]
        assert found.time_ms.tolist() == [1.0, 5.0, 2.5]
        assert found.weight == 2.0


def test_units_of_nwb_are_read(tmp_path, monkeypatch):
    class Units(dict):
        colnames = ("spike_times",)

        def __len__(self):
            return 2

    class File:
        def __init__(self, path, mode):
            self.units = None if "empty" in path else Units(spike_times=[[0.004], [0.001, 0.002]])

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self):
            return self

    monkeypatch.setitem(sys.modules, "pynwb", SimpleNamespace(NWBHDF5IO=File))
    for name in ("good.nwb", "empty.nwb"):
        (tmp_path / name).touch()
    found = drive.from_nwb(tmp_path / "good.nwb", cells=[4, 2])
    assert found.neuron.tolist() == [0, 1, 1]
    assert found.time_ms.tolist() == [4.0, 1.0, 2.0]
    assert found.cells == [4, 2]
    with pytest.raises(cb.UsageError, match=r"empty.nwb: no units with spike_times"):
        drive.from_nwb(tmp_path / "empty.nwb")
    with pytest.raises(cb.UsageError, match="no such file; an NWB file"):
        drive.from_nwb(tmp_path / "none.nwb")
