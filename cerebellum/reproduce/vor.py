"""Gain adaptation of the vestibulo-ocular reflex."""

from collections.abc import Callable

import jax
import numpy as np

import cerebellum as cb
from cerebellum.learn.tasks import vor
from cerebellum.reproduce.report import Report, bounded
from cerebellum.reproduce.workers import spread

SEEDS = (10, 11, 12)
CYCLES, HELD, LAST = 80, 20, 10

RUNS = {
    "up": {"demand": 1.5},
    "down": {"demand": 0.5},
    "up, no olive": {"demand": 1.5, "olive": False},
}

SOURCE = (
    "protocol of this project (no published one): demanded gain 1.5 and 0.5 from 1.0; at least 40 "
    "% of the change"
)


def _run(item: tuple[str, int]) -> tuple[vor.Course, vor.Course]:
    kind, seed = item
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = cb.build(vor.spec(), build_key)
    loop, per_hz = vor.calibrate(circuit, vor.start(circuit, run_key))
    loop, learned = vor.turn(circuit, loop, CYCLES, per_hz=per_hz, **RUNS[kind])
    options = {**RUNS[kind], "learning": False}
    _, held = vor.turn(circuit, loop, HELD, per_hz=per_hz, **options)
    return learned, held


def adapt(seed: int | None, say: Callable[[str], None]) -> Report:
    """80 cycles of the head to each gain, then 20 with learning off."""
    seeds = SEEDS if seed is None else (seed,)
    items = [(kind, each) for kind in RUNS for each in seeds]
    say(f"{len(items)} runs of 112 cycles: about two minutes each")
    found = dict(zip(items, spread(_run, items), strict=True))

    def last(kind: str, part: int, value: str = "gain") -> np.ndarray:
        runs = [getattr(found[kind, each][part], value) for each in seeds]
        return np.array([run[-LAST:].mean() for run in runs])

    moved = {kind: last(kind, 1) - last(kind, 0) for kind in ("up", "down")}
    phases = np.concatenate([last(kind, 0, "phase") for kind in ("up", "down")])
    rows = [
        bounded("gain, 1.5 demanded", "", last("up", 0), above=1.2),
        bounded("gain, 0.5 demanded", "", last("down", 0), below=0.8),
        bounded("change while learning is off, up", "", moved["up"], above=-0.1, below=0.1),
        bounded("change while learning is off, down", "", moved["down"], above=-0.1, below=0.1),
        bounded(
            "gain, 1.5 demanded, no olive", "", last("up, no olive", 0), above=0.85, below=1.15
        ),
        bounded("phase ahead of the head", "degrees", phases, above=-15, below=15),
    ]
    time = np.arange(CYCLES + HELD) + 1

    def course(value: str):
        return {
            kind: (
                time,
                np.mean(
                    [np.concatenate([getattr(x, value) for x in found[kind, s]]) for s in seeds],
                    axis=0,
                ),
            )
            for kind in RUNS
        }

    return Report(
        rows=rows,
        source=SOURCE,
        seeds=seeds,
        note=f"Means of the last {LAST} cycles. Learning is off after cycle {CYCLES}.",
        figures={
            "gain.png": cb.plot.curves(course("gain"), "cycle of the head (1 s)", "gain"),
            "phase.png": cb.plot.curves(course("phase"), "cycle of the head (1 s)", "phase (deg)"),
        },
    )
