"""Intervals between spikes and how regular they are, cell by cell."""

from itertools import pairwise

import numpy as np

from cerebellum.analysis.spikes import Recordings, raster_of, steps_of, trials
from cerebellum.errors import UsageError
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording


def isi(recording: Recording, population: str) -> dict[int, np.ndarray]:
    """The intervals between the spikes of each recorded cell, ms, by the number of the cell.

    A cell with fewer than two spikes has none.

    Raises:
      UsageError: Elephant is not installed, or there is no raster of this population.
    """
    return _intervals(recording, population, "isi")


def _intervals(recording: Recording, population: str, what: str) -> dict[int, np.ndarray]:
    """The intervals of each cell, for the analysis `what`."""
    trains = raster_of(recording, population).trains()
    statistics = optional("elephant.statistics", "analysis", what)
    return {cell: np.asarray(statistics.isi(times)) for cell, times in trains.items()}


def cv(recording: Recording, population: str) -> np.ndarray:
    """The coefficient of variation of the intervals of each recorded cell, float64 [cells].

    The standard deviation over the mean: 0 for a clock, 1 for a Poisson process. It is NaN for a
    cell with fewer than three spikes. The cells are in the order in which they were recorded.

    Raises:
      UsageError: as for `isi`.
    """
    intervals = _intervals(recording, population, "cv")
    statistics = optional("elephant.statistics", "analysis", "cv")
    return np.array([statistics.cv(x) if len(x) > 1 else np.nan for x in intervals.values()], float)


def cv2(recording: Recording, population: str) -> np.ndarray:
    """The mean of 2 |J - I| / (J + I) over neighbouring intervals I, J, float64 [cells].

    It compares neighbours only, so that slow changes of the rate do not count as irregular (Holt
    et al. 1996, Journal of Neurophysiology 75:1806); 1 for a Poisson process. NaN and order as
    of `cv`.

    Raises:
      UsageError: as for `isi`.
    """
    intervals = _intervals(recording, population, "cv2")
    statistics = optional("elephant.statistics", "analysis", "cv2")
    return np.array(
        [statistics.cv2(x) if len(x) > 1 else np.nan for x in intervals.values()], float
    )


def fano_factor(recordings: Recordings, population: str, window_ms: float = 100.0) -> np.ndarray:
    """The variance over the mean of the spike counts of each recorded cell, float64 [cells].

    Counts are of consecutive windows, and of those of every recording: of trials of one window
    each, they are across trials. Time at the end that does not fill a window is left out. The
    Fano factor is 1 for a Poisson process, and NaN for a cell that never fires.

    Args:
      recordings: one, or several of the same cells, such as those of a batch.
      window_ms: the width of a window, whole steps.

    Raises:
      UsageError: as for `isi`, the windows are not whole steps, there is only one window, or the
        recordings are of different cells.
    """
    listed = trials(recordings)
    statistics = optional("elephant.statistics", "analysis", "fano_factor")
    cells = raster_of(listed[0], population).cells
    windows: list[list[np.ndarray]] = [[] for _ in cells]
    for recording in listed:
        raster = raster_of(recording, population)
        if not np.array_equal(raster.cells, cells):
            raise UsageError(f"recordings: other cells of {population!r}; those of the first")
        width = records.bin_steps(recording, window_ms, "window_ms")
        edges = np.arange(recording.steps // width + 1) * width
        for counted, train in zip(windows, raster.trains().values(), strict=True):
            steps = steps_of(recording, train)
            ends = np.searchsorted(steps, edges)
            counted += [steps[a:b] for a, b in pairwise(ends.tolist())]
    if len(cells) and len(windows[0]) < 2:
        raise UsageError(
            f"window_ms: {window_ms:g}, one window; at least two, or several recordings"
        )
    return np.array([statistics.fanofactor(counted) for counted in windows], float)
