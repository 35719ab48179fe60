"""Recordings made by hand, whose every number is known, and a strategy that makes any."""

import numpy as np
from hypothesis import strategies as st

from cerebellum.sim.record import Raster, Recording, Trace


def raster_of(fired: np.ndarray, cells: np.ndarray, dt: float, start_step: int) -> Raster:
    """The raster of spikes, bool [steps, cells], as a run makes it: time stamps end their steps."""
    step, index = np.nonzero(fired)
    return Raster((start_step + step + 1) * dt, cells[index], cells)


def example(dt: float = 0.1, start_step: int = 250, steps: int = 1_000) -> Recording:
    """Three Golgi cells, one of them silent, and four mossy fibres; every kind of record.

    Cell 2 fires in the first step and in the last one, cell 0 every 10 ms from step 49.
    """
    fired = np.zeros((steps, 3), bool)
    cells = np.array([2, 0, 1])
    fired[[0, steps - 1], 0] = True
    fired[49::100, 1] = True
    mossy = np.zeros(steps, np.int32)
    mossy[::20] = 4
    clock = {"start_ms": start_step * dt, "dt": dt}
    pairs = np.array([[3, 0], [1, 2]])
    values = np.arange(2 * (steps // 10), dtype=np.float32).reshape(-1, 2) - 70
    none = np.zeros((0, 2), np.int64)
    return Recording(
        steps=steps,
        sizes={"mossy": 4, "golgi": 3},
        spikes={"mossy": mossy, "golgi": fired.sum(axis=1, dtype=np.int32)},
        rasters={"golgi": raster_of(fired, cells, dt, start_step)},
        counts={"mossy": np.full(4, steps // 20), "golgi": np.array([9, 2])},
        counted={"mossy": np.arange(4), "golgi": np.array([0, 2])},
        traces={
            "v:golgi": Trace(values, np.array([2, 0]), "mV", 10, **clock),
            "weights:mossy_golgi": Trace(values[::10] + 100, pairs, "nS", 100, **clock),
            "weights:golgi_mossy": Trace(values[:, :1] + 100, none, "nS", 10, **clock),
        },
        seconds={"compile": 1.0, "run": 2.0},
        backend="xla",
        path="event",
        **clock,
    )


@st.composite
def recordings(draw) -> Recording:
    """Any spikes of a few cells, at any step of a run, and a voltage."""
    dt = draw(st.sampled_from([0.1, 0.05, 0.25, 1.0]))
    start, steps = draw(st.integers(0, 10**9)), draw(st.integers(1, 300))
    size = draw(st.integers(1, 5))
    cells = np.array(draw(st.permutations(range(size)))[: draw(st.integers(1, size))])
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    fired = rng.random((steps, len(cells))) < draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    every = draw(st.integers(1, 7))
    values = rng.normal(-60, 5, (steps // every, len(cells))).astype(np.float32)
    return Recording(
        dt=dt,
        start_ms=start * dt,
        steps=steps,
        sizes={"cells": size},
        spikes={"cells": fired.sum(axis=1, dtype=np.int32)},
        rasters={"cells": raster_of(fired, cells, dt, start)},
        counts={"cells": fired.sum(axis=0)},
        counted={"cells": cells},
        traces={"v:cells": Trace(values, cells, "mV", every, start * dt, dt)},
    )
