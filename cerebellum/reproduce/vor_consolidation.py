"""Adaptation of the vestibulo-ocular reflex moves from the flocculus to the nuclei.

A training is saved after each test in a folder of its own. The same command goes on from there; its
result is, bit for bit, that of a run that was never stopped.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cerebellum import plot, store
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import vor_consolidation as task
from cerebellum.learn.tasks.vor_consolidation import HOUR, Probe, Progress, Subject, retained
from cerebellum.reproduce.report import Report, bounded, close, picture
from cerebellum.reproduce.workers import spread
from cerebellum.store import snapshot

SEEDS = (10, 11, 12)
"""Seeds of the reported circuits."""

TESTED_H = (2, 26, 50)
"""Time of each test from the start of training, hours: the ends of the three daily sessions."""
MONKEYS = {2: -0.16, 50: -0.27}
"""Change of the gain by time of the test, hours."""

GROUPS = {"both sites": True, "cortex alone": False}
"""Whether the synapses of mossy fibres onto the nuclei learn, by group."""

SOURCE = (
    "Anzai, Kitazawa & Nagao 2010 (Neurosci Res 68:191), abstract: four monkeys, horizontal "
    "vestibulo-ocular reflex, left-right reversing prisms, lidocaine in both flocculi; bounds "
    "without a published value are ours"
)

Trained = tuple[Probe, Progress]
"""The test before training, and the training's results."""


def consolidate(seed: int | None, say: Callable[[str], None], folder: Path) -> Report:
    """Three days of training, with plastic nuclei and without: three circuits, or a seed's."""
    seeds = SEEDS if seed is None else (seed,)
    items = [(group, each, folder, say) for group in GROUPS for each in seeds]
    cycles = max(TESTED_H) * HOUR
    say(f"{len(items)} trainings of {cycles} cycles, about 4 minutes each; killed ones go on")
    trained = dict(zip([item[:2] for item in items], spread(_one, items), strict=True))
    return report({group: [trained[group, each] for each in seeds] for group in GROUPS}, seeds)


def _one(item: tuple[str, int, Path, Callable[[str], None]]) -> Trained:
    group, seed, folder, say = item
    subject = task.subject(seed)
    place = folder / f"{group.replace(' ', '-')}-{seed}"
    tests = [hours * HOUR for hours in TESTED_H]

    def tell(progress: Progress) -> None:
        say(f"{group}, seed {seed}: {progress.gain.size} of {max(tests)} cycles")

    progress = resumed(subject, tests, place, tell, nuclear_learning=GROUPS[group])
    return subject.before, progress


def resumed(
    subject: Subject,
    tests: Sequence[int],
    folder: Path,
    tell: Callable[[Progress], None],
    *,
    nuclear_learning: bool,
) -> Progress:
    """Train to the last test, or the rest of the way where a part was saved.

    Args:
      tests: numbers of cycles after which the gain is tested.
      folder: of the saved part.
      tell: called after each test, when its part has been saved.

    Raises:
      UsageError: the folder has part of another training.
    """
    plan = {"tests": list(tests), "nuclear learning": nuclear_learning, "per_hz": subject.per_hz}
    what = {**snapshot.about(subject.circuit), **plan}

    def save(progress: Progress) -> None:
        tests_done = {str(cycle): asdict(each) for cycle, each in progress.tests.items()}
        about = {"training": what, "tests": tests_done}
        arrays = {"loop": progress.loop, "gain": progress.gain}
        store.write(folder, progress.gain.size, arrays, about)
        for step, _ in store.steps(folder)[1:]:
            shutil.rmtree(folder / f"{step:0{store.DIGITS}}", ignore_errors=True)
        tell(progress)

    start = _read(folder, subject, what)
    return task.train(
        subject, max(tests), tests, nuclear_learning=nuclear_learning, start=start, save=save
    )


def _read(folder: Path, subject: Subject, what: Mapping[str, Any]) -> Progress | None:
    """The saved part of a training; None where there is none."""
    saved = store.newest(folder)
    if saved is None:
        return None
    if saved.about.get("training") != what:
        raise UsageError(
            f"{folder}: has part of a training with another circuit or plan; delete it, or name "
            "another --out"
        )
    shapes = jax.eval_shape(lambda: subject.loop)
    loop = jax.tree.map(jnp.asarray, store.unflatten(shapes, saved.arrays, "loop"))
    tests = {int(cycle): Probe(**each) for cycle, each in saved.about["tests"].items()}
    return Progress(loop=loop, gain=np.asarray(saved.arrays["gain"]), tests=tests)


def report(trained: Mapping[str, Sequence[Trained]], seeds: Sequence[int]) -> Report:
    """The rows and the figure, from the trained circuits by group."""
    both, cortex = (trained[group] for group in GROUPS)
    first, last = TESTED_H[0], TESTED_H[-1]

    def change(group: Sequence[Trained], hours: int) -> np.ndarray:
        return _changes(group, "intact")[:, TESTED_H.index(hours)]

    def kept(group: Sequence[Trained], hours: int) -> list[float]:
        return [retained(before, run.tests[hours * HOUR]) for before, run in group]

    untrained = [before.lesioned for before, _ in both]
    rows = [
        close("change of the gain, 2 h", "", change(both, first), MONKEYS[first], least=0.05),
        close("change of the gain, 3 days", "", change(both, last), MONKEYS[last], least=0.05),
        bounded("untrained gain without flocculus", "", untrained, above=0.8, below=1.2),
        bounded("kept without flocculus, 2 h", "", kept(both, first), above=-0.25, below=0.25),
        bounded("kept without flocculus, 3 days", "", kept(both, last), above=0.75, below=1.25),
        bounded("change, 3 days, cortex alone plastic", "", change(cortex, last), below=-0.1),
        bounded("kept, 3 days, cortex alone plastic", "", kept(cortex, last), below=0.25),
    ]
    shown = {group: _picture(runs) for group, runs in trained.items()}
    return Report(
        rows=rows,
        source=SOURCE,
        seeds=seeds,
        note=f"An hour is {HOUR} cycles of the head, of 1 s: compressed {3600 // HOUR}-fold. 3 "
        f"days end with their third session, after {last} h. Kept: the change of the gain while no "
        "Purkinje cell emits spikes, as a part of the intact circuit's.",
        figures={"consolidation.png": picture(plot.lesions, shown, MONKEYS)},
    )


def _changes(group: Sequence[Trained], kind: str) -> np.ndarray:
    """Changes of the gain, intact or lesioned, [circuits, tests]."""

    def gains(tests: Sequence[Probe]) -> list[float]:
        return [getattr(each, kind) for each in tests]

    cycles = [hours * HOUR for hours in TESTED_H]
    after = [gains([run.tests[cycle] for cycle in cycles]) for _, run in group]
    return np.array(after) - np.array([gains([before]) for before, _ in group])


def _picture(group: Sequence[Trained]) -> plot.Lesions:
    """What the figure shows of a group."""
    tests = {"intact": "intact", "lesioned": "no Purkinje cell emits spikes"}
    stretches = np.array([run.gain for _, run in group]).reshape(len(group), -1, 2 * HOUR)
    return plot.Lesions(
        tested=TESTED_H,
        tests={label: _changes(group, kind) for kind, label in tests.items()},
        course=stretches.mean(axis=2) - 1,
    )
