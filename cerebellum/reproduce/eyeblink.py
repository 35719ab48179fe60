"""Delay eyeblink conditioning: learning curve, extinction, savings, and two controls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink import Course, Session
from cerebellum.reproduce.report import Report, Row, bounded
from cerebellum.reproduce.workers import spread

SEEDS = (10, 11, 12, 13, 14)
"""Seeds of the reported circuits. The rule was fitted on other seeds."""

CONTROLS: dict[str, dict[str, Any]] = {
    "no plasticity": {"plastic": False},
    "no olive": {"olive": False},
}

SAVINGS_BLOCKS = 4
"""First blocks of acquisition and of reacquisition, which are compared."""

SOURCE = (
    "percent CR of wild-type mice in blocks of ten: Geminiani et al. 2024 (PLOS Comput Biol), "
    "sim_analysis.py; tone of Geminiani et al. 2022, puff of 2024, detector of this project"
)


@dataclass(frozen=True)
class Trained:
    """The results of one subject."""

    courses: dict[str, Course]
    """"trained", or one course for each control."""
    before: Session
    """Trials of the tone alone before training."""


def _run(item: tuple[int, bool]) -> Trained:
    """Train the subject of a seed, in full or under both controls.

    Args:
      item: the seed, and whether to run the controls.
    """
    seed, control = item
    subject = eyeblink.subject(seed)
    if not control:
        return Trained({"trained": eyeblink.experiment(subject)}, subject.before)
    acquisition = eyeblink.PHASES[:1]
    courses = {
        name: eyeblink.experiment(subject, phases=acquisition, **options)
        for name, options in CONTROLS.items()
    }
    return Trained(courses, subject.before)


def condition(seed: int | None, say: Callable[[str], None]) -> Report:
    """100 pairings, 40 tones alone, 40 pairings: of five circuits, or of the circuit of a seed."""
    seeds = SEEDS if seed is None else (seed,)
    items = [(each, control) for each in seeds for control in (False, True)]
    say(f"{len(items)} runs of some 200 trials: about two minutes a seed on two cores")
    results = dict(zip(items, spread(_run, items), strict=True))
    trained = [results[each, False] for each in seeds]
    controls = {name: [results[each, True].courses[name] for each in seeds] for name in CONTROLS}
    phases = {
        name: np.array([subject.courses["trained"].percent[name] for subject in trained])
        for name, _, _ in eyeblink.PHASES
    }
    return Report(
        rows=_judge(phases, controls, trained),
        source=SOURCE,
        seeds=seeds,
        note="Parallel-fibre to Purkinje plasticity alone; its three numbers were fitted on seeds "
        "0 to 2. Mouse curve: "
        + ", ".join(map(str, eyeblink.MOUSE_CURVE))
        + ". Ours: "
        + ", ".join(f"{x:.0f}" for x in phases["acquisition"].mean(axis=0))
        + f". Learned: the change over the {BEFORE_MS} ms before the puff, tone alone.",
        figures={
            "learning_curve.png": plot.learning_curve(
                phases, {"acquisition": np.array(eyeblink.MOUSE_CURVE)}, "mice"
            ),
            "responses.png": plot.evoked(*_evoked(trained)),
        },
    )


def _judge(
    phases: dict[str, np.ndarray], controls: dict[str, list[Course]], trained: Sequence[Trained]
) -> list[Row]:
    """The rows of the report.

    Args:
      phases: percent CR by phase, [subjects, blocks].
    """
    acquisition, extinction, reacquisition = (phases[name] for name in phases)
    curve = acquisition.mean(axis=0)
    distance = float(np.sqrt(np.mean((curve - np.array(eyeblink.MOUSE_CURVE)) ** 2)))
    first_blocks = slice(0, SAVINGS_BLOCKS)
    savings = reacquisition[:, first_blocks].mean(axis=1)
    savings = savings - acquisition[:, first_blocks].mean(axis=1)
    rows = [
        bounded("CR, first block", "%", acquisition[:, 0], below=20),
        bounded("CR, last block", "%", acquisition[:, -1], above=75),
        bounded("distance to the mouse curve, RMS of the mean", "points", distance, below=12),
        bounded("CR after extinction", "%", extinction[:, -1], below=30),
        bounded("CR, reacquisition less acquisition, four blocks", "points", savings, above=0),
    ]
    for kind, courses in controls.items():
        highest = [max(course.percent["acquisition"]) for course in courses]
        rows.append(bounded(f"CR, any block, {kind}", "%", highest, below=15))
    learned = np.array([_learned(subject) for subject in trained])
    rows.append(bounded("nuclei, before the puff, learned", "Hz", learned[:, 0], above=0))
    rows.append(bounded("Purkinje cells, before the puff, learned", "Hz", learned[:, 1], below=0))
    return rows


BEFORE_MS = 130
"""Length of the window before the US in which the published pause is measured."""


def _learned(subject: Trained) -> tuple[float, float]:
    """Change of the rates of nuclei and Purkinje cells late in the tone by training, Hz."""
    puff = subject.before.timing.us_onset
    window = slice(puff - BEFORE_MS, puff)
    sessions = subject.courses["trained"].after, subject.before

    def change(name: str) -> float:
        after, before = (session.rate(name)[:, window].mean() for session in sessions)
        return float(after - before)

    return change("nuclei"), change("purkinje")


def _evoked(trained: Sequence[Trained]):
    """The arguments of `plot.evoked`: mean rates of all circuits before and after training."""
    timing = trained[0].before.timing
    time = np.arange(timing.trial) - timing.onset
    rates = {}
    for name in ("granule", "purkinje", "nuclei"):
        sessions = {
            "before": [subject.before for subject in trained],
            "after": [subject.courses["trained"].after for subject in trained],
        }
        rates[name] = {
            label: np.mean([session.rate(name).mean(axis=0) for session in group], axis=0)
            for label, group in sessions.items()
        }
    spans = {"tone": (0, timing.cs)}
    return time, rates, spans
