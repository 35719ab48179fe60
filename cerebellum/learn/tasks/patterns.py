"""Tasks of spike patterns in mossy fibres, generated from a seed.

    delayed_xor     two patterns, one after the other with a pause between; are they different?
    ten_classes     ten patterns, spikes of which are moved and lost from trial to trial

Dimensions: n trials, L ticks, S steps to a tick, M mossy fibres.
"""

from dataclasses import dataclass

import numpy as np

from cerebellum.learn.feed import Trials

Rng = np.random.Generator
STEPS = 10
"""to a tick"""
SHARES = (0.6, 0.8)
"""where validation and test begin"""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What differs from trial to trial."""

    jitter: float = 1.0
    """standard deviation of each spike's time, steps"""
    loss: float = 0.1
    """probability that a spike is lost"""
    background: float = 0.005
    """probability of a spike out of nowhere, a fibre and step"""


def _shown(pattern: np.ndarray, steps: int, trials: int, rng: Rng, noise: Noise) -> np.ndarray:
    """A pattern (the step in which each fibre fires, -1 for never, [M]) in trials."""
    fibres = np.flatnonzero(pattern >= 0)
    out = rng.random((trials, steps, pattern.size)) < noise.background
    at = pattern[fibres] + np.round(rng.normal(0, noise.jitter, (trials, fibres.size)))
    kept = rng.random(at.shape) >= noise.loss
    trial, place = np.nonzero(kept)
    when = np.clip(at[trial, place], 0, steps - 1).astype(int)
    out[trial, when, fibres[place]] = True
    return out


def _pattern(mossy: int, share: float, steps: int, rng: Rng) -> np.ndarray:
    active = rng.random(mossy) < share
    return np.where(active, rng.integers(0, steps, mossy), -1)


def _ticks(spikes: np.ndarray) -> np.ndarray:
    trials, steps, mossy = spikes.shape
    return spikes.reshape(trials, steps // STEPS, STEPS, mossy).astype(np.uint8)


def _task(spikes: np.ndarray, labels: np.ndarray, size: int, seed: int) -> Trials:
    count = len(labels)
    return Trials(
        spikes=_ticks(spikes),
        labels=labels,
        parts=(int(SHARES[0] * count), int(SHARES[1] * count)),
        size=size,
        seed=seed,
    )


def delayed_xor(
    trials: int = 2_000,
    mossy: int = 60,
    *,
    pause: int = 10,
    noise: Noise = Noise(),
    size: int = 32,
    seed: int = 0,
) -> Trials:
    """Whether the second of two patterns differs from the first: labels 0 (same) and 1.

    Args:
      pause: steps between the two, a multiple of a tick's.
    """
    rng = np.random.default_rng(seed)
    patterns = [_pattern(mossy, 0.3, STEPS, rng) for _ in range(2)]
    first, second = rng.integers(0, 2, (2, trials))
    spikes = rng.random((trials, 2 * STEPS + pause + STEPS, mossy)) < noise.background
    for which, start in ((first, 0), (second, STEPS + pause)):
        for k, pattern in enumerate(patterns):
            chosen = np.flatnonzero(which == k)
            shown = _shown(pattern, STEPS, chosen.size, rng, noise)
            spikes[chosen, start : start + STEPS] |= shown
    return _task(spikes, first ^ second, size, seed)


def ten_classes(
    trials: int = 3_000,
    mossy: int = 60,
    *,
    classes: int = 10,
    noise: Noise = Noise(jitter=1.5, loss=0.2, background=0.01),
    size: int = 32,
    seed: int = 0,
) -> Trials:
    """Which of ten patterns of 20 steps was shown."""
    rng = np.random.default_rng(seed)
    patterns = [_pattern(mossy, 0.4, 2 * STEPS, rng) for _ in range(classes)]
    labels = rng.integers(0, classes, trials)
    spikes = np.zeros((trials, 2 * STEPS, mossy), bool)
    for k, pattern in enumerate(patterns):
        chosen = np.flatnonzero(labels == k)
        spikes[chosen] = _shown(pattern, 2 * STEPS, chosen.size, rng, noise)
    return _task(spikes, labels, size, seed)
