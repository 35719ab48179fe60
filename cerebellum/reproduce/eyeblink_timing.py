"""Eyeblink conditioning with several intervals: the response follows the time of the puff."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks import eyeblink_response as detector
from cerebellum.learn.tasks.eyeblink import Phases, Session
from cerebellum.reproduce.conditioning import SEEDS, Run, Trained, train
from cerebellum.reproduce.report import Report, Row, bounded, picture

INTERVALS = (200, 300, 500)
"""From the onset of the tone to the puff, ms."""
PHASES: Phases = (("acquisition", "paired", 7),)

SOURCE = (
    "targets of this project after mice of Kim, Ohmae & Medina 2020 (the blinklab's recordings): "
    "interval 250 ms, peak at the puff or later; 220 ms, peak at 225 ± 13 ms"
)


def intervals(seed: int | None, say: Callable[[str], None], folder: Path) -> Report:
    """700 pairings with each interval, then the tone alone: five circuits, or that of a seed."""
    seeds = SEEDS if seed is None else (seed,)
    runs = [
        Run(name=f"interval {isi} ms", seed=each, phases=PHASES, isi_ms=isi)
        for each in seeds
        for isi in INTERVALS
    ]
    results = train(runs, folder, say)
    trained = {isi: [results[f"interval {isi} ms", each] for each in seeds] for isi in INTERVALS}
    return report(trained, seeds)


def report(trained: Mapping[int, Sequence[Trained]], seeds: Sequence[int]) -> Report:
    """The rows and the figures, from the trained circuits by interval."""
    peaks = {isi: _peaks(group) for isi, group in trained.items()}
    slopes = np.polyfit(list(peaks), np.array(list(peaks.values())), 1)[0]
    rows = [
        bounded("slope of the time of the peak on the interval", "", slopes, above=0.8, below=1.2)
    ]
    for isi, group in trained.items():
        rows += _interval(isi, group, peaks[isi])
    spread = {isi: weber(group) for isi, group in trained.items()}
    mean = float(np.mean(list(spread.values())))
    rows += [
        bounded(
            f"{isi} ms: SD over mean of the peak's time, of that of all intervals",
            "",
            value / mean,
            above=0.7,
            below=1.3,
        )
        for isi, value in spread.items()
    ]
    return Report(
        rows=rows,
        source=SOURCE,
        seeds=seeds,
        note="Times are of the mean response to the tone alone after 700 pairings; the spread is "
        "over single trials with a CR: SD over mean "
        + ", ".join(f"{value:.2f} ({isi} ms)" for isi, value in spread.items())
        + ". CR in the last 100 pairings: "
        + ", ".join(
            f"{np.mean([x.course.percent['acquisition'][-1] for x in group]):.0f} % ({isi} ms)"
            for isi, group in trained.items()
        )
        + ".",
        figures={
            f"{name}.png": picture(plot.intervals, _changes(trained, name), name)
            for name in ("nuclei", "purkinje")
        },
    )


def _peaks(group: Sequence[Trained]) -> list[float]:
    """The time of the peak of each circuit's mean response, ms."""
    sessions = [subject.course.probes for subject in group]
    return [detector.times(detector.response(x).mean(axis=0), x).peak_ms for x in sessions]


def _interval(isi: int, group: Sequence[Trained], peaks: Sequence[float]) -> list[Row]:
    """The rows of one interval."""
    before = [isi - peak for peak in peaks]
    pauses = [detector.pause(subject.course.probes) for subject in group]
    onsets = np.concatenate([_single(subject, 0) for subject in group])
    late = float(100 * np.mean(onsets > 80)) if onsets.size else float("nan")
    return [
        bounded(f"{isi} ms: peak before the puff", "ms", before, above=0, below=60),
        bounded(f"{isi} ms: Purkinje cells, fall before the puff", "%", pauses, above=20),
        bounded(f"{isi} ms: CR with an onset after 80 ms", "%", late, above=80),
    ]


def _single(subject: Trained, rise: int | None) -> np.ndarray:
    """Times of the trials with a CR, ms: of a rise, by its index in `FRACTIONS`, or of the peak."""
    session = subject.course.probes
    has = detector.responses(session, subject.threshold)
    times = [detector.times(rate, session) for rate in detector.response(session)[has]]
    return np.array([x.peak_ms if rise is None else x.rise_ms[rise] for x in times])


def weber(group: Sequence[Trained]) -> float:
    """SD over mean of the time of the peak, over all single trials with a CR; NaN under two."""
    peaks = np.concatenate([_single(subject, None) for subject in group])
    return float(peaks.std() / peaks.mean()) if peaks.size > 1 else float("nan")


def _changes(
    trained: Mapping[int, Sequence[Trained]], name: str
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Times from the onset of the tone, and a population's mean change of rate, by interval."""
    curves = {}
    for isi, group in trained.items():
        sessions: list[Session] = [subject.course.probes for subject in group]
        timing = sessions[0].timing
        rates = [detector.smoothed(x, name).mean(axis=0) for x in sessions]
        change = [x - x[timing.onset - 200 : timing.onset].mean() for x in rates]
        time = np.arange(timing.trial) - timing.onset
        curves[isi] = time, np.array(change)
    return curves
