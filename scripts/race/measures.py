"""Measures of the spikes of a population, as the authors of the cortical microcircuit take them.

Rates, irregularity and correlations: Dasbach et al. 2021, doi:10.3389/fnins.2021.757790, whose
protocol is that of the reference data of the model. Synchrony: Potjans & Diesmann 2014. Spikes are
a cell and a time, ms from the beginning of the window, for each; cells count from 0.
"""

import numpy as np

BIN_MS = 2.0
"""Correlations are those of spike counts in bins of this width."""
SYNCHRONY_BIN_MS, SYNCHRONY_CELLS = 3.0, 1_000
"""Synchrony is that of spike counts in such bins, of so many cells of a population."""


def rates(cell: np.ndarray, cells: int, window_ms: float) -> np.ndarray:
    """Rate of each cell, Hz [cells]."""
    return np.bincount(cell, minlength=cells) / (window_ms * 1e-3)


def irregularities(cell: np.ndarray, time_ms: np.ndarray, cells: int) -> np.ndarray:
    """CV of the intervals of each cell that fired at least four times."""
    order = np.lexsort((time_ms, cell))
    own, at = np.asarray(cell)[order].astype(np.int64), np.asarray(time_ms)[order]
    same, interval = own[1:] == own[:-1], np.diff(at)
    number = np.bincount(own[1:][same], minlength=cells)
    total = np.bincount(own[1:][same], interval[same], cells)
    squares = np.bincount(own[1:][same], interval[same] ** 2, cells)
    many = number > 2
    mean = total[many] / number[many]
    return np.sqrt(np.maximum(squares[many] / number[many] - mean**2, 0)) / mean


def correlations(
    cell: np.ndarray, time_ms: np.ndarray, chosen: np.ndarray, window_ms: float
) -> np.ndarray:
    """Correlation of the spike counts of each pair of the chosen cells that fired."""
    chosen = np.intersect1d(chosen, cell)
    own = np.isin(cell, chosen)
    place = np.searchsorted(chosen, np.asarray(cell)[own])
    counts = np.zeros((chosen.size, int(window_ms / BIN_MS) + 1))
    np.add.at(counts, (place, (np.asarray(time_ms)[own] / BIN_MS).astype(int)), 1)
    return np.asarray(np.corrcoef(counts))[np.triu_indices(chosen.size, 1)]


def synchrony(cell: np.ndarray, time_ms: np.ndarray, window_ms: float) -> float:
    """Variance over mean of the spike count of the first 1,000 cells together."""
    own = np.asarray(time_ms)[np.asarray(cell) < SYNCHRONY_CELLS]
    bins = int(window_ms / SYNCHRONY_BIN_MS)
    counts = np.bincount((own / SYNCHRONY_BIN_MS).astype(int), minlength=bins)[:bins]
    return float(counts.var() / counts.mean())


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The two-sample statistic of Kolmogorov and Smirnov: the largest difference of two shares."""
    one, other = np.sort(one), np.sort(other)
    both = np.concatenate([one, other])
    shares = (np.searchsorted(x, both, "right") / x.size for x in (one, other))
    return float(np.abs(np.subtract(*shares)).max())
