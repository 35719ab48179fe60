"""The steps into which times fall, and the spikes of lists by step."""

import logging
from dataclasses import dataclass

import jax
import numpy as np
from flax import struct
from jax import Array

from cerebellum.model import events
from cerebellum.model.delays import GRID
from cerebellum.sim.drive.sources import Poisson, SpikeTimes

LAST_STEP = 2**31 - 1
"""Steps are int32."""

log = logging.getLogger(__name__)


def spike_steps(spikes: SpikeTimes, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """The step and cell of each spike, int64 [spikes] each, ordered by step.

    A fibre fires at most once per step. If two of its spikes fall into the same step, the later one
    moves to the next free step of the fibre, so that every spike is delivered.
    """
    step = first_step(np.asarray(spikes.time_ms), dt, 0.01) - 1
    step, cell = np.maximum(step, 0), np.asarray(spikes.neuron).astype(np.int64)
    order = np.lexsort((step, cell))
    cell, step = cell[order], step[order]
    earliest, index = step, np.arange(step.size)
    fibre = np.cumsum(np.diff(cell, prepend=cell[:1]) != 0)
    # This is a running maximum for each fibre: offsets larger than any step separate the fibres.
    offset = fibre * (int(step.max(initial=0)) + step.size + 1)
    step = np.maximum.accumulate(step - index + offset) - offset + index
    moved = step - earliest
    if moved.any():
        log.warning(
            "%d of %d spikes fell into a step that has one of their cell; they are up to %d steps "
            "late, because a cell fires once a step",
            *(np.count_nonzero(moved), step.size, moved.max()),
        )
    order = np.argsort(step, kind="stable")
    return step[order], cell[order]


def first_step(time_ms: np.ndarray, dt: float, share: float) -> np.ndarray:
    """The first step that does not begin before each time, int64 [...].

    Args:
      share: the share of a step by which a time may be late. A float32 time may also be late by
        what float32 cannot tell.
    """
    late = np.spacing(np.abs(time_ms)).astype(np.float64) if time_ms.dtype == np.float32 else 0.0
    return np.ceil(time_ms.astype(np.float64) / dt - np.minimum(share + late / dt, 0.5)).astype(int)


def in_steps(source: Poisson, dt: float) -> Poisson:
    """A Poisson source whose `starts` are steps, int32, which are exact however long a run is."""
    starts = np.clip(first_step(np.asarray(source.starts), dt, GRID), 0, LAST_STEP)
    return Poisson(rates=source.rates, starts=jax.device_put(starts.astype(np.int32)))


def words_of(spikes: tuple[np.ndarray, np.ndarray], size: int, start: int, stop: int) -> np.ndarray:
    """The packed spikes of the steps from `start` to `stop` - 1: uint32 [stop - start, W].

    Args:
      spikes: step and cell of each spike, as `spike_steps` returns them.
      size: number of cells.
    """
    step, cell = spikes
    first, last = np.searchsorted(step, [start, stop])
    step, cell = step[first:last] - start, cell[first:last]
    words = np.zeros((stop - start, -(-size // events.BITS)), np.uint32)
    bit = np.uint32(1) << (cell % events.BITS).astype(np.uint32)
    np.bitwise_or.at(words, (step, cell // events.BITS), bit)
    return words


@struct.dataclass
class Events:
    """Weights that arrive at cells in each step: lists of equal length, padded."""

    cell: Array | np.ndarray
    """number of the cell, int32 [steps, E]; that of no cell where the list is shorter"""
    weight: Array | np.ndarray
    """the weights that arrive there, float32 [steps, E]"""


@dataclass(frozen=True)
class EventList:
    """The events of `SpikeTimes` with weights, in the order of their steps, one a step and cell."""

    step: np.ndarray
    """int64 [events]"""
    cell: np.ndarray
    """int64 [events]"""
    weight: np.ndarray
    """float32 [events]"""
    width: int
    """most events of a step, or more: a power of two, so that few programs serve all lists"""

    def rows(self, size: int, start: int, stop: int) -> Events:
        """The events of the steps from `start` to `stop` - 1, for a population of `size` cells."""
        first, last = np.searchsorted(self.step, [start, stop])
        row = self.step[first:last] - start
        column = np.arange(last - first) - np.searchsorted(row, row)
        cell = np.full((stop - start, self.width), size, np.int32)
        weight = np.zeros((stop - start, self.width), np.float32)
        cell[row, column], weight[row, column] = self.cell[first:last], self.weight[first:last]
        return Events(cell=cell, weight=weight)


def event_list(spikes: SpikeTimes, size: int, dt: float) -> EventList:
    """The events of a list of spikes; those of a cell that fall into the same step add up."""
    step = np.maximum(first_step(np.asarray(spikes.time_ms), dt, 0.01) - 1, 0)
    number, index = np.unique(
        step * size + np.asarray(spikes.neuron, np.int64), return_inverse=True
    )
    weight = np.broadcast_to(np.asarray(spikes.weight, np.float64), step.shape)
    total = np.bincount(index, weights=weight, minlength=number.size).astype(np.float32)
    step, cell = np.divmod(number, size)
    most = int(np.unique(step, return_counts=True)[1].max(initial=1))
    return EventList(step, cell, total, width=1 << (most - 1).bit_length())
