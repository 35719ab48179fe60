"""The spikes of a population as what Elephant takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cerebellum.errors import UsageError, is_number, nearest
from cerebellum.io import tables
from cerebellum.parts import optional
from cerebellum.sim import record as records
from cerebellum.sim.record import Raster, Recording

Recordings = Recording | Sequence[Recording]
"""One recording, or those of several trials, such as of a batch."""


def trials(recordings: Recordings) -> list[Recording]:
    """The recordings as a list.

    Raises:
      UsageError: there is none, or something is no recording.
    """
    listed = [recordings] if not isinstance(recordings, Sequence) else [*recordings]
    for each in listed:
        records.check(each)
    if not listed:
        raise UsageError("recordings: none; at least one")
    return listed


def check_population(recording: Recording, population: str) -> None:
    """Raise UsageError, with the names that there are, if a recording has no such population."""
    if population not in recording.sizes:
        known = nearest(population, list(recording.sizes), "the recording")
        raise UsageError(f"population {population!r}; {known}")


def raster_of(recording: Recording, population: str) -> Raster:
    """The raster of a population.

    Raises:
      UsageError: this is no recording, it has no such population, or no raster of it.
    """
    records.check(recording)
    check_population(recording, population)
    if population not in recording.rasters:
        raise UsageError(
            f"population {population!r}: its spikes were not recorded; simulate with "
            f"record=('raster:{population}',)"
        )
    return recording.rasters[population]


def positive(name: str, value: Any, unit: str) -> float:
    """A positive number, or UsageError."""
    if not is_number(value) or not 0 < value < float("inf"):
        raise UsageError(f"{name}: {value!r}; a number above zero, {unit}")
    return float(value)


@dataclass(frozen=True)
class Binner:
    """Spikes of a recording in bins of whole steps; steps that do not fill a bin are left out."""

    recording: Recording
    width: int
    """steps in a bin"""

    @classmethod
    def of(cls, recording: Recording, bin_ms: float) -> "Binner":
        return cls(recording, records.bin_steps(recording, bin_ms))

    @property
    def bins(self) -> int:
        return self.recording.steps // self.width

    @property
    def bin_ms(self) -> float:
        return self.width * self.recording.dt

    def binned(self, trains: Sequence[np.ndarray]) -> Any:
        """Trains of time stamps, ms, as an `elephant.conversion.BinnedSpikeTrain`."""
        neo = optional("neo", "analysis", "analysis")
        conversion = optional("elephant.conversion", "analysis", "analysis")
        quantities = optional("quantities", "analysis", "analysis")
        dt, steps = self.recording.dt, self.bins * self.width
        stepped = [steps_of(self.recording, train) for train in trains]
        listed = [
            neo.SpikeTrain(
                (train[train < steps] + 0.5) * dt, units="ms", t_start=0.0, t_stop=steps * dt
            )
            for train in stepped
        ]
        return conversion.BinnedSpikeTrain(
            listed, bin_size=self.bin_ms * quantities.ms, n_bins=self.bins
        )


def steps_of(recording: Recording, times_ms: np.ndarray) -> np.ndarray:
    """The steps of time stamps, int64 [spikes], from 0 for the first step of the recording."""
    stamps = np.round(times_ms / recording.dt).astype(np.int64)
    return stamps - tables.start_step(recording) - 1
