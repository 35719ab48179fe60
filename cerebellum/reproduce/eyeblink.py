"""Delay eyeblink conditioning: its learning curve, extinction, savings, and two controls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import cerebellum as cb
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink import Course, Session
from cerebellum.reproduce.report import Report, Row, bounded
from cerebellum.reproduce.workers import spread

SEEDS = (10, 11, 12, 13, 14)
"""Reported; the rule was fitted on others."""

CONTROLS: dict[str, dict[str, Any]] = {
    "no plasticity": {"plastic": False},
    "no olive": {"olive": False},
}

SAVINGS_BLOCKS = 4

SOURCE = (
    "percent CR of wild-type mice in blocks of ten: Geminiani et al. 2024 (PLOS Comput Biol), "
    "sim_analysis.py; tone of Geminiani et al. 2022, puff of 2024, detector of this project"
)


@dataclass(frozen=True)
class Trained:
    """One subject, by what was done to it."""

    courses: dict[str, Course]
    before: Session


def _run(item: tuple[int, bool]) -> Trained:
    """A seed, trained in full or under both controls."""
    seed, control = item
    one = eyeblink.subject(seed)
    if not control:
        return Trained({"trained": eyeblink.experiment(one)}, one.before)
    first = eyeblink.PHASES[:1]
    courses = {
        name: eyeblink.experiment(one, phases=first, **change) for name, change in CONTROLS.items()
    }
    return Trained(courses, one.before)


def condition(seed: int | None, say: Callable[[str], None]) -> Report:
    """Five circuits, or the one of a given seed: 100 pairings, 40 tones alone, 40 pairings."""
    seeds = SEEDS if seed is None else (seed,)
    items = [(each, control) for each in seeds for control in (False, True)]
    say(f"{len(items)} runs of some 200 trials: about two minutes a seed on two cores")
    found = dict(zip(items, spread(_run, items), strict=True))
    trained = [found[each, False] for each in seeds]
    controls = {name: [found[each, True].courses[name] for each in seeds] for name in CONTROLS}
    phases = {
        name: np.array([one.courses["trained"].percent[name] for one in trained])
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
            "learning_curve.png": cb.plot.learning_curve(
                phases, {"acquisition": np.array(eyeblink.MOUSE_CURVE)}, "mice"
            ),
            "responses.png": cb.plot.evoked(*_evoked(trained)),
        },
    )


def _judge(
    phases: dict[str, np.ndarray], controls: dict[str, list[Course]], trained: Sequence[Trained]
) -> list[Row]:
    acquired, extinct, again = (phases[name] for name in phases)
    curve = acquired.mean(axis=0)
    distance = float(np.sqrt(np.mean((curve - np.array(eyeblink.MOUSE_CURVE)) ** 2)))
    first = slice(0, SAVINGS_BLOCKS)
    saved = again[:, first].mean(axis=1) - acquired[:, first].mean(axis=1)
    rows = [
        bounded("CR, first block", "%", acquired[:, 0], below=20),
        bounded("CR, last block", "%", acquired[:, -1], above=75),
        bounded("distance to the mouse curve, RMS of the mean", "points", distance, below=12),
        bounded("CR after extinction", "%", extinct[:, -1], below=30),
        bounded("CR, reacquisition less acquisition, four blocks", "points", saved, above=0),
    ]
    for kind, courses in controls.items():
        worst = [max(course.percent["acquisition"]) for course in courses]
        rows.append(bounded(f"CR, any block, {kind}", "%", worst, below=15))
    learned = np.array([_learned(one) for one in trained])
    rows.append(bounded("nuclei, before the puff, learned", "Hz", learned[:, 0], above=0))
    rows.append(bounded("Purkinje cells, before the puff, learned", "Hz", learned[:, 1], below=0))
    return rows


BEFORE_MS = 130
"""The window of the published pause, before the US."""


def _learned(one: Trained) -> tuple[float, float]:
    """How much more nuclei and Purkinje cells fire late in the tone after training, Hz."""
    late = slice(eyeblink.US_ONSET - BEFORE_MS, eyeblink.US_ONSET)
    sessions = one.courses["trained"].after, one.before

    def gained(name: str) -> float:
        after, before = (session.rate(name)[:, late].mean() for session in sessions)
        return float(after - before)

    return gained("nuclei"), gained("purkinje")


def _evoked(trained: Sequence[Trained]):
    """Mean rates around the tone, before and after, of all circuits."""
    time = np.arange(eyeblink.TRIAL) - eyeblink.CS_ONSET
    shown = {}
    for name in ("granule", "purkinje", "nuclei"):
        sessions = {
            "before": [one.before for one in trained],
            "after": [one.courses["trained"].after for one in trained],
        }
        shown[name] = {
            when: np.mean([session.rate(name).mean(axis=0) for session in those], axis=0)
            for when, those in sessions.items()
        }
    spans = {"tone": (0, eyeblink.CS_MS)}
    return time, shown, spans
