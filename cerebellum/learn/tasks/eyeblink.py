"""Delay eyeblink conditioning of the awake mouse circuit (Model B).

Mossy fibres carry a tone (conditioned stimulus, CS), and the afferents of the olive carry a puff of
air (unconditioned stimulus, US). The two end together. Parallel-fibre synapses that were active
some 100 ms before a climbing-fibre spike weaken, so Purkinje cells pause and nuclear cells fire
before the puff. This is the conditioned response (CR).

The tone is that of Geminiani et al. 2022 (Front Syst Neurosci). It lasts 280 ms, and mossy fibres
near the centre fire 11 times each, the same in every trial: every other fibre in the first half,
the rest in the second. The puff is that of Geminiani et al. 2024 (PLOS Comput Biol): five spikes in
10 ms, 250 ms after tone onset. The rest between trials is shorter than in both papers, and the
background of 4 Hz never stops. `Timing` changes these times, and the tone stretches with them:
`condition(isi_ms=400)` is the whole experiment with another interval. The detector is defined in
this file and was not fitted to data. The three numbers of the plasticity rule were fitted to the
learning curve of wild-type mice on seeds 0 to 2.

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
from cerebellum.errors import UsageError
from cerebellum.model import anatomy, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.anatomy import stream
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.plasticity import parallel_fibre_purkinje
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import EXTENT, positions
from cerebellum.model.spec import Spec
from cerebellum.sim.simulate import simulate

DT = 1.0
"""Time step, ms."""

CS_RADIUS = 120.0
"""Radius about the centre within which mossy fibres carry the tone, um: about two thirds of them.
The published 97 um selects a fibre if any of its glomeruli is inside, which would be nine tenths of
our fibres. By the position of the fibre itself, 97 um would select under a half."""
CS_GAP = 12.8
"""Mean interval between the spikes of such a fibre in its half of the tone, ms."""
CS_STAGGER = 13
"""The fibres of a half begin in this number of groups, 1 ms apart."""
US_GAP = 2
"""Interval between the spikes of the puff, ms."""
OVERLAP_MS = 30
"""Time for which the tone lasts after the onset of the puff, if nothing else is said."""
REST_MS = 70
"""Time from the end of tone and puff to the end of a trial, if nothing else is said."""

BACKGROUND_HZ = 4.0
"""Background rate of a mossy fibre."""

A_PLUS, A_MINUS, W_MAX = 1.8e-4, -3.2e-4, 0.28
"""Parallel fibre to Purkinje cell: nS a spike, nS a pair, nS (twice the initial weight)."""

SMOOTHING_MS = 10.0
"""Standard deviation of the Gaussian filter on nuclear rates."""
BASELINE_MS = 200
"""Length of the baseline before CS onset."""
CR_FROM_MS = 50
"""Start of the window for a CR after CS onset. The window ends at US onset."""
CR_MS = 30
"""Time for which a response must stay above the threshold."""
LEAST_HZ = 3.9
"""Lowest threshold."""
DEVIATIONS = 2.5
"""The threshold is so many standard deviations above the mean."""

MOUSE_CURVE = (9, 27, 52, 71, 85, 78, 83, 90, 84, 81)
"""Percent CR of wild-type mice in blocks of ten (Geminiani et al. 2024, `sim_analysis.py`)."""

Kind = Literal["paired", "cs"]
"""Kind of a trial: tone and puff, or the tone alone."""


KINDS: tuple[str, ...] = get_args(Kind)


@documented
@dataclass(frozen=True, kw_only=True)
class Timing:
    """The times of a trial, each a whole number of steps of 1 ms.

    Raises:
      UsageError: a time is off the grid, the tone ends before the puff, or the trial before either.
    """

    isi_ms: float = 250
    """interval from the onset of the tone to the onset of the puff"""
    cs_ms: float | None = None
    """length of the tone; None for 30 ms more than the interval"""
    us_ms: float = 10
    """length of the puff, a spike every 2 ms"""
    onset_ms: float = 250
    """time from the start of a trial to the onset of the tone; the last 200 ms are the baseline"""
    trial_ms: float | None = None
    """length of a trial; None for 70 ms more than tone and puff need"""

    def __post_init__(self):
        self._fill("cs_ms", self.isi_ms, OVERLAP_MS)
        for name in ("isi_ms", "cs_ms", "us_ms", "onset_ms"):
            self._whole(name)
        least = CR_FROM_MS + CR_MS
        if self.isi_ms < least:
            raise UsageError(
                f"isi_ms: {self.isi_ms} ms; at least {least}, {CR_FROM_MS} without and {CR_MS} of "
                "a response"
            )
        if self.cs < self.isi_ms:
            raise UsageError(
                f"cs_ms: {self.cs} ms; at least the {self.isi_ms} ms until the puff, because in "
                "delay conditioning the tone lasts until then"
            )
        if self.us_ms < US_GAP or self.us_ms % US_GAP:
            raise UsageError(
                f"us_ms: {self.us_ms} ms; a multiple of {US_GAP}, the interval between its spikes"
            )
        if self.onset_ms < BASELINE_MS:
            raise UsageError(f"onset_ms: {self.onset_ms} ms; at least {BASELINE_MS} of baseline")
        stop = self.onset_ms + max(self.cs, self.isi_ms + self.us_ms)
        self._fill("trial_ms", stop, REST_MS)
        self._whole("trial_ms")
        if self.trial < stop:
            raise UsageError(f"trial_ms: {self.trial} ms; at least {stop}, when tone and puff end")

    def _fill(self, name: str, start: float, more: int) -> None:
        if getattr(self, name) is None and isinstance(start, (int, float)):
            object.__setattr__(self, name, start + more)

    def _whole(self, name: str) -> None:
        """Make a time an integer; UsageError if it is none."""
        value = getattr(self, name)
        number = isinstance(value, (int, float, np.integer, np.floating))
        if not number or isinstance(value, bool) or not np.isfinite(value):
            raise UsageError(f"{name}: {value!r}; a number of ms")
        if value != round(value):
            raise UsageError(
                f"{name}: {value:g} ms; a multiple of the step of {DT:g} ms, such as {round(value)}"
            )
        object.__setattr__(self, name, int(value))

    @property
    def cs(self) -> int:
        """Length of the tone, ms."""
        assert self.cs_ms is not None
        return int(self.cs_ms)

    @property
    def trial(self) -> int:
        """Length of a trial, ms, which is T."""
        assert self.trial_ms is not None
        return int(self.trial_ms)

    @property
    def onset(self) -> int:
        """Onset of the tone, ms after the start of a trial."""
        return int(self.onset_ms)

    @property
    def us_onset(self) -> int:
        """Onset of the puff, ms after the start of a trial."""
        return int(self.onset_ms + self.isi_ms)


PUBLISHED = Timing()
"""250 ms from tone to puff, a tone of 280 ms, a puff of 10 ms, trials of 600 ms."""


@dataclass(frozen=True)
class Session:
    """Spikes of K trials."""

    spikes: dict[str, np.ndarray]
    """Number of spikes by population in each step, int32 [K, T]."""
    timing: Timing = PUBLISHED

    def rate(self, name: str) -> np.ndarray:
        """Mean rate of a population's cells, Hz, [K, T]."""
        return self.spikes[name] * (1e3 / (DT * SIZES[name]))


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
    learning: bool = True,
    olive: bool = True,
) -> tuple[State, Session]:
    """Run trials, starting from a state. Returns the state after them and their spikes.

    Args:
      circuit: built from `spec`.
      state: donated.
      kinds: kind of each trial.
      tone_spikes: the result of `tone` with the same timing.
      key: key of the background, which differs from trial to trial.
      learning: whether weights change.
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


def response(session: Session) -> np.ndarray:
    """Smoothed rate of the nuclei less each trial's baseline, Hz, [K, T]."""
    from scipy.ndimage import gaussian_filter1d

    rate = gaussian_filter1d(session.rate("nuclei"), SMOOTHING_MS / DT, axis=1)
    onset = session.timing.onset
    return rate - rate[:, onset - BASELINE_MS : onset].mean(axis=1, keepdims=True)


def _before_puff(session: Session) -> np.ndarray:
    """`response` in the window for a CR, Hz, [K, steps]."""
    timing = session.timing
    return response(session)[:, timing.onset + CR_FROM_MS : timing.us_onset]


def threshold(session: Session) -> float:
    """The threshold of a CR, Hz, from trials of the tone alone before training."""
    in_window = _before_puff(session)
    return max(LEAST_HZ, float(in_window.mean() + DEVIATIONS * in_window.std()))


def responses(session: Session, above: float) -> np.ndarray:
    """Whether each trial has a CR, bool [K].

    Args:
      above: threshold, Hz.
    """
    exceeds = _before_puff(session) > above
    runs = np.lib.stride_tricks.sliding_window_view(exceeds, round(CR_MS / DT), axis=1)
    return np.any(np.all(runs, axis=-1), axis=-1)


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
    state, before = run(circuit, state, probes, tone_spikes, key, timing=timing, learning=False)
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

    percent: dict[str, list[float]]
    """Percent CR by phase, in each block of ten trials."""
    after: Session
    """Trials of the tone alone after the first phase, with learning off."""


PHASES: tuple[tuple[str, Kind, int], ...] = (
    ("acquisition", "paired", 10),
    ("extinction", "cs", 4),
    ("reacquisition", "paired", 4),
)
"""Name, kind of trial and number of blocks of each phase."""

BLOCK = 10
"""Trials to a block."""


def experiment(
    subject: Subject,
    *,
    phases: Sequence[tuple[str, Kind, int]] = PHASES,
    plastic: bool = True,
    olive: bool = True,
    say: Callable[[str], None] | None = None,
) -> Course:
    """Train, probe, extinguish and train again. The subject itself does not change.

    Args:
      phases: name, kind of trial ("paired", or "cs" for the tone alone) and number of blocks of
        ten trials of each, as in `PHASES`. The probes follow the first phase.
      plastic: whether parallel-fibre synapses learn.
      olive: whether the olive can fire.
      say: called with a line about each block.
    """
    state = jax.tree.map(jnp.copy, subject.state)

    def trials(state: State, kind: Kind, count: int, learning: bool):
        return run(
            subject.circuit,
            state,
            (kind,) * count,
            subject.tone_spikes,
            subject.key,
            timing=subject.timing,
            learning=learning and plastic,
            olive=olive,
        )

    percent, after = {}, subject.before
    for name, kind, blocks in phases:
        percent[name] = []
        for _ in range(blocks):
            state, session = trials(state, kind, BLOCK, True)
            percent[name].append(100 * float(responses(session, subject.threshold).mean()))
            if say:
                say(f"{name}: {percent[name][-1]:.0f} % CR")
        if name == phases[0][0]:
            state, after = trials(state, "cs", PROBES // 2, False)
    return Course(percent, after)


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
      options: those of `experiment`: phases, plastic, olive, say. Phases are (name, "paired" or
        "cs" for the tone alone, blocks of ten trials); by default `PHASES`.

    Returns:
      The subject before training, and the results. Trials of the tone alone are in
      `subject.before` and `course.after`.

    Raises:
      UsageError: impossible times.
    """
    mouse = subject(seed, Timing(isi_ms=isi_ms, cs_ms=cs_ms, us_ms=us_ms))
    return mouse, experiment(mouse, **options)
