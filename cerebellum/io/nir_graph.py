"""What a graph of NIR (nir 1.0) says: cells, and the linear paths between them.

NIR: Pedersen et al. 2024, Nature Communications 15:8122. `nir` turns this into layers and circuits.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cerebellum.errors import UsageError

PASSED = ("Linear", "Affine", "Scale", "Delay", "Input", "Output")
"""Nodes that lie on a path between cells; `Input` and `Output` do so in a graph within a graph."""


@dataclass(frozen=True)
class Path:
    """A linear path from a source to a cell."""

    source: str
    weight: np.ndarray
    """[cells, sources], float64"""
    delay_s: float = 0.0
    """delay, s"""
    delayed_by: str = ""
    """the node that delays it, for messages"""


@dataclass
class Heard:
    """What reaches a node: paths, and a constant."""

    paths: list[Path] = field(default_factory=list)
    bias: np.ndarray | None = None
    """[cells], float64; None for zero"""


@dataclass(frozen=True)
class Layout:
    """A graph, read."""

    inputs: Mapping[str, int]
    """number of channels by name"""
    cells: Mapping[str, Any]
    """nodes with cells by name, in an order in which sources come before targets where they can"""
    outputs: tuple[str, ...]
    """the cells that outputs of the graph show"""
    heard: Mapping[str, Heard]
    """what reaches each of the cells, without paths of zeros alone"""


def check(graph: Any) -> None:
    """Raise UsageError if this is no graph of NIR."""
    if type(graph).__name__ != "NIRGraph":
        raise UsageError(f"graph: {type(graph).__name__}; a nir.NIRGraph, such as of nir.read")


def layout(graph: Any, cells: Collection[str]) -> Layout:
    """Read a graph.

    Args:
      graph: a nir.NIRGraph.
      cells: the types of nodes that are cells, such as "CubaLIF".

    Raises:
      UsageError: this is no graph, or a node of it has a type, a shape or a place that is not
        known; the message names the node.
    """
    check(graph)
    nodes, edges = _flat(graph, "")
    for name, node in nodes.items():
        if _type(node) not in (*cells, *PASSED):
            known = ", ".join([*cells, "Linear", "Affine", "Scale", "Delay"])
            raise UsageError(f"graph: node {name!r} is a {_type(node)}; {known}")
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        before[target].append(source)
    outer = {name for name in graph.nodes if name in nodes}
    inputs = {n: _channels(n, nodes[n]) for n in outer if _type(nodes[n]) == "Input"}
    inputs = {name: inputs[name] for name in nodes if name in inputs}
    found = {name: node for name, node in nodes.items() if _type(node) in cells}
    reader = _Reader(nodes, before, {*inputs, *found})
    heard = {name: reader.into(name) for name in found}
    for each in heard.values():
        each.paths = [path for path in each.paths if path.weight.any()]
    outputs = []
    for name in (n for n in nodes if n in outer and _type(nodes[n]) == "Output"):
        for path in reader.into(name).paths:
            alone = np.array_equal(path.weight, np.eye(len(path.weight)))
            if path.source not in found or not alone or path.delay_s:
                raise UsageError(
                    f"graph: output {name!r} is not of cells alone; an edge from cells"
                )
            outputs.append(path.source)
    ordered = _order(found, heard)
    shown = tuple(name for name in ordered if name in outputs)
    return Layout(inputs, {name: found[name] for name in ordered}, shown, heard)


def _type(node: Any) -> str:
    return type(node).__name__


def _channels(name: str, node: Any) -> int:
    shape = np.asarray(next(iter(node.input_type.values()))).ravel()
    if shape.size != 1:
        raise UsageError(f"graph: input {name!r} has the shape {shape.tolist()}; one dimension")
    return int(shape[0])


def _flat(graph: Any, within: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes and edges of a graph, those of graphs within it included, as "graph.node"."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ends: dict[str, tuple[list[str], list[str]]] = {}
    for name, node in graph.nodes.items():
        if _type(node) != "NIRGraph":
            nodes[within + name] = node
            ends[name] = ([within + name], [within + name])
            continue
        inner, links = _flat(node, f"{within}{name}.")
        nodes |= inner
        edges += links
        own = {each: type(part).__name__ for each, part in node.nodes.items()}
        prefix = f"{within}{name}."
        ends[name] = (
            [prefix + each for each, kind in own.items() if kind == "Input"],
            [prefix + each for each, kind in own.items() if kind == "Output"],
        )
    for source, target in graph.edges:
        edges += [(a, b) for a in ends[source][1] for b in ends[target][0]]
    return nodes, edges


class _Reader:
    """Follows the paths of a graph backwards from its cells."""

    def __init__(self, nodes: Mapping[str, Any], before: Mapping[str, list[str]], ends: set[str]):
        self._nodes, self._before, self._ends = nodes, before, ends

    def into(self, name: str, seen: tuple[str, ...] = ()) -> Heard:
        """What reaches a node, summed over the nodes before it."""
        heard = Heard()
        for source in self._before[name]:
            if source in seen:
                raise UsageError(f"graph: a loop through {source!r} without cells; cells in it")
            each = self._out(source, (*seen, source))
            heard.paths += each.paths
            if each.bias is not None:
                heard.bias = each.bias if heard.bias is None else heard.bias + each.bias
        return heard

    def _out(self, name: str, seen: tuple[str, ...]) -> Heard:
        """What a node puts out."""
        node = self._nodes[name]
        if name in self._ends:
            shape = next(iter(node.output_type.values()))
            return Heard([Path(name, np.eye(int(np.prod(shape))))])
        heard, kind = self.into(name, seen), _type(node)
        if kind in ("Input", "Output"):
            return heard
        if kind == "Delay":
            return Heard([self._delayed(path, name, node) for path in heard.paths], heard.bias)
        weight = np.asarray(node.scale if kind == "Scale" else node.weight, np.float64)
        weight = np.diag(weight) if kind == "Scale" and weight.ndim == 1 else weight
        if weight.ndim != 2:
            raise UsageError(f"graph: node {name!r} has weights of {weight.ndim} dimensions; two")
        paths = [
            Path(path.source, weight @ path.weight, path.delay_s, path.delayed_by)
            for path in heard.paths
        ]
        bias = None if heard.bias is None else weight @ heard.bias
        if kind == "Affine":
            added = np.asarray(node.bias, np.float64)
            bias = added if bias is None else bias + added
        return Heard(paths, None if bias is None or not bias.any() else bias)

    def _delayed(self, path: Path, name: str, node: Any) -> Path:
        delays = np.unique(np.asarray(node.delay, np.float64))
        if delays.size != 1 or not delays[0] >= 0:
            listed = ", ".join(f"{delay:g}" for delay in delays[:4])
            raise UsageError(f"graph: delay {name!r} of {listed} s; one for all its channels")
        return Path(path.source, path.weight, path.delay_s + float(delays[0]), name)


def _order(cells: Mapping[str, Any], heard: Mapping[str, Heard]) -> list[str]:
    """Cells in an order in which sources come before targets, but for loops, as they are named."""
    ordered: list[str] = []
    left = list(cells)
    while left:
        free = [
            name
            for name in left
            if all(p.source not in left or p.source == name for p in heard[name].paths)
        ]
        ordered.append(free[0] if free else left[0])
        left.remove(ordered[-1])
    return ordered
