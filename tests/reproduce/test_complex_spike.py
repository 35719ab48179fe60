"""What `reproduce complex-spike` measures, on spikes made by hand and in a short run."""

import numpy as np
import pytest

from cerebellum.reproduce import complex_spike
from cerebellum.reproduce.complex_spike import Raster, Session


def made() -> Session:
    """Two olivary cells, three Purkinje cells that fire every 10 ms but in pauses of 30 ms.

    The olive fires once at 700 and 1,000 ms, then in puffs at 1,500 and bursts at 2,300 ms.
    """
    olive = np.array([700.0, 1_000.0, 1_502.0, 1_504.0, 2_302.0, 2_302.0])
    cells = np.array([0, 1, 0, 1, 0, 1])
    climbing, spikes, owners = np.array([1, 0, 0]), [], []
    for cell, fibre in enumerate(climbing):
        times = np.arange(5.0, 3_000.0, 10.0)
        for start in olive[cells == fibre] + 4.0:
            times = times[(times < start) | (times > start + 32.0)]
            times = np.append(times, start + np.array([0.5, 1.5, 2.5]))
        spikes.append(np.sort(times))
        owners.append(np.full(times.size, cell))
    purkinje = Raster(np.concatenate(spikes), np.concatenate(owners), 3)
    nuclei = Raster(np.arange(0.5, 3_000.0, 1.0), np.zeros(3_000, int), 10)
    onsets = np.array([1_500.0]), np.array([2_300.0])
    return Session(Raster(olive, cells, 2), purkinje, nuclei, climbing, 4.0, *onsets)


def test_complex_spikes_are_found_by_kind():
    found = complex_spike.events(made())
    assert [times.tolist() for times in found["lone"]] == [[704.0], [1_004.0]]
    assert [times.tolist() for times in found["puff"]] == [[1_506.0], [1_508.0]]
    assert [times.tolist() for times in found["burst"]] == [[2_306.0], [2_306.0]]


def test_pauses_and_rates_are_those_of_the_spikes():
    spikes = made()
    pause, count = complex_spike.pauses(spikes, "lone")
    assert count.tolist() == [3, 3, 3]
    # From 2.5 ms after the start to the first spike of the clock after 32 ms.
    assert ((pause >= 29.5) & (pause <= 39.5)).all()
    rates = complex_spike.courses(spikes)
    assert complex_spike.window(rates["purkinje"]["lone"], 0, 3) == pytest.approx(1_000.0)
    assert complex_spike.window(rates["purkinje"]["lone"], 5, 30) == 0
    assert complex_spike.window(rates["purkinje"]["lone"], -50, 0) == pytest.approx(100.0)
    for course in rates["nuclei"].values():
        np.testing.assert_allclose(course, 100.0)
    measured = complex_spike.measure(spikes)
    assert measured["rest"] == pytest.approx(1.0)
    assert measured["puff"] == pytest.approx(20.0)
    assert measured["burst: fall"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_bursts_pause_purkinje_cells_and_nuclei():
    """A short run at 1 ms of one seed; the page has five seeds at 0.1 ms."""
    measured = complex_spike.measure(complex_spike.session(10, 1.0, 1_500.0, 2))
    assert 15 < measured["burst: pause"] < 60
    assert measured["lone: after"] < 50
    assert measured["burst: after"] < 20
    assert measured["burst: half"] > 10
    assert measured["burst: rebound"] > 30
    assert measured["puff: fall"] > measured["lone: fall"] + 10
    rows = complex_spike.rows_of({name: [value] for name, value in measured.items()})
    by_name = {row.quantity: row for row in rows}
    assert by_name["olive in a puff"].passed
    assert by_name["PC, simple spikes before"].passed
