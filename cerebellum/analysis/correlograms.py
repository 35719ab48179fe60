"""Correlations of spikes in time and between cells, and how synchronous cells are."""

import warnings
from typing import Any

import numpy as np

from cerebellum.analysis.spikes import Binner, positive, raster_of
from cerebellum.errors import UsageError
from cerebellum.io import neo as blocks
from cerebellum.parts import optional
from cerebellum.sim.record import Recording


def autocorrelogram(
    recording: Recording, population: str, bin_ms: float = 1.0, span_ms: float = 50.0
) -> tuple[np.ndarray, np.ndarray]:
    """The rate of a cell at some time before and after its own spikes, over all recorded cells.

    The spike itself is not counted. Times near the ends of the recording, which have fewer
    partners, are weighted up (Elephant's border correction).

    Args:
      bin_ms: width of the bins, whole steps.
      span_ms: the largest lag, whole bins.

    Returns:
      Lags, ms, float64 [2 L + 1], the centres of bins.
      Rates, Hz, float64 [2 L + 1]; NaN if no cell fires.

    Raises:
      UsageError: Elephant is not installed, there is no raster of this population, or the span is
        not whole bins or is as long as the recording.
    """
    raster = raster_of(recording, population)
    binner = Binner.of(recording, bin_ms)
    lags = _lags(binner, span_ms)
    total = np.zeros(2 * lags + 1)
    for train in raster.trains().values():
        if len(train):
            binned = binner.binned([train])
            total += _histogram(binned, binned, lags)
            total[lags] -= _spikes(binned)
    return _rate(binner, lags, total, _spikes(binner.binned([raster.time_ms])))


def crosscorrelogram(
    recording: Recording,
    reference: str,
    target: str,
    bin_ms: float = 1.0,
    span_ms: float = 50.0,
) -> tuple[np.ndarray, np.ndarray]:
    """The rate of a target cell before and after the spikes of a reference cell, over all pairs.

    At a positive lag the target follows. Of one population with itself, the pairs are those of
    different cells.

    Args:
      reference, target: populations.
      bin_ms, span_ms: as in `autocorrelogram`.

    Returns:
      Lags, ms, float64 [2 L + 1].
      Rates of a target cell, Hz; NaN if no reference cell fires, or there is no target cell.

    Raises:
      UsageError: as for `autocorrelogram`.
    """
    one, other = raster_of(recording, reference), raster_of(recording, target)
    binner = Binner.of(recording, bin_ms)
    lags = _lags(binner, span_ms)
    binned = binner.binned([one.time_ms])
    # The sum over all pairs of cells is that of their summed trains.
    total = _histogram(binned, binner.binned([other.time_ms]), lags)
    cells = len(other.cells)
    if reference == target:
        cells -= 1
        for train in one.trains().values():
            if len(train):
                own = binner.binned([train])
                total -= _histogram(own, own, lags)
    return _rate(binner, lags, total, _spikes(binned) * cells)


def correlation(recording: Recording, population: str, bin_ms: float = 5.0) -> np.ndarray:
    """Pearson's correlation of the spike counts of every two recorded cells, [cells, cells].

    It is NaN for a cell whose counts are all the same, such as one that never fires. The cells are
    in the order in which they were recorded.

    Args:
      bin_ms: width of the bins, whole steps.

    Raises:
      UsageError: Elephant is not installed, there is no raster of this population, or the bins
        are not whole steps.
    """
    trains = [*raster_of(recording, population).trains().values()]
    if not trains:
        return np.zeros((0, 0))
    module = optional("elephant.spike_train_correlation", "analysis", "correlation")
    binned = Binner.of(recording, bin_ms).binned(trains)
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore")  # of cells without spikes, which are NaN here
        found = np.asarray(module.correlation_coefficient(binned), float)
    return found.reshape(len(trains), len(trains))


def spike_contrast(recording: Recording, population: str, min_bin_ms: float = 10.0) -> float:
    """How synchronous the recorded cells are, from 0 to 1, at the time scale at which it is most.

    Spike-contrast (Ciba et al. 2018, Journal of Neuroscience Methods 293:136) compares bins of
    half the recording down to the smallest. Silent cells count as cells that do not take part. It
    is NaN if no cell fires twice.

    Args:
      min_bin_ms: the smallest bin; half the shortest interval of a cell if that is longer.

    Raises:
      UsageError: Elephant is not installed, there is no raster of this population or of one cell
        only, or the recording is shorter than two bins.
    """
    raster = raster_of(recording, population)
    if len(raster.cells) < 2:
        raise UsageError(f"population {population!r}: {len(raster.cells)} cells; at least two")
    if positive("min_bin_ms", min_bin_ms, "ms") > recording.duration_ms / 2:
        raise UsageError(f"min_bin_ms: {min_bin_ms:g}; at most {recording.duration_ms / 2:g}")
    if all(len(train) < 2 for train in raster.trains().values()):
        return float("nan")
    neo = optional("neo", "analysis", "spike_contrast")
    quantities = optional("quantities", "analysis", "spike_contrast")
    module = optional("elephant.spike_train_synchrony", "analysis", "spike_contrast")
    trains = blocks.trains(neo, recording, population)
    return float(module.spike_contrast(trains, min_bin=min_bin_ms * quantities.ms))


def _lags(binner: Binner, span_ms: float) -> int:
    """The largest lag in bins."""
    lags = round(positive("span_ms", span_ms, "ms") / binner.bin_ms)
    if lags < 1 or abs(lags * binner.bin_ms - span_ms) > 1e-6 * span_ms:
        raise UsageError(f"span_ms: {span_ms:g}; whole bins of {binner.bin_ms:g} ms")
    if lags >= binner.bins:
        raise UsageError(
            f"span_ms: {span_ms:g}; less than {binner.bins * binner.bin_ms:g}, the recording"
        )
    return lags


def _spikes(binned: Any) -> int:
    """The number of spikes in the bins."""
    return int(binned.get_num_of_spikes())


def _histogram(reference: Any, target: Any, lags: int) -> np.ndarray:
    """The number of pairs of spikes at each lag, [2 lags + 1]."""
    module = optional("elephant.spike_train_correlation", "analysis", "crosscorrelogram")
    found, _ = module.cross_correlation_histogram(
        reference, target, window=[-lags, lags], border_correction=True
    )
    return np.asarray(found.magnitude, float)[:, 0]


def _rate(
    binner: Binner, lags: int, pairs: np.ndarray, partners: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lags in ms, and the rate in Hz of pairs, of which there are so many at most in a bin."""
    lags_ms = np.arange(-lags, lags + 1) * binner.bin_ms
    if not partners:
        return lags_ms, np.full(len(pairs), np.nan)
    return lags_ms, pairs / (partners * binner.bin_ms * 1e-3)
