"""Delay eyeblink conditioning: learning curve, timing, extinction, savings, and two controls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks import eyeblink_response as detector
from cerebellum.learn.tasks.eyeblink import Course, Phases
from cerebellum.reproduce.conditioning import SEEDS, Run, Trained, train
from cerebellum.reproduce.report import Report, Row, bounded, close, picture

CONTROLS: dict[str, dict[str, Any]] = {
    "no plasticity": {"learning": 0.0},
    "no olive": {"olive": False},
}
CONTROL_PHASES: Phases = (("acquisition", "paired", 3),)

SAVINGS_BLOCKS = 4
"""First blocks of acquisition and of reacquisition, which are compared."""
AVERAGED = 50
"""Trials of the moving average in which half-times are looked for."""
PLATEAU = 300
"""Last trials of acquisition, whose mean is the plateau."""

RISE_MS = (141.0, 173.0, 222.0)
"""When the eyelid has closed by 20, 50 and 90 %, tone alone, interval 250 ms: mean of six wild-type
mice (the blinklab's recordings in Kim, Ohmae & Medina 2020)."""

SOURCE = (
    "percent CR of wild-type mice in blocks of about 100 trials: Geminiani et al. 2024 (PLOS "
    "Comput Biol), sim_analysis.py; times of the rise: Kim, Ohmae & Medina 2020, six mice; "
    "detector of Geminiani et al. 2022, puff of 2024, tone structured in time"
)


def condition(seed: int | None, say: Callable[[str], None], folder: Path) -> Report:
    """1,000 pairings, 400 tones alone, 400 pairings: of five circuits, or of that of a seed."""
    seeds = SEEDS if seed is None else (seed,)
    runs = [Run(name="trained", seed=each, phases=eyeblink.PHASES) for each in seeds]
    runs += [
        Run(name=name, seed=each, phases=CONTROL_PHASES, options=options)
        for each in seeds
        for name, options in CONTROLS.items()
    ]
    results = train(runs, folder, say)
    trained = [results["trained", each] for each in seeds]
    controls = {name: [results[name, each].course for each in seeds] for name in CONTROLS}
    phases = {
        name: np.array([subject.course.percent[name] for subject in trained])
        for name, _, _ in eyeblink.PHASES
    }
    mice = np.array(eyeblink.MOUSE_CURVE)
    return Report(
        rows=[*_learning(phases, controls, trained), *_timing(trained)],
        source=SOURCE,
        seeds=seeds,
        note="Mouse curve: "
        + ", ".join(map(str, eyeblink.MOUSE_CURVE))
        + ". Ours: "
        + ", ".join(f"{x:.0f}" for x in phases["acquisition"].mean(axis=0))
        + ". Times are of the mean response to the tone alone after acquisition; a quantity "
        "without a value did not occur.",
        figures={
            "learning_curve.png": picture(
                plot.learning_curve, phases, {"acquisition": mice}, "mice"
            ),
            "responses.png": picture(plot.evoked, *_evoked(trained)),
            "trials.png": picture(plot.single_trials, *_single(trained[0])),
        },
    )


def _learning(
    phases: dict[str, np.ndarray], controls: dict[str, list[Course]], trained: Sequence[Trained]
) -> list[Row]:
    """How much is learned, and how fast.

    Args:
      phases: percent CR by phase, [subjects, blocks].
    """
    acquisition, _, reacquisition = (phases[name] for name in phases)
    curve = acquisition.mean(axis=0)
    distance = float(np.sqrt(np.mean((curve - np.array(eyeblink.MOUSE_CURVE)) ** 2)))
    savings = reacquisition[:, :SAVINGS_BLOCKS] - acquisition[:, :SAVINGS_BLOCKS]
    half = np.array([half_times(subject.course) for subject in trained])
    untrained = [
        100 * detector.responses(subject.before, subject.threshold).mean() for subject in trained
    ]
    rows = [
        bounded("distance to the mouse curve, RMS of the mean", "points", distance, below=12),
        bounded("half of the plateau after", "trials", half[:, 0], above=200, below=350),
        bounded("half extinguished after", "trials", half[:, 1], above=40, below=120),
        bounded("CR, reacquisition less acquisition", "points", savings.mean(axis=1), above=10),
        bounded("CR, untrained", "%", untrained, below=10),
    ]
    for kind, courses in controls.items():
        highest = [max(course.percent["acquisition"]) for course in courses]
        rows.append(bounded(f"CR, any block, {kind}", "%", highest, below=10))
    return rows


def half_times(course: Course) -> tuple[float, float]:
    """Trials until half of the plateau is reached, and lost in extinction; NaN for never."""
    window = np.ones(AVERAGED) / AVERAGED
    plateau = course.answers["acquisition"][-PLATEAU:].mean()
    rising = np.convolve(course.answers["acquisition"], window, "valid") >= plateau / 2
    falling = np.convolve(course.answers["extinction"], window, "valid") <= plateau / 2
    middle = AVERAGED / 2
    rise, fall = (
        float(x.argmax() + middle) if plateau and x.any() else np.nan for x in (rising, falling)
    )
    return rise, fall


def _timing(trained: Sequence[Trained]) -> list[Row]:
    """When the response comes, and what it is made of."""
    after = [subject.course.probes for subject in trained]
    mean = [detector.times(detector.response(x).mean(axis=0), x) for x in after]
    puff = after[0].timing.isi_ms
    answered = [
        (session, detector.responses(session, subject.threshold))
        for session, subject in zip(after, trained, strict=True)
    ]
    onsets = [
        detector.times(rate, session).rise_ms[0]
        for session, has in answered
        for rate in detector.response(session)[has]
    ]
    late = float(100 * np.mean(np.array(onsets) > 80)) if onsets else float("nan")
    early = [100 * detector.early(session).mean() for session in after]
    rows = [
        close(f"rise to {100 * share:.0f} %", "ms", [x.rise_ms[k] for x in mean], wanted, least=30)
        for k, (share, wanted) in enumerate(zip(detector.FRACTIONS, RISE_MS, strict=True))
    ]
    peaks = [puff - x.peak_ms for x in mean]
    pauses = [detector.pause(session) for session in after]
    tone = [detector.answer_to_tone(subject.before) for subject in trained]
    return [
        *rows,
        bounded("peak before the puff", "ms", peaks, above=0, below=60),
        bounded("CR with an onset after 80 ms", "%", late, above=80),
        bounded("trials that answer the onset of the tone", "%", early, below=20),
        bounded("Purkinje cells, fall before the puff", "%", pauses, above=20),
        bounded("nuclei, untrained, after 50 ms of tone", "Hz", tone, below=3),
    ]


def _evoked(trained: Sequence[Trained]):
    """The arguments of `plot.evoked`: mean rates of all circuits before and after training."""
    timing = trained[0].before.timing
    time = np.arange(timing.trial) - timing.onset
    rates = {}
    for name in ("granule", "purkinje", "nuclei"):
        sessions = {
            "before": [subject.before for subject in trained],
            "after": [subject.course.probes for subject in trained],
        }
        rates[name] = {
            label: np.mean([session.rate(name).mean(axis=0) for session in group], axis=0)
            for label, group in sessions.items()
        }
    return time, rates, {"tone": (0, timing.cs), "puff": (timing.isi_ms, timing.isi_ms + 10)}


def _single(trained: Trained):
    """The arguments of `plot.single_trials`: responses of one circuit, before and after."""
    timing = trained.before.timing
    time = np.arange(timing.trial) - timing.onset
    sessions = {"before": trained.before, "after": trained.course.probes}
    rates = {label: detector.response(session) for label, session in sessions.items()}
    return time, rates, {"tone": (0, timing.cs), "puff": (timing.isi_ms, timing.isi_ms + 10)}
