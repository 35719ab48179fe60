"""The trials of eyeblink conditioning: their times, and the spikes that they record.

Dimensions: K trials, T steps of 1 ms to a trial.
"""

from dataclasses import dataclass

import numpy as np

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model.presets.eglif import SIZES

DT = 1.0
"""Time step, ms."""
US_GAP = 2
"""Interval between the spikes of the puff, ms."""
OVERLAP_MS = 30
"""Time for which the tone lasts after the onset of the puff, if nothing else is said."""
REST_MS = 70
"""Time from the end of tone and puff to the end of a trial, if nothing else is said."""
BASELINE_MS = 200
"""Length of the baseline before the onset of the tone."""
EARLY_MS = 100
"""A response within this time after the onset of the tone is none to the interval."""
LEAST_ISI_MS = 120
"""Least interval, which leaves some time for a response that is not early."""


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
        if self.isi_ms < LEAST_ISI_MS:
            raise UsageError(
                f"isi_ms: {self.isi_ms} ms; at least {LEAST_ISI_MS}, because a response in the "
                f"first {EARLY_MS} does not count"
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


@documented
@dataclass(frozen=True)
class Session:
    """Spikes of K trials."""

    spikes: dict[str, np.ndarray]
    """Number of spikes by population in each step, int32 [K, T]."""
    timing: Timing = PUBLISHED

    def rate(self, name: str) -> np.ndarray:
        """Mean rate of a population's cells, Hz, [K, T]."""
        return self.spikes[name] * (1e3 / (DT * SIZES[name]))
