"""Long experiments of conditioning: resumed as if never stopped, and what is read from results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink import Course, Session, Timing
from cerebellum.model.presets.eglif import SIZES
from cerebellum.reproduce import conditioning, eyeblink_timing, olive_extinction
from cerebellum.reproduce import eyeblink as learning
from cerebellum.reproduce.conditioning import Run, Trained
from cerebellum.reproduce.report import Report


def quiet(line: str) -> None:
    """Says nothing."""


def values(report: Report) -> dict[str, float]:
    return {row.quantity: row.measured for row in report.rows}


def ramp(isi: int, peak: float, trials: int = 8, spread: float = 0.0) -> Session:
    """Nuclei rise by 20 Hz at a time of the tone, and Purkinje cells fall by a third.

    Args:
      peak: when, ms after the onset of the tone.
      spread: trials differ in it by so much of it, evenly.
    """
    timing = Timing(isi_ms=isi)
    time = np.arange(timing.trial) - timing.onset
    centre = peak * (1 + spread * np.linspace(-1, 1, trials))[:, None]
    bump = np.exp(-0.5 * ((time - centre) / (0.12 * centre)) ** 2)
    olive = np.full((trials, timing.trial), 1.79e-3 * SIZES["inferior_olive"])
    rates = {"nuclei": 40 + 20 * bump, "purkinje": 90 - 30 * bump, "granule": 3 + 0 * bump}
    spikes = {name: rate * SIZES[name] * 1e-3 for name, rate in rates.items()}
    return Session({**spikes, "inferior_olive": olive}, timing)


def trained(isi: int, peak: float, **options) -> Trained:
    """Results whose response peaks so."""
    session = ramp(isi, peak, **options)
    answers = {"acquisition": np.repeat([False, True], [5, 5])}
    course = Course(answers=answers, after=session, block=10)
    flat = {name: np.full_like(x, x[0, 0]) for name, x in session.spikes.items()}
    return Trained(course, Session(flat, session.timing), 5.0)


def test_the_response_that_follows_the_puff_has_a_slope_of_one():
    group = {isi: [trained(isi, isi - 30, spread=0.05)] * 2 for isi in (200, 300, 500)}
    report = eyeblink_timing.report(group, (10, 11))
    measured = values(report)
    assert measured["slope of the time of the peak on the interval"] == pytest.approx(1, abs=0.03)
    assert measured["300 ms: peak before the puff"] == pytest.approx(30, abs=5)
    assert measured["500 ms: Purkinje cells, fall before the puff"] == pytest.approx(33, abs=2)
    # The time of the peak varies by the same share of it, whatever the interval.
    shares = [x for name, x in measured.items() if "SD over mean" in name]
    np.testing.assert_allclose(shares, 1, atol=0.2)
    assert set(report.figures) == {"nuclei.png", "purkinje.png"}


def test_a_response_at_a_fixed_time_has_no_slope_and_fails():
    group = {isi: [trained(isi, 150)] for isi in (200, 300, 500)}
    report = eyeblink_timing.report(group, (10,))
    assert abs(values(report)["slope of the time of the peak on the interval"]) < 0.05
    assert not report.passed


def test_circuits_without_a_response_have_no_times():
    group = {isi: [trained(isi, isi - 30)] for isi in (200, 300, 500)}
    group[300] = [replace(group[300][0], threshold=1e3)]
    report = eyeblink_timing.report(group, (10,))
    assert np.isnan(values(report)["300 ms: CR with an onset after 80 ms"])
    assert not report.passed


def groups(answers: dict[tuple[str, str], tuple[float, ...]]) -> dict[str, list[Trained]]:
    """Results of the groups of mice whose trials are answered at these rates."""
    one, found = ramp(250, 220, trials=1), {}
    silent = np.full_like(one.spikes["nuclei"], one.spikes["nuclei"][0, 0])
    for group, phases in olive_extinction.GROUPS.items():
        trials = {}
        for name, _, _ in phases:
            has = np.concatenate(
                [
                    np.arange(100) < 100 * share
                    for share in answers.get((group, name), (olive_extinction.LEVEL,))
                ]
            )
            nuclei = np.where(has[:, None], one.spikes["nuclei"], silent)
            trials[name] = Session({"nuclei": nuclei}, one.timing)
        olive = {"acquisition": np.array([1.2]), "held": np.array([0.24])}
        course = Course(trials=trials, olive=olive, after=ramp(250, 220), block=100)
        found[group] = [Trained(course, ramp(250, 220), 5.0)]
    return found


def test_the_mice_themselves_are_at_no_distance_from_the_mice(monkeypatch):
    monkeypatch.setattr(olive_extinction, "VARIATION", 0.0)
    report = olive_extinction.report(groups(olive_extinction.MICE), (10,))
    distances = [row for row in report.rows if row.unit == "points"]
    assert len(distances) == 5
    assert max(row.measured for row in distances) < 0.5
    measured = values(report)
    assert measured["complex spikes at rest"] == pytest.approx(1.79, rel=0.01)
    assert measured["complex spikes in a puff, of rest"] == pytest.approx(11.2, rel=0.02)
    held = measured["complex spikes in a puff, olive held down, of a free one"]
    assert held == pytest.approx(0.2, rel=0.02)
    assert report.passed


def test_a_response_that_stays_is_far_from_the_mice(monkeypatch):
    monkeypatch.setattr(olive_extinction, "VARIATION", 0.0)
    stays = {**olive_extinction.MICE, ("olive held down", "held"): (0.6,) * 10}
    report = olive_extinction.report(groups(stays), (10,))
    assert not report.passed
    (row,) = (row for row in report.rows if row.quantity.startswith("olive held down, held"))
    assert row.measured == pytest.approx(45, abs=3)


def test_trials_differ_in_their_threshold_so_that_equal_trials_are_not_answered_alike():
    (subject,) = groups({("extinction", "alone"): (1.0,) * 5})["extinction"]
    percent = olive_extinction.curves(subject.course, 10)
    assert percent["acquisition"][-1] == pytest.approx(100 * olive_extinction.LEVEL, abs=5)
    assert 85 < percent["alone"].mean() <= 100
    again = olive_extinction.curves(subject.course, 10)
    assert all((percent[phase] == again[phase]).all() for phase in percent)


def test_half_times_of_a_step():
    answers = {"acquisition": np.arange(1_000) >= 300, "extinction": np.arange(400) < 80}
    course = Course(answers=answers, block=100)
    assert learning.half_times(course) == (pytest.approx(300, abs=2), pytest.approx(80, abs=2))


@pytest.mark.slow
def test_a_killed_experiment_goes_on_as_if_never_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(eyeblink, "PROBES", 2)
    subject = eyeblink.subject(3)
    phases = (("acquisition", "paired", 2), ("extinction", "cs", 1))
    run = Run(name="one", seed=3, phases=phases, block=2)
    whole = conditioning.resumed(subject, run, tmp_path / "whole", quiet)

    def killed(line: str) -> None:
        if "block 1 of" in line:
            raise KeyboardInterrupt

    parts = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt):
        conditioning.resumed(subject, run, parts, killed)
    said: list[str] = []
    course = conditioning.resumed(subject, run, parts, said.append)
    assert [line.split(",")[1].split(":")[1].strip() for line in said] == [
        "block 2 of 3",
        "block 3 of 3",
    ]
    for name, answers in whole.answers.items():
        np.testing.assert_array_equal(course.answers[name], answers)
        np.testing.assert_array_equal(course.olive[name], whole.olive[name])
    for name, spikes in whole.probes.spikes.items():
        np.testing.assert_array_equal(course.probes.spikes[name], spikes)
    _same_state(tmp_path / "whole" / "one-3", parts / "one-3")

    # A finished run is read, not run again; another one may begin at its end.
    assert conditioning.resumed(subject, run, parts, killed).percent == whole.percent
    more = (*phases, ("again", "paired", 1))
    after = Run(name="two", seed=3, phases=more, block=2, after="one")
    longer = conditioning.resumed(subject, after, parts, quiet)
    direct = conditioning.resumed(subject, replace(after, after=None), tmp_path / "new", quiet)
    assert longer.percent == direct.percent
    _same_state(parts / "two-3", tmp_path / "new" / "two-3")

    other = replace(run, phases=phases[:1])
    with pytest.raises(UsageError, match="has part of an experiment with another circuit"):
        conditioning.resumed(subject, other, parts, quiet)
    missing = replace(after, name="three", after="none")
    with pytest.raises(UsageError, match="no finished run; three, seed 3 begins at its end"):
        conditioning.resumed(subject, missing, parts, quiet)


def _same_state(one: Path, other: Path) -> None:
    """Both folders end in the same state, bit for bit."""
    first, second = (store.newest(folder) for folder in (one, other))
    assert first is not None
    assert second is not None
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])
