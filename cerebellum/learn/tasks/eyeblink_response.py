"""The conditioned response (CR): what counts as one, and when it comes.

The rule is that of the analysis of Geminiani et al. 2022 (Front Syst Neurosci; dystonia_ebcc,
`simulation_analysis.py`). The rate of the nuclei, smoothed and less its baseline, is averaged over
all windows of 100 ms that lie in the tone. A trial in which one of the first windows is above
`LEAST_HZ` has answered the onset of the tone, and has no CR. Otherwise it has one if a later
window, before the puff, is above the threshold, and three quarters of those from there on are.

The k-th of W windows stands for the time k / W of the tone. So the early ones are those up to 100
ms, and the last one that counts is that of the puff.

What is not published: the baseline is each trial's own, and the threshold comes from trials of the
untrained circuit.

Dimensions: K trials, T steps of 1 ms to a trial, W windows.
"""

from dataclasses import dataclass

import numpy as np

from cerebellum.learn.tasks.eyeblink_trial import BASELINE_MS, DT, EARLY_MS, Session

SMOOTHING_MS = 10.0
"""Standard deviation of the Gaussian filter on rates."""
WINDOW_MS = 100
"""Length of the windows of the moving average."""
LEAST_HZ = 3.9
"""Lowest threshold, and the limit of an early response."""
DEVIATIONS = 2.5
"""The threshold is so many standard deviations above the mean of the untrained circuit."""
SHARE = 0.75
"""Share of the time that is left to the puff for which a response lasts."""
FRACTIONS = (0.2, 0.5, 0.9)
"""Fractions of the peak at which its rise is timed; the first one is the onset."""


def smoothed(session: Session, name: str) -> np.ndarray:
    """Rate of a population, smoothed, Hz, [K, T]."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(session.rate(name), SMOOTHING_MS / DT, axis=1)


def response(session: Session) -> np.ndarray:
    """Smoothed rate of the nuclei less each trial's baseline, Hz, [K, T]."""
    rate, onset = smoothed(session, "nuclei"), session.timing.onset
    return rate - rate[:, onset - BASELINE_MS : onset].mean(axis=1, keepdims=True)


def _windows(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Means of `response` over windows of the tone: the early ones, and those until the puff."""
    timing = session.timing
    during = response(session)[:, timing.onset : timing.onset + timing.cs]
    size = round(WINDOW_MS / DT)
    means = np.lib.stride_tricks.sliding_window_view(during, size, axis=1).mean(axis=2)
    scale = (timing.cs - WINDOW_MS) / timing.cs
    first = int(EARLY_MS * scale)
    return means[:, :first], means[:, first : int(timing.isi_ms * scale)]


def _reaches(windows: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """Whether each window reaches a level, which is a number or [K], bool [K, W]."""
    return windows >= np.asarray(level)[..., None]


def threshold(session: Session) -> float:
    """The threshold of a CR, Hz, from trials of the tone alone before training."""
    later = _windows(session)[1]
    return max(LEAST_HZ, float(later.mean() + DEVIATIONS * later.std()))


def early(session: Session, limit: float | np.ndarray = LEAST_HZ) -> np.ndarray:
    """Whether each trial answers the onset of the tone, bool [K].

    Args:
      limit: of such an answer, Hz, a number or [K].
    """
    return np.any(_reaches(_windows(session)[0], limit), axis=1)


def responses(
    session: Session, above: float | np.ndarray, limit: float | np.ndarray = LEAST_HZ
) -> np.ndarray:
    """Whether each trial has a CR, bool [K].

    Args:
      above: threshold, Hz, a number or [K].
      limit: of an early response, Hz, likewise.
    """
    return _has(_windows(session), above, limit)


def _has(
    windows: tuple[np.ndarray, np.ndarray], above: float | np.ndarray, limit: float | np.ndarray
) -> np.ndarray:
    """Whether each trial has a CR, by its `_windows`."""
    first, later = windows
    exceeds = _reaches(later, above)
    left = exceeds.shape[1] - exceeds.argmax(axis=1)
    lasts = exceeds.sum(axis=1) >= SHARE * left
    return np.any(exceeds, axis=1) & lasts & ~np.any(_reaches(first, limit), axis=1)


STEP_HZ = 0.05
"""Distance between the thresholds that `threshold_passed` tries."""


def threshold_passed(session: Session, share: float, factor: np.ndarray) -> float:
    """The highest threshold that a share of trials pass, Hz; the limit of early answers equals it.

    How far the lid of a mouse moves for a rate of its nuclei is not known, but how often the mouse
    answers is. Where no threshold is passed so often, it is the one that is passed most often.

    Args:
      share: of the trials.
      factor: on the threshold, of each trial, [K].
    """
    windows = _windows(session)
    highest = float((windows[1].max(axis=1) / factor).max())
    thresholds = np.arange(1, max(highest, 1) + STEP_HZ, STEP_HZ)
    passed = [_has(windows, each * factor, each * factor).mean() for each in thresholds]
    enough = np.flatnonzero(np.array(passed) >= share)
    return float(thresholds[enough[-1] if enough.size else np.argmax(passed)])


@dataclass(frozen=True, kw_only=True)
class Times:
    """When a response comes, ms after the onset of the tone; NaN where there is none."""

    rise_ms: tuple[float, ...]
    """when it last rose through each of `FRACTIONS` of its peak"""
    peak_ms: float
    """when it is largest, up to the end of the tone"""
    peak_hz: float
    """how large it is there, over the baseline"""


def times(rate: np.ndarray, session: Session) -> Times:
    """When a response comes.

    Args:
      rate: a row of `response(session)`, or their mean, [T].
    """
    timing = session.timing
    during = rate[timing.onset : timing.onset + timing.cs]
    peak = int(during.argmax())
    if during[peak] <= 0:
        nothing = float("nan")
        return Times(rise_ms=(nothing,) * len(FRACTIONS), peak_ms=nothing, peak_hz=nothing)
    below = (np.flatnonzero(during[:peak] < share * during[peak]) for share in FRACTIONS)
    rise = tuple(DT * (1 + steps[-1]) if steps.size else 0.0 for steps in below)
    return Times(rise_ms=rise, peak_ms=DT * peak, peak_hz=float(during[peak]))


def pause(session: Session) -> float:
    """How far the mean rate of Purkinje cells falls before the puff, % of the baseline."""
    timing = session.timing
    rate = smoothed(session, "purkinje").mean(axis=0)
    baseline = rate[timing.onset - BASELINE_MS : timing.onset].mean()
    return float(100 * (1 - rate[timing.onset : timing.us_onset].min() / baseline))


def answer_to_tone(session: Session, from_ms: int = 50) -> float:
    """The largest mean response of the nuclei from that time of the tone to the puff, Hz."""
    timing = session.timing
    return float(response(session).mean(axis=0)[timing.onset + from_ms : timing.us_onset].max())
