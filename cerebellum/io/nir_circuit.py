"""Circuits of `current` cells as graphs of NIR, and graphs as circuits; see `nir`."""

import dataclasses
import json
from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.io import nir_graph, omit
from cerebellum.io.nir_graph import Path
from cerebellum.model.anatomy import build
from cerebellum.model.circuit import Circuit
from cerebellum.model.edges import Edges
from cerebellum.model.neurons import current
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.model.surrogate import Surrogate
from cerebellum.parts import optional

LARGEST = 100_000_000
"""Most weights of a `Linear` node, 800 MB."""
SIGN = {"exc": 1.0, "inh": -1.0}


def graph_of(circuit: Circuit, leave_out: Any) -> Any:
    """The graph of a circuit; see `nir.graph`."""
    nir = optional("nir", "nir", "nir")
    spec = circuit.spec
    found = omit.beyond_cells_and_weights(circuit)
    heard = {p.target for p in spec.projections}
    for population in spec.populations:
        name, model = population.name, population.model
        if model not in ("relay", "current"):
            raise UsageError(f"nir: {name} has {model} cells; current cells, or relays as inputs")
        if model == "relay" and name in heard:
            raise UsageError(f"nir: relay {name} hears other cells; relays that only pass inputs")
        if model == "current" and np.any(np.asarray(circuit.params.cells[name].t_ref) > 0):
            found.setdefault("refractory", []).append(name)
    learning = [name for words in found.values() for name in words]
    plastic = [p.name for p in spec.projections if p.plastic and p.name not in learning]
    omit.check("nir", found | ({"plastic": plastic} if plastic else {}), leave_out)
    relays = {p.name for p in spec.populations if p.model == "relay"}
    if not relays & {p.source for p in spec.projections}:
        raise UsageError(
            f"nir: no projection of {spec.name} comes from relays; a graph has an input"
        )
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    ports = {}
    for population in spec.populations:
        name, size = population.name, population.size
        if population.model == "relay":
            nodes[name] = nir.Input(input_type={"input": np.array([size])})
            continue
        used = {p.receptor for p in spec.projections if p.target == name}
        params = circuit.params.cells[name]
        cells, links, ports[name] = _cells(nir, (name, size), params, used, spec.dt)
        nodes |= cells
        edges += links
        nodes[f"{name}_output"] = nir.Output(output_type={"output": np.array([size])})
        edges.append((name, f"{name}_output"))
    for projection in spec.projections:
        port = ports[projection.target][projection.receptor]
        links = _synapses(nir, circuit, projection, port)
        nodes |= links[0]
        edges += links[1]
    metadata = {"dt_s": spec.dt / 1e3, "name": spec.name}
    if spec.surrogate is not None:
        metadata["surrogate"] = json.dumps(dataclasses.asdict(spec.surrogate))
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata=metadata)


def _cells(
    nir: Any, cells: tuple[str, int], params: current.Params, used: set[str], dt: float
) -> tuple[dict[str, Any], list[tuple[str, str]], dict[str, str]]:
    """The nodes of a population, the edges between them, and the node of each receptor.

    Args:
      cells: name and size of the population.
      used: its receptors that projections end on.
    """
    name, size = cells

    def each(field: str) -> np.ndarray:
        value = np.asarray(getattr(params, field), np.float64)
        return np.array(np.broadcast_to(value, (size,)))

    tau = {"exc": each("tau_exc"), "inh": each("tau_inh")}
    # A constant drive shifts the voltage at rest, which is not that at the start: it is kept apart.
    kept = {"drive_mV": each("drive"), "tau_exc_ms": tau["exc"], "tau_inh_ms": tau["inh"]}
    membrane = {
        "r": np.ones(size),
        "v_leak": each("v_leak") + each("drive"),
        "v_threshold": each("v_th"),
        "v_reset": each("v_reset"),
        "metadata": kept,
    }
    # NIR gives an input to every node that hears nothing, unless it hears itself.
    nothing = {} if used else {f"{name}_nothing": nir.Scale(np.zeros(size))}
    loop = [edge for between in nothing for edge in ((name, between), (between, name))]
    seconds = {receptor: value / 1e3 for receptor, value in tau.items()}
    if np.array_equal(tau["exc"], tau["inh"]):
        synapse = {"tau_syn": seconds["exc"], "w_in": tau["exc"] / dt}
        node = nir.CubaLIF(tau_mem=each("tau_m") / 1e3, **synapse, **membrane)
        return {name: node, **nothing}, loop, {"exc": name, "inh": name}
    nodes: dict[str, Any] = {name: nir.LIF(tau=each("tau_m") / 1e3, **membrane), **nothing}
    for receptor in used:
        synapse = {"tau": seconds[receptor], "r": tau[receptor] / dt, "v_leak": np.zeros(size)}
        nodes[f"{name}_{receptor}"] = nir.LI(**synapse)
    ports = {receptor: f"{name}_{receptor}" for receptor in used}
    return nodes, [*loop, *((port, name) for port in ports.values())], ports


def _synapses(
    nir: Any, circuit: Circuit, projection: Projection, port: str
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The nodes of a projection, a `Delay` and a `Linear` for each delay, and their edges."""
    name, spec = projection.name, circuit.spec
    sources, targets = (spec.population(p).size for p in (projection.source, projection.target))
    if sources * targets > LARGEST:
        raise UsageError(
            f"nir: {name} would have {sources * targets:,} weights, one for each pair of cells; at "
            f"most {LARGEST:,}"
        )
    held = circuit.edges(name)
    steps = held.steps(spec.dt, 1)
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    weights = np.broadcast_to(np.asarray(held.weight, np.float64), held.pre.shape)
    for step in np.unique(steps):
        taken = steps == step
        matrix = np.zeros((targets, sources))
        np.add.at(matrix, (held.post[taken], held.pre[taken]), weights[taken])
        late, between = f"{name}_{step}_steps", f"{name}_{step}_weights"
        nodes[late] = nir.Delay(delay=np.full(sources, step * spec.dt / 1e3))
        nodes[between] = nir.Linear(weight=SIGN[projection.receptor] * matrix)
        edges += [(projection.source, late), (late, between), (between, port)]
    return nodes, edges


def circuit_of(graph: Any, dt: float, key: Any, **options: Any) -> Circuit:
    """The circuit of a graph; see `nir.circuit`."""
    optional("nir", "nir", "nir")
    found = nir_graph.layout(graph, ("CubaLIF", "LIF", "LI"))
    kinds = {name: type(node).__name__ for name, node in found.cells.items()}
    synapses = {name for name, kind in kinds.items() if kind == "LI"}
    populations = [Population(_name(name), size, "relay") for name, size in found.inputs.items()]
    edges: dict[str | tuple[str, str, str], Any] = {}
    for name, node in found.cells.items():
        if name in synapses:
            continue
        heard = found.heard[name]
        constant = np.zeros(np.size(node.r)) if heard.bias is None else heard.bias
        if kinds[name] == "CubaLIF":
            taus, arriving = _one_synapse(name, node, heard.paths, dt)
            if constant.any():
                raise UsageError(f"graph: a bias into {name!r}, behind its synapse; into an LIF")
        else:
            taus, arriving = _two_synapses(name, node, found, dt)
        params = _params(node, taus, constant)
        populations.append(Population(_name(name), np.size(node.r), "current", params))
        for receptor, paths in arriving.items():
            edges |= _edges(name, receptor, paths, dt)
    shown = [name for name in found.outputs if name in synapses]
    if shown:
        raise UsageError(f"graph: {shown[0]!r} is an output without spikes; nir.network has those")
    name = _text(graph.metadata.get("name", "nir"))
    surrogate = graph.metadata.get("surrogate")
    kept = None if surrogate is None else Surrogate(**json.loads(_text(surrogate)))
    spec = Spec(name, tuple(populations), dt=dt, surrogate=kept)
    return build(spec, key, edges, **options)


def _text(value: Any) -> str:
    """A text of metadata, which a file gives back as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(node: str) -> str:
    """The name of a node as that of a population."""
    name = "".join(letter if letter.isalnum() else "_" for letter in node)
    return name if name.isidentifier() else f"n_{name}"


def _array(value: Any) -> np.ndarray:
    return np.asarray(value, np.float64).ravel()


def _one_synapse(
    name: str, node: Any, paths: list[Path], dt: float
) -> tuple[dict[str, np.ndarray], dict[str, list[Path]]]:
    """Time constants (ms) by receptor, and paths with weights in mV, of a `CubaLIF`."""
    tau = _array(node.tau_syn) * 1e3
    gain = _array(node.r) * _array(node.w_in) * dt / tau
    return {"exc": tau, "inh": tau}, _by_sign([_scaled(path, gain) for path in paths])


def _two_synapses(
    name: str, node: Any, found: nir_graph.Layout, dt: float
) -> tuple[dict[str, np.ndarray], dict[str, list[Path]]]:
    """The same of an `LIF` behind one `LI` for each sign of weights."""
    taus: dict[str, np.ndarray] = {}
    arriving: dict[str, list[Path]] = {"exc": [], "inh": []}
    for path in found.heard[name].paths:
        synapse: Any = found.cells.get(path.source)
        if type(synapse).__name__ != "LI":
            raise UsageError(f"graph: {path.source!r} reaches {name!r} without a synapse; by an LI")
        square = (
            np.diag(np.diag(path.weight)) if path.weight.shape[0] == path.weight.shape[1] else 0
        )
        if not np.array_equal(path.weight, square) or path.delay_s or _array(synapse.v_leak).any():
            raise UsageError(
                f"graph: {path.source!r} is no synapse of {name!r}; cell by cell, at 0"
            )
        tau = _array(synapse.tau) * 1e3
        gain = _array(node.r) * np.diag(path.weight) * _array(synapse.r) * dt / tau
        before = found.heard[path.source]
        if before.bias is not None:
            raise UsageError(f"graph: a bias into {path.source!r}, a synapse; into the LIF itself")
        for receptor, paths in _by_sign([_scaled(each, gain) for each in before.paths]).items():
            if not paths:
                continue
            if receptor in taus and not np.allclose(taus[receptor], tau):
                raise UsageError(f"graph: {name!r} has several synapses of one sign; one of each")
            taus[receptor] = tau
            arriving[receptor] += paths
    return taus, arriving


def _scaled(path: Path, gain: np.ndarray) -> Path:
    return Path(path.source, gain[:, None] * path.weight, path.delay_s, path.delayed_by)


def _by_sign(paths: list[Path]) -> dict[str, list[Path]]:
    """Paths by receptor, with weights of zero or more."""
    arriving: dict[str, list[Path]] = {"exc": [], "inh": []}
    for path in paths:
        for receptor, sign in SIGN.items():
            weight = np.maximum(sign * path.weight, 0)
            if weight.any():
                same = Path(path.source, weight, path.delay_s, path.delayed_by)
                arriving[receptor].append(same)
    return arriving


def _params(node: Any, taus: dict[str, np.ndarray], constant: np.ndarray) -> current.Params:
    """The parameters of a population: numbers where its cells do not differ."""
    drive = _array(node.metadata.get("drive_mV", np.zeros(1)))
    cuba = type(node).__name__ == "CubaLIF"
    values = {
        "tau_m": _array(node.tau_mem if cuba else node.tau) * 1e3,
        "v_leak": _array(node.v_leak) - drive,
        "v_th": _array(node.v_threshold),
        "v_reset": _array(node.v_reset),
        "drive": drive + _array(node.r) * constant,
        "t_ref": np.zeros(1),
    }
    for receptor in SIGN:
        # Without a synapse of one sign, its time constant is that of the file, or of the other one.
        kept = node.metadata.get(f"tau_{receptor}_ms", next(iter(taus.values()), np.full(1, 5.0)))
        values[f"tau_{receptor}"] = taus.get(receptor, _array(kept))
    shown = {
        field: float(value[0]) if np.all(value == value[0]) else value.tolist()
        for field, value in values.items()
    }
    return current.Params(**shown)


def _edges(
    name: str, receptor: str, paths: list[Path], dt: float
) -> dict[tuple[str, str, str], Edges]:
    """The synapses of a receptor of a population, by source, target and receptor."""
    parts: dict[str, list[tuple[np.ndarray, ...]]] = {}
    for path in paths:
        steps = path.delay_s * 1e3 / dt
        if abs(steps - round(steps)) > 1e-6:
            raise UsageError(
                f"graph: delay {path.delayed_by!r} of {path.delay_s:g} s; whole steps of {dt:g} ms"
            )
        post, pre = np.nonzero(path.weight)
        delay = np.full(pre.size, max(round(steps), 1) * dt)
        parts.setdefault(path.source, []).append((pre, post, path.weight[post, pre], delay))
    found = {}
    for source, each in parts.items():
        pre, post, weight, delay = (np.concatenate(column) for column in zip(*each, strict=True))
        found[_name(source), _name(name), receptor] = Edges(pre, post, weight, delay)
    return found
