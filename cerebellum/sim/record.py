"""Records of a run: what a step records on the device, and how the host collects it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from numbers import Real
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.model import events
from cerebellum.model.circuit import Activity, State, Wiring
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Spec

BIN_MS = 5.0
"""Width of the bins of a rate course where none is given, ms."""

KINDS = "rates, counts:POPULATION, raster:POPULATION, v:POPULATION, g_exc:..., g_inh:..."


@dataclass(frozen=True)
class Recorder:
    """One quantity to record, of some cells of a population: static and hashable."""

    kind: str
    """"counts", "raster", or the name of a variable such as "v" """
    population: str
    start: int
    """first recorded cell"""
    stop: int
    """end of the recorded cells (exclusive)"""
    stride: int
    """step between recorded cells"""

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.population}"

    @property
    def traced(self) -> bool:
        """Whether it records a number for each cell and step, rather than spikes."""
        return self.kind not in ("counts", "raster")


@dataclass(frozen=True)
class Raster:
    """The spikes of the recorded cells of a population."""

    time_ms: np.ndarray
    """time stamp of each spike, ms, float64 [spikes], ascending"""
    cell: np.ndarray
    """cell that emitted each spike, int64 [spikes]"""
    cells: np.ndarray
    """the recorded cells"""


@dataclass(frozen=True)
class Trace:
    """A variable of the recorded cells of a population over time."""

    values: np.ndarray
    """values after each step, float32 [steps, cells]"""
    cells: np.ndarray
    """the recorded cells"""
    unit: str = ""


@dataclass(frozen=True)
class Recording:
    """The records of a run, in NumPy. Step k of the recording ends at start_ms + (k + 1) dt."""

    dt: float
    """time step, ms"""
    start_ms: float
    """time at which the recording begins, ms"""
    steps: int
    """number of steps"""
    sizes: dict[str, int]
    """number of cells by population"""
    spikes: dict[str, np.ndarray]
    """number of spikes of all cells in each step, by population, int32 [steps]"""
    rasters: dict[str, Raster] = field(default_factory=dict)
    """rasters by population"""
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    """number of spikes of each recorded cell in the whole run, by population, int64 [cells]"""
    traces: dict[str, Trace] = field(default_factory=dict)
    """traces by "variable:population" """
    seconds: dict[str, float] = field(default_factory=dict)
    """wall time in seconds: "compile" and "run" """
    backend: str = ""
    """name of the backend that ran the circuit; empty in files of older versions"""
    path: str = ""
    """the path of the circuit that ran, "event" or "dense"; empty in files of older versions"""

    @property
    def duration_ms(self) -> float:
        return self.steps * self.dt


def parse(record: str | Sequence[str], spec: Spec) -> tuple[Recorder, ...]:
    """Make recorders from text such as "raster:purkinje", "v:golgi:0:5" or "raster:granule:::40".

    After the population follows a cell or a Python slice of cells. "rates" is always recorded and
    needs no recorder.

    Raises:
      UsageError: the kind or the population is unknown, the cells do not exist, or the same
        quantity is requested twice.
    """
    recorders: list[Recorder] = []
    for text in (record,) if isinstance(record, str) else record:
        if text == "rates":
            continue
        kind, *rest = text.split(":")
        names = [population.name for population in spec.populations]
        if not rest or rest[0] not in names:
            raise UsageError(f"record {text!r}: {KINDS}; populations are {', '.join(names)}")
        population = spec.population(rest[0])
        if kind not in ("counts", "raster"):
            model = CIRCUIT_MODELS[population.model]
            known = model.variables(model.init(population.typical, (1,)))
            if kind not in known:
                raise UsageError(
                    f"record {text!r}: {population.name} has {', '.join(known) or 'no variables'}; "
                    f"{KINDS}"
                )
        try:
            bounds = [int(x) if x else None for x in rest[1:]]
            if len(bounds) == 1 and bounds[0] is not None:
                bounds.append(bounds[0] + 1)
            cells = range(population.size)[slice(*bounds) if bounds else slice(None)]
        except (ValueError, TypeError):
            raise UsageError(
                f"record {text!r}: cells as CELL, START:STOP or START:STOP:STRIDE"
            ) from None
        if cells.step < 1 or not cells:
            raise UsageError(f"record {text!r}: no cells of the {population.size} there are")
        recorder = Recorder(kind, population.name, cells.start, cells.stop, cells.step)
        if recorder.label in {other.label for other in recorders}:
            raise UsageError(f"record {text!r}: {recorder.label} twice; once, with all its cells")
        recorders.append(recorder)
    return tuple(recorders)


def observe(
    recorders: tuple[Recorder, ...], wiring: Wiring, state: State, activity: Activity
) -> tuple[dict[str, Array], tuple[Array, ...]]:
    """The records of one step: spikes by population (int32 scalars), and one array per recorder."""
    totals = {name: events.count(words) for name, words in activity.words.items()}
    values = []
    for r in recorders:
        if r.kind in ("counts", "raster"):
            values.append(events.pack(_recorded_cells(activity.spikes[r.population], r, wiring)))
        else:
            model = CIRCUIT_MODELS[wiring.spec.population(r.population).model]
            variable = model.variables(state.cells[r.population])[r.kind]
            values.append(_recorded_cells(jnp.asarray(variable, jnp.float32), r, wiring))
    return totals, tuple(values)


def _recorded_cells(values: Array, r: Recorder, wiring: Wiring) -> Array:
    """Select the recorded cells of a population from `values`, [N].

    In a shard the result has room for the largest number of recorded cells that a shard may have;
    entries beyond those of this shard are meaningless.
    """
    if wiring.shard is None:
        return values[r.start : r.stop : r.stride]
    cell_offset = jnp.asarray(wiring.cells(r.population).offset, jnp.int32)
    # The first recorded cell that is in this shard, as an index into the shard.
    is_ahead = r.start >= cell_offset
    index = jnp.where(is_ahead, r.start - cell_offset, (r.start - cell_offset) % r.stride)
    capacity = len(range(0, min(values.size, r.stop - r.start), r.stride))
    padded = jnp.pad(values, (0, capacity * r.stride))
    return lax.dynamic_slice(padded, (index,), (capacity * r.stride,))[:: r.stride]


def watched_by(r: Recorder, size: int, shard: int) -> int:
    """Number of recorded cells that are among the `size` cells of a shard."""
    return sum(
        sign * len(range(r.start, min(r.stop, size * edge), r.stride))
        for sign, edge in ((1, shard + 1), (-1, shard))
    )


def cells_of(r: Recorder) -> int:
    """Number of recorded cells."""
    return len(range(r.start, r.stop, r.stride))


def pack(fired: np.ndarray) -> np.ndarray:
    """`events.pack` in NumPy: bool [..., N] to uint32 [..., W]."""
    n = fired.shape[-1]
    words = -(-n // events.BITS)
    padding = [(0, 0)] * (fired.ndim - 1) + [(0, words * events.BITS - n)]
    octets = np.packbits(np.pad(fired, padding), axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: np.ndarray, n: int) -> np.ndarray:
    """`events.unpack` in NumPy: uint32 [..., W] to bool [..., n]."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=n, bitorder="little").astype(bool)


class Collector:
    """Collects the records of the chunks of one run on the host, and makes a Recording of them.

    Arrays that have a value for each step are allocated once, so that they never exist twice.
    """

    def __init__(self, recorders: tuple[Recorder, ...], spec: Spec, start_step: int, steps: int):
        self.recorders, self.spec, self.start_step = recorders, spec, start_step
        self.totals = {p.name: np.empty(steps, np.int32) for p in spec.populations}
        self.traces = {
            r.label: np.empty((steps, cells_of(r)), np.float32) for r in recorders if r.traced
        }
        self.counts = {
            r.label: np.zeros(cells_of(r), np.int64) for r in recorders if r.kind == "counts"
        }
        self.rasters: dict[str, list] = {r.label: [] for r in recorders if r.kind == "raster"}
        self.steps = 0

    def add(self, totals: dict[str, np.ndarray], records: Sequence[np.ndarray]) -> None:
        """Add a chunk: totals [steps] by population, and one array [steps, ...] per recorder."""
        start, stop = self.steps, self.steps + len(next(iter(totals.values())))
        for name, values in totals.items():
            self.totals[name][start:stop] = values
        for recorder, values in zip(self.recorders, records, strict=True):
            if recorder.traced:
                self.traces[recorder.label][start:stop] = values
                continue
            fired = unpack(values, cells_of(recorder))
            if recorder.kind == "counts":
                self.counts[recorder.label] += fired.sum(axis=0, dtype=np.int64)
            else:
                step, index = np.nonzero(fired)
                self.rasters[recorder.label].append((step + start, index))
        self.steps = stop

    def recording(self, seconds: dict[str, float], backend: str, path: str) -> Recording:
        """The recording of all chunks so far.

        Args:
          seconds, backend, path: as in `Recording`.
        """
        dt, steps = self.spec.dt, self.steps
        rasters, counts, traces = {}, {}, {}
        for recorder in self.recorders:
            cells = np.arange(recorder.start, recorder.stop, recorder.stride)
            if recorder.kind == "counts":
                counts[recorder.population] = self.counts[recorder.label]
            elif recorder.kind == "raster":
                chunks = self.rasters[recorder.label]
                step = np.concatenate([chunk[0] for chunk in chunks])
                index = np.concatenate([chunk[1] for chunk in chunks])
                time_ms = (self.start_step + step + 1) * dt
                rasters[recorder.population] = Raster(time_ms, cells[index], cells)
            else:
                model = CIRCUIT_MODELS[self.spec.population(recorder.population).model]
                values, unit = self.traces[recorder.label][:steps], model.unit(recorder.kind)
                traces[recorder.label] = Trace(values, cells, unit)
        return Recording(
            dt=dt,
            start_ms=self.start_step * dt,
            steps=steps,
            sizes={p.name: p.size for p in self.spec.populations},
            spikes={p.name: self.totals[p.name][:steps] for p in self.spec.populations},
            rasters=rasters,
            counts=counts,
            traces=traces,
            seconds=seconds,
            backend=backend,
            path=path,
        )


def join(parts: Sequence[Recording]) -> Recording:
    """Join the recordings of consecutive parts of a run; wall times are added up.

    Raises:
      UsageError: there is no part, a part does not begin where the part before it ends, or the
        parts are of circuits of other sizes, of another time step or with other records.
    """
    if not isinstance(parts, Sequence) or not parts:
        given = "an empty list" if isinstance(parts, Sequence) else type(parts).__name__
        raise UsageError(f"parts: {given}; a list of recordings, at least one")
    for part in parts:
        check(part)
    first = parts[0]
    if len(parts) == 1:
        return first
    for before, after in pairwise(parts):
        for name, ours, theirs in zip(_ALIKE, _alike(before), _alike(after), strict=True):
            if ours != theirs:
                raise UsageError(f"parts: {name} {theirs}; {ours}, as in the part before")
        if round((after.start_ms - before.start_ms) / before.dt) != before.steps:
            raise UsageError(
                f"recording: one begins at {after.start_ms:g} ms; "
                f"{before.start_ms + before.duration_ms:g} ms, where the one before ends"
            )

    def concatenate(get: Callable[[Recording], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(part) for part in parts])

    return replace(
        first,
        steps=sum(part.steps for part in parts),
        spikes={n: concatenate(lambda part, n=n: part.spikes[n]) for n in first.spikes},
        rasters={
            n: Raster(
                concatenate(lambda part, n=n: part.rasters[n].time_ms),
                concatenate(lambda part, n=n: part.rasters[n].cell),
                raster.cells,
            )
            for n, raster in first.rasters.items()
        },
        counts={n: np.sum([part.counts[n] for part in parts], axis=0) for n in first.counts},
        traces={
            n: replace(trace, values=concatenate(lambda part, n=n: part.traces[n].values))
            for n, trace in first.traces.items()
        },
        seconds={n: sum(part.seconds[n] for part in parts) for n in first.seconds},
        backend=_names([part.backend for part in parts]),
        path=_names([part.path for part in parts]),
    )


_ALIKE = ("dt", "sizes", "records")


def _alike(part: Recording) -> tuple[Any, ...]:
    """What the parts of a run have in common, by the names of `_ALIKE`; of records, their cells."""
    rasters = [f"raster:{name} of {_cells(x.cells)}" for name, x in part.rasters.items()]
    counts = [f"counts:{name} of {len(x)} cells" for name, x in part.counts.items()]
    traces = [f"{name} of {_cells(x.cells)}" for name, x in part.traces.items()]
    return part.dt, part.sizes, ", ".join(sorted(rasters + counts + traces)) or "none"


def _cells(cells: np.ndarray) -> str:
    """Cells for a message, which differs where they differ."""
    if not len(cells):
        return "no cells"
    stride = int(cells[1] - cells[0]) if len(cells) > 1 else 1
    return f"cells {int(cells[0])}:{int(cells[-1]) + 1}:{stride}"


def check(recording: Any) -> None:
    """Raise UsageError if what should be a recording is something else."""
    if isinstance(recording, Recording):
        return
    raise UsageError(
        f"recording: {type(recording).__name__}; a recording; "
        "state, recording = cb.simulate(...) gives one"
    )


def _number(name: str, value: Any) -> float:
    """A finite number of ms, or UsageError."""
    given = value.item() if isinstance(value, np.ndarray | Array) and not value.ndim else value
    if not isinstance(given, Real) or isinstance(given, bool) or not math.isfinite(given):
        raise UsageError(f"{name}: {value!r}; a finite number, ms")
    return float(given)


def _names(names: Sequence[str]) -> str:
    """The different names among these, joined: "native", or "native, xla"."""
    return ", ".join(dict.fromkeys(name for name in names if name))


def rates(
    recording: Recording, start_ms: float | None = None, stop_ms: float | None = None
) -> dict[str, float]:
    """Mean firing rate of each population between two times of the run, Hz.

    The times are rounded to steps and limited to those of the recording; None is its beginning or
    its end. The rate is NaN if no step lies between them.

    Raises:
      UsageError: a time is not a finite number, or the first is later than the second.
    """
    check(recording)
    start, stop = 0, recording.steps
    if start_ms is not None:
        start = round((_number("start_ms", start_ms) - recording.start_ms) / recording.dt)
    if stop_ms is not None:
        stop = round((_number("stop_ms", stop_ms) - recording.start_ms) / recording.dt)
    if start_ms is not None and stop_ms is not None and start_ms > stop_ms:
        raise UsageError(f"start_ms: {start_ms:g}; at most stop_ms, {stop_ms:g}")
    start, stop = max(start, 0), min(stop, recording.steps)
    if stop <= start:
        return dict.fromkeys(recording.spikes, float("nan"))
    seconds = (stop - start) * recording.dt * 1e-3
    return {
        name: float(spikes[start:stop].sum() / recording.sizes[name] / seconds)
        for name, spikes in recording.spikes.items()
    }


def rate_course(
    recording: Recording, bin_ms: float | None = None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Population rates over time: centres of the bins (ms), and rates by population, Hz [bins].

    Steps at the end that do not fill a bin are left out.

    Args:
      bin_ms: width of the bins, whole steps; by default the whole steps nearest to `BIN_MS`, or
        the whole recording if that is shorter.

    Raises:
      UsageError: the bins are not whole steps, at least one, or are longer than the recording.
    """
    check(recording)
    if bin_ms is None:
        width = max(1, min(round(BIN_MS / recording.dt), recording.steps))
    else:
        width = _bin_steps(recording, bin_ms)
    bins = recording.steps // width
    centres = recording.start_ms + (np.arange(bins) + 0.5) * width * recording.dt
    scale = 1.0 / (width * recording.dt * 1e-3)
    return centres, {
        name: spikes[: bins * width].reshape(bins, width).sum(axis=1)
        * (scale / recording.sizes[name])
        for name, spikes in recording.spikes.items()
    }


def _bin_steps(recording: Recording, bin_ms: float) -> int:
    """The number of steps of a bin."""
    steps = _number("bin_ms", bin_ms) / recording.dt
    if steps < 0.5 or abs(steps - round(steps)) > 1e-6 * steps:
        raise UsageError(f"bin_ms: {bin_ms:g}; whole steps of {recording.dt:g} ms, at least one")
    if round(steps) > recording.steps:
        raise UsageError(
            f"bin_ms: {bin_ms:g}; at most {recording.duration_ms:g}, the length of the recording"
        )
    return round(steps)
