"""What mossy fibres and the afferents of the olive do in a trial of eyeblink conditioning.

A tone is the chance of a spike in each step that mossy fibres have beside their background. There
are two, by name in `TONES`:

* "structured": every fibre that carries the tone rises and falls once, each at a time of its own.
  Mossy-fibre input that differs in time from fibre to fibre is what a granular layer can learn
  intervals from (Gilmer et al. 2022, J Neurophysiol). The times are spread evenly over their
  logarithm and the widths grow with them, as the responses of unipolar brush cells do (Guo et al.
  2021, eLife, 0.1 to 2 s). The form, the limits and the rate are chosen, not published.
* "halves": the tone of Geminiani et al. 2022 (Front Syst Neurosci). Every fibre fires a train of 11
  spikes, the same in every trial: every other fibre in the first half of the tone, the rest in the
  second. With it the circuit cannot tell when the puff comes.

Dimensions: T steps of 1 ms to a trial, N mossy fibres.
"""

from collections.abc import Callable

import numpy as np
from jax import Array

from cerebellum.learn.tasks.eyeblink_trial import DT, PUBLISHED, US_GAP, Timing
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import EXTENT, positions
from cerebellum.model.streams import stream

CS_RADIUS = 120.0
"""Radius about the centre within which mossy fibres carry the tone, um: about two thirds of them.
The published 97 um selects a fibre if any of its glomeruli is inside, which would be nine tenths of
our fibres. By the position of the fibre itself, 97 um would select under a half."""

CS_GAP = 12.8
"""Mean interval between the spikes of a fibre in its half of the tone "halves", ms."""
CS_STAGGER = 13
"""The fibres of a half begin in this number of groups, 1 ms apart."""

PEAK_HZ = 160.0
"""Rate of a fibre of the structured tone at its own time, above its background."""
PEAK_MS = (30.0, 800.0)
"""The earliest and the latest of these times, ms after the onset of the tone."""
SHARPNESS = 30.0
"""Exponent of the rise and fall: the rate t after the onset is (x exp(1 - x)) ** SHARPNESS of its
peak, x = t / (time of the peak). Its standard deviation is then about a fifth of that time."""


def carriers(key: Array) -> np.ndarray:
    """The mossy fibres that carry the tone, in the circuit built with `key`: bool [N]."""
    position = positions(key, SIZES)["mossy_fiber"][:, :2]
    return np.linalg.norm(position - np.array(EXTENT) / 2, axis=1) <= CS_RADIUS


def structured(key: Array, timing: Timing = PUBLISHED) -> np.ndarray:
    """The tone whose fibres rise and fall one after another, float32 [T, N].

    A fibre's time does not depend on the timing of the trial. The response ends with the tone.
    """
    fibres = stream(key, "tone").permutation(np.flatnonzero(carriers(key)))
    peak = np.geomspace(*PEAK_MS, len(fibres))
    time = np.arange(timing.trial) * DT - timing.onset
    x = np.clip(time, 0, None)[:, None] / peak
    rate = PEAK_HZ * (x * np.exp(1 - x)) ** SHARPNESS
    chance = np.zeros((timing.trial, SIZES["mossy_fiber"]), np.float32)
    chance[:, fibres] = rate * DT * 1e-3
    chance[(time < 0) | (time >= timing.cs)] = 0
    return chance


def halves(key: Array, timing: Timing = PUBLISHED) -> np.ndarray:
    """The published tone: spikes at fixed times, 0 or 1, float32 [T, N].

    Even fibres fire in the first half of the tone and odd ones in the second. A longer tone has
    longer trains at the same rate (11 spikes in the half of 140 ms), so that it has no gap.
    """
    spikes = np.zeros((timing.trial, SIZES["mossy_fiber"]), np.float32)
    half = timing.cs // 2
    lasts = half - (CS_STAGGER - 1)
    train = np.linspace(0, lasts, 1 + round(lasts / CS_GAP))
    for index, fibre in enumerate(np.flatnonzero(carriers(key))):
        start = timing.onset + half * (index % 2) + (index // 2) % CS_STAGGER
        spikes[np.round(start + train).astype(int), fibre] = 1
    return spikes


TONES: dict[str, Callable[[Array, Timing], np.ndarray]] = {
    "structured": structured,
    "halves": halves,
}
"""Tones by name."""


def puff(timing: Timing = PUBLISHED) -> np.ndarray:
    """Spikes of the puff in a trial, the same for every afferent of the olive, [T, 1]."""
    spikes = np.zeros((timing.trial, 1), np.float32)
    spikes[timing.us_onset : timing.us_onset + int(timing.us_ms) : US_GAP] = 1
    return spikes
