"""The files of a SONATA edge population: columns of edges, groups of attributes, edge types.

`sonata` has the source of the format, and turns them into edges of a projection.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.io import hdf5

MAGIC = 0x0A7A
"""The attribute `magic` of every SONATA file."""
ABSENT = ("", "NULL", "NONE", "None", "nan")
"""Words of an edge types file for a value that its type does not have."""
PLACED = ("afferent_section_id", "sec_id")
"""Attributes of edges that are single synapses on a branch, whose `nsyns` bmtk does not read."""
FUNCTION = "weight_function"
"""The attribute of bmtk that names a function of Python which computes the weight."""


def population(file: Any, name: str | None, between: tuple[str, str] | None, where: str) -> Any:
    """The group of an edge population.

    Args:
      name: the population; None for the only one, or the only one between these nodes.
      between: names of the source and the target node population; None for any.
      where: the file, for messages.

    Raises:
      UsageError: this is no SONATA file, or none or several of its populations fit.
    """
    magic = file.attrs.get("magic")
    if magic is not None and np.any(np.asarray(magic) != MAGIC):
        raise UsageError(f"{where}: magic {magic}; {MAGIC}, as a SONATA file has")
    groups = hdf5.child(file, "edges", where)
    if name is not None:
        group = hdf5.child(groups, name, where)
        found = ends(group, where)
        if between is not None and found != between:
            raise UsageError(
                f"{where}: {name!r} goes from nodes {found[0]!r} to {found[1]!r}; "
                f"{between[0]!r} to {between[1]!r}"
            )
        return group
    ends_by_name = {name: ends(hdf5.child(groups, name, where), where) for name in groups}
    fitting = [n for n, pair in ends_by_name.items() if between is None or pair == between]
    if len(fitting) != 1:
        listed = ", ".join(f"{n} ({a} to {b})" for n, (a, b) in ends_by_name.items()) or "none"
        raise UsageError(f"{where}: {len(fitting)} edge populations fit; one of {listed}")
    return groups[fitting[0]]


def ends(group: Any, where: str) -> tuple[str | None, str | None]:
    """The names of the node populations that an edge population connects."""
    source, target = (
        hdf5.text(hdf5.child(group, name, where).attrs.get("node_population"))
        for name in ("source_node_id", "target_node_id")
    )
    return source, target


def table(path: str | Path, key: str) -> list[dict[str, str]]:
    """The rows of a file of node or edge types, each as text by column.

    Args:
      key: the column that such a file must have, "node_type_id" or "edge_type_id".

    Raises:
      UsageError: there is no such file, or it is not such a table.
    """
    kind = f"{'an' if key[0] in 'aeiou' else 'a'} {key.removesuffix('_id').replace('_', ' ')}s file"
    try:
        lines = [line.strip() for line in Path(path).read_text().splitlines()]
    except (OSError, ValueError, TypeError):
        raise UsageError(f"{path}: no such file; {kind}, in text") from None
    rows = list(csv.reader(filter(None, lines), delimiter=" ", skipinitialspace=True))
    columns = rows[0] if rows else []
    if key not in columns:
        listed = ", ".join(columns) or "no columns"
        raise UsageError(f"{path}: {listed}; a column {key}, divided by spaces")
    for row in rows[1:]:
        if len(row) != len(columns):
            raise UsageError(f"{path}: {len(row)} fields in {' '.join(row)!r}; {len(columns)}")
    return [dict(zip(columns, row, strict=True)) for row in rows[1:]]


def types_table(path: str | Path, name: str) -> dict[int, dict[str, str]]:
    """The rows of an edge types file by edge type id, each as text by column.

    Args:
      name: the edge population; rows of others are left out if the file has a column `population`.

    Raises:
      UsageError: there is no such file, or it is not a table of edge types.
    """
    by_id = {}
    for fields in table(path, "edge_type_id"):
        if fields.get("population", name) != name:
            continue
        try:
            number = int(fields["edge_type_id"])
        except ValueError:
            wrong = fields["edge_type_id"]
            raise UsageError(f"{path}: edge_type_id {wrong!r}; a whole number") from None
        if number in by_id:
            raise UsageError(f"{path}: edge_type_id {number} twice; each once")
        by_id[number] = fields
    return by_id


class Rows:
    """The edges of a population that are kept, and their attributes.

    An attribute of an edge is that of its group, or else that of its type.

    Attributes:
      source, target: node ids, int64 [edges].
      type: edge type ids, int64 [edges].
    """

    def __init__(self, group: Any, types: str | Path | None, where: str):
        """Read the columns that every population has.

        Args:
          group: the population in the file.
          types: the edge types file, or None.
          where: the edges file, for messages.
        """
        self.name = group.name.rpartition("/")[2]
        self._where, self._types = where, types
        self._table: Mapping[int, Mapping[str, str]] = (
            {} if types is None else types_table(types, self.name)
        )
        self.source = hdf5.whole_numbers(group, "source_node_id", where)
        shape = self.source.shape
        self.target = hdf5.whole_numbers(group, "target_node_id", where, shape)
        self.type = hdf5.whole_numbers(group, "edge_type_id", where, shape)
        # Groups of attributes have numbers for names.
        self._groups = {int(name): group[name] for name in group if name.isdecimal()}
        if "edge_group_id" in group or len(self._groups) > 1:
            self._group = hdf5.whole_numbers(group, "edge_group_id", where, shape)
            self._index = hdf5.whole_numbers(group, "edge_group_index", where, shape)
        else:
            # As libsonata, which knows a single group, with a row for every edge.
            self._group = np.full(shape, next(iter(self._groups), 0))
            self._index = np.arange(self.source.size)
        unknown = np.setdiff1d(self._group, list(self._groups))
        if self._groups and unknown.size:
            known = ", ".join(map(str, self._groups))
            raise UsageError(f"{where}: edge_group_id {unknown[0]} of {self.name}; {known}")

    def keep(self, mask: np.ndarray) -> None:
        """Leave out all edges but those of a mask, bool [edges]."""
        for name in ("source", "target", "type", "_group", "_index"):
            setattr(self, name, getattr(self, name)[mask])

    def attribute(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A number of every edge, float64 [edges], and whether the edge has it, bool [edges]."""
        ids, place = np.unique(self.type, return_inverse=True)
        words = [self._table.get(int(i), {}).get(name, "") for i in ids]
        by_type = [self._number(word, name, i) for word, i in zip(words, ids, strict=True)]
        values = np.array(by_type, np.float64)[place]
        has = np.array([word not in ABSENT for word in words], bool)[place]
        for number, group in self._groups.items():
            if name not in group:
                continue
            column = hdf5.array(group, name, self._where, (None,)).astype(np.float64)
            here = self._group == number
            index = self._index[here]
            if index.size and not 0 <= index.min() <= index.max() < column.size:
                raise UsageError(
                    f"{self._where}: edge_group_index {index.min()} to {index.max()} of group "
                    f"{number} of {self.name}; its {name} has {column.size}, numbered from 0"
                )
            values[here], has[here] = column[index], True
        return values, has

    def required(self, name: str, argument: str) -> np.ndarray:
        """An attribute that every edge must have, float64 [edges].

        Args:
          argument: the argument that names it, which may be None, for the message.
        """
        values, has = self.attribute(name)
        if not has.all():
            k = np.flatnonzero(~has)[0]
            raise UsageError(
                f"{self._where}: no {name} of edges of group {self._group[k]} and type "
                f"{self.type[k]}; a file of types that has it, or {argument}=None for that of the "
                "projection"
            )
        wrong = values[~np.isfinite(values)]
        if wrong.size:
            raise UsageError(f"{self._where}: {name} {wrong[0]} in {self.name}; finite numbers")
        return values

    def weights(self, name: str) -> np.ndarray:
        """The weight of a synapse of every edge, of either sign, float64 [edges]."""
        computed = [
            f"group {number}"
            for number, group in self._groups.items()
            if FUNCTION in group and np.any(self._group == number)
        ]
        computed += [
            f"type {i}"
            for i in np.unique(self.type)
            if self._table.get(int(i), {}).get(FUNCTION, "") not in ABSENT
        ]
        if computed:
            raise UsageError(
                f"{self._where}: edges of {computed[0]} have a {FUNCTION}, which is not in the "
                f"file; weight=None, or files without {FUNCTION}"
            )
        return self.required(name, "weight")

    def synapses(self) -> np.ndarray:
        """The number of synapses of every edge, int64 [edges]: `nsyns`, or 1."""
        counts, has = self.attribute("nsyns")
        for number, group in self._groups.items():
            if any(name in group for name in PLACED):
                has[self._group == number] = False
        counts = np.where(has, counts, 1.0)
        wrong = counts[~((counts >= 0) & (counts == np.round(counts)))]
        if wrong.size:
            raise UsageError(f"{self._where}: nsyns {wrong[0]} in {self.name}; whole numbers")
        return counts.astype(np.int64)

    def _number(self, word: str, name: str, edge_type: int) -> float:
        if word in ABSENT:
            return 0.0
        try:
            return float(word)
        except ValueError:
            raise UsageError(
                f"{self._types}: {name} {word!r} of edge type {edge_type}; a number"
            ) from None
