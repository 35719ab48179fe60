"""Delay eyeblink conditioning of the awake mouse circuit (Model B).

Mossy fibres carry a tone (conditioned stimulus, CS), and the afferents of the olive carry a puff of
air (unconditioned stimulus, US). The two end together. Parallel-fibre synapses that were active
some 100 ms before a climbing-fibre spike weaken, so Purkinje cells pause and nuclear cells fire
before the puff. This is the conditioned response (CR).

The tone is that of Geminiani et al. 2022 (Front Syst Neurosci). It lasts 280 ms, and mossy fibres
near the centre fire 11 times each, the same in every trial: every other fibre in the first half,
the rest in the second. The puff is that of Geminiani et al. 2024 (PLOS Comput Biol): five spikes in
10 ms, 250 ms after tone onset. The rest between trials is shorter than in both papers, and the
background of 4 Hz never stops. The detector is defined in this file and was not fitted to data. The
three numbers of the plasticity rule were fitted to the learning curve of wild-type mice on seeds 0
to 2.

Dimensions: K trials, T steps of 1 ms to a trial, N cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

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

TRIAL = 600
"""Length of a trial, ms. The times below are ms after the start of a trial."""
CS_ONSET = 250
CS_MS = 280
US_ONSET = 500

CS_RADIUS = 120.0
"""Radius about the centre within which mossy fibres carry the tone, um: about two thirds of them.
The published 97 um selects a fibre if any of its glomeruli is inside, which would be nine tenths of
our fibres. By the position of the fibre itself, 97 um would select under a half."""
CS_SPIKES = 11
"""Spikes of each of these fibres in a tone."""
CS_HALVES = (0, 140)
"""Start of the spike trains of even and of odd fibres, ms after CS onset. They last 128 ms."""

US_SPIKES, US_GAP = 5, 2
"""Number of spikes of the puff, and the interval between them, ms."""

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


@dataclass(frozen=True)
class Session:
    """Spikes of K trials."""

    spikes: dict[str, np.ndarray]
    """Number of spikes by population in each step, int32 [K, T]."""

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


def tone(key: Array) -> np.ndarray:
    """Mossy-fibre spikes of the tone in a trial, [T, N], for the circuit built with `key`."""
    position = positions(key, SIZES)["mossy_fiber"][:, :2]
    distance = np.linalg.norm(position - np.array(EXTENT) / 2, axis=1)
    spikes = np.zeros((TRIAL, SIZES["mossy_fiber"]), np.float32)
    train = np.linspace(0, 128, CS_SPIKES)
    for index, fibre in enumerate(np.flatnonzero(distance <= CS_RADIUS)):
        start = CS_ONSET + CS_HALVES[index % 2] + (index // 2) % 13
        spikes[np.round(start + train).astype(int), fibre] = 1
    return spikes


def puff() -> np.ndarray:
    """Spikes of the puff in a trial, the same for every afferent of the olive, [T, 1]."""
    spikes = np.zeros((TRIAL, 1), np.float32)
    spikes[US_ONSET : US_ONSET + US_SPIKES * US_GAP : US_GAP] = 1
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
    learning: bool = True,
    olive: bool = True,
) -> tuple[State, Session]:
    """Run trials, starting from a state. Returns the state after them and their spikes.

    Args:
      circuit: built from `spec`.
      state: donated.
      kinds: kind of each trial.
      tone_spikes: the result of `tone`.
      key: key of the background, which differs from trial to trial.
      learning: whether weights change.
      olive: whether the olive can fire.
    """
    trial_offset = int(state.step) // TRIAL
    factor = {name: jnp.float32(learning) for name in circuit.params.learning_gain}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=factor))
    mossy, afferents = [], []
    for index, kind in enumerate(kinds):
        draws = stream(key, f"trial {trial_offset + index}").random(tone_spikes.shape, np.float32)
        background = draws < BACKGROUND_HZ * DT * 1e-3
        mossy.append(np.maximum(background, tone_spikes).astype(np.float32))
        afferents.append(puff() if kind == "paired" else np.zeros((TRIAL, 1), np.float32))
    steps = TRIAL * len(kinds)
    drive = {
        "mossy_fiber": np.concatenate(mossy),
        "olivary_afferent": np.concatenate(afferents),
        "inferior_olive": np.full((steps, 1), 0.0 if olive else SILENCING_PA, np.float32),
    }
    state, recording = simulate(circuit, state, drive, chunk_steps=TRIAL, progress=False)
    spikes = {name: x.reshape(len(kinds), TRIAL) for name, x in recording.spikes.items()}
    return state, Session(spikes)


def response(session: Session) -> np.ndarray:
    """Smoothed rate of the nuclei less each trial's baseline, Hz, [K, T]."""
    from scipy.ndimage import gaussian_filter1d

    rate = gaussian_filter1d(session.rate("nuclei"), SMOOTHING_MS / DT, axis=1)
    return rate - rate[:, CS_ONSET - BASELINE_MS : CS_ONSET].mean(axis=1, keepdims=True)


def threshold(session: Session) -> float:
    """The threshold of a CR, Hz, from trials of the tone alone before training."""
    in_window = response(session)[:, CS_ONSET + CR_FROM_MS : US_ONSET]
    return max(LEAST_HZ, float(in_window.mean() + DEVIATIONS * in_window.std()))


def responses(session: Session, above: float) -> np.ndarray:
    """Whether each trial has a CR, bool [K].

    Args:
      above: threshold, Hz.
    """
    exceeds = response(session)[:, CS_ONSET + CR_FROM_MS : US_ONSET] > above
    runs = np.lib.stride_tricks.sliding_window_view(exceeds, round(CR_MS / DT), axis=1)
    return np.any(np.all(runs, axis=-1), axis=-1)


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


PROBES = 20
"""Trials of the tone alone before training. There are half as many after acquisition."""


def subject(seed: int) -> Subject:
    """Build a circuit and measure its threshold. The seed sets wiring and background."""
    build_key, run_key, key = jax.random.split(jax.random.key(seed), 3)
    circuit, tone_spikes = anatomy.build(spec(), build_key), tone(build_key)
    state = circuits.init(circuit, run_key)
    probes = ("cs",) * PROBES
    state, before = run(circuit, state, probes, tone_spikes, key, learning=False)
    return Subject(
        circuit=circuit,
        state=state,
        tone_spikes=tone_spikes,
        key=key,
        before=before,
        threshold=threshold(before),
    )


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
      phases: as `PHASES`. The probes follow the first phase.
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
