"""Classification of spike patterns in mossy fibres, generated from a seed.

    delayed_xor     two patterns, one after the other with a pause between; are they different?
    ten_classes     ten patterns, whose spikes are moved and lost from trial to trial

Dimensions: n trials, L ticks, S steps to a tick, M mossy fibres.
"""

from dataclasses import dataclass

import numpy as np

from cerebellum.learn.feed import Trials

Rng = np.random.Generator
STEPS = 10
"""Steps to a tick."""
SHARES = (0.6, 0.8)
"""Shares of the trials at which the validation and the test split begin."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How trials of the same pattern differ."""

    jitter: float = 1.0
    """Standard deviation of each spike's time, steps."""
    loss: float = 0.1
    """Probability that a spike is lost."""
    background: float = 0.005
    """Probability of a background spike in a fibre and step."""


def _noisy(pattern: np.ndarray, steps: int, trials: int, rng: Rng, noise: Noise) -> np.ndarray:
    """Noisy spikes of a pattern in trials, bool [trials, steps, M].

    Args:
      pattern: the step in which each fibre fires, -1 for never, [M].
    """
    fibres = np.flatnonzero(pattern >= 0)
    spikes = rng.random((trials, steps, pattern.size)) < noise.background
    times = pattern[fibres] + np.round(rng.normal(0, noise.jitter, (trials, fibres.size)))
    kept = rng.random(times.shape) >= noise.loss
    trial, index = np.nonzero(kept)
    step = np.clip(times[trial, index], 0, steps - 1).astype(int)
    spikes[trial, step, fibres[index]] = True
    return spikes


def _pattern(mossy: int, share: float, steps: int, rng: Rng) -> np.ndarray:
    """A random pattern in which a share of the fibres fire once, see `_noisy`."""
    active = rng.random(mossy) < share
    return np.where(active, rng.integers(0, steps, mossy), -1)


def _ticks(spikes: np.ndarray) -> np.ndarray:
    """Spikes [trials, steps, M] divided into ticks, uint8 [trials, L, S, M]."""
    trials, steps, mossy = spikes.shape
    return spikes.reshape(trials, steps // STEPS, STEPS, mossy).astype(np.uint8)


def _task(spikes: np.ndarray, labels: np.ndarray, size: int, seed: int) -> Trials:
    """Trials with these spikes [trials, steps, M] and labels [trials], split by `SHARES`."""
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
    """Whether the second of two patterns differs from the first: labels 0 (same) and 1 (different).

    Args:
      pause: steps between the two patterns, a multiple of the steps to a tick.
    """
    rng = np.random.default_rng(seed)
    patterns = [_pattern(mossy, 0.3, STEPS, rng) for _ in range(2)]
    first, second = rng.integers(0, 2, (2, trials))
    spikes = rng.random((trials, 2 * STEPS + pause + STEPS, mossy)) < noise.background
    for pattern_of_trial, start in ((first, 0), (second, STEPS + pause)):
        for k, pattern in enumerate(patterns):
            at = np.flatnonzero(pattern_of_trial == k)
            spikes[at, start : start + STEPS] |= _noisy(pattern, STEPS, at.size, rng, noise)
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
    """Which of ten patterns of 20 steps is present: labels 0 to 9."""
    rng = np.random.default_rng(seed)
    patterns = [_pattern(mossy, 0.4, 2 * STEPS, rng) for _ in range(classes)]
    labels = rng.integers(0, classes, trials)
    spikes = np.zeros((trials, 2 * STEPS, mossy), bool)
    for k, pattern in enumerate(patterns):
        at = np.flatnonzero(labels == k)
        spikes[at] = _noisy(pattern, 2 * STEPS, at.size, rng, noise)
    return _task(spikes, labels, size, seed)
