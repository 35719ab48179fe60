"""Gain adaptation of the vestibulo-ocular reflex."""

from collections.abc import Callable

import numpy as np

from cerebellum import plot
from cerebellum.learn.tasks import vor
from cerebellum.reproduce.report import Report, bounded, picture
from cerebellum.reproduce.workers import spread

SEEDS = (10, 11, 12)
LAST = 10
"""The last cycles with learning on, and with learning off, that are averaged."""

RUNS = {
    "up": {"gain": 1.5},
    "down": {"gain": 0.5},
    "up, no olive": {"gain": 1.5, "olive": False},
}
"""Options of `vor.adapt` by kind of run."""

X_LABEL = "cycle of the head (1 s)"

SOURCE = (
    "protocol of this project (no published one): demanded gain 1.5 and 0.5 from 1.0; at least 40 "
    "% of the change"
)


def _run(item: tuple[str, int]) -> tuple[vor.Course, vor.Course]:
    """The courses with learning on and off, of a kind of run and a seed."""
    kind, seed = item
    course = vor.adapt(seed=seed, **RUNS[kind])
    return course.learned, course.fixed


def adapt(seed: int | None, say: Callable[[str], None]) -> Report:
    """80 cycles of the head for each demanded gain, then 20 with learning off."""
    seeds = SEEDS if seed is None else (seed,)
    items = [(kind, each) for kind in RUNS for each in seeds]
    say(f"{len(items)} runs of 112 cycles: about two minutes each")
    courses = dict(zip(items, spread(_run, items), strict=True))

    def last(kind: str, index: int, value: str = "gain") -> np.ndarray:
        """Means over the last cycles by seed, with learning on (index 0) or off (1)."""
        values = [getattr(courses[kind, each][index], value) for each in seeds]
        return np.array([course[-LAST:].mean() for course in values])

    change = {kind: last(kind, 1) - last(kind, 0) for kind in ("up", "down")}
    phases = np.concatenate([last(kind, 0, "phase") for kind in ("up", "down")])
    rows = [
        bounded("gain, 1.5 demanded", "", last("up", 0), above=1.2),
        bounded("gain, 0.5 demanded", "", last("down", 0), below=0.8),
        bounded("change while learning is off, up", "", change["up"], above=-0.1, below=0.1),
        bounded("change while learning is off, down", "", change["down"], above=-0.1, below=0.1),
        bounded(
            "gain, 1.5 demanded, no olive", "", last("up, no olive", 0), above=0.85, below=1.15
        ),
        bounded("phase ahead of the head", "degrees", phases, above=-15, below=15),
    ]
    cycle = np.arange(vor.CYCLES + vor.FIXED_CYCLES) + 1

    def curves(value: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Means over seeds in each cycle, by kind of run."""
        means = {}
        for kind in RUNS:
            by_seed = [
                np.concatenate([getattr(course, value) for course in courses[kind, each]])
                for each in seeds
            ]
            means[kind] = cycle, np.mean(by_seed, axis=0)
        return means

    return Report(
        rows=rows,
        source=SOURCE,
        seeds=seeds,
        note=f"Means of the last {LAST} cycles. Learning is off after cycle {vor.CYCLES}.",
        figures={
            "gain.png": picture(plot.curves, curves("gain"), X_LABEL, "gain"),
            "phase.png": picture(plot.curves, curves("phase"), X_LABEL, "phase (deg)"),
        },
    )
