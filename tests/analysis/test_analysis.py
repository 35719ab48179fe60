"""Helpers of analysis: numbers worked out by hand, and laws against slow sums over all pairs."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples
from recorded import example, recordings

import cerebellum as cb
from cerebellum import analysis
from cerebellum.sim.record import Raster, Recording, Trace


def recording_of(trains: dict[int, list[float]], steps: int = 100, dt: float = 1.0) -> Recording:
    """Cells with these spikes, ms."""
    times = np.concatenate([np.zeros(0), *trains.values()])
    cell = np.repeat(np.array([*trains], int), [len(train) for train in trains.values()])
    order = np.argsort(times, kind="stable")
    counts = np.bincount(np.round(times / dt).astype(int) - 1, minlength=steps)
    return Recording(
        dt=dt,
        start_ms=0.0,
        steps=steps,
        sizes={"golgi": len(trains)},
        spikes={"golgi": counts.astype(np.int32)},
        rasters={"golgi": Raster(times[order], cell[order], np.array([*trains], int))},
    )


def matrix(recording: Recording, population: str = "cells") -> np.ndarray:
    """Spikes [steps, recorded cells]."""
    raster = recording.rasters[population]
    first = round(recording.start_ms / recording.dt)
    step = np.round(raster.time_ms / recording.dt).astype(int) - first - 1
    place = {int(cell): index for index, cell in enumerate(raster.cells)}
    fired = np.zeros((recording.steps, len(raster.cells)))
    fired[step, [place[cell] for cell in raster.cell.tolist()]] = 1
    return fired


def test_intervals_and_how_regular_they_are():
    recording = recording_of({0: [10, 20, 30, 40], 1: [10, 20, 40], 2: [], 3: [5], 4: [5, 6]})
    intervals = cb.analysis.isi(recording, "golgi")
    assert {cell: x.tolist() for cell, x in intervals.items()} == {
        0: [10, 10, 10],
        1: [10, 20],
        2: [],
        3: [],
        4: [1],
    }
    # Of 10 and 20 ms: deviation 5, mean 15; difference 10, sum 30.
    nan = np.nan
    np.testing.assert_allclose(analysis.cv(recording, "golgi"), [0, 1 / 3, nan, nan, nan])
    np.testing.assert_allclose(analysis.cv2(recording, "golgi"), [0, 2 / 3, nan, nan, nan])


def test_the_fano_factor_of_windows_and_of_trials():
    # Windows end at 25, 50, 75 and 100 ms: counts 2, 0, 1, 1, the spike at 25 ms in the first.
    recording = recording_of({0: [1, 25, 75, 100], 1: []})
    found = analysis.fano_factor(recording, "golgi", window_ms=25)
    np.testing.assert_allclose(found, [0.5 / 1.0, np.nan])
    trials = [recording_of({0: times}) for times in ([1, 2, 3], [4])]
    np.testing.assert_allclose(analysis.fano_factor(trials, "golgi", window_ms=100), [1 / 2])
    with pytest.raises(cb.UsageError, match="window_ms: 100, one window; at least two, or"):
        analysis.fano_factor(recording, "golgi")
    with pytest.raises(cb.UsageError, match="other cells of 'golgi'; those of the first"):
        analysis.fano_factor([recording, *trials], "golgi", window_ms=25)


def test_onsets_are_one_number_or_a_list_of_them():
    recording = example()
    one, several = (
        analysis.psth(recording, "golgi", 10, onsets_ms=onsets, span_ms=(-10, 20))
        for onsets in (50, [50])
    )
    np.testing.assert_array_equal(one[1], several[1])
    with pytest.raises(cb.UsageError, match=r"onsets_ms: .*; a list of numbers, ms"):
        analysis.psth(recording, "golgi", 10, onsets_ms=["50"], span_ms=(-10, 20))


def test_a_psth_around_onsets():
    # At 11 ms the first step after the onset at 10 ms ends.
    recording = recording_of({0: [11, 20, 51, 61, 100], 1: [52]})
    time_ms, rate = analysis.psth(recording, "golgi", 10, onsets_ms=[10, 50], span_ms=(-10, 20))
    np.testing.assert_allclose(time_ms, [-5, 5, 15])
    # Spikes in the bins: 0, then 2 and 2, then 0 and 1; of 2 cells, 2 trials, 0.01 s.
    np.testing.assert_allclose(rate, np.array([0, 4, 1]) / 0.04)
    several = analysis.psth([recording] * 3, "golgi", 10, onsets_ms=[10, 50], span_ms=(-10, 20))
    np.testing.assert_allclose(several[1], rate)
    for onset, limits in ((5, "from 10 to 80"), (90, "from 10 to 80")):
        with pytest.raises(cb.UsageError, match=f"onsets_ms: {onset}, whose span .*; {limits}"):
            analysis.psth(recording, "golgi", 10, onsets_ms=[onset], span_ms=(-10, 20))
    with pytest.raises(cb.UsageError, match=r"span_ms: \(-10, 15\); whole bins of 10 ms"):
        analysis.psth(recording, "golgi", 10, onsets_ms=[50], span_ms=(-10, 15))
    with pytest.raises(cb.UsageError, match="both, or neither"):
        analysis.psth(recording, "golgi", onsets_ms=[50])


@given(recordings(), st.integers(1, 20))
@examples(60)
def test_a_psth_of_a_whole_run_is_its_rate_course(recording, width):
    """No spike at the edge of a bin is in another one, whenever the recording begins."""
    width = min(width, recording.steps)
    cells = len(recording.rasters["cells"].cells)
    alone = replace(recording, sizes={"cells": cells})
    time_ms, rate = analysis.psth(recording, "cells", width * recording.dt)
    expected_ms, expected = cb.record.rate_course(alone, width * recording.dt)
    np.testing.assert_allclose(time_ms, expected_ms, rtol=1e-12)
    np.testing.assert_allclose(rate, expected["cells"], atol=1e-9)


def slow_correlogram(one: np.ndarray, other: np.ndarray, lags: int) -> np.ndarray:
    """The pairs of spikes at each lag, weighted for the bins that are not there."""
    bins = len(one)
    pairs = np.zeros(2 * lags + 1)
    for lag in range(-lags, lags + 1):
        shared = bins - abs(lag)
        here, there = max(0, -lag), max(0, lag)
        total = one[here : here + shared] * other[there : there + shared]
        pairs[lag + lags] = total.sum() * bins / shared
    return pairs


@given(recordings(), st.integers(1, 3), st.integers(1, 8))
@examples(40)
def test_correlograms_are_sums_over_pairs(recording, width, lags):
    bins = recording.steps // width
    if bins <= lags:
        return
    fired = matrix(recording)[: bins * width].reshape(bins, width, -1).sum(axis=1)
    cells = fired.shape[1]
    bin_ms = width * recording.dt
    own = [slow_correlogram(fired[:, i], fired[:, i], lags) for i in range(cells)]
    every = [
        slow_correlogram(fired[:, i], fired[:, j], lags)
        for i in range(cells)
        for j in range(cells)
        if i != j
    ]
    lag_ms, auto = analysis.autocorrelogram(recording, "cells", bin_ms, lags * bin_ms)
    cross = analysis.crosscorrelogram(recording, "cells", "cells", bin_ms, lags * bin_ms)[1]
    np.testing.assert_allclose(lag_ms, np.arange(-lags, lags + 1) * bin_ms)
    spikes = fired.sum()
    if not spikes:
        assert np.isnan(auto).all()
        return
    expected = np.sum(own, axis=0)
    expected[lags] -= spikes
    np.testing.assert_allclose(auto, expected / (spikes * bin_ms * 1e-3), atol=1e-6)
    if cells == 1:
        assert np.isnan(cross).all()
        return
    scale = spikes * (cells - 1) * bin_ms * 1e-3
    np.testing.assert_allclose(cross, np.sum(every, axis=0) / scale, atol=1e-6)


def test_correlograms_of_a_clock_and_of_an_echo():
    clock = recording_of({0: np.arange(10, 1_001, 10.0).tolist()}, steps=1_000)
    lags_ms, rate = analysis.autocorrelogram(clock, "golgi", 1, 25)
    assert lags_ms[rate > 500].tolist() == [-20, -10, 10, 20]
    two = recording_of({0: [10, 40, 80], 1: [13, 43, 83]}, steps=200)
    one, other = (
        Raster(raster.time_ms[raster.cell == cell], raster.cell[raster.cell == cell], [cell])
        for raster in two.rasters.values()
        for cell in (0, 1)
    )
    both = replace(
        two,
        sizes={"a": 2, "b": 2},
        rasters={n: replace(r, cells=np.array(r.cells)) for n, r in (("a", one), ("b", other))},
    )
    lags_ms, rate = analysis.crosscorrelogram(both, "a", "b", 1, 10)
    assert lags_ms[rate > 0].tolist() == [3], "b follows a"
    # Each of three spikes of a has its partner, weighted for the 3 of 200 bins that have none.
    assert rate.max() == pytest.approx(1_000 * 200 / 197)


@given(recordings(), st.integers(1, 5))
@examples(30)
def test_correlations_are_those_of_counts(recording, width):
    bins = recording.steps // width
    if bins < 2:
        return
    counts = matrix(recording)[: bins * width].reshape(bins, width, -1).sum(axis=1)
    found = analysis.correlation(recording, "cells", width * recording.dt)
    constant = counts.std(axis=0) == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.corrcoef(counts.T).reshape(found.shape)
    expected[constant], expected[:, constant] = np.nan, np.nan
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_synchrony_of_equal_and_of_other_trains():
    times = [10.0, 35.0, 60.0, 95.0]
    equal = recording_of({0: times, 1: times, 2: times})
    apart = recording_of({0: times, 1: [22.0, 48.0, 77.0], 2: []})
    assert analysis.spike_contrast(equal, "golgi", 5) == pytest.approx(1.0)
    assert analysis.spike_contrast(apart, "golgi", 5) < 0.5
    assert np.isnan(analysis.spike_contrast(recording_of({0: [3], 1: []}), "golgi"))
    with pytest.raises(cb.UsageError, match="'golgi': 1 cells; at least two"):
        analysis.spike_contrast(recording_of({0: [3]}), "golgi")
    with pytest.raises(cb.UsageError, match="min_bin_ms: 80; at most 50"):
        analysis.spike_contrast(equal, "golgi", 80)


def test_the_spectrum_of_a_rhythm_and_of_chance():
    rng = np.random.default_rng(0)
    steps, cells = 20_000, 10
    step = np.arange(steps)
    base = recording_of({cell: [] for cell in range(cells)}, steps=steps)
    rhythm = base.spikes["golgi"] + (step % 25 == 0)
    frequencies, power = analysis.power_spectrum(replace(base, spikes={"golgi": rhythm}), "golgi")
    assert frequencies[1] == 2.0
    assert frequencies[power[:40].argmax()] == 40.0, "every 25 ms"
    chance = replace(base, spikes={"golgi": rng.poisson(cells * 0.02, steps)})  # 20 Hz
    frequencies, power = analysis.power_spectrum(chance, "golgi", 10.0)
    assert power[1:-1].mean() == pytest.approx(2 * 20 / cells, rel=0.05)
    with pytest.raises(cb.UsageError, match=r"resolution_hz: 0\.01; at least 0\.05 in 20000 ms"):
        analysis.power_spectrum(base, "golgi", 0.01)


def traced(g_exc, g_inh, v=-60.0, every: int = 1) -> Recording:
    base = recording_of({0: [], 1: []}, steps=len(g_exc) * every)
    cells = np.array([0, 1])

    def trace(values, unit):
        both = np.repeat(np.asarray(values, np.float32)[:, None] / 2, 2, axis=1)
        return Trace(both, cells, unit, every, 0.0, 1.0)

    return replace(
        base,
        traces={
            "v:golgi": trace(np.full(len(g_exc), 2 * v), "mV"),
            "g_exc:golgi": trace(g_exc, "nS"),
            "g_inh:golgi": trace(g_inh, "nS"),
        },
    )


REVERSAL = {"exc": {"g_exc": 0.0}, "inh": {"g_inh": -80.0}}


@pytest.mark.parametrize("every", [1, 2])
def test_the_field_is_the_published_sum(every):
    rng = np.random.default_rng(1)
    g_exc, g_inh = rng.random((2, 100))
    time_ms, field = analysis.lfp_proxy(traced(g_exc, g_inh, every=every), "golgi", **REVERSAL)
    delay = 6 // every
    # 60 mV drive the excitatory current inward, 20 mV the inhibitory one outward.
    raw = 60 * g_exc[: 100 - delay] + 1.65 * 20 * g_inh[delay:]
    np.testing.assert_allclose(field, (raw - raw.mean()) / raw.std(), atol=1e-5)
    np.testing.assert_allclose(time_ms, np.arange(delay + 1, 101) * every)
    assert (abs(field.mean()), field.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))


def test_what_a_field_needs_is_named():
    recording = traced(np.ones(100), np.ones(100))
    assert np.isnan(analysis.lfp_proxy(recording, "golgi", **REVERSAL)[1]).all()
    with pytest.raises(cb.UsageError, match=r"g_r1:golgi: not recorded, .*record=\('g_r1:golgi'"):
        analysis.lfp_proxy(recording, "golgi", exc={"g_r1": 0.0}, inh={})
    with pytest.raises(cb.UsageError, match="delay_ms: 100; from 0 to 100 ms"):
        analysis.lfp_proxy(recording, "golgi", **REVERSAL, delay_ms=100)
    part = replace(recording.traces["g_inh:golgi"], cells=np.array([1, 0]))
    with pytest.raises(cb.UsageError, match="g_inh:golgi: other cells or times; those of v"):
        analysis.lfp_proxy(
            replace(recording, traces={**recording.traces, "g_inh:golgi": part}),
            "golgi",
            **REVERSAL,
        )


OF_SPIKES = {
    "isi": analysis.isi,
    "cv": analysis.cv,
    "cv2": analysis.cv2,
    "fano_factor": analysis.fano_factor,
    "psth": analysis.psth,
    "autocorrelogram": analysis.autocorrelogram,
    "crosscorrelogram": lambda r, name: analysis.crosscorrelogram(r, name, name),
    "correlation": analysis.correlation,
    "spike_contrast": analysis.spike_contrast,
}


@pytest.mark.parametrize("name", OF_SPIKES)
def test_wrong_populations_are_refused_with_the_right_ones(name):
    helper = OF_SPIKES[name]
    with pytest.raises(cb.UsageError, match="population 'golgy'; perhaps golgi"):
        helper(example(), "golgy")
    with pytest.raises(cb.UsageError, match="'purkinje'; the recording has mossy, golgi"):
        helper(example(), "purkinje")
    with pytest.raises(cb.UsageError, match=r"spikes were not recorded; .*'raster:mossy'"):
        helper(example(), "mossy")
    with pytest.raises(cb.UsageError, match="int; a recording"):
        helper(3, "golgi")


def test_lags_are_whole_bins_within_the_recording():
    for span_ms, message in (
        (2.5, "whole bins of 1 ms"),
        (100, "less than 100"),
        (0, "above zero"),
    ):
        with pytest.raises(cb.UsageError, match=f"span_ms: .*{message}"):
            analysis.autocorrelogram(recording_of({0: [1, 2]}), "golgi", 1, span_ms)


@pytest.mark.parametrize("name", [*OF_SPIKES, "power_spectrum"])
def test_a_recording_without_elephant_says_what_to_install(name, monkeypatch):
    for module in [m for m in sys.modules if m.split(".")[0] == "elephant"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "elephant", None)
    helper = {**OF_SPIKES, "power_spectrum": analysis.power_spectrum}[name]
    arguments = (10.0,) if name in ("power_spectrum", "fano_factor", "psth") else ()
    with pytest.raises(cb.UsageError, match=r"needs the analysis part: .*\[analysis\]"):
        helper(example(), "golgi", *arguments)
