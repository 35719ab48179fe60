"""Synapses of a network of the Brain Scaffold Builder (BSB), as the edges of a projection.

    edges = cb.io.bsb.edges("mouse.hdf5", "granule_to_golgi")
    circuit = cb.build(spec, key, edges={"granule_golgi": edges})

Two formats are read, and told apart by the file:

- That of the storage engine `hdf5` of BSB 4 to 8 (package bsb-hdf5; 4.0, 6.0.7, 7.6.1 and 8.0.2
  write the same), which cerebellar-models 0.7 to 0.13 use. A set of connections is
  `/connectivity/SET`, with attributes `pre` and `post`. Its group `inc` has a group for every chunk
  of the volume with target cells, in which `local_locs` and `global_locs` [n, 3] are the target and
  the source of each synapse: cell, branch and point. Cells are numbered within their chunk. The
  rows of a chunk of source cells follow each other from the row on that the attribute with the
  number of the chunk says. `/placement/TYPE` has a group for every chunk, in the order of whose
  numbers cells are counted.
- That of BSB 3 (package bsb 3.10, `HDF5Formatter`), the scaffold of Casali et al. 2019. A set is
  `/cells/connections/SET`, [n, 2] identifiers of cells of all types. The identifiers of a type are
  `/cells/placement/TYPE/identifiers`: the first one and the length of each run, in turn.

Neither has weights or delays: those of the projection hold. Several synapses of a pair of cells, at
places of their own, are kept.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.io import hdf5
from cerebellum.model.edges import Edges, Multapses


def edges(
    path: str | Path,
    connections: str,
    *,
    pre: str | None = None,
    post: str | None = None,
    multapses: Multapses = "keep",
) -> Edges:
    """The synapses of a set of connections.

    Cells are numbered as BSB numbers those of their type, which is the order of `positions`.

    Args:
      connections: name of the set, such as "granule_to_golgi".
      pre, post: the cell types at both ends. A set of BSB 4 and later has one of each, with which
        these are compared. One of BSB 3 may have several: then they are needed, and synapses of
        other types are left out.
      multapses: what happens to several synapses of a pair of cells, see `cb.Edges`.

    Raises:
      UsageError: h5py is not installed, this is no file of BSB, it has no such set or cell type, or
        cells that its types do not have.
    """
    where = str(path)
    with hdf5.opened(path, "bsb") as file:
        read = _edges_of_chunks if _in_chunks(file, where) else _edges_of_scaffold
        source, target = read(file, connections, (pre, post), where)
    return Edges(source, target, multapses=multapses)


def positions(path: str | Path, cell_type: str) -> np.ndarray:
    """The positions of the cells of a type, um, float64 [cells, 3], for `cb.build(positions=...)`.

    Raises:
      UsageError: h5py is not installed, this is no file of BSB, or it has no such cell type, or no
        positions of it.
    """
    where = str(path)
    with hdf5.opened(path, "bsb") as file:
        if not _in_chunks(file, where):
            group = hdf5.child(hdf5.child(file, "cells/placement", where), cell_type, where)
            return hdf5.array(group, "positions", where, (None, 3)).astype(np.float64)
        group, counts = _placement(file, cell_type, where)
        chunks = [
            hdf5.array(group[str(chunk)], "position", where, (count, 3))
            for chunk, count in counts.items()
        ]
    return np.concatenate([np.zeros((0, 3)), *chunks])


def _in_chunks(file: Any, where: str) -> bool:
    """Whether a file is of BSB 4 or later."""
    if "connectivity" in file or "placement" in file:
        return True
    if "cells/placement" in file:
        return False
    listed = ", ".join(file) or "nothing"
    raise UsageError(f"{where}: {listed}; connectivity and placement, as a network of BSB has")


def _edges_of_chunks(
    file: Any, name: str, types: tuple[str | None, str | None], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Source and target cells of a set of BSB 4 or later, int64 [synapses] each."""
    group = hdf5.child(hdf5.child(file, "connectivity", where), name, where)
    firsts = []
    for end, wanted in zip(("pre", "post"), types, strict=True):
        cell_type = hdf5.text(group.attrs.get(end))
        if wanted not in (None, cell_type):
            raise UsageError(f"{where}: {end} {wanted!r}; {cell_type!r}, as {name} has")
        firsts.append(_Chunks(file, str(cell_type), where))
    pre, post = firsts
    sources, targets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    incoming = hdf5.child(group, "inc", where)
    for chunk in incoming:
        block = incoming[chunk]
        local = hdf5.whole_numbers(block, "local_locs", where, (None, 3))[:, 0]
        shape = (local.size, 3)
        cells = hdf5.whole_numbers(block, "global_locs", where, shape)[:, 0]
        source_chunks, rows = _rows_of_chunks(block, local.size, where)
        targets.append(post.cells(_chunk(chunk, incoming, where), local))
        for source, start, end in zip(source_chunks, rows[:-1], rows[1:], strict=True):
            sources.append(pre.cells(source, cells[start:end]))
    source, target = np.concatenate(sources), np.concatenate(targets)
    said = group.attrs.get("len")
    if said is not None and said != target.size:
        raise UsageError(f"{where}: {target.size} synapses in {name}; {said}, as its len says")
    return source, target


def _rows_of_chunks(block: Any, count: int, where: str) -> tuple[list[int], np.ndarray]:
    """The chunks of source cells in the order of their rows, and the borders between their rows."""
    coordinates = np.asarray(block.attrs.get("chunk_list", np.zeros((0, 3))), np.int16)
    chunks = [_chunk_number(xyz) for xyz in coordinates.reshape(-1, 3)]
    missing = [chunk for chunk in chunks if str(chunk) not in block.attrs]
    if missing:
        raise UsageError(
            f"{where}: {block.name} without the row of chunk {missing[0]}; a whole file"
        )
    starts = np.array([block.attrs[str(chunk)] for chunk in chunks], np.int64)
    order = np.argsort(starts, kind="stable")
    rows = np.append(starts[order], count)
    if rows[0] != 0 or np.any(np.diff(rows) < 0):
        raise UsageError(f"{where}: {block.name}: its chunks begin in rows {starts}; 0 to {count}")
    return [chunks[k] for k in order], rows


def _chunk_number(xyz: np.ndarray) -> int:
    """The number of a chunk: its three coordinates, int16, as digits of 16 bits, x the lowest."""
    x, y, z = (int(digit) for digit in xyz.astype(np.uint16))
    return x + (y << 16) + (z << 32)


def _placement(file: Any, cell_type: str, where: str) -> tuple[Any, dict[int, int]]:
    """The placement of a type and the number of its cells by chunk, in the order of cells."""
    group = hdf5.child(hdf5.child(file, "placement", where), cell_type, where)
    listed = hdf5.text(group.attrs.get("chunks"))
    if listed is None:
        counts = {n: len(hdf5.array(group[n], "position", where, (None, 3))) for n in group}
    else:
        # Cells without a position, such as fibres, are counted here alone.
        try:
            counts = dict(json.loads(listed))
        except (ValueError, TypeError):
            raise UsageError(f"{where}: {group.name}: chunks {listed!r}; cells by chunk") from None
    numbered = {_chunk(name, group, where): int(count) for name, count in counts.items()}
    return group, dict(sorted(numbered.items()))


def _chunk(name: str, group: Any, where: str) -> int:
    """The number of a chunk that is the name of a group."""
    if not name.isdecimal():
        raise UsageError(f"{where}: {group.name}/{name}; the number of a chunk")
    return int(name)


class _Chunks:
    """The numbers of the cells of a type, from those that they have in their chunks."""

    def __init__(self, file: Any, cell_type: str, where: str):
        self._counts = _placement(file, cell_type, where)[1]
        borders = np.cumsum([0, *self._counts.values()])
        self._first = dict(zip(self._counts, borders.tolist(), strict=False))
        self._name, self._where = cell_type, where

    def cells(self, chunk: int, local: np.ndarray) -> np.ndarray:
        """The numbers of cells of a chunk, int64 [cells]."""
        count = self._counts.get(chunk, 0)
        wrong = local[(local < 0) | (local >= count)]
        if wrong.size:
            raise UsageError(
                f"{self._where}: cell {wrong[0]} of {self._name} in chunk {chunk}; it has {count}, "
                "numbered from 0"
            )
        return local + self._first.get(chunk, 0)


def _edges_of_scaffold(
    file: Any, name: str, types: tuple[str | None, str | None], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Source and target cells of a set of BSB 3, int64 [synapses] each."""
    placement = hdf5.child(file, "cells/placement", where)
    sets = hdf5.child(file, "cells/connections", where)
    pairs = hdf5.whole_numbers(sets, name, where, (None, 2))
    identifiers = {cell_type: _identifiers(placement[cell_type], where) for cell_type in placement}
    ends = []
    for end, wanted, column in zip(("pre", "post"), types, pairs.T, strict=True):
        if wanted is not None:
            hdf5.child(placement, wanted, where)
            ends.append(_places(column, identifiers[wanted]))
            continue
        held = {t: _places(column, ids) for t, ids in identifiers.items()}
        present = [t for t, place in held.items() if np.any(place >= 0)]
        if len(present) > 1:
            raise UsageError(
                f"{where}: {name} has several types; {end}= one of {', '.join(present)}"
            )
        ends.append(held[present[0]] if present else np.full(len(pairs), -1))
        if np.any(ends[-1] < 0):
            wrong = column[ends[-1] < 0][0]
            raise UsageError(f"{where}: {end} {wrong} in {name}; an identifier that a cell has")
    taken = (ends[0] >= 0) & (ends[1] >= 0)
    return ends[0][taken], ends[1][taken]


def _identifiers(group: Any, where: str) -> np.ndarray:
    """The identifiers of the cells of a type in their order, int64 [cells]."""
    runs = hdf5.whole_numbers(group, "identifiers", where)
    if runs.size % 2 or np.any(runs[1::2] < 0):
        raise UsageError(
            f"{where}: {group.name}/identifiers, {runs.size} numbers; pairs of a first and a count"
        )
    first, count = runs[::2], runs[1::2]
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return np.repeat(first, count) + within


def _places(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The place of each value among the ids, int64; -1 where it is none of them."""
    if not ids.size:
        return np.full(values.size, -1)
    order = np.argsort(ids, kind="stable")
    place = order[np.minimum(np.searchsorted(ids[order], values), ids.size - 1)]
    return np.where(ids[place] == values, place, -1)
