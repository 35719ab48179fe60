"""Long runs of eyeblink conditioning that can be killed and go on where they were.

After every block of trials the state and the results are saved in a folder of the run's own. The
same command finds them there and goes on; its result is, bit for bit, that of a run that was never
stopped. A folder of another experiment is refused.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink import Course, Phases, Progress, Session, Subject
from cerebellum.learn.tasks.eyeblink_cohort import FITTED
from cerebellum.learn.tasks.eyeblink_trial import PUBLISHED, Timing
from cerebellum.reproduce.workers import spread
from cerebellum.store import snapshot

SEEDS = (10, 11, 12, 13, 14)
"""Seeds of the reported circuits. The rules were chosen on seeds 0 to 2."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One experiment with one subject."""

    name: str
    seed: int
    phases: Phases
    isi_ms: float = 250.0
    us_ms: float = PUBLISHED.us_ms
    block: int = eyeblink.BLOCK
    subject: Mapping[str, Any] = field(default_factory=dict)
    """Options of `eyeblink.subject`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of `eyeblink.experiment`: learning, olive, keep."""
    after: str | None = None
    """Name of a run with the same seed that has the first phases and has finished: this one begins
    at its end."""

    @property
    def label(self) -> str:
        return f"{self.name}, seed {self.seed}"

    @property
    def blocks(self) -> int:
        return sum(blocks for _, _, blocks in self.phases)


@dataclass(frozen=True)
class Trained:
    """The results of one run."""

    course: Course
    before: Session
    """Trials of the tone alone before training."""
    threshold: float
    """Threshold of a CR, Hz."""


def train(
    runs: Sequence[Run], folder: Path, say: Callable[[str], None]
) -> dict[tuple[str, int], Trained]:
    """Run experiments in parallel, one to a processor. Results by name and seed.

    Args:
      folder: of the saved parts; there is a folder in it for each run.
      say: called with a line about every block, also in worker processes, so it must be picklable.
    """
    blocks = sum(run.blocks for run in runs)
    trials = sum(run.blocks * run.block for run in runs)
    say(f"{len(runs)} runs, {blocks} blocks, {trials:,} trials; killed runs go on where they were")
    results = spread(_one, [(run, folder, say) for run in runs])
    return {(run.name, run.seed): result for run, result in zip(runs, results, strict=True)}


def _one(item: tuple[Run, Path, Callable[[str], None]]) -> Trained:
    run, folder, say = item
    timing = Timing(isi_ms=run.isi_ms, us_ms=run.us_ms)
    subject = eyeblink.subject(run.seed, timing, **run.subject)
    return Trained(resumed(subject, run, folder, say), subject.before, subject.threshold)


def resumed(subject: Subject, run: Run, parts: Path, say: Callable[[str], None]) -> Course:
    """Run an experiment, or the rest of it where its first part was saved.

    Args:
      parts: the folder that has a folder for each run.

    Raises:
      UsageError: the run's folder has part of another experiment.
    """
    folder, what = _place(parts, run.name, run.seed), _identity(subject, run)
    start = _read(folder, subject, what)
    if start is None and run.after is not None:
        first = _place(parts, run.after, run.seed)
        start = _read(first, subject, {**what, "phases": None})
        if start is None:
            raise UsageError(f"{first}: no finished run; {run.label} begins at its end")
    if start is None:
        start = Progress(state=subject.state, course=Course(block=run.block), blocks=0)
    began, first = time.perf_counter(), start.blocks

    def save(progress: Progress) -> None:
        course = progress.course
        arrays = {
            "state": progress.state,
            "answers": course.answers,
            "olive": course.olive,
            "after": course.after.spikes if course.after else {},
            "trials": {name: session.spikes for name, session in course.trials.items()},
        }
        store.write(folder, progress.blocks, arrays, {"experiment": what})
        for step, _ in store.steps(folder)[1:]:
            shutil.rmtree(folder / f"{step:0{store.DIGITS}}", ignore_errors=True)
        left = (time.perf_counter() - began) / (progress.blocks - first)
        left *= run.blocks - progress.blocks
        say(f"{run.label}: block {progress.blocks} of {run.blocks}, {_minutes(left)} to go")

    return eyeblink.experiment(
        subject, phases=run.phases, block=run.block, start=start, save=save, **run.options
    )


def _place(parts: Path, name: str, seed: int) -> Path:
    return parts / f"{name.replace(' ', '-')}-{seed}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"


def _identity(subject: Subject, run: Run) -> dict[str, Any]:
    """What makes two runs the same experiment, as JSON values."""
    stimuli = subject.stimuli
    return {
        **snapshot.about(subject.circuit),
        "tone": hashlib.sha256(np.ascontiguousarray(stimuli.tone).tobytes()).hexdigest(),
        "key": np.asarray(jax.random.key_data(stimuli.key)).tolist(),
        "olive_hz": stimuli.olive_hz,
        **({"bursts": [vars(each) for each in stimuli.bursts]} if stimuli.bursts else {}),
        "isi_ms": run.isi_ms,
        **({"us_ms": run.us_ms} if run.us_ms != PUBLISHED.us_ms else {}),
        **({"cohort": vars(stimuli.cohort)} if stimuli.cohort != FITTED else {}),
        "block": run.block,
        "phases": [list(phase) for phase in run.phases],
        "options": json.loads(json.dumps(dict(run.options))),
    }


def _read(folder: Path, subject: Subject, what: Mapping[str, Any]) -> Progress | None:
    """The saved part of an experiment; None where there is none.

    Args:
      what: the experiment; phases of None match any.
    """
    saved = store.newest(folder)
    if saved is None:
        return None
    was = saved.about.get("experiment")
    phases = was["phases"] if was and what["phases"] is None else what["phases"]
    if was != {**what, "phases": phases}:
        raise UsageError(
            f"{folder}: has part of an experiment with another circuit, stimulus or plan; delete "
            "it, or name another --out"
        )
    shapes = jax.eval_shape(lambda: subject.state)
    state = jax.tree.map(jax.numpy.asarray, store.unflatten(shapes, saved.arrays, "state"))

    def under(prefix: str) -> dict[str, np.ndarray]:
        start = f"{prefix}/"
        found = saved.arrays.items()
        return {name.removeprefix(start): x for name, x in found if name.startswith(start)}

    after = under("after")
    kept = {name: under(f"trials/{name}") for name, _, _ in phases}
    course = Course(
        block=what["block"],
        answers=_ordered(under("answers"), phases),
        olive=_ordered(under("olive"), phases),
        after=Session(after, subject.timing) if after else None,
        trials={name: Session(x, subject.timing) for name, x in kept.items() if x},
    )
    return Progress(state=state, course=course, blocks=saved.step)


def _ordered(by_phase: dict[str, np.ndarray], phases: Sequence[Any]) -> dict[str, np.ndarray]:
    """The values in the order of the phases."""
    return {name: by_phase[name] for name, _, _ in phases if name in by_phase}
