"""Circuits as SONATA networks, and synapses of such networks as the edges of a projection.

    cb.io.sonata.save_circuit(circuit, "network", positions={"granule": um})
    circuit = cb.io.sonata.load_circuit("network")

    inhibitory = cb.io.sonata.Select(edge_types=[101], source=range(200, 300), sign="negative")
    edges = cb.io.sonata.edges("v1_v1_edges.h5", types="v1_v1_edge_types.csv", select=inhibitory)
    circuit = cb.build(spec, key, edges={"basket_pyramidal": edges})

The format is version 0.1 of the SONATA developer guide (github.com/AllenInstitute/sonata; Dai et
al. 2020): the edges file in HDF5, and the edge types file, a table with columns divided by spaces.
The number of synapses of an edge, `nsyns`, is not in the guide: the Brain Modeling ToolKit (bmtk,
read as of version 1.2) writes it, and counts as it is counted here.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.io import hdf5, sonata_circuit, sonata_file
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.edges import Edges, Multapses

Sign = Literal["positive", "negative"]
"""Which edges to take: those with a weight of zero or more, or those with a weight below zero."""


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which edges of a SONATA population are those of a projection; by default all.

    Attributes:
      between: names of the source and the target node population. Without the name of an edge
        population, the one between these is read.
      source: node ids of the source cells: cell k of the projection's source is node source[k].
        Edges from other nodes are left out. None if cell k is node k.
      target: the same for the target cells.
      edge_types: edge type ids of the edges; None for all.
      sign: "positive" or "negative", see `Sign`; None if all weights have one sign.
    """

    between: tuple[str, str] | None = None
    source: Sequence[int] | np.ndarray | None = None
    target: Sequence[int] | np.ndarray | None = None
    edge_types: Sequence[int] | np.ndarray | None = None
    sign: Sign | None = None

    def __post_init__(self):
        known = get_args(Sign)
        if self.sign is not None and self.sign not in known:
            raise UsageError(f"Select: sign {self.sign!r}; {' or '.join(known)}")
        pair = self.between
        if pair is not None:
            pair = tuple(pair) if isinstance(pair, tuple | list) else ()
            if len(pair) != 2 or not all(isinstance(name, str) for name in pair):
                raise UsageError(
                    f"Select: between {self.between!r}; the names of source and target nodes"
                )
            object.__setattr__(self, "between", pair)
        for name in ("source", "target", "edge_types"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _ids(name, getattr(self, name)))


def save_circuit(
    circuit: Circuit,
    folder: str | Path,
    *,
    state: State | None = None,
    positions: Mapping[str, Any] | None = None,
    leave_out: Any = (),
) -> Path:
    """Write a circuit as a SONATA network, completely or not at all.

    Populations are nodes with the parameters of their model, projections are edges with a weight
    and a delay each; weights of the receptor "inh" are negative. `sonata_circuit` describes the
    files.

    Args:
      folder: where the files go; those of an earlier network there are replaced.
      state: the state that plastic weights are taken from; None for the first weights.
      positions: positions of cells, um [cells, 3], by population, where they are known.
      leave_out: what to leave out of what SONATA has no place for: the words of the error that
        names it, such as "rule" and "short_term".

    Returns:
      The path of the circuit's configuration, circuit_config.json.

    Raises:
      UsageError: h5py is not installed; the circuit has what SONATA has no place for; or positions
        are not one for each cell.
      OSError: the disk refused.
    """
    if not isinstance(circuit, Circuit):
        raise UsageError(f"circuit: {type(circuit).__name__}; what cb.build returns")
    placed = {} if positions is None else positions
    return sonata_circuit.save(circuit, _folder(folder), state, placed, leave_out)


def load_circuit(folder: str | Path, key: Any = 0, **options: Any) -> Circuit:
    """Read a circuit that `save_circuit` wrote.

    Args:
      key: the key or seed of `cb.build`; nothing is drawn.
      options: `path` and `backend`, as of `cb.build`.

    Raises:
      UsageError: h5py is not installed, or this is not such a network.
    """
    return sonata_circuit.load(_folder(folder), key, **options)


def _folder(folder: Any) -> Path:
    """A folder as a path, or UsageError."""
    if not isinstance(folder, str | os.PathLike):
        raise UsageError(f"folder: {type(folder).__name__}; the path of a folder")
    return Path(folder)


def positions(path: str | Path, population: str) -> np.ndarray:
    """The positions of the nodes of a population, from a nodes file, um, float64 [cells, 3].

    Raises:
      UsageError: h5py is not installed, or this is no nodes file with positions of that population.
    """
    return sonata_circuit.positions(Path(path), population)


def edges(
    path: str | Path,
    population: str | None = None,
    *,
    types: str | Path | None = None,
    select: Select | None = None,
    weight: str | None = "syn_weight",
    weight_factor: float = 1.0,
    delay: str | None = "delay",
    dt: float | None = None,
    multapses: Multapses = "keep",
) -> Edges:
    """The edges of a SONATA population, with weights and delays.

    An attribute of an edge is that of its group in the HDF5 file, or else that of its type in the
    edge types file. An edge with `nsyns` of n becomes n synapses, each with the weight of the edge;
    an edge with a place on a branch (`afferent_section_id`, `sec_id`) is one synapse.

    A weight of SONATA may be negative. In a projection the receptor has the sign, and weights are
    magnitudes: weights of both signs are those of two projections, read one after the other with
    `Select(sign=...)`.

    Args:
      path: the edges file.
      population: name of the edge population; None if the file has one, or if `select.between` says
        which.
      types: the edge types file; None if the edges file has all attributes.
      select: which edges to take; None for all.
      weight: name of the attribute with the weight of a synapse; None for the weight of the
        projection.
      weight_factor: factor from the unit of the file to that of the projection, above zero: 1e3
        from uS, as for NEURON, to nS.
      delay: name of the attribute with the delay, ms; None for the delay of the projection.
      dt: time step, ms: delays are rounded to whole steps, at least one. None if they are whole
        steps, which `cb.build` checks.
      multapses: what happens to several synapses of a pair of cells, see `cb.Edges`.

    Raises:
      UsageError: h5py is not installed, the files are not those of SONATA, there is no such
        population or attribute, or weights are of both signs or computed by a function of bmtk.
    """
    select = Select() if select is None else select
    _check(select, weight, weight_factor, dt)
    where = str(path)
    with hdf5.opened(path, "sonata") as file:
        group = sonata_file.population(file, population, select.between, where)
        rows = sonata_file.Rows(group, types, where)
        rows.keep(_selected(rows, select, where))
        weights = None
        if weight is not None:
            weights = rows.weights(weight)
            taken = _of_sign(weights, select.sign, f"{where}: {weight} of {rows.name}")
            rows.keep(taken)
            weights = np.abs(weights[taken]) * weight_factor
        delays = None if delay is None else rows.required(delay, "delay")
        synapses = rows.synapses()
    if delays is not None and not np.all(delays >= 0):
        wrong = delays[~(delays >= 0)][0]
        raise UsageError(f"{where}: {delay} {wrong:g} ms of {rows.name}; zero or more")
    if delays is not None and dt is not None:
        delays = np.maximum(1, np.round(delays / dt)) * dt
    pre, post = _cells(rows.source, select.source), _cells(rows.target, select.target)
    each = (None if x is None else np.repeat(x, synapses) for x in (pre, post, weights, delays))
    return Edges(*each, multapses=multapses)


def _check(select: Any, weight: Any, weight_factor: Any, dt: Any) -> None:
    if not isinstance(select, Select):
        raise UsageError(f"select: {select!r}; a sonata.Select")
    if select.sign is not None and weight is None:
        raise UsageError(f"Select: sign {select.sign!r}, without weights; weight='syn_weight'")
    for name, value in (("weight_factor", weight_factor), ("dt", 1.0 if dt is None else dt)):
        if not is_number(value) or not 0 < value < math.inf:
            raise UsageError(f"{name}: {value!r}; a number above zero")


def _ids(name: str, value: Any) -> np.ndarray:
    """Ids that a user has selected, int64 [ids], each once."""
    try:
        ids = np.asarray(value)
    except ValueError:
        ids = np.empty((), object)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise UsageError(f"Select: {name} {value!r}; a list of ids, whole numbers")
    unique, number = np.unique(ids, return_counts=True)
    if unique.size < ids.size:
        raise UsageError(f"Select: {name} has {unique[number > 1][0]} twice; each id once")
    return ids.astype(np.int64)


def _selected(rows: sonata_file.Rows, select: Select, where: str) -> np.ndarray:
    """The edges that are selected by their types and nodes, bool [edges]."""
    mask = np.ones(rows.source.size, bool)
    if select.edge_types is not None:
        wanted, known = np.asarray(select.edge_types), np.unique(rows.type)
        missing = np.setdiff1d(wanted, known)
        if missing.size:
            listed = ", ".join(map(str, known[:20])) or "none"
            raise UsageError(f"{where}: no edge of {rows.name} has type {missing[0]}; {listed}")
        mask &= np.isin(rows.type, wanted)
    for nodes, ids in ((rows.source, select.source), (rows.target, select.target)):
        if ids is not None:
            mask &= np.isin(nodes, ids)
    return mask


def _of_sign(weights: np.ndarray, sign: Sign | None, what: str) -> np.ndarray:
    """The edges with weights of a sign, bool [edges]; UsageError if it must be said, and is not."""
    negative = weights < 0
    if sign is not None:
        return negative == (sign == "negative")
    if negative.any() and (weights > 0).any():
        raise UsageError(
            f"{what}: {weights.min():g} to {weights.max():g}; one sign in a projection, "
            "Select(sign='positive') or Select(sign='negative')"
        )
    return np.ones(weights.size, bool)


def _cells(nodes: np.ndarray, ids: Any) -> np.ndarray:
    """The cells that are these nodes, int64 [edges].

    Args:
      ids: the node of each cell, int64 [cells]; None if nodes and cells have the same numbers.
    """
    if ids is None:
        return nodes
    order = np.argsort(ids)
    return order[np.searchsorted(ids[order], nodes)]
