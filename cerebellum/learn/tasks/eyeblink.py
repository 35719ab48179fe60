"""Delay eyeblink conditioning of the awake mouse circuit (Model B).

A tone (conditioned stimulus, CS) comes in by mossy fibres, a puff of air (unconditioned stimulus,
US) by the afferents of the olive; they end together. Parallel-fibre synapses that were active some
100 ms before a climbing fibre weaken, so Purkinje cells pause and nuclear cells fire before the
puff: the conditioned response (CR).

The tone is that of Geminiani et al. 2022 (Front Syst Neurosci): 280 ms, in mossy fibres near the
centre, each firing 11 times, the same in every trial; every other fibre in the first half, the
rest in the second. The puff is that of Geminiani et al. 2024 (PLOS Comput Biol): five
spikes in 10 ms, 250 ms after the tone began. Between trials there is less rest than in both, and
the background of 4 Hz goes on throughout. The detector is fixed in this file and fitted to
nothing; the three numbers of the plasticity rule were fitted to the learning curve of wild-type
mice on seeds 0 to 2.

Dimensions: K trials, T steps of 1 ms to a trial, N cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import cerebellum as cb
from cerebellum.model.anatomy import stream
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.plasticity import parallel_fibre_purkinje
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import EXTENT, positions
from cerebellum.model.spec import Spec
from cerebellum.sim.simulate import simulate

DT = 1.0
"""ms"""

TRIAL = 600
"""ms; CS onset, US onset and what follows are counted within a trial"""
CS_ONSET = 250
CS_MS = 280
US_ONSET = 500

CS_RADIUS = 120.0
"""um about the centre: about two thirds of the fibres. The published 97 um takes a fibre by any of
its glomeruli, which would be nine tenths of ours; by their own place it would be under a half."""
CS_SPIKES = 11
CS_HALVES = (0, 140)
"""ms after CS onset at which the trains of every other fibre begin; they last 128 ms"""

US_SPIKES, US_GAP = 5, 2
"""spikes, and ms from one to the next"""

BACKGROUND_HZ = 4.0

A_PLUS, A_MINUS, W_MAX = 1.8e-4, -3.2e-4, 0.28
"""Parallel fibre to Purkinje cell: nS a spike, nS a pair, nS (twice the first weight)."""

SMOOTHING_MS = 10.0
BASELINE_MS = 200
CR_FROM_MS = 50
"""after CS onset; to US onset"""
CR_MS = 30
"""how long the response must stay above threshold"""
LEAST_HZ = 3.9
DEVIATIONS = 2.5
"""The threshold is so many standard deviations above the mean, and at least so many Hz."""

MOUSE_CURVE = (9, 27, 52, 71, 85, 78, 83, 90, 84, 81)
"""Percent CR of wild-type mice in blocks of ten (Geminiani et al. 2024, `sim_analysis.py`)."""

Kind = Literal["paired", "cs"]
"""Tone and puff, or the tone alone."""


@dataclass(frozen=True)
class Session:
    """Spikes of some trials."""

    spikes: dict[str, np.ndarray]
    """by population, of all its cells in each step, int32 [K, T]"""

    def rate(self, name: str) -> np.ndarray:
        """Population rate, Hz, [K, T]."""
        return self.spikes[name] * (1e3 / (DT * SIZES[name]))


def spec() -> Spec:
    """The awake mouse circuit at 1 ms, with plastic synapses of parallel fibres."""
    rule = parallel_fibre_purkinje("inferior_olive_climbing_purkinje", A_PLUS, A_MINUS)
    circuit = cb.presets.mouse_eglif("awake", dt=DT)
    return circuit.with_projection(
        "granule_parallel_purkinje", plastic=True, w_max=W_MAX, rule=rule
    )


def tone(key: Array) -> np.ndarray:
    """Spikes that the CS brings in each trial to the circuit built with `key`: [T, N]."""
    at = positions(key, SIZES)["mossy_fiber"][:, :2]
    reached = np.flatnonzero(np.linalg.norm(at - np.array(EXTENT) / 2, axis=1) <= CS_RADIUS)
    given = np.zeros((TRIAL, SIZES["mossy_fiber"]), np.float32)
    train = np.linspace(0, 128, CS_SPIKES)
    for place, fibre in enumerate(reached):
        start = CS_ONSET + CS_HALVES[place % 2] + (place // 2) % 13
        given[np.round(start + train).astype(int), fibre] = 1
    return given


def puff() -> np.ndarray:
    """Spikes that the US brings in a trial to every afferent of the olive: [T, 1]."""
    given = np.zeros((TRIAL, 1), np.float32)
    given[US_ONSET : US_ONSET + US_SPIKES * US_GAP : US_GAP] = 1
    return given


SILENCING_PA = -3e4
"""Current into the olive that keeps it from firing, US or not."""


def run(
    circuit: Circuit,
    state: State,
    kinds: Sequence[Kind],
    given: np.ndarray,
    key: Array,
    *,
    learning: bool = True,
    olive: bool = True,
) -> tuple[State, Session]:
    """Some trials, from where the state is.

    Args:
      circuit: of `spec`.
      state: donated.
      kinds: of the trials.
      given: the `tone`.
      key: of the background, which differs from trial to trial.
      learning: whether weights change.
      olive: whether it can fire.
    """
    first = int(state.step) // TRIAL
    factor = {name: jnp.float32(learning) for name in circuit.params.rates}
    circuit = replace(circuit, params=replace(circuit.params, rates=factor))
    mossy, taught = [], []
    for index, kind in enumerate(kinds):
        draws = stream(key, f"trial {first + index}").random(given.shape, np.float32)
        background = draws < BACKGROUND_HZ * DT * 1e-3
        mossy.append(np.maximum(background, given).astype(np.float32))
        taught.append(puff() if kind == "paired" else np.zeros((TRIAL, 1), np.float32))
    steps = TRIAL * len(kinds)
    drive = {
        "mossy_fiber": np.concatenate(mossy),
        "olivary_afferent": np.concatenate(taught),
        "inferior_olive": np.full((steps, 1), 0.0 if olive else SILENCING_PA, np.float32),
    }
    state, recording = simulate(circuit, state, drive, chunk_steps=TRIAL, progress=False)
    spikes = {name: x.reshape(len(kinds), TRIAL) for name, x in recording.spikes.items()}
    return state, Session(spikes)


def response(session: Session) -> np.ndarray:
    """Smoothed rate of the nuclei above each trial's own baseline, Hz, [K, T]."""
    from scipy.ndimage import gaussian_filter1d

    rate = gaussian_filter1d(session.rate("nuclei"), SMOOTHING_MS / DT, axis=1)
    return rate - rate[:, CS_ONSET - BASELINE_MS : CS_ONSET].mean(axis=1, keepdims=True)


def threshold(session: Session) -> float:
    """What a CR must exceed, Hz, from trials of the tone alone before training."""
    waiting = response(session)[:, CS_ONSET + CR_FROM_MS : US_ONSET]
    return max(LEAST_HZ, float(waiting.mean() + DEVIATIONS * waiting.std()))


def responses(session: Session, above: float) -> np.ndarray:
    """Whether there was a CR: bool [K]."""
    waiting = response(session)[:, CS_ONSET + CR_FROM_MS : US_ONSET] > above
    runs = np.lib.stride_tricks.sliding_window_view(waiting, round(CR_MS / DT), axis=1)
    return np.any(np.all(runs, axis=-1), axis=-1)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A circuit before training, and what was measured of it."""

    circuit: Circuit
    state: State
    given: np.ndarray
    """its `tone`"""
    key: Array
    """of the background"""
    before: Session
    """the tone alone"""
    threshold: float
    """Hz"""


PROBES = 20
"""trials of the tone alone before training, and half as many after acquisition"""


def subject(seed: int) -> Subject:
    """Build a circuit, and measure its threshold; `seed` is of wiring and background."""
    build_key, run_key, key = jax.random.split(jax.random.key(seed), 3)
    circuit, given = cb.build(spec(), build_key), tone(build_key)
    state, before = run(
        circuit, cb.init(circuit, run_key), ("cs",) * PROBES, given, key, learning=False
    )
    return Subject(
        circuit=circuit,
        state=state,
        given=given,
        key=key,
        before=before,
        threshold=threshold(before),
    )


@dataclass(frozen=True)
class Course:
    """A whole experiment with one subject."""

    percent: dict[str, list[float]]
    """CRs by phase, percent in each block of ten trials"""
    after: Session
    """the tone alone after the first phase, learning off"""


PHASES: tuple[tuple[str, Kind, int], ...] = (
    ("acquisition", "paired", 10),
    ("extinction", "cs", 4),
    ("reacquisition", "paired", 4),
)
"""name, kind of trial, blocks"""

BLOCK = 10
"""trials"""


def experiment(
    subject: Subject,
    *,
    phases: Sequence[tuple[str, Kind, int]] = PHASES,
    plastic: bool = True,
    olive: bool = True,
    say: Callable[[str], None] | None = None,
) -> Course:
    """Train, probe, extinguish, train again; the subject itself stays as it was.

    Args:
      phases: as `PHASES`; the probes follow the first.
      plastic, olive: whether parallel-fibre synapses learn, and whether the olive fires.
      say: called with a line about each block.
    """
    state = jax.tree.map(jnp.copy, subject.state)

    def trials(state: State, kind: Kind, count: int, learning: bool):
        return run(
            subject.circuit,
            state,
            (kind,) * count,
            subject.given,
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
