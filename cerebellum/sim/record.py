"""What is kept of a run: on the device in a step, and on the host after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cerebellum.errors import UsageError
from cerebellum.model import events
from cerebellum.model.circuit import Activity, State, Wiring
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.spec import Spec

KINDS = "rates, counts:POPULATION, raster:POPULATION, v:POPULATION, g_exc:..., g_inh:..."


@dataclass(frozen=True)
class Recorder:
    """One thing to record: static and hashable."""

    kind: str
    """"counts", "raster", or the name of a variable such as "v" """
    population: str
    start: int
    stop: int
    stride: int

    @property
    def label(self) -> str:
        return f"{self.kind}:{self.population}"


@dataclass(frozen=True)
class Raster:
    time_ms: np.ndarray
    """time stamp of each spike, ms, float64 [spikes], ascending"""
    cell: np.ndarray
    """its cell, int64 [spikes]"""
    cells: np.ndarray
    """the cells that were watched"""


@dataclass(frozen=True)
class Trace:
    values: np.ndarray
    """after each step, float32 [steps, cells]"""
    cells: np.ndarray
    unit: str = ""


@dataclass(frozen=True)
class Recording:
    """A run's records, as NumPy. Step k of the recording ends at start_ms + (k + 1) dt."""

    dt: float
    """ms"""
    start_ms: float
    steps: int
    sizes: dict[str, int]
    """cells by population"""
    spikes: dict[str, np.ndarray]
    """by population, spikes of all its cells in each step, int32 [steps]"""
    rasters: dict[str, Raster] = field(default_factory=dict)
    counts: dict[str, np.ndarray] = field(default_factory=dict)
    """by population, spikes of each watched cell in the whole run, int64 [cells]"""
    traces: dict[str, Trace] = field(default_factory=dict)
    """by "variable:population" """
    seconds: dict[str, float] = field(default_factory=dict)
    """wall time: "compile" and "run" """

    @property
    def duration_ms(self) -> float:
        return self.steps * self.dt


def parse(record: str | Sequence[str], spec: Spec) -> tuple[Recorder, ...]:
    """Recorders from text such as "raster:purkinje", "v:golgi:0:5" or "raster:granule:::40".

    After the population comes a cell or a Python slice of its cells. "rates" is always kept
    and needs no recorder.

    Raises:
      UsageError: unknown kind or population, no such cells, or the same thing twice.
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
            known = model.variables(model.init(population.params, (1,)))
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
    """What one step leaves: spikes by population (int32 scalars), and one array a recorder."""
    totals = {name: events.count(words) for name, words in activity.words.items()}
    seen = []
    for r in recorders:
        if r.kind in ("counts", "raster"):
            seen.append(events.pack(_watched(activity.spikes[r.population], r, wiring)))
        else:
            model = CIRCUIT_MODELS[wiring.spec.population(r.population).model]
            variable = model.variables(state.cells[r.population])[r.kind]
            seen.append(_watched(jnp.asarray(variable, jnp.float32), r, wiring))
    return totals, tuple(seen)


def _watched(values: Array, r: Recorder, wiring: Wiring) -> Array:
    """The watched cells of a population [N]; of a shard those of its own, then anything."""
    if wiring.shard is None:
        return values[r.start : r.stop : r.stride]
    first = jnp.asarray(wiring.cells(r.population).offset, jnp.int32)
    # The next watched cell from the shard's first one on.
    place = jnp.where(r.start >= first, r.start - first, (r.start - first) % r.stride)
    most = len(range(0, min(values.size, r.stop - r.start), r.stride))
    padded = jnp.pad(values, (0, most * r.stride))
    return lax.dynamic_slice(padded, (place,), (most * r.stride,))[:: r.stride]


def watched_by(r: Recorder, size: int, shard: int) -> int:
    """How many of the watched cells are among the `size` of a shard."""
    return sum(
        sign * len(range(r.start, min(r.stop, size * edge), r.stride))
        for sign, edge in ((1, shard + 1), (-1, shard))
    )


def pack(fired: np.ndarray) -> np.ndarray:
    """Host twin of `events.pack`: bool [..., N] to uint32 [..., W]."""
    n = fired.shape[-1]
    words = -(-n // events.BITS)
    padding = [(0, 0)] * (fired.ndim - 1) + [(0, words * events.BITS - n)]
    octets = np.packbits(np.pad(fired, padding), axis=-1, bitorder="little")
    return octets.view("<u4").astype(np.uint32)


def unpack(words: np.ndarray, n: int) -> np.ndarray:
    """Host twin of `events.unpack`: uint32 [..., W] to bool [..., n]."""
    octets = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=n, bitorder="little").astype(bool)


class Collector:
    """Gathers the chunks of one run on the host and makes a Recording of them."""

    def __init__(self, recorders: tuple[Recorder, ...], spec: Spec, start_step: int):
        self.recorders, self.spec, self.start_step = recorders, spec, start_step
        self.totals: list[dict[str, np.ndarray]] = []
        self.parts: list[list] = [[] for _ in recorders]
        self.steps = 0

    def add(self, totals: dict[str, np.ndarray], seen: Sequence[np.ndarray]) -> None:
        """One chunk: totals [steps] by population, and one array [steps, ...] a recorder."""
        self.totals.append(totals)
        for recorder, parts, values in zip(self.recorders, self.parts, seen, strict=True):
            if recorder.kind in ("counts", "raster"):
                watched = len(range(recorder.start, recorder.stop, recorder.stride))
                fired = unpack(values, watched)
                if recorder.kind == "counts":
                    parts.append(fired.sum(axis=0, dtype=np.int64))
                else:
                    step, place = np.nonzero(fired)
                    parts.append((step + self.steps, place))
            else:
                parts.append(values)
        self.steps += len(next(iter(totals.values())))

    def recording(self, seconds: dict[str, float]) -> Recording:
        dt = self.spec.dt
        spikes = {
            p.name: np.concatenate([chunk[p.name] for chunk in self.totals])
            for p in self.spec.populations
        }
        rasters, counts, traces = {}, {}, {}
        for recorder, parts in zip(self.recorders, self.parts, strict=True):
            cells = np.arange(recorder.start, recorder.stop, recorder.stride)
            if recorder.kind == "counts":
                counts[recorder.population] = np.sum(parts, axis=0)
            elif recorder.kind == "raster":
                step = np.concatenate([part[0] for part in parts])
                place = np.concatenate([part[1] for part in parts])
                time_ms = (self.start_step + step + 1) * dt
                rasters[recorder.population] = Raster(time_ms, cells[place], cells)
            else:
                model = CIRCUIT_MODELS[self.spec.population(recorder.population).model]
                unit = model.unit(recorder.kind)
                traces[recorder.label] = Trace(np.concatenate(parts), cells, unit)
        return Recording(
            dt=dt,
            start_ms=self.start_step * dt,
            steps=self.steps,
            sizes={p.name: p.size for p in self.spec.populations},
            spikes=spikes,
            rasters=rasters,
            counts=counts,
            traces=traces,
            seconds=seconds,
        )


def join(parts: Sequence[Recording]) -> Recording:
    """The recording of a whole run from those of its parts, in order; wall times add up."""
    first = parts[0]
    for before, after in pairwise(parts):
        if round((after.start_ms - before.start_ms) / before.dt) != before.steps:
            raise UsageError(
                f"recording: one begins at {after.start_ms:g} ms; "
                f"{before.start_ms + before.duration_ms:g} ms, where the one before ends"
            )

    def each(get: Callable[[Recording], np.ndarray]) -> np.ndarray:
        return np.concatenate([get(part) for part in parts])

    return replace(
        first,
        steps=sum(part.steps for part in parts),
        spikes={n: each(lambda part, n=n: part.spikes[n]) for n in first.spikes},
        rasters={
            n: Raster(
                each(lambda part, n=n: part.rasters[n].time_ms),
                each(lambda part, n=n: part.rasters[n].cell),
                raster.cells,
            )
            for n, raster in first.rasters.items()
        },
        counts={n: np.sum([part.counts[n] for part in parts], axis=0) for n in first.counts},
        traces={
            n: replace(trace, values=each(lambda part, n=n: part.traces[n].values))
            for n, trace in first.traces.items()
        },
        seconds={n: sum(part.seconds[n] for part in parts) for n in first.seconds},
    )


def rates(
    recording: Recording, start_ms: float | None = None, stop_ms: float | None = None
) -> dict[str, float]:
    """Mean rate of each population between two times of the run, Hz.

    Times are cut to the recording; NaN where nothing of it lies between them.
    """
    start = 0 if start_ms is None else round((start_ms - recording.start_ms) / recording.dt)
    stop = recording.steps
    if stop_ms is not None:
        stop = round((stop_ms - recording.start_ms) / recording.dt)
    start, stop = max(start, 0), min(stop, recording.steps)
    if stop <= start:
        return dict.fromkeys(recording.spikes, float("nan"))
    seconds = (stop - start) * recording.dt * 1e-3
    return {
        name: float(spikes[start:stop].sum() / recording.sizes[name] / seconds)
        for name, spikes in recording.spikes.items()
    }


def rate_course(recording: Recording, bin_ms: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Population rates over time: bin centres (ms) and, by population, Hz [bins]."""
    width = max(1, round(bin_ms / recording.dt))
    bins = recording.steps // width
    centres = recording.start_ms + (np.arange(bins) + 0.5) * width * recording.dt
    scale = 1.0 / (width * recording.dt * 1e-3)
    return centres, {
        name: spikes[: bins * width].reshape(bins, width).sum(axis=1)
        * (scale / recording.sizes[name])
        for name, spikes in recording.spikes.items()
    }
