"""Delay eyeblink conditioning of the awake mouse circuit (Model B).

Mossy fibres carry a tone (conditioned stimulus, CS), and the afferents of the olive carry a puff of
air (unconditioned stimulus, US). The two end together. Parallel-fibre synapses that were active
just before a climbing-fibre spike weaken, so Purkinje cells pause, and nuclear cells fire, just
before the time of the puff: the conditioned response (CR, see `eyeblink_response`).

The circuit is that of `eyeblink_circuit`, the stimuli are those of `eyeblink_tone`. The puff is
that of Geminiani et al. 2024 (PLOS Comput Biol): five spikes in 10 ms, 250 ms after tone onset. The
olive also fires at rest. The pause between trials is shorter than in an animal, and the background
of 4 Hz never stops. `Timing` changes the times: `condition(isi_ms=400)` is the whole experiment
with another interval.

Dimensions: K trials, T steps of 1 ms to a trial, N mossy fibres.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.learn.tasks.eyeblink_circuit import spec
from cerebellum.learn.tasks.eyeblink_cohort import FITTED, Cohort
from cerebellum.learn.tasks.eyeblink_disorder import DISORDERS, Bursts, Disorder
from cerebellum.learn.tasks.eyeblink_response import responses, threshold
from cerebellum.learn.tasks.eyeblink_tone import TONES, puff
from cerebellum.learn.tasks.eyeblink_trial import DT, PUBLISHED, Session, Timing
from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.presets import GranularLayer
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.streams import stream
from cerebellum.sim.simulate import simulate

BACKGROUND_HZ = 4.0
"""Background rate of a mossy fibre."""
OLIVE_HZ = 1.8
"""Rate of an afferent of the olive at rest. Each of its spikes makes its cell fire. In mice: 1.79
Hz of complex spikes (Kim, Ohmae & Medina 2020)."""

MOUSE_CURVE = (9, 27, 52, 71, 85, 78, 83, 90, 84, 81)
"""Percent CR of wild-type mice in ten blocks of about 100 trials (Geminiani et al. 2024,
`sim_analysis.py`)."""

Kind = Literal["paired", "cs", "held"]
"""Kind of a trial: tone and puff; the tone alone; tone and puff with the olive held down."""

KINDS: tuple[str, ...] = get_args(Kind)

SILENCING_PA = -3e4
"""Current into the olive that keeps it from firing, even in a puff."""
HOLDING_MS = (-20, 30)
"""The olive is held down between these times from the start of the puff."""
PUFF_MS = 60
"""The olive's spikes are counted as an answer to a puff for so long from its start."""

Tone = str | Callable[[Array, Timing], np.ndarray]
"""A name in `TONES`, or a function of the circuit's key and the timing like those."""


@documented
@dataclass(frozen=True, kw_only=True)
class Stimuli:
    """What comes in from outside, trial by trial."""

    tone: np.ndarray
    """chance of a spike in each step that mossy fibres have in addition, [T, N]"""
    key: Array
    """key of all that is random, which differs from trial to trial"""
    timing: Timing = PUBLISHED
    olive_hz: float = OLIVE_HZ
    """rate of the olive's afferents at rest"""
    bursts: tuple[Bursts, ...] = ()
    """bursts of a disorder"""
    cohort: Cohort = FITTED
    """the mice, of which it takes how their olive is held down"""

    def __post_init__(self):
        if np.shape(self.tone) != (self.timing.trial, SIZES["mossy_fiber"]):
            raise UsageError(
                f"tone: {list(np.shape(self.tone))}; "
                f"[{self.timing.trial}, {SIZES['mossy_fiber']}], the steps of a trial of this "
                "timing and the mossy fibres"
            )
        if not np.isfinite(self.tone).all() or np.min(self.tone) < 0 or np.max(self.tone) > 1:
            raise UsageError("tone: a chance that is not from 0 to 1")
        if not is_number(self.olive_hz) or not 0 <= self.olive_hz <= 1e3 / DT:
            raise UsageError(f"olive_hz: {self.olive_hz!r}; a rate, 0 to {1e3 / DT:g}")

    def trial(self, number: int, kind: Kind, *, silent: bool = False) -> dict[str, np.ndarray]:
        """The drive of one trial, by population.

        Args:
          number: of the trial; sets the random spikes.
          kind: see `Kind`.
          silent: whether the olive cannot fire.
        """
        rng, timing = stream(self.key, f"trial {number}"), self.timing
        chance = BACKGROUND_HZ * DT * 1e-3 + self.tone
        mossy = rng.random(chance.shape, np.float32) < chance
        rest = rng.random((timing.trial, SIZES["olivary_afferent"]), np.float32)
        rest = rest < self.olive_hz * DT * 1e-3
        current = np.full((timing.trial, 1), SILENCING_PA if silent else 0.0, np.float32)
        if kind == "held" and not silent:
            before, after = HOLDING_MS
            current[timing.us_onset + before : timing.us_onset + after] = self.cohort.holding_pa
        teaching = np.zeros((timing.trial, 1)) if kind == "cs" else puff(timing)
        return {
            "mossy_fiber": mossy.astype(np.float32),
            "olivary_afferent": np.maximum(rest, teaching).astype(np.float32),
            "inferior_olive": current,
            **{each.target: each.trial(self.key, number, timing) for each in self.bursts},
        }


def run(
    circuit: Circuit,
    state: State,
    kinds: Sequence[Kind],
    stimuli: Stimuli,
    *,
    learning: float = 1.0,
    olive: bool = True,
) -> tuple[State, Session]:
    """Run trials, starting from a state. Returns the state after them and their spikes.

    Args:
      circuit: built from `spec`.
      state: donated.
      kinds: kind of each trial.
      learning: a factor on the rates of learning; 0 for none.
      olive: whether the olive can fire.

    Raises:
      UsageError: a kind is unknown.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"kinds: {kind!r}; a trial is one of {', '.join(KINDS)}")
    timing = stimuli.timing
    first = int(state.step) // timing.trial
    factor = {name: jnp.float32(learning) for name in circuit.params.learning_gain}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=factor))
    trials = [
        stimuli.trial(first + index, kind, silent=not olive) for index, kind in enumerate(kinds)
    ]
    drive = {name: np.concatenate([trial[name] for trial in trials]) for name in trials[0]}
    state, recording = simulate(circuit, state, drive, chunk_steps=timing.trial, progress=False)
    spikes = {name: x.reshape(len(kinds), timing.trial) for name, x in recording.spikes.items()}
    return state, Session(spikes, timing)


@documented
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A circuit before training, with its stimuli and its threshold."""

    circuit: Circuit
    state: State
    stimuli: Stimuli
    before: Session
    """Trials of the tone alone before training."""
    threshold: float
    """Threshold of a CR, Hz."""

    @property
    def timing(self) -> Timing:
        return self.stimuli.timing


PROBES = 20
"""Trials of the tone alone before training, and after the first phase."""


def subject(
    seed: int,
    timing: Timing = PUBLISHED,
    *,
    tone: Tone = "structured",
    olive_hz: float = OLIVE_HZ,
    nuclear_learning: bool = True,
    granular: GranularLayer | None = None,
    disorder: str | None = None,
    cohort: Cohort = FITTED,
) -> Subject:
    """Build a circuit and measure its threshold.

    Args:
      seed: sets wiring, tone and background.
      tone: see `Tone`.
      olive_hz: rate of the olive at rest.
      nuclear_learning: whether the synapses of mossy fibres onto the nuclei learn too.
      granular: mechanisms of the granular layer that represent time, for a tone that does not;
        see `presets.GranularLayer`.
      disorder: a name in `DISORDERS`; None for a healthy circuit.
      cohort: how a group of mice differs from those that the circuit was fitted to.

    Raises:
      UsageError: the tone or the disorder is unknown, or the tone does not fit; a rate that cannot
        be.
    """
    if isinstance(tone, str) and tone not in TONES:
        raise UsageError(f"tone: {tone!r}; one of {', '.join(TONES)}, or a function")
    if disorder is not None and disorder not in DISORDERS:
        raise UsageError(f"disorder: {disorder!r}; one of {', '.join(DISORDERS)}, or None")
    ill = Disorder() if disorder is None else DISORDERS[disorder]
    draw = TONES[tone] if isinstance(tone, str) else tone
    build_key, run_key, key = jax.random.split(jax.random.key(seed), 3)
    stimuli = Stimuli(
        tone=draw(build_key, timing),
        key=key,
        timing=timing,
        olive_hz=olive_hz,
        bursts=ill.bursts,
        cohort=cohort,
    )
    design = spec(nuclear_learning=nuclear_learning, granular=granular)
    circuit = anatomy.build(ill.changed(cohort.changed(design)), build_key)
    state = circuits.init(circuit, run_key)
    state, before = run(circuit, state, ("cs",) * PROBES, stimuli, learning=0)
    return Subject(
        circuit=circuit,
        state=state,
        stimuli=stimuli,
        before=before,
        threshold=threshold(before),
    )


Phases = Sequence[tuple[str, Kind, int]]
"""Name, kind of trial and number of blocks of each phase."""

PHASES: Phases = (
    ("acquisition", "paired", 10),
    ("extinction", "cs", 4),
    ("reacquisition", "paired", 4),
)

BLOCK = 100
"""Trials to a block."""


@documented
@dataclass(frozen=True, kw_only=True)
class Course:
    """The results of an experiment with one subject, or of its part so far."""

    answers: dict[str, np.ndarray] = field(default_factory=dict)
    """Whether each trial had a CR, bool [trials], by phase."""
    after: Session | None = None
    """Trials of the tone alone after the first phase, with learning off; None until then."""
    olive: dict[str, np.ndarray] = field(default_factory=dict)
    """Spikes of an olivary cell in the `PUFF_MS` from the puff's time, mean of each block, by
    phase."""
    trials: dict[str, Session] = field(default_factory=dict)
    """All trials by phase, of the populations that the experiment keeps."""
    block: int = BLOCK
    """Trials to a block."""

    @property
    def percent(self) -> dict[str, list[float]]:
        """Percent CR by phase, in each block."""
        return {
            name: (100 * answers.reshape(-1, self.block).mean(axis=1)).tolist()
            for name, answers in self.answers.items()
        }

    @property
    def probes(self) -> Session:
        """`after`; UsageError while the first phase has not ended."""
        if self.after is None:
            raise UsageError("after: the first phase has not ended; an experiment that has run")
        return self.after


@dataclass(frozen=True, kw_only=True)
class Progress:
    """An experiment that has run for some blocks: what it needs to go on."""

    state: State
    course: Course
    blocks: int
    """Blocks that have run."""


def experiment(
    subject: Subject,
    *,
    phases: Phases = PHASES,
    block: int = BLOCK,
    learning: float = 1.0,
    olive: bool = True,
    keep: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    start: Progress | None = None,
    save: Callable[[Progress], None] | None = None,
) -> Course:
    """Train, probe, extinguish and train again. The subject itself does not change.

    Args:
      phases: name, kind of trial (see `Kind`) and number of blocks of each, as in `PHASES`. The
        probes follow the first phase.
      block: trials to a block.
      learning: a factor on the rates of learning; 0 for none.
      olive: whether the olive can fire.
      keep: populations whose spikes in all trials the results have (see `Course.trials`).
      say: called with a line about each block.
      start: go on from here, as if the experiment had never stopped.
      save: called after each block.

    Raises:
      UsageError: a number of trials or a factor that cannot be.
    """
    if not is_whole(block) or block < 1:
        raise UsageError(f"block: {block!r}; a number of trials, at least 1")
    if not is_number(learning) or not 0 <= learning < float("inf"):
        raise UsageError(f"learning: {learning!r}; a factor, zero or more")
    if start is None:
        start = Progress(state=subject.state, course=Course(block=block), blocks=0)
    plan: list[tuple[str, Kind]] = [
        (name, kind) for name, kind, blocks in phases for _ in range(blocks)
    ]
    state, course = jax.tree.map(jnp.copy, start.state), start.course

    def trials(state: State, kind: Kind, count: int, learning: float):
        return run(
            subject.circuit,
            state,
            (kind,) * count,
            subject.stimuli,
            learning=learning,
            olive=olive,
        )

    for done, (name, kind) in enumerate(plan[start.blocks :], start.blocks + 1):
        state, session = trials(state, kind, block, learning)
        answers = responses(session, subject.threshold)
        course = _with_block(course, name, answers, session)
        course = _with_trials(course, name, session, keep)
        if say:
            say(f"{name}: {100 * answers.mean():.0f} % CR")
        if done == phases[0][2]:
            state, after = trials(state, "cs", PROBES, 0)
            course = replace(course, after=after)
        if save:
            save(Progress(state=state, course=course, blocks=done))
    return course


def _with_block(course: Course, name: str, answers: np.ndarray, session: Session) -> Course:
    """The course with one more block of a phase."""
    puff_spikes = session.spikes["inferior_olive"][:, session.timing.us_onset :][:, :PUFF_MS]
    fired = puff_spikes.sum(axis=1).mean() / SIZES["inferior_olive"]
    none = np.zeros(0)
    return replace(
        course,
        answers={**course.answers, name: np.append(course.answers.get(name, none), answers) > 0},
        olive={**course.olive, name: np.append(course.olive.get(name, none), fired)},
    )


def _with_trials(course: Course, name: str, session: Session, keep: Sequence[str]) -> Course:
    """The course with the spikes of one more block of a phase, of some populations."""
    if not keep:
        return course
    spikes = {population: session.spikes[population] for population in keep}
    before = course.trials.get(name)
    if before is not None:
        spikes = {each: np.concatenate([before.spikes[each], x]) for each, x in spikes.items()}
    return replace(course, trials={**course.trials, name: Session(spikes, session.timing)})


def condition(
    *,
    isi_ms: float = 250,
    cs_ms: float | None = None,
    us_ms: float = 10,
    seed: int = 0,
    tone: Tone = "structured",
    **options: Any,
) -> tuple[Subject, Course]:
    """The whole experiment with one circuit: build, probe, and train as `experiment` does.

    Args:
      isi_ms, cs_ms, us_ms: interval from tone to puff, length of the tone and of the puff (see
        `Timing`).
      seed: sets wiring, tone and background.
      tone: see `Tone`.
      options: those of `experiment`: phases, block, learning, olive, keep, say.

    Returns:
      The subject before training, and the results. Trials of the tone alone are in
      `subject.before` and `course.after`.

    Raises:
      UsageError: impossible times; an unknown tone.
    """
    mouse = subject(seed, Timing(isi_ms=isi_ms, cs_ms=cs_ms, us_ms=us_ms), tone=tone)
    return mouse, experiment(mouse, **options)
