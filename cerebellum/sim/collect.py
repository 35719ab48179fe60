"""How the host collects the records of a run: in memory, or in a folder (`sim.stream`)."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from cerebellum.model.spec import Spec
from cerebellum.sim.record import Raster, Recording, Trace
from cerebellum.sim.watches import Watch


class Rows(Protocol):
    """An array that grows along its first axis."""

    def append(self, values: np.ndarray) -> None: ...

    def array(self) -> np.ndarray:
        """All that was appended."""
        ...


class Store(Protocol):
    """Where the arrays of a recording are kept while it grows."""

    def rows(self, name: str, dtype: Any, shape: tuple[int, ...], count: int | None) -> Rows:
        """A new array [rows, *shape].

        Args:
          count: the largest number of rows; None if it is not known.
        """
        ...


class Filled:
    """Rows of an array that is allocated once, so that it never exists twice."""

    def __init__(self, dtype: Any, shape: tuple[int, ...], count: int):
        self.values, self.filled = np.empty((count, *shape), dtype), 0

    def append(self, values: np.ndarray) -> None:
        stop = self.filled + len(values)
        self.values[self.filled : stop] = values
        self.filled = stop

    def array(self) -> np.ndarray:
        return self.values[: self.filled]


class Joined:
    """Rows whose number is not known before the run."""

    def __init__(self, dtype: Any, shape: tuple[int, ...]):
        self.parts = [np.empty((0, *shape), dtype)]

    def append(self, values: np.ndarray) -> None:
        self.parts.append(values)

    def array(self) -> np.ndarray:
        self.parts = [np.concatenate(self.parts)]
        return self.parts[0]


class Memory:
    """Arrays in memory."""

    def rows(self, name: str, dtype: Any, shape: tuple[int, ...], count: int | None) -> Rows:
        return Joined(dtype, shape) if count is None else Filled(dtype, shape, count)


class Collector:
    """Collects the records of the chunks of one run, and makes a Recording of them."""

    def __init__(
        self,
        watches: tuple[Watch, ...],
        spec: Spec,
        start_step: int,
        steps: int,
        store: Store | None = None,
    ):
        """Allocate the arrays of a run of `steps` steps after `start_step`."""
        self.watches, self.spec, self.start_step = watches, spec, start_step
        store = store or Memory()
        self.totals = {
            p.name: store.rows(f"spikes/{p.name}", np.int32, (), steps) for p in spec.populations
        }
        self.counts: dict[str, np.ndarray] = {}
        self.counted: dict[str, np.ndarray] = {}
        self.traces: dict[str, Rows] = {}
        self.times: dict[str, Rows] = {}
        self.spiking: dict[str, Rows] = {}
        for watch in watches:
            r = watch.recorder
            if r.traced:
                shape, samples = (watch.columns,), steps // r.every
                self.traces[r.label] = store.rows(f"trace/{r.label}", np.float32, shape, samples)
            elif r.kind == "counts":
                self.counts[r.owner] = np.zeros(watch.columns, np.int64)
                self.counted[r.owner] = watch.cells
            else:
                self.times[r.owner] = store.rows(f"raster_time_ms/{r.owner}", np.float64, (), None)
                self.spiking[r.owner] = store.rows(f"raster_cell/{r.owner}", np.int64, (), None)
        self.steps = 0

    def add(self, totals: dict[str, np.ndarray], records: Sequence[np.ndarray]) -> None:
        """Add a chunk.

        Args:
          totals: number of spikes in each step, int32 [steps], by population.
          records: for each watch, spikes, bool [steps, cells], or samples, [samples, cells].
        """
        for name, values in totals.items():
            self.totals[name].append(values)
        for watch, values in zip(self.watches, records, strict=True):
            r = watch.recorder
            if r.traced:
                self.traces[r.label].append(values)
            elif r.kind == "counts":
                self.counts[r.owner] += values.sum(axis=0, dtype=np.int64)
            else:
                step, index = np.nonzero(values)
                step = self.start_step + self.steps + step + 1
                self.times[r.owner].append(step * self.spec.dt)
                self.spiking[r.owner].append(watch.cells[index])
        self.steps += len(next(iter(totals.values())))

    def recording(self, seconds: dict[str, float], backend: str, path: str, loop: str) -> Recording:
        """The recording of all chunks so far.

        Args:
          seconds, backend, path, loop: as in `Recording`.
        """
        dt, start_ms = self.spec.dt, self.start_step * self.spec.dt
        rasters, traces = {}, {}
        for watch in self.watches:
            r = watch.recorder
            if r.traced:
                values = self.traces[r.label].array()
                traces[r.label] = Trace(values, watch.cells, watch.unit, r.every, start_ms, dt)
            elif r.kind == "raster":
                times, cell = self.times[r.owner].array(), self.spiking[r.owner].array()
                rasters[r.owner] = Raster(times, cell, watch.cells)
        return Recording(
            dt=dt,
            start_ms=start_ms,
            steps=self.steps,
            sizes={p.name: p.size for p in self.spec.populations},
            spikes={name: rows.array() for name, rows in self.totals.items()},
            rasters=rasters,
            counts=self.counts,
            traces=traces,
            seconds=seconds,
            backend=backend,
            path=path,
            loop=loop,
            counted=self.counted,
        )
