"""Delay eyeblink conditioning of the awake mouse circuit (Model B).

Mossy fibres carry a tone (conditioned stimulus, CS), and the afferents of the olive carry a puff of
air (unconditioned stimulus, US). The two end together. Parallel-fibre synapses that were active
some 100 ms before a climbing-fibre spike weaken, so Purkinje cells fire less in the tone and
nuclear cells more. In an animal they do so just before the puff: the conditioned response (CR, see
`eyeblink_response`). In this circuit they do so from the onset of the tone on, because the granule
cells that fire hardly change during it. By the published rule that is no response.

The tone is that of Geminiani et al. 2022 (Front Syst Neurosci). It lasts 280 ms, and mossy fibres
near the centre fire 11 times each, the same in every trial: every other fibre in the first half,
the rest in the second. The puff is that of Geminiani et al. 2024 (PLOS Comput Biol): five spikes in
10 ms, 250 ms after tone onset. The rest between trials is shorter than in both papers, and the
background of 4 Hz never stops. `Timing` changes these times, and the tone stretches with them:
`condition(isi_ms=400)` is the whole experiment with another interval. The plasticity rule learns
at a tenth of the rate at which it was fitted to ten blocks of ten trials, because a point of the
published curve is about 100 trials; it has not been fitted to that.

Dimensions: K trials, T steps of 1 ms to a trial, N cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number, is_whole
from cerebellum.learn.tasks.eyeblink_response import responses, threshold
from cerebellum.learn.tasks.eyeblink_trial import DT, PUBLISHED, US_GAP, Session, Timing
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.anatomy import stream
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.plasticity import parallel_fibre_purkinje
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import EXTENT, positions
from cerebellum.model.spec import Spec
from cerebellum.sim.simulate import simulate

CS_RADIUS = 120.0
"""Radius about the centre within which mossy fibres carry the tone, um: about two thirds of them.
The published 97 um selects a fibre if any of its glomeruli is inside, which would be nine tenths of
our fibres. By the position of the fibre itself, 97 um would select under a half."""
CS_GAP = 12.8
"""Mean interval between the spikes of such a fibre in its half of the tone, ms."""
CS_STAGGER = 13
"""The fibres of a half begin in this number of groups, 1 ms apart."""
BACKGROUND_HZ = 4.0
"""Background rate of a mossy fibre."""

A_PLUS, A_MINUS, W_MAX = 1.8e-5, -3.2e-5, 0.28
"""Parallel fibre to Purkinje cell: nS a spike, nS a pair, nS (twice the initial weight)."""

MOUSE_CURVE = (9, 27, 52, 71, 85, 78, 83, 90, 84, 81)
"""Percent CR of wild-type mice in ten blocks of about 100 trials (Geminiani et al. 2024,
`sim_analysis.py`)."""

Kind = Literal["paired", "cs"]
"""Kind of a trial: tone and puff, or the tone alone."""


KINDS: tuple[str, ...] = get_args(Kind)


def spec() -> Spec:
    """The awake mouse circuit at 1 ms, with plastic synapses of parallel fibres."""
    rule = parallel_fibre_purkinje("inferior_olive_climbing_purkinje", A_PLUS, A_MINUS)
    circuit = presets.mouse_eglif("awake", dt=DT)
    return circuit.with_projection(
        "granule_parallel_purkinje", plastic=True, w_max=W_MAX, rule=rule
    )


def tone(key: Array, timing: Timing = PUBLISHED) -> np.ndarray:
    """Mossy-fibre spikes of the tone in a trial, [T, N], for the circuit built with `key`.

    Even fibres fire in the first half of the tone and odd ones in the second. A longer tone has
    longer trains at the same rate (11 spikes in the half of 140 ms), so that it has no gap.
    """
    position = positions(key, SIZES)["mossy_fiber"][:, :2]
    distance = np.linalg.norm(position - np.array(EXTENT) / 2, axis=1)
    spikes = np.zeros((timing.trial, SIZES["mossy_fiber"]), np.float32)
    half = timing.cs // 2
    lasts = half - (CS_STAGGER - 1)
    train = np.linspace(0, lasts, 1 + round(lasts / CS_GAP))
    for index, fibre in enumerate(np.flatnonzero(distance <= CS_RADIUS)):
        start = timing.onset + half * (index % 2) + (index // 2) % CS_STAGGER
        spikes[np.round(start + train).astype(int), fibre] = 1
    return spikes


def puff(timing: Timing = PUBLISHED) -> np.ndarray:
    """Spikes of the puff in a trial, the same for every afferent of the olive, [T, 1]."""
    spikes = np.zeros((timing.trial, 1), np.float32)
    spikes[timing.us_onset : timing.us_onset + int(timing.us_ms) : US_GAP] = 1
    return spikes


SILENCING_PA = -3e4
"""Current into the olive that keeps it from firing, even in a puff."""


def run(
    circuit: Circuit,
    state: State,
    kinds: Sequence[Kind],
    tone_spikes: np.ndarray,
    key: Array,
    *,
    timing: Timing = PUBLISHED,
    learning: float = 1.0,
    olive: bool = True,
) -> tuple[State, Session]:
    """Run trials, starting from a state. Returns the state after them and their spikes.

    Args:
      circuit: built from `spec`.
      state: donated.
      kinds: kind of each trial.
      tone_spikes: the result of `tone` with the same timing.
      key: key of the background, which differs from trial to trial.
      learning: a factor on the rates of learning; 0 for none.
      olive: whether the olive can fire.

    Raises:
      UsageError: a kind is unknown, or the tone is of trials of another length.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"kinds: {kind!r}; a trial is one of {', '.join(KINDS)}")
    trial = timing.trial
    if len(tone_spikes) != trial:
        raise UsageError(f"tone_spikes: {len(tone_spikes)} steps; {trial}, a trial of this timing")
    trial_offset = int(state.step) // trial
    factor = {name: jnp.float32(learning) for name in circuit.params.learning_gain}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=factor))
    mossy, afferents = [], []
    for index, kind in enumerate(kinds):
        draws = stream(key, f"trial {trial_offset + index}").random(tone_spikes.shape, np.float32)
        background = draws < BACKGROUND_HZ * DT * 1e-3
        mossy.append(np.maximum(background, tone_spikes).astype(np.float32))
        afferents.append(puff(timing) if kind == "paired" else np.zeros((trial, 1), np.float32))
    steps = trial * len(kinds)
    drive = {
        "mossy_fiber": np.concatenate(mossy),
        "olivary_afferent": np.concatenate(afferents),
        "inferior_olive": np.full((steps, 1), 0.0 if olive else SILENCING_PA, np.float32),
    }
    state, recording = simulate(circuit, state, drive, chunk_steps=trial, progress=False)
    spikes = {name: x.reshape(len(kinds), trial) for name, x in recording.spikes.items()}
    return state, Session(spikes, timing)


@documented
@dataclass(frozen=True, kw_only=True)
class Subject:
    """A circuit before training, with its stimulus and its threshold."""

    circuit: Circuit
    state: State
    tone_spikes: np.ndarray
    """Spikes of its `tone`."""
    key: Array
    """Key of the background."""
    before: Session
    """Trials of the tone alone before training."""
    threshold: float
    """Threshold of a CR, Hz."""
    timing: Timing = PUBLISHED


PROBES = 20
"""Trials of the tone alone before training. There are half as many after acquisition."""


def subject(seed: int, timing: Timing = PUBLISHED) -> Subject:
    """Build a circuit and measure its threshold. The seed sets wiring and background."""
    build_key, run_key, key = jax.random.split(jax.random.key(seed), 3)
    circuit, tone_spikes = anatomy.build(spec(), build_key), tone(build_key, timing)
    state = circuits.init(circuit, run_key)
    probes = ("cs",) * PROBES
    state, before = run(circuit, state, probes, tone_spikes, key, timing=timing, learning=0)
    return Subject(
        circuit=circuit,
        state=state,
        tone_spikes=tone_spikes,
        key=key,
        before=before,
        threshold=threshold(before),
        timing=timing,
    )


@documented
@dataclass(frozen=True)
class Course:
    """The results of an experiment with one subject."""

    answers: dict[str, np.ndarray]
    """Whether each trial had a CR, bool [trials], by phase."""
    after: Session
    """Trials of the tone alone after the first phase, with learning off."""
    block: int
    """Trials to a block."""

    @property
    def percent(self) -> dict[str, list[float]]:
        """Percent CR by phase, in each block."""
        return {
            name: (100 * answers.reshape(-1, self.block).mean(axis=1)).tolist()
            for name, answers in self.answers.items()
        }


PHASES: tuple[tuple[str, Kind, int], ...] = (
    ("acquisition", "paired", 10),
    ("extinction", "cs", 4),
    ("reacquisition", "paired", 4),
)
"""Name, kind of trial and number of blocks of each phase."""

BLOCK = 100
"""Trials to a block."""


def experiment(
    subject: Subject,
    *,
    phases: Sequence[tuple[str, Kind, int]] = PHASES,
    block: int = BLOCK,
    learning: float = 1.0,
    olive: bool = True,
    say: Callable[[str], None] | None = None,
) -> Course:
    """Train, probe, extinguish and train again. The subject itself does not change.

    Args:
      phases: name, kind of trial ("paired", or "cs" for the tone alone) and number of blocks of
        each, as in `PHASES`. The probes follow the first phase.
      block: trials to a block.
      learning: a factor on the rates of learning; 0 for none.
      olive: whether the olive can fire.
      say: called with a line about each block.

    Raises:
      UsageError: a number of trials or a factor that cannot be.
    """
    if not is_whole(block) or block < 1:
        raise UsageError(f"block: {block!r}; a number of trials, at least 1")
    if not is_number(learning) or not 0 <= learning < float("inf"):
        raise UsageError(f"learning: {learning!r}; a factor, zero or more")
    state = jax.tree.map(jnp.copy, subject.state)

    def trials(state: State, kind: Kind, count: int, learning: float):
        return run(
            subject.circuit,
            state,
            (kind,) * count,
            subject.tone_spikes,
            subject.key,
            timing=subject.timing,
            learning=learning,
            olive=olive,
        )

    answers, after = {}, subject.before
    for name, kind, blocks in phases:
        by_block = []
        for _ in range(blocks):
            state, session = trials(state, kind, block, learning)
            by_block.append(responses(session, subject.threshold))
            if say:
                say(f"{name}: {100 * by_block[-1].mean():.0f} % CR")
        answers[name] = np.concatenate(by_block)
        if name == phases[0][0]:
            state, after = trials(state, "cs", PROBES // 2, 0)
    return Course(answers, after, block)


def condition(
    *,
    isi_ms: float = 250,
    cs_ms: float | None = None,
    us_ms: float = 10,
    seed: int = 0,
    **options: Any,
) -> tuple[Subject, Course]:
    """The whole experiment with one circuit: build, probe, and train as `experiment` does.

    Args:
      isi_ms, cs_ms, us_ms: interval from tone to puff, length of the tone and of the puff (see
        `Timing`).
      seed: sets wiring and background.
      options: those of `experiment`: phases, block, learning, olive, say. Phases are (name,
        "paired" or "cs" for the tone alone, blocks of trials); by default `PHASES`.

    Returns:
      The subject before training, and the results. Trials of the tone alone are in
      `subject.before` and `course.after`.

    Raises:
      UsageError: impossible times.
    """
    mouse = subject(seed, Timing(isi_ms=isi_ms, cs_ms=cs_ms, us_ms=us_ms))
    return mouse, experiment(mouse, **options)
