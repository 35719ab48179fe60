"""A whole circuit as a SONATA network, and one that was so written as a circuit; see `sonata`.

A folder holds circuit_config.json, nodes.h5 and node_types.csv, edges.h5 and edge_types.csv, and a
file POPULATION.json with the parameters of each population's cells; what differs between cells is
in `dynamics_params` of nodes.h5. Node and edge types are in the order of populations and
projections. SONATA has no units for point neurons: voltages are in mV, times in ms, and weights in
nS, or mV of `current` cells, as here; the time step is in the configuration's `metadata`.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cerebellum.errors import UsageError, nearest
from cerebellum.files import replacing
from cerebellum.io import hdf5, omit, sonata_file
from cerebellum.model import events, values
from cerebellum.model.anatomy import build, has_rows, resolve_path
from cerebellum.model.circuit import Circuit, State
from cerebellum.model.edges import Edges
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.surrogate import Surrogate
from cerebellum.parts import optional

CONFIG = "circuit_config.json"
TEMPLATE = "cerebellum:"
"""What the `model_template` of nodes begins with; the name of the neuron model follows."""
AXES = ("x", "y", "z")
NODE_COLUMNS = ("node_type_id", "population", "model_type", "model_template", "dynamics_params")
IN_DEGREE = "in_degree_of_rows"
EDGE_COLUMNS = (
    *("edge_type_id", "population", "receptor", "label"),
    *("plastic", "w_max", IN_DEGREE, "syn_weight", "delay"),
)
"""Columns of edge types. The mean in-degree is there where a circuit has a row of weights for each
source, which it has from some share of contacts on, and NULL where it has lists."""


def save(
    circuit: Circuit,
    folder: Path,
    state: State | None,
    positions: Mapping[str, Any],
    leave_out: Any,
) -> Path:
    """Write a circuit; see `sonata.save_circuit`."""
    h5py = optional("h5py", "sonata", "sonata")
    spec = circuit.spec
    found = omit.beyond_cells_and_weights(circuit)
    left_out = omit.check("sonata", found, leave_out)
    placed = _positions(positions, spec)
    with replacing(folder) as work:
        with h5py.File(work / "nodes.h5", "w") as file:
            _stamp(file)
            rows = []
            for k, population in enumerate(spec.populations):
                params = circuit.params.cells[population.name]
                _write_nodes(file, k, population, params, placed.get(population.name), work)
                kind = _kind(population, spec)["type"]
                template = TEMPLATE + population.model
                rows.append((k, population.name, kind, template, f"{population.name}.json"))
        _write_table(work / "node_types.csv", NODE_COLUMNS, rows)
        with h5py.File(work / "edges.h5", "w") as file:
            _stamp(file)
            rows = [
                _write_edges(file, k, p, circuit.edges(p.name, state), circuit)
                for k, p in enumerate(spec.projections)
            ]
        _write_table(work / "edge_types.csv", EDGE_COLUMNS, rows)
        config = _config(spec, left_out)
        (work / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    return folder / CONFIG


def _config(spec: Spec, left_out: Mapping[str, list[str]]) -> dict[str, Any]:
    """The circuit configuration."""
    surrogate = None if spec.surrogate is None else dataclasses.asdict(spec.surrogate)
    nodes = {"nodes_file": "$BASE_DIR/nodes.h5", "node_types_file": "$BASE_DIR/node_types.csv"}
    edges = {"edges_file": "$BASE_DIR/edges.h5", "edge_types_file": "$BASE_DIR/edge_types.csv"}
    chemical = {"type": "chemical"}
    return {
        "manifest": {"$BASE_DIR": "."},
        "metadata": {
            "program": "cerebellum",
            "name": spec.name,
            "dt_ms": spec.dt,
            "surrogate": surrogate,
            "left_out": dict(left_out),
        },
        "components": {"point_neuron_models_dir": "$BASE_DIR"},
        "networks": {
            "nodes": [nodes | {"populations": {p.name: _kind(p, spec) for p in spec.populations}}],
            "edges": [edges | {"populations": {p.name: chemical for p in spec.projections}}],
        },
    }


def _kind(population: Population, spec: Spec) -> dict[str, str]:
    """Whether the nodes of a population are inputs, "virtual", or neurons."""
    hears = any(p.target == population.name for p in spec.projections)
    return {"type": "virtual" if population.model == "relay" and not hears else "point_neuron"}


def _stamp(file: Any) -> None:
    """The attributes of every SONATA file."""
    file.attrs["magic"] = np.uint32(sonata_file.MAGIC)
    file.attrs["version"] = np.array([0, 1], np.uint32)


def _positions(positions: Mapping[str, Any], spec: Spec) -> dict[str, np.ndarray]:
    """Positions by population, float64 [cells, 3], or UsageError."""
    known = [p.name for p in spec.populations]
    found = {}
    for name, value in positions.items():
        if name not in known:
            raise UsageError(f"positions {name!r}: {nearest(name, known, spec.name)}")
        um, size = np.asarray(value, np.float64), spec.population(name).size
        if um.shape != (size, 3):
            raise UsageError(f"positions of {name}: {list(um.shape)}; um, [{size}, 3]")
        found[name] = um
    return found


def _write_nodes(
    file: Any, kind: int, population: Population, params: Any, um: Any, work: Path
) -> None:
    """Write the nodes of a population, and the file of its parameters."""
    group, size = file.create_group(f"nodes/{population.name}"), population.size
    group["node_id"] = np.arange(size, dtype=np.uint64)
    group["node_type_id"] = np.full(size, kind, np.uint32)
    group["node_group_id"] = np.zeros(size, np.uint16)
    group["node_group_index"] = np.arange(size, dtype=np.uint64)
    own = group.create_group("0")
    numeric = values.fields(params)
    shared = _settings(population.name, params, {name.partition(".")[0] for name in numeric})
    for name, value in numeric.items():
        numbers = np.asarray(value)
        if numbers.ndim:
            own[f"dynamics_params/{name}"] = numbers
        else:
            shared[name] = float(numbers)
    if um is not None:
        for axis, column in zip(AXES, um.T, strict=True):
            own[axis] = column
    (work / f"{population.name}.json").write_text(json.dumps(shared, indent=1) + "\n")


def _settings(name: str, params: Any, numeric: set[str]) -> dict[str, Any]:
    """The parameters of a population that are no numbers of cells, such as a method's name."""
    fields = [f.name for f in dataclasses.fields(params) if f.name not in numeric]
    found = {field: getattr(params, field) for field in fields}
    for field, value in found.items():
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(f"sonata: {name}.params.{field}: {value!r}; numbers and text")
    return found


def _put(group: Any, name: str, values: np.ndarray) -> None:
    """Write a dataset of edges, compressed if it is not small."""
    packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
    group.create_dataset(name, data=values, **(packed if values.size > 1_000 else {}))


def _write_edges(
    file: Any, kind: int, projection: Projection, edges: Edges, circuit: Circuit
) -> tuple[Any, ...]:
    """Write the edges of a projection; returns the row of its edge type.

    Whether a circuit holds one weight or one of each synapse, and lists or rows, is kept: sums of
    the same numbers differ in their last bits between k times one weight and k weights.
    """
    spec = circuit.spec
    individual = projection.plastic or np.ndim(circuit.params.weights[projection.name])
    rows = isinstance(circuit.wiring.fans[projection.name], events.AllToAll)
    group, count = file.create_group(f"edges/{projection.name}"), len(edges)
    for end, cells, name in (
        ("source_node_id", edges.pre, projection.source),
        ("target_node_id", edges.post, projection.target),
    ):
        _put(group, end, cells.astype(np.uint64))
        group[end].attrs["node_population"] = name
    _put(group, "edge_type_id", np.full(count, kind, np.uint32))
    _put(group, "edge_group_id", np.zeros(count, np.uint16))
    _put(group, "edge_group_index", np.arange(count, dtype=np.uint64))
    for side, cells, name in (
        ("source_to_target", edges.pre, projection.source),
        ("target_to_source", edges.post, projection.target),
    ):
        ranges, ids = _index(cells, spec.population(name).size)
        index = group.create_group(f"indices/{side}")
        _put(index, "node_id_to_ranges", ranges)
        _put(index, "range_to_edge_id", ids)
        index["node_id_to_range"] = index["node_id_to_ranges"]  # its name in bmtk; the same data
    in_degree = projection.in_degree if rows else "NULL"
    w_max = "NULL" if projection.w_max is None else repr(projection.w_max)
    row = [kind, projection.name, projection.receptor, projection.label or "NULL"]
    row += [bool(projection.plastic), w_max, in_degree]
    sign = -1.0 if projection.receptor == "inh" else 1.0
    own = group.create_group("0")
    means = {"syn_weight": sign * projection.mean_weight, "delay": values.typical(projection.delay)}
    for name, value, factor in (("syn_weight", edges.weight, sign), ("delay", edges.delay, 1.0)):
        numbers = factor * np.broadcast_to(np.asarray(value, np.float64), (count,))
        own_weights = name == "syn_weight" and individual
        if count and (own_weights or (numbers != numbers[0]).any()):
            single = numbers.astype(np.float32)
            _put(own, name, single if np.array_equal(single, numbers) else numbers)
            row.append("NULL")
        else:
            row.append(repr(float(numbers[0] if count else means[name])))
    return tuple(row)


def _index(cells: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The index of edges by the cells at one end: ranges of each cell, and edges of each range."""
    order = np.argsort(cells, kind="stable")
    cell = cells[order]
    new = np.ones(cells.size, bool)
    new[1:] = (np.diff(cell) != 0) | (np.diff(order) != 1)
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], cells.size) - 1
    edges = np.column_stack([order[starts], order[ends] + 1]) if cells.size else np.empty((0, 2))
    numbers = np.arange(size)
    ranges = [np.searchsorted(cell[starts], numbers, side) for side in ("left", "right")]
    return np.column_stack(ranges).astype(np.uint64), edges.astype(np.uint64)


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Write a table of types: columns divided by spaces."""
    lines = [" ".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n")


def load(folder: Path, key: Any, **options: Any) -> Circuit:
    """Read a circuit; see `sonata.load_circuit`."""
    config = _read_config(folder)
    populations = _read_populations(folder)
    projections, edges = _read_projections(folder)
    surrogate = config["surrogate"]
    spec = Spec(
        config["name"],
        tuple(populations),
        tuple(projections),
        dt=config["dt_ms"],
        surrogate=None if surrogate is None else Surrogate(**surrogate),
    )
    path = resolve_path(spec, options.get("path", "auto"))
    rows = {
        p.name: _rows(edges.pop(p.name), spec, p)
        for p in projections
        if p.in_degree and has_rows(p, spec, path)
    }
    circuit = build(spec, key, edges, **options)
    params = replace(circuit.params, weights={**circuit.params.weights, **rows})
    return replace(circuit, params=params)


def _rows(edges: Edges, spec: Spec, projection: Projection) -> jax.Array:
    """Weights of a projection as rows, float32 [sources, targets]."""
    sizes = [spec.population(end).size for end in (projection.source, projection.target)]
    weight = projection.mean_weight if edges.weight is None else edges.weight
    rows = np.zeros(sizes, np.float32)
    np.add.at(rows, (edges.pre, edges.post), weight)
    return jax.device_put(rows)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError):
        raise UsageError(f"{path}: no such file in JSON; that of sonata.save_circuit") from None
    metadata = config.get("metadata") if isinstance(config, dict) else None
    if not isinstance(metadata, dict) or metadata.get("program") != "cerebellum":
        raise UsageError(
            f"{path}: of another program; sonata.edges reads its synapses, for a Spec of yours"
        )
    return metadata


def _read_populations(folder: Path) -> list[Population]:
    """The populations of a network, in the order of their types."""
    populations = []
    with hdf5.opened(folder / "nodes.h5", "sonata") as file:
        nodes = hdf5.child(file, "nodes", str(folder / "nodes.h5"))
        for row in sonata_file.table(folder / "node_types.csv", "node_type_id"):
            name, template = row["population"], row["model_template"]
            model = template.removeprefix(TEMPLATE)
            if model == template or model not in CIRCUIT_MODELS:
                known = ", ".join(TEMPLATE + known for known in CIRCUIT_MODELS)
                where = folder / "node_types.csv"
                raise UsageError(f"{where}: {name} has model_template {template!r}; one of {known}")
            group = hdf5.child(nodes, name, str(folder / "nodes.h5"))
            size = len(hdf5.whole_numbers(group, "node_type_id", str(folder / "nodes.h5")))
            params = json.loads((folder / row["dynamics_params"]).read_text())
            for field, numbers in group["0"].get("dynamics_params", {}).items():
                params[field] = np.asarray(numbers[()]).tolist()
            populations.append(Population(name, size, model, _nested(params)))
    return populations


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by field: those of a tuple, "tau_syn.0" and so on, as that tuple."""
    tuples: dict[str, dict[int, Any]] = {}
    fields = {}
    for name, value in flat.items():
        field, _, place = name.partition(".")
        if place:
            tuples.setdefault(field, {})[int(place)] = value
        else:
            fields[field] = value
    return fields | {
        field: tuple(each[k] for k in range(len(each))) for field, each in tuples.items()
    }


def _read_projections(folder: Path) -> tuple[list[Projection], dict[str | tuple, Any]]:
    """The projections of a network, in the order of their types, and their edges by name."""
    path, projections = str(folder / "edges.h5"), []
    edges: dict[str | tuple, Any] = {}
    with hdf5.opened(path, "sonata") as file:
        for row in sonata_file.table(folder / "edge_types.csv", "edge_type_id"):
            group = sonata_file.population(file, row["population"], None, path)
            rows = sonata_file.Rows(group, folder / "edge_types.csv", path)
            weights = np.abs(rows.weights("syn_weight"))
            delays = rows.required("delay", "delay")
            source, target = sonata_file.ends(group, path)
            columns = ("syn_weight", "delay", IN_DEGREE, "w_max")
            weight, delay, in_degree, w_max = (row[name] for name in columns)
            one_weight, one_delay = (each not in sonata_file.ABSENT for each in (weight, delay))
            projection = Projection(
                source=str(source),
                target=str(target),
                receptor=row["receptor"],
                weight=abs(float(weight)) if one_weight else float(weights.mean()),
                delay=float(delay) if one_delay else float(delays[0]),
                in_degree=0.0 if in_degree in sonata_file.ABSENT else float(in_degree),
                plastic=row["plastic"] == "True",
                w_max=None if w_max in sonata_file.ABSENT else float(w_max),
                label="" if row["label"] in sonata_file.ABSENT else row["label"],
            )
            projections.append(projection)
            own = None if one_weight else weights, None if one_delay else delays
            edges[projection.name] = Edges(rows.source, rows.target, *own)
    return projections, edges


def positions(path: Path, population: str) -> np.ndarray:
    """Positions of the nodes of a population; see `sonata.positions`."""
    with hdf5.opened(path, "sonata") as file:
        where = str(path)
        group = hdf5.child(hdf5.child(file, "nodes", where), population, where)
        group = hdf5.child(group, "0", where)
        return np.column_stack(
            [hdf5.array(group, axis, where, (None,)).astype(np.float64) for axis in AXES]
        )
