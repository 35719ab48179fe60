"""Layers and circuits of current-based cells as graphs of NIR, and graphs as these.

    graph = cb.io.nir.graph(network, dt=1.0)       # then nir.write("network.nir", graph)
    network = cb.io.nir.network(nir.read("network.nir"), dt=1.0)
    circuit = cb.io.nir.circuit(nir.read("circuit.nir"), dt=0.1)

NIR (Pedersen et al. 2024, Nature Communications 15:8122; package nir) describes cells by
differential equations, with time constants in seconds. Ours are in ms. Voltages have no unit in a
`Network`, and are in mV in a circuit; their numbers are the same in a graph.

A spike is a pulse of height 1 that lasts a step of `dt`, as in Norse, snnTorch and the other
simulators that read NIR. An input weight w_in of a `CubaLIF` then lets the current jump by
w_in dt / tau_syn, so the graph of a model belongs to a step: it is in the graph's metadata, "dt_s".

A `Network` takes forward Euler steps, those of Norse: a graph that Norse runs by `from_nir` gives
the same spikes here. In a circuit, `current` cells are integrated exactly, a spike needs at least
one step from cell to cell, and a cell fires where v >= v_th, not where v > v_threshold.
"""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from cerebellum.errors import UsageError, is_number
from cerebellum.io import nir_circuit, nir_graph
from cerebellum.model.circuit import Circuit
from cerebellum.model.layers import Layer, Network
from cerebellum.model.neurons import lif
from cerebellum.parts import optional

CELLS = ("CubaLIF", "CubaLI", "LIF", "LI")
"""Nodes that are layers."""


def graph(model: Network | Circuit, dt: float | None = None, leave_out: Any = ()) -> Any:
    """The graph of NIR, a nir.NIRGraph, of layers or of a circuit.

    Layers are `CubaLIF` and `CubaLI` nodes, or `LIF` and `LI` where the synaptic time constant is
    a step. Populations are `Input` (relays) and `CubaLIF` nodes, or `LIF` with an `LI` for each
    receptor where excitation and inhibition have time constants of their own; projections are
    `Linear` nodes after a `Delay`. Inhibitory weights are negative.

    Args:
      model: a network of layers, or a circuit of `current` cells and of relays that hear nothing.
      dt: time step, ms, of a network; that of a circuit is its own.
      leave_out: what to leave out of those properties of a circuit that NIR has no place for: the
        words of the error that names them, such as "refractory".

    Raises:
      UsageError: nir is not installed, the model is neither, it has what NIR has no place for, or a
        weight matrix, which has a number for each pair of cells in NIR, is too large.
    """
    if isinstance(model, Circuit):
        if dt is not None and dt != model.spec.dt:
            raise UsageError(f"dt: {dt} ms; None, or the circuit's {model.spec.dt} ms")
        return nir_circuit.graph_of(model, leave_out)
    if not isinstance(model, Network):
        raise UsageError(f"model: {type(model).__name__}; a layers.Network or a circuit")
    if leave_out:
        raise UsageError(f"leave_out: {leave_out!r}; nothing, of a network")
    return _graph_of(model, _step(dt))


def circuit(graph: Any, dt: float | None = None, key: Any = 0, **options: Any) -> Circuit:
    """The circuit of a graph of NIR, whose cells are `CubaLIF`, or `LIF` behind `LI`.

    Args:
      graph: a nir.NIRGraph.
      dt: time step, ms; None for that in the graph's metadata.
      key: the key or seed of `cb.build`; nothing is drawn.
      options: `path` and `backend`, as of `cb.build`.

    Raises:
      UsageError: nir is not installed, or the graph has what a circuit cannot have; it names the
        node.
    """
    nir_graph.check(graph)
    return nir_circuit.circuit_of(graph, _step(dt, graph), key, **options)


def network(graph: Any, dt: float | None = None) -> Network:
    """The layers of a graph of NIR, whose cells are `CubaLIF`, `CubaLI`, `LIF` and `LI`.

    Args:
      graph: a nir.NIRGraph.
      dt: time step, ms; None for that in the graph's metadata.

    Raises:
      UsageError: nir is not installed, or the graph has what layers cannot have; it names the node.
    """
    optional("nir", "nir", "nir")
    nir_graph.check(graph)
    dt = _step(dt, graph)
    found = nir_graph.layout(graph, CELLS)
    layers = {}
    for name, node in found.cells.items():
        heard = found.heard[name]
        late = [path for path in heard.paths if path.delay_s]
        if late:
            raise UsageError(f"graph: delay {late[0].delayed_by!r}; layers have none, circuits do")
        if not heard.paths:
            raise UsageError(f"graph: node {name!r} hears nothing; an input or another layer")
        params, gain = _params(node, dt)
        weights: dict[str, np.ndarray] = {}
        for path in heard.paths:
            scaled = gain[:, None] * path.weight
            weights[path.source] = weights.get(path.source, 0.0) + scaled
        bias = 0.0 if heard.bias is None else jnp.asarray(gain * heard.bias, jnp.float32)
        layers[name] = Layer(
            params=params,
            weights={source: jnp.asarray(w, jnp.float32) for source, w in weights.items()},
            bias=bias,
            spiking=type(node).__name__ in ("CubaLIF", "LIF"),
        )
    return Network(layers=layers, order=tuple(layers), outputs=found.outputs)


def _params(node: Any, dt: float) -> tuple[lif.Params, np.ndarray]:
    """The parameters of a layer, and the factor of its weights, [cells]."""
    cuba = hasattr(node, "tau_syn")
    r = np.asarray(node.r, np.float64).ravel()
    tau_m = np.asarray(node.tau_mem if cuba else node.tau, np.float64).ravel() * 1e3
    tau_syn = np.asarray(node.tau_syn, np.float64).ravel() * 1e3 if cuba else np.full_like(r, dt)
    w_in = np.asarray(node.w_in, np.float64).ravel() if cuba else 1.0
    fires = hasattr(node, "v_threshold")
    values = {
        "tau_syn": tau_syn,
        "tau_m": tau_m,
        "v_leak": np.asarray(node.v_leak, np.float64).ravel(),
        "v_th": np.asarray(node.v_threshold, np.float64).ravel() if fires else np.ones_like(r),
        "v_reset": np.asarray(node.v_reset, np.float64).ravel() if fires else np.zeros_like(r),
    }
    single = {name: jnp.asarray(value, jnp.float32) for name, value in values.items()}
    alpha = float(node.metadata.get("alpha", lif.Params().alpha))
    return replace(lif.Params(alpha=alpha), **single), r * w_in * dt / tau_syn


def _graph_of(network: Network, dt: float) -> Any:
    """The graph of a network."""
    nir = optional("nir", "nir", "nir")
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    for name, channels in network.inputs.items():
        nodes[name] = nir.Input(input_type={"input": np.array([channels])})
    for name in network.order:
        nodes[name] = _node(nir, network.layers[name], dt)
    for name in network.order:
        layer = network.layers[name]
        bias = np.broadcast_to(np.asarray(layer.bias, np.float64), (layer.size,))
        for source, weight in layer.weights.items():
            between, values = f"{source}_{name}", np.asarray(weight, np.float64)
            if bias.any():
                nodes[between] = nir.Affine(weight=values, bias=np.array(bias))
                bias = np.zeros_like(bias)
            else:
                nodes[between] = nir.Linear(weight=values)
            edges += [(source, between), (between, name)]
    for name in network.outputs:
        shown = np.array([network.layers[name].size])
        nodes[f"{name}_output"] = nir.Output(output_type={"output": shown})
        edges.append((name, f"{name}_output"))
    return nir.NIRGraph(nodes=nodes, edges=edges, metadata={"dt_s": dt / 1e3})


def _node(nir: Any, layer: Layer, dt: float) -> Any:
    """The node of a layer, whose input weights let the current jump by what the layer's do."""
    params, size = layer.params, layer.size

    def each(value: Any) -> np.ndarray:
        return np.array(np.broadcast_to(np.asarray(value, np.float64), (size,)))

    tau_syn, tau_m = each(params.tau_syn), each(params.tau_m) / 1e3
    boxes = bool(np.all(tau_syn == np.float32(dt)))
    common = {"r": np.ones(size), "v_leak": each(params.v_leak)}
    common["metadata"] = {"alpha": params.alpha}
    if layer.spiking:
        common |= {"v_threshold": each(params.v_th), "v_reset": each(params.v_reset)}
    if boxes:
        return (nir.LIF if layer.spiking else nir.LI)(tau=tau_m, **common)
    synapse = {"tau_syn": tau_syn / 1e3, "w_in": tau_syn / dt}
    return (nir.CubaLIF if layer.spiking else nir.CubaLI)(tau_mem=tau_m, **synapse, **common)


def _step(dt: Any, graph: Any = None) -> float:
    """The time step, ms, or UsageError."""
    if dt is None and type(graph).__name__ == "NIRGraph" and "dt_s" in graph.metadata:
        return round(float(graph.metadata["dt_s"]) * 1e3, 9)
    if dt is None or not is_number(dt) or not dt > 0:
        raise UsageError(f"dt: {dt!r}; a time step in ms, such as 1.0")
    return float(dt)
