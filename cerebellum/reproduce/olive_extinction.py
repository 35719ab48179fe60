"""A conditioned response goes when the olive is held down at the puff, though the puff comes.

Kim, Ohmae & Medina 2020 (Nat Neurosci), figure 2: mice that had learned were paired further, with
light on the olive in each puff. Their responses went as in extinction, and came back afterwards.

These mice stay at 60 to 65 % when they are paired on, and a puff makes their climbing fibres fire
about once. The circuits of `eyeblink` come to 85 %, and their olive fires four times. So the
circuits here are a cohort of their own (`COHORT`), with a puff of a single spike. How far the lid
of these mice moves for a rate of their nuclei is not known: each circuit's threshold is the one
that it passes in `LEVEL` of its last trials before the groups part, and it varies from trial to
trial (`VARIATION`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax import Array

from cerebellum import plot
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks import eyeblink_response as detector
from cerebellum.learn.tasks.eyeblink import Course, Phases
from cerebellum.learn.tasks.eyeblink_cohort import Cohort
from cerebellum.learn.tasks.eyeblink_trial import Session
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.streams import stream
from cerebellum.reproduce.conditioning import SEEDS, Run, Trained, train
from cerebellum.reproduce.report import Report, Row, bounded, close, picture

COHORT = Cohort(teaching=3.0, nuclear=0.25, holding_pa=-615.0)
"""A single spike of the olive teaches what three do in the fitted circuit. The current that holds
the olive down leaves it about a fifth of its spikes in such a puff. Chosen on seeds 0 to 5, as are
`LEARNING`, `LEVEL` and `VARIATION`."""
US_MS = 2
"""Length of the puff, which is a single spike of each afferent of the olive."""
LEARNING = 1.25
"""Factor on the rates of learning. A block of `eyeblink.BLOCK` trials stands for a session."""
LEVEL, LAST = 0.6, 200
"""The share of the last trials of acquisition that have a CR, and how many trials these are."""
VARIATION = 0.4
"""Standard deviation of the threshold from trial to trial, as a fraction of it. How much the lid
answers to the same nuclei depends on the state of a mouse, such as whether it walks (Albergaria et
al. 2018, Nat Neurosci; from memory). This size of it is not published."""

LEARNED: Phases = (("acquisition", "paired", 12),)
"""As long as 1,500 pairings at the fitted rates of learning."""
GROUPS: dict[str, Phases] = {
    "olive held down": (*LEARNED, ("held", "held", 10), ("again", "paired", 4)),
    "extinction": (*LEARNED, ("alone", "cs", 5), ("again", "paired", 4)),
    "light control": (*LEARNED, ("paired", "paired", 4)),
}
"""Phases of each group of mice; a block stands for a session."""

MICE: dict[tuple[str, str], tuple[float, ...]] = {
    ("olive held down", "held"): (0.41, 0.26, 0.21, 0.11, 0.17, 0.07, 0.10, 0.11, 0.06, 0.05),
    ("extinction", "alone"): (0.41, 0.26, 0.12, 0.04, 0.05),
    ("light control", "paired"): (0.71, 0.59, 0.61, 0.58),
    ("olive held down", "again"): (0.21, 0.38, 0.40, 0.65),
    ("extinction", "again"): (0.14, 0.44, 0.57, 0.72),
}
"""Fraction of trials with a CR by group, phase and session (their figure 2)."""
REST_HZ, PUFF_FACTOR, HELD_FACTOR = 1.79, 11.5, 2.25
"""Complex spikes at rest, and how much more often they come in a puff, without and with light."""

WITHIN = 10
"""Tolerance of a curve, points RMS of the mean."""

SOURCE = "Kim, Ohmae & Medina 2020 (Nat Neurosci), figure 2: fraction of CRs by session"


def hold(seed: int | None, say: Callable[[str], None], folder: Path) -> Report:
    """Training to the plateau, then three groups: five circuits, or that of a seed."""
    seeds = SEEDS if seed is None else (seed,)
    train([run("learned", each, LEARNED) for each in seeds], folder, say)
    runs = [
        run(group, each, phases, after="learned")
        for group, phases in GROUPS.items()
        for each in seeds
    ]
    results = train(runs, folder, say)
    return report({group: [results[group, each] for each in seeds] for group in GROUPS}, seeds)


def run(name: str, seed: int, phases: Phases, after: str | None = None) -> Run:
    """The run of a group, or of what all groups learn first, with one circuit of the cohort."""
    return Run(
        name=name,
        seed=seed,
        phases=phases,
        us_ms=US_MS,
        subject={"cohort": COHORT},
        options={"learning": LEARNING, "keep": ("nuclei",)},
        after=after,
    )


def report(trained: dict[str, list[Trained]], seeds: Sequence[int]) -> Report:
    """The rows and the figure, from the trained circuits by group."""
    percent = {
        group: [curves(each.course, seed) for seed, each in zip(seeds, subjects, strict=True)]
        for group, subjects in trained.items()
    }
    by_phase = {
        (group, phase): (np.array([each[phase] for each in percent[group]]), 100 * np.array(mice))
        for (group, phase), mice in MICE.items()
    }
    before = (
        f"{np.mean([each['acquisition'][-1] for each in found]):.0f} % ({group})"
        for group, found in percent.items()
    )
    return Report(
        rows=[
            *(_distance(f"{group}, {phase}", *both) for (group, phase), both in by_phase.items()),
            *_complex_spikes(trained),
        ],
        source=SOURCE,
        seeds=seeds,
        note=f"A block of {eyeblink.BLOCK} trials at {LEARNING:g} times the rates of learning "
        f"stands for a session. CR in the last block before: {', '.join(before)}; mice 61, 66 and "
        "64 %.",
        figures={
            "sessions.png": picture(
                plot.sessions, {f"{group}: {phase}": x for (group, phase), x in by_phase.items()}
            )
        },
    )


def curves(course: Course, seed: int) -> dict[str, np.ndarray]:
    """Percent CR of a circuit in each block, by phase, with a threshold of its own."""
    key = jax.random.key(seed)
    factor = {
        phase: _factors(key, phase, session.spikes["nuclei"].shape[0])
        for phase, session in course.trials.items()
    }
    learned = course.trials["acquisition"]
    last = Session({"nuclei": learned.spikes["nuclei"][-LAST:]}, learned.timing)
    threshold = detector.threshold_passed(last, LEVEL, factor["acquisition"][-LAST:])
    return {
        phase: 100
        * detector.responses(session, threshold * factor[phase], threshold * factor[phase])
        .reshape(-1, course.block)
        .mean(axis=1)
        for phase, session in course.trials.items()
    }


def _factors(key: Array, phase: str, trials: int) -> np.ndarray:
    """Factor on the threshold of each trial, [trials], at least a tenth."""
    return np.maximum(1 + VARIATION * stream(key, f"lid {phase}").standard_normal(trials), 0.1)


def _distance(name: str, percent: np.ndarray, mice: np.ndarray) -> Row:
    """The distance of the mean curve from that of the mice; percent is [circuits, sessions]."""
    mean = percent.mean(axis=0)
    distance = float(np.sqrt(np.mean((mean - mice) ** 2)))
    shown = ", ".join(f"{x:.0f}" for x in mean)
    return bounded(f"{name}: distance to mice, RMS ({shown})", "points", distance, below=WITHIN)


def _complex_spikes(trained: dict[str, list[Trained]]) -> list[Row]:
    """Complex spikes at rest, and how much more often they come in a puff."""
    held = [subject.course for subject in trained["olive held down"]]
    rest = [_rest_hz(subject.before) for subject in trained["olive held down"]]

    def factor(phase: str) -> list[float]:
        fired = [course.olive[phase].mean() for course in held]
        return [x / (eyeblink.PUFF_MS * 1e-3) / hz for x, hz in zip(fired, rest, strict=True)]

    return [
        close("complex spikes at rest", "Hz", rest, REST_HZ, least=0.63),
        close("complex spikes in a puff, of rest", "", factor("acquisition"), PUFF_FACTOR, rel=0.2),
        close(
            "complex spikes in a puff, olive held down, of a free one",
            "",
            [x / y for x, y in zip(factor("held"), factor("acquisition"), strict=True)],
            HELD_FACTOR / PUFF_FACTOR,
            rel=0.25,
        ),
    ]


def _rest_hz(session: Session) -> float:
    """Rate of an olivary cell before the tone, Hz."""
    spikes = session.spikes["inferior_olive"][:, : session.timing.onset]
    return float(spikes.mean() * 1e3 / SIZES["inferior_olive"])
