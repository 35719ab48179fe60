"""How much a population vector resembles itself some time later: the measure of a temporal basis.

    S(lag) = mean over t of x(t) . x(t + lag) / (|x(t)| |x(t + lag)|)

x(t) is the number of spikes of each cell in a bin, averaged over trials (Yamazaki & Tanaka 2007,
Neural Networks, equation 8, without their running average). With few trials, the noise of x would
add to S(0) alone and make S fall. Trials are therefore divided into halves, and every product is
one of a vector of one half and a vector of the other, which the noise does not bias.

If many cells fire at rest, they hide a change of the few that represent time. `change` is S of the
difference from the vector at rest.

Dimensions: T bins, N cells.
"""

from collections.abc import Sequence

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.sim.record import Raster


def halves(
    raster: Raster, onsets_ms: Sequence[float], span_ms: tuple[float, float], bin_ms: float
) -> np.ndarray:
    """Mean number of spikes of each recorded cell, float32 [2, T, N], in even and in odd trials.

    Args:
      raster: spikes of the whole run.
      onsets_ms: time of the onset of each trial, an even number of them.
      span_ms: start and end of what is looked at, relative to an onset; whole bins.
      bin_ms: width of a bin.

    Raises:
      UsageError: the trials are none or an odd number, or the span is no whole number of bins.
    """
    if not len(onsets_ms) or len(onsets_ms) % 2:
        raise UsageError(f"onsets_ms: {len(onsets_ms)} trials; an even number, for two halves")
    start, stop = span_ms
    bins = round((stop - start) / bin_ms) if bin_ms > 0 else 0
    if bins < 1 or abs(bins * bin_ms - (stop - start)) > 1e-6:
        raise UsageError(f"bin_ms: {bin_ms}; the {stop - start:g} ms are a whole number of bins")
    column = np.searchsorted(raster.cells, raster.cell)
    counts = np.zeros((2, bins, len(raster.cells)), np.float32)
    # A time stamp is the end of its step: the spike at the end of a bin belongs to it.
    for trial, onset in enumerate(onsets_ms):
        first, last = np.searchsorted(raster.time_ms, [onset + start, onset + stop], "right")
        elapsed = raster.time_ms[first:last] - (onset + start)
        place = np.minimum(np.ceil(elapsed / bin_ms - 1e-6).astype(int) - 1, bins - 1)
        np.add.at(counts[trial % 2], (place, column[first:last]), 1)
    return counts / (len(onsets_ms) // 2)


def similarity(vectors: np.ndarray) -> np.ndarray:
    """S(lag) / S(0) of population vectors, [T], at lags of 0 to T - 1 bins.

    The mean over t is taken of numerator and denominator, so that it is defined where a vector is
    nothing but noise. It is NaN if the two halves have nothing in common at any time.

    Args:
      vectors: those of `halves`, [2, T, N].
    """
    if vectors.ndim != 3 or vectors.shape[0] != 2:
        raise UsageError(f"vectors: {list(vectors.shape)}; [2, T, N], as `halves` returns them")
    one, other = np.asarray(vectors, np.float64)
    products = one @ other.T
    products = (products + products.T) / 2
    length = np.sqrt(np.maximum(np.diag(products), 0))
    lengths = np.outer(length, length)
    lags = range(len(one))
    above = np.array([np.diag(products, lag).mean() for lag in lags])
    below = np.array([np.diag(lengths, lag).mean() for lag in lags])
    return np.divide(above, below, out=np.full(len(one), np.nan), where=below > 0)


def change(vectors: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """S(lag) / S(0) of the difference from the mean vector at rest, [T] (see `similarity`).

    Args:
      vectors: [2, T, N].
      rest: vectors at rest of the same halves, [2, any number of bins, N].
    """
    if rest.ndim != 3 or (rest.shape[0], rest.shape[2]) != (vectors.shape[0], vectors.shape[-1]):
        raise UsageError(f"rest: {list(rest.shape)}; bins of {list(vectors.shape)} at rest")
    return similarity(vectors - rest.mean(axis=1, keepdims=True))
