"""What the caller asks a run to record, in text or by `cb.record.of` and `cb.record.weights`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jax import Array

from cerebellum.errors import UsageError, is_number, is_whole, nearest
from cerebellum.model.delays import GRID
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.sim.recorders import SPIKES, WEIGHTS

KINDS = "rates, counts:POPULATION, raster:POPULATION, v:POPULATION, g_exc:..., g_inh:..."


@dataclass(frozen=True, eq=False)
class Request:
    """A quantity to record: what `of` and `weights` return, and what text stands for."""

    kind: str
    owner: str
    chosen: Any = None
    """cells or synapses; None for all cells, or for the mean of the weights"""
    every_ms: float | None = None
    """time from one sample to the next, ms; None for every step"""
    text: str = ""
    """the text that it was made from, for messages"""

    @property
    def where(self) -> str:
        return f"record {(self.text or f'{self.kind}:{self.owner}')!r}"


def of(kind: str, population: str, cells: Any = None, *, every_ms: float | None = None) -> Request:
    """A quantity of a population to record, for the argument `record` of a run.

    Args:
      kind: "raster" or "counts" for spikes, or a variable of the population's model, such as "v".
      population: its name.
      cells: numbers of cells in any order, a mask (bool [N]), a slice, or one number; by default
        all cells.
      every_ms: for variables, the time from one sample to the next, whole steps. The first sample
        is at the end of the first such time. By default every step is a sample.

    Raises:
      UsageError: the kind or the population is no text. Whether they fit the circuit is checked
        when it runs.
    """
    for name, value in (("kind", kind), ("population", population)):
        if not isinstance(value, str):
            raise UsageError(f"{name}: {value!r}; text, such as 'v' and 'golgi'")
    return Request(kind, population, cells, every_ms)


def weights(projection: str, synapses: Any = None, *, every_ms: float | None = None) -> Request:
    """Weights of a plastic projection to record, nS or mV.

    They are those of the state: what a rule has not yet applied to a row, because its source cell
    has not fired since, is not in them.

    Args:
      projection: its name.
      synapses: pairs of cells (source, target), integers [n, 2]; by default the mean over all
        synapses of the projection, which is one number a sample.
      every_ms: as in `of`.

    Raises:
      UsageError: the projection is no text. Whether it fits the circuit is checked when it runs.
    """
    if not isinstance(projection, str):
        raise UsageError(f"projection: {projection!r}; text, such as 'granule_purkinje'")
    return Request(WEIGHTS, projection, synapses, every_ms)


def parse(record: Any, spec: Spec) -> tuple[Request, ...]:
    """Make requests from text such as "raster:purkinje", "v:golgi:0:5" or "v:golgi:0,3,7".

    After the population follows a cell, a Python slice of cells, or a list of cells. "rates" is
    always recorded and needs no request. Requests are checked and returned as they are.

    Raises:
      UsageError: the kind or the population is unknown, the cells do not exist, or the same
        quantity is requested twice.
    """
    requests: dict[tuple[str, str], Request] = {}
    for each in (record,) if isinstance(record, str | Request) else record:
        if isinstance(each, str) and each == "rates":
            continue
        request = _read(each, spec) if isinstance(each, str) else each
        key = (request.kind, request.owner)
        if key in requests:
            raise UsageError(f"{request.where}: {':'.join(key)} twice; once, with all its cells")
        interval(request, spec.dt)
        if request.kind == WEIGHTS:
            projection_of(request, spec)
        else:
            cells_of(request, spec)
        requests[key] = request
    return tuple(requests.values())


def _read(text: str, spec: Spec) -> Request:
    """The request of a text."""
    kind, *rest = text.split(":")
    if kind == WEIGHTS:
        if len(rest) != 1:
            raise UsageError(
                f"record {text!r}: weights:PROJECTION is their mean; "
                "cb.record.weights(PROJECTION, synapses=...) for some of them"
            )
        return Request(kind, rest[0], text=text)
    names = [population.name for population in spec.populations]
    if not rest or rest[0] not in names:
        raise UsageError(f"record {text!r}: {KINDS}; populations are {', '.join(names)}")
    try:
        if len(rest) == 2 and "," in rest[1]:
            cells: Any = [int(x) for x in rest[1].split(",")]
        else:
            bounds = [int(x) if x else None for x in rest[1:]]
            if len(bounds) == 1 and bounds[0] is not None:
                bounds.append(bounds[0] + 1)
            cells = slice(*bounds) if bounds else None
    except (ValueError, TypeError):
        raise UsageError(
            f"record {text!r}: cells as CELL, START:STOP, START:STOP:STRIDE or CELL,CELL"
        ) from None
    return Request(kind, rest[0], cells, text=text)


def interval(request: Request, dt: float) -> int:
    """The number of steps from one sample to the next."""
    every_ms = request.every_ms
    if every_ms is None:
        return 1
    if not is_number(every_ms):
        raise UsageError(f"{request.where}: every_ms {every_ms!r}; a number, ms")
    steps = float(every_ms) / dt
    if not 0.5 <= steps < 2**31 or abs(steps - round(steps)) > GRID:
        raise UsageError(f"{request.where}: every_ms {every_ms:g}; whole steps of {dt:g} ms")
    if request.kind in SPIKES:
        raise UsageError(f"{request.where}: every_ms {every_ms:g}; none, spikes are of every step")
    return round(steps)


def cells_of(request: Request, spec: Spec) -> np.ndarray:
    """The cells of a request, int64 [n].

    Raises:
      UsageError: there is no such population or variable, or there are no such cells.
    """
    names = [population.name for population in spec.populations]
    if request.owner not in names:
        raise UsageError(
            f"{request.where}: {request.owner!r}; {nearest(request.owner, names, spec.name)}"
        )
    population = spec.population(request.owner)
    if request.kind not in SPIKES:
        known = _variables(population)
        if request.kind not in known:
            raise UsageError(
                f"{request.where}: {population.name} has {', '.join(known) or 'no variables'}; "
                f"{KINDS}"
            )
    return _chosen(request, population.size)


def _variables(population: Population) -> tuple[str, ...]:
    model = CIRCUIT_MODELS[population.model]
    return tuple(model.variables(model.init(population.typical, (1,))))


def _chosen(request: Request, size: int) -> np.ndarray:
    """The cells of a request among `size` cells, int64 [n]."""
    chosen, where = request.chosen, request.where
    if chosen is None or isinstance(chosen, slice):
        try:
            cells = range(size)[chosen if chosen is not None else slice(None)]
        except (TypeError, ValueError):
            raise UsageError(f"{where}: cells {chosen!r}; whole numbers") from None
        if cells.step < 1 or not cells:
            raise UsageError(f"{where}: no cells of the {size} there are; 0 to {size - 1}")
        return np.arange(cells.start, cells.stop, cells.step)
    if is_whole(chosen):
        chosen = [chosen]
    if isinstance(chosen, str) or not isinstance(chosen, Sequence | range | np.ndarray | Array):
        raise UsageError(f"{where}: cells {chosen!r}; a list of cells, a mask or a slice")
    cells = np.asarray(chosen)
    if cells.dtype == bool:
        if cells.shape != (size,):
            raise UsageError(f"{where}: a mask of {list(cells.shape)}; [{size}]")
        cells = np.flatnonzero(cells)
    if not cells.size:
        raise UsageError(f"{where}: no cells; some of the {size} there are, or leave it out")
    if cells.ndim != 1 or cells.dtype.kind not in "iu":
        raise UsageError(f"{where}: cells {cells.dtype} {list(cells.shape)}; whole numbers, [n]")
    outside = (cells < 0) | (cells >= size)
    if outside.any():
        raise UsageError(f"{where}: cell {cells[outside][0]}; from 0 to {size - 1}")
    cells = cells.astype(np.int64)
    if len(np.unique(cells)) < len(cells):
        values, counts = np.unique(cells, return_counts=True)
        raise UsageError(f"{where}: cell {values[counts > 1][0]} twice; each cell once")
    return cells


def projection_of(request: Request, spec: Spec) -> Projection:
    """The plastic projection whose weights are requested."""
    plastic = [p.name for p in spec.projections if p.plastic]
    if request.owner not in plastic:
        known = [p.name for p in spec.projections]
        if request.owner in known:
            right = f"a plastic projection: {', '.join(plastic) or 'this circuit has none'}"
        else:
            right = f"{request.owner!r}; {nearest(request.owner, plastic, spec.name)}"
        raise UsageError(f"{request.where}: {right}")
    projection = next(p for p in spec.projections if p.name == request.owner)
    if request.chosen is not None:
        pairs_of(request, projection, spec)
    return projection


def pairs_of(request: Request, projection: Projection, spec: Spec) -> np.ndarray:
    """The synapses of a request as pairs of cells, int64 [n, 2]."""
    try:
        pairs = np.asarray(request.chosen)
    except ValueError:
        raise UsageError(f"{request.where}: synapses; pairs (source, target), [n, 2]") from None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu" or not len(pairs):
        raise UsageError(
            f"{request.where}: synapses {pairs.dtype} {list(pairs.shape)}; pairs of cells (source, "
            "target), whole numbers [n, 2]"
        )
    for column, end in enumerate((projection.source, projection.target)):
        size = spec.population(end).size
        outside = (pairs[:, column] < 0) | (pairs[:, column] >= size)
        if outside.any():
            wrong = pairs[outside, column][0]
            raise UsageError(f"{request.where}: cell {wrong} of {end}; from 0 to {size - 1}")
    pairs = pairs.astype(np.int64)
    if len(np.unique(pairs, axis=0)) < len(pairs):
        raise UsageError(f"{request.where}: a synapse twice; each once")
    return pairs
