"""Spikes from files and from other packages."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cerebellum.errors import UsageError, nearest
from cerebellum.parts import optional
from cerebellum.sim.drive.checks import check_spikes
from cerebellum.sim.drive.sources import SpikeTimes
from cerebellum.sim.drive.targets import Cells


def read_spike_times(path: str | Path, size: int) -> SpikeTimes:
    """Read spikes from an npz with `neuron` (int) and `time_ms`, for a population of `size` cells.

    Raises:
      UsageError: the file does not exist or is not an npz, arrays are missing or differ in length,
        cells are out of range, or times are negative or not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("neuron", "time_ms")}
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; an npz with neuron and time_ms") from None
    except KeyError as missing:
        raise UsageError(f"{path}: {missing.args[0]}; expected neuron and time_ms") from None
    except Exception:
        raise UsageError(f"{path}: not an npz; expected arrays neuron and time_ms") from None
    neuron, time_ms = arrays["neuron"], arrays["time_ms"]
    spikes = SpikeTimes(neuron, time_ms)
    check_spikes(spikes, size, str(path))
    return spikes


def from_neo(
    spiketrains: Any, *, weight: ArrayLike | None = None, cells: Cells = None
) -> SpikeTimes:
    """The spikes of trains of Neo: train i is that of cell i.

    Time zero of the trains is step zero of the state.

    Args:
      spiketrains: a list of `neo.SpikeTrain`, or a `neo.Segment` that holds one.
      weight: the weight of a spike, for a receptor; as of `SpikeTimes`.
      cells: the cells that the trains are for, in their order.

    Raises:
      UsageError: something is no train.
    """
    trains = getattr(spiketrains, "spiketrains", spiketrains)
    if isinstance(trains, str | Path):
        raise UsageError(f"from_neo: {trains}; trains: neo.get_io(path).read_segment()")
    if not isinstance(trains, Iterable) or hasattr(trains, "rescale"):
        kind = type(trains).__name__
        raise UsageError(f"from_neo: {kind}; a list of neo.SpikeTrain, or a neo.Segment")
    times = []
    for index, train in enumerate(trains):
        if not hasattr(train, "rescale"):
            kind = type(train).__name__
            raise UsageError(f"from_neo: {kind} at {index}; a neo.SpikeTrain")
        times.append(np.asarray(train.rescale("ms").magnitude, np.float64))
    return _of_trains(times, weight, cells)


def from_nwb(
    path: str | Path,
    *,
    population: str | None = None,
    weight: ArrayLike | None = None,
    cells: Cells = None,
) -> SpikeTimes:
    """The spikes of the units of an NWB file: row i of the table is that of cell i.

    Time zero of the file is step zero of the state.

    Args:
      population: of a file of `recording.to_nwb`, whose units have columns `population` and
        `cell`: those of this population, each for the cell that had its number.
      weight, cells: as of `from_neo`.

    Raises:
      UsageError: pynwb is not installed, or the file does not exist, is none of NWB, has no
        spike times, or no such population.
    """
    pynwb = optional("pynwb", "nwb", "from_nwb")
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such file; an NWB file")
    try:
        io = pynwb.NWBHDF5IO(str(path), "r")
    except Exception:
        raise UsageError(f"{path}: not read by pynwb; an NWB file") from None
    with io:
        try:
            units = io.read().units
        except Exception:
            raise UsageError(f"{path}: not read by pynwb; an NWB file") from None
        if units is None or "spike_times" not in units.colnames:
            raise UsageError(f"{path}: no units with spike_times; an NWB file that has them")
        rows, neuron = _rows(units, population, path)
        seconds = [np.asarray(units["spike_times"][row], np.float64) for row in rows]
    return _of_trains([each * 1e3 for each in seconds], weight, cells, neuron)


def _rows(units: Any, population: str | None, path: str | Path) -> tuple[list[int], np.ndarray]:
    """The rows of a population in a table of units, and the numbers of their cells."""
    if population is None:
        return list(range(len(units))), np.arange(len(units))
    if not {"population", "cell"} <= set(units.colnames):
        raise UsageError(
            f"population: {population!r}; {path} has no columns population and cell, leave it out"
        )
    owners = np.asarray(units["population"][:]).astype(str)
    rows = np.flatnonzero(owners == population)
    if not len(rows):
        known = nearest(population, list(dict.fromkeys(owners.tolist())), str(path))
        raise UsageError(f"population: {population!r}; {known}")
    return rows.tolist(), np.asarray(units["cell"][:], np.int64)[rows]


def _of_trains(
    times: list[np.ndarray], weight: Any, cells: Cells, neuron: np.ndarray | None = None
) -> SpikeTimes:
    """One list of the spikes of trains, ms, [spikes] each.

    Args:
      neuron: the number of the cell of each train; by default that of the train.
    """
    numbers = np.arange(len(times)) if neuron is None else neuron
    neurons = np.repeat(numbers, [each.size for each in times])
    return SpikeTimes(neurons, np.concatenate([np.zeros(0), *times]), weight, cells)
