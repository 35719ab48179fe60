"""The granular layer as a filter: what is computed from rates, and a short run of one circuit."""

import numpy as np
import pytest

from cerebellum.reproduce import granular_layer
from cerebellum.reproduce.granular_layer import FREQUENCIES_HZ, RINGS_UM, START_MS, Amounts


def test_the_radius_is_where_half_of_the_excess_is_left():
    middle = (RINGS_UM[:-1] + RINGS_UM[1:]) / 2
    before, after = np.full(len(middle), 4.0), np.full(len(middle), 2.0)
    rates = np.array([before, 4 + 80 * np.clip(1 - (middle - 10) / 80, 0, 1), after])
    assert granular_layer.half_radius(rates) == pytest.approx(50)


def test_the_cut_off_is_half_way_up():
    steps = np.array([0.2, 0.2, 0.2, 0.6, 1.0, 1.0])
    assert granular_layer.cut_off(steps) == pytest.approx(100)
    falling_first = np.array([0.9, 0.2, 0.2, 0.6, 1.0, 1.0])
    assert granular_layer.cut_off(falling_first) == pytest.approx(100)
    assert FREQUENCIES_HZ[3] == 100
    assert np.isnan(granular_layer.cut_off(steps[::-1]))


def test_a_resonance_is_a_peak_within_the_range():
    gain = np.array([1.0, 1.1, 1.2, 1.5, 1.2, 1.0, 0.8])
    assert granular_layer.resonance(gain) == 6
    assert np.isnan(granular_layer.resonance(gain**0.2))
    assert np.isnan(granular_layer.resonance(np.sort(gain)))


def test_the_window_holds_the_middle_four_fifths_of_the_spikes():
    course = np.zeros(500)
    onset = round(START_MS / granular_layer.DT)
    course[onset + 10 : onset + 30] = 5.0
    assert granular_layer._window(course) == pytest.approx(8, abs=granular_layer.DT)
    assert np.isnan(granular_layer._window(np.zeros(500)))


def test_the_layer_is_that_of_the_whole_circuit():
    spec = granular_layer.layer()
    assert {p.name for p in spec.populations} == set(granular_layer.LAYER)
    assert {p.target for p in spec.projections} == {"glomerulus", "granule", "golgi"}
    assert spec is granular_layer.layer()


@pytest.mark.slow
def test_a_short_run_has_a_centre_a_surround_and_a_window_that_inhibition_closes():
    amounts = Amounts(bursts=6, volleys=4, trains=1, modulated_ms=500.0)
    found = granular_layer.measure(10, amounts)
    before, burst, _ = found.rings_hz
    assert burst[0] > 3 * burst[2] > 3 * before[2]
    assert burst[4:6].mean() < 0.8 * before[4:6].mean()
    assert found.window_ms["control"] < 0.6 * found.window_ms["no inhibition"]
    assert (found.gain["no inhibition"] > 2 * found.gain["control"]).all()
    report = granular_layer.report([found], [10])
    assert set(report.figures) == {"granular-layer.png"}
