"""The rate of a population around stimuli, and its power spectrum."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cerebellum.analysis.spikes import (
    Recordings,
    check_population,
    positive,
    raster_of,
    steps_of,
    trials,
)
from cerebellum.errors import UsageError, is_number
from cerebellum.io import tables
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording


def psth(
    recordings: Recordings,
    population: str,
    bin_ms: float = 5.0,
    *,
    onsets_ms: Sequence[float] | np.ndarray | None = None,
    span_ms: tuple[float, float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The peristimulus time histogram: mean rate of the recorded cells over trials.

    Without onsets every recording is a trial. With onsets every onset in every recording is one,
    rounded to steps.

    Args:
      recordings: one, or several of equal length, such as those of a batch.
      bin_ms: width of the bins, whole steps; what does not fill a bin is left out.
      onsets_ms: the time of each stimulus, ms of the run.
      span_ms: start and end of what is looked at, relative to an onset.

    Returns:
      The centres of the bins, ms from the onset, or ms of the run without onsets, float64 [bins].
      Rates of a cell, Hz, float64 [bins].

    Raises:
      UsageError: Elephant is not installed, there is no raster of this population, the span of an
        onset is not whole bins or is not in the recording, or recordings differ in times or cells.
    """
    listed = trials(recordings)
    if (onsets_ms is None) != (span_ms is None):
        raise UsageError("onsets_ms, span_ms: one of them; both, or neither")
    first, rasters = listed[0], [raster_of(each, population) for each in listed]
    width, cells = records.bin_steps(first, bin_ms), len(rasters[0].cells)
    start, bins = tables.start_step(first), first.steps // width
    pooled: list[np.ndarray] = []
    for recording, raster in zip(listed, rasters, strict=True):
        if (recording.dt, len(raster.cells)) != (first.dt, cells):
            raise UsageError("recordings: another time step or number of cells; those of the first")
        steps = steps_of(recording, raster.time_ms)
        if onsets_ms is not None and span_ms is not None:
            begins, bins = _windows(recording, _times(onsets_ms), span_ms, width)
            start = _steps(span_ms[0], first.dt)
            ends = np.searchsorted(steps, begins), np.searchsorted(steps, begins + bins * width)
            pooled += [steps[a:b] - begin for begin, a, b in zip(begins, *ends, strict=True)]
        elif (recording.start_ms, recording.steps) == (first.start_ms, first.steps):
            pooled.append(steps)
        else:
            raise UsageError("recordings: other times; those of the first, or onsets_ms")
    centres = (start + (np.arange(bins) + 0.5) * width) * first.dt
    if not cells or not pooled:
        return centres, np.full(bins, np.nan)
    return centres, _histogram(pooled, first.dt, width, bins) / cells


def _steps(time_ms: Any, dt: float) -> int:
    return round(time_ms / dt)


def _times(onsets_ms: Any) -> np.ndarray:
    """Onsets as an array, [onsets], or UsageError."""
    times = np.atleast_1d(np.asarray(onsets_ms))
    if times.ndim != 1 or times.dtype.kind not in "iuf":
        raise UsageError(f"onsets_ms: {onsets_ms!r}; a list of numbers, ms")
    return times.astype(float)


def _windows(
    recording: Recording, onsets_ms: np.ndarray, span_ms: tuple[float, float], width: int
) -> tuple[np.ndarray, int]:
    """The first step of each trial, and the number of its bins."""
    if len(span_ms) != 2 or not all(map(is_number, span_ms)) or not span_ms[0] < span_ms[1]:
        raise UsageError(f"span_ms: {span_ms!r}; its start and its end, ms from the onset")
    dt = recording.dt
    before, after = (_steps(each, dt) for each in span_ms)
    bins = (after - before) // width
    if bins < 1 or bins * width != after - before:
        raise UsageError(f"span_ms: {span_ms!r}; whole bins of {width * dt:g} ms, at least one")
    onsets = np.round((onsets_ms - recording.start_ms) / dt).astype(np.int64)
    for onset_ms, onset in zip(onsets_ms, onsets, strict=True):
        if onset + before < 0 or onset + after > recording.steps:
            start, stop = recording.start_ms, recording.start_ms + recording.duration_ms
            raise UsageError(
                f"onsets_ms: {onset_ms:g}, whose span is not in the recording; "
                f"from {start - span_ms[0]:g} to {stop - span_ms[1]:g}"
            )
    return onsets + before, bins


def _histogram(trains: list[np.ndarray], dt: float, width: int, bins: int) -> np.ndarray:
    """The rate of trains of steps, Hz, mean over trains, [bins]."""
    neo = optional("neo", "analysis", "psth")
    quantities = optional("quantities", "analysis", "psth")
    statistics = optional("elephant.statistics", "analysis", "psth")
    end = bins * width * dt
    listed = [
        neo.SpikeTrain(
            (steps[steps < bins * width] + 0.5) * dt, units="ms", t_start=0.0, t_stop=end
        )
        for steps in trains
    ]
    rate = statistics.time_histogram(listed, width * dt * quantities.ms, output="rate")
    return np.asarray(rate.rescale("Hz").magnitude, float)[:, 0]


def power_spectrum(
    recording: Recording, population: str, resolution_hz: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """The power spectrum of the rate of a population, by Welch's method.

    The rate is that of all cells in each step, which every recording has; its mean is removed.
    For cells that fire independently at a rate r, the spectrum is flat at 2 r / cells.

    Args:
      resolution_hz: the interval between frequencies; segments last for its inverse, overlap by
        half, and have a Hann window.

    Returns:
      Frequencies, Hz, up to half the inverse of the time step.
      Power, Hz^2/Hz.

    Raises:
      UsageError: Elephant is not installed, there is no such population, or the recording is
        shorter than a segment.
    """
    records.check(recording)
    check_population(recording, population)
    least = 1e3 / recording.duration_ms if recording.steps else np.inf
    if positive("resolution_hz", resolution_hz, "Hz") < least * (1 - 1e-9):
        raise UsageError(
            f"resolution_hz: {resolution_hz:g}; at least {least:g} in {recording.duration_ms:g} ms"
        )
    neo = optional("neo", "analysis", "power_spectrum")
    quantities = optional("quantities", "analysis", "power_spectrum")
    spectral = optional("elephant.spectral", "analysis", "power_spectrum")
    scale = 1e3 / (recording.dt * recording.sizes[population])
    rate = neo.AnalogSignal(
        recording.spikes[population][:, None] * scale,
        units="Hz",
        sampling_period=recording.dt * quantities.ms,
    )
    frequencies, power = spectral.welch_psd(rate, frequency_resolution=resolution_hz)
    return np.asarray(frequencies.magnitude, float), np.asarray(power.magnitude, float)[0]
