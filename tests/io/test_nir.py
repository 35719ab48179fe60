"""Layers and circuits as graphs of NIR: back again, on disk, as Norse runs them, and refusals."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb
from cerebellum.io import nir_graph
from cerebellum.model.layers import Layer, Network
from cerebellum.model.neurons import lif

nir = pytest.importorskip("nir")

STEPS = 200


def network(seed: int, inputs: int = 6, hidden: int = 8, cells: int = 4) -> Network:
    """A recurrent layer, a layer behind it, and a readout of leaky integrators."""
    rng = np.random.default_rng(seed)

    def weights(targets, sources, mean):
        drawn = rng.normal(mean, 1.0, (targets, sources)) / np.sqrt(sources)
        return jnp.asarray(drawn, jnp.float32)

    def params(count):
        return lif.Params(
            alpha=30.0,
            tau_m=jnp.asarray(rng.uniform(8, 20, count), jnp.float32),
            tau_syn=jnp.asarray(rng.uniform(3, 6, count), jnp.float32),
            v_th=jnp.asarray(rng.uniform(0.7, 1.0, count), jnp.float32),
        )

    recurrent = Layer(
        params=params(hidden),
        weights={"x": weights(hidden, inputs, 1.0), "hidden": weights(hidden, hidden, -0.2)},
    )
    second = Layer(params=params(cells), weights={"hidden": weights(cells, hidden, 1.2)})
    readout = Layer(params=params(2), weights={"second": weights(2, cells, 0.3)}, spiking=False)
    layers = {"hidden": recurrent, "second": second, "readout": readout}
    return Network(layers=layers, order=tuple(layers), outputs=("hidden", "second", "readout"))


def drive(seed: int, channels: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.random((STEPS, channels)) < 0.3).astype(np.float32)


def through_a_file(graph, folder):
    nir.write(folder / "x.nir", graph)
    return nir.read(folder / "x.nir")


run = jax.jit(cb.layers.run, static_argnames="dt")


def close(one, other):
    """Equal but for the last bits of a factor that goes into a graph and comes out again."""
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-6)


def test_a_network_comes_back_from_a_file(tmp_path):
    ours = network(1)
    graph = through_a_file(cb.io.nir.graph(ours, dt=1.0), tmp_path)
    kinds = {type(node).__name__ for node in graph.nodes.values()}
    assert kinds == {"Input", "Linear", "CubaLIF", "CubaLI", "Output"}
    np.testing.assert_allclose(
        graph.nodes["hidden"].tau_mem * 1e3, ours.layers["hidden"].params.tau_m
    )
    back = cb.io.nir.network(graph)
    assert (back.order, back.outputs) == (ours.order, ours.outputs)
    jax.tree.map(close, back.layers["hidden"].weights, ours.layers["hidden"].weights)
    close(back.layers["hidden"].params.tau_syn, ours.layers["hidden"].params.tau_syn)
    assert back.layers["hidden"].params.alpha == ours.layers["hidden"].params.alpha == 30.0
    here, there = (run(each, {"x": drive(2)}, dt=1.0) for each in (ours, back))
    assert here["hidden"].sum() > 100
    assert here["second"].sum() > 50
    for name in ("hidden", "second"):
        np.testing.assert_array_equal(here[name], there[name])
    np.testing.assert_allclose(here["readout"], there["readout"], atol=1e-5)


def test_cells_without_a_synaptic_current_are_plain_nodes():
    cells = lif.Params(tau_syn=1.0, tau_m=10.0)
    weights = {"x": jnp.eye(3)}
    layers = {
        "spiking": Layer(params=cells, weights=weights, bias=0.5),
        "still": Layer(params=cells, weights=weights, spiking=False),
    }
    ours = Network(layers=layers, order=tuple(layers), outputs=tuple(layers))
    graph = cb.io.nir.graph(ours, dt=1.0)
    assert type(graph.nodes["spiking"]).__name__ == "LIF"
    assert type(graph.nodes["still"]).__name__ == "LI"
    assert type(graph.nodes["x_spiking"]).__name__ == "Affine"
    back = cb.io.nir.network(graph)
    close(np.broadcast_to(back.layers["spiking"].bias, 3), [0.5] * 3)
    x = 4.0 * drive(3, 3)
    for name, put_out in run(ours, {"x": x}, dt=1.0).items():
        np.testing.assert_array_equal(put_out, run(back, {"x": x}, dt=1.0)[name])


def test_a_layer_hears_itself_one_step_late():
    cells = lif.Params(tau_syn=1.0, tau_m=1.0, v_th=0.5)
    weights = {"x": jnp.array([[1.0]]), "only": jnp.array([[1.0]])}
    ours = Network(
        layers={"only": Layer(params=cells, weights=weights)}, order=("only",), outputs=("only",)
    )
    x = np.zeros((5, 1), np.float32)
    x[1] = 1.0
    assert cb.layers.run(ours, {"x": x}, 1.0)["only"][:, 0].tolist() == [0, 1, 1, 1, 1]
    with pytest.raises(cb.UsageError, match=r"drive: without 'x'"):
        cb.layers.run(ours, {}, 1.0)
    with pytest.raises(cb.UsageError, match=r"drive 'x': \[5, 2\]; \[steps, 1\]"):
        cb.layers.run(ours, {"x": np.zeros((5, 2))}, 1.0)
    with pytest.raises(cb.UsageError, match="drive 'y': the network has x"):
        cb.layers.run(ours, {"y": x}, 1.0)


def test_norse_gives_the_same_spikes():
    torch = pytest.importorskip("torch", reason="too large for these tests; see docs/circuits.md")
    norse = pytest.importorskip("norse.torch", reason="without Norse")
    ours = network(1)
    layers = {name: ours.layers[name] for name in ("hidden", "second")}
    spiking = Network(layers=layers, order=tuple(layers), outputs=("second",))
    x = drive(2)
    want = np.asarray(run(spiking, {"x": x}, dt=1.0)["second"])
    module = norse.from_nir(cb.io.nir.graph(spiking, dt=1.0), dt=0.001)
    state, got = None, []
    with torch.no_grad():
        for now in torch.from_numpy(x):
            out, state = module(now, state)
            got.append(out.numpy())
    assert want.sum() > 50
    np.testing.assert_array_equal(np.stack(got), want)


def spec(taus, populations=2):
    cells = {"tau_m": 12.0, "v_leak": -70.0, "v_th": -55.0, "v_reset": -68.0, "t_ref": 0.0}
    tau_exc, tau_inh = taus
    names = [f"cells{k}" for k in range(populations)]
    each = [
        cb.Population(
            name, 12, "current", cells | {"tau_exc": tau_exc, "tau_inh": tau_inh, "drive": 3.0}
        )
        for name in names
    ]
    return cb.Spec(
        "net", (cb.Population("x", 10, "relay"), *each), dt=0.5, surrogate=cb.Surrogate(alpha=5.0)
    )


def edges(rng, pairs, sources, targets):
    keys = rng.choice(sources * targets, size=min(pairs, sources * targets), replace=False)
    weight = rng.uniform(8, 20, keys.size).astype(np.float32)
    return cb.Edges(keys // targets, keys % targets, weight, 0.5 * rng.integers(1, 5, keys.size))


def circuit(seed, taus):
    rng = np.random.default_rng(seed)
    laid = {
        ("x", "cells0", "exc"): edges(rng, 60, 10, 12),
        ("cells0", "cells1", "exc"): edges(rng, 60, 12, 12),
        ("cells1", "cells0", "inh"): edges(rng, 40, 12, 12),
        ("cells0", "cells0", "inh"): edges(rng, 20, 12, 12),
    }
    return cb.build(spec(taus), seed, laid, path="event")


@examples(9)
@given(st.integers(0, 10_000), st.sampled_from([(4.0, 4.0), (3.0, 9.0)]))
def test_a_circuit_comes_back_with_its_weights_and_spikes(tmp_path_factory, seed, taus):
    ours = circuit(seed, taus)
    graph = through_a_file(cb.io.nir.graph(ours), tmp_path_factory.mktemp("nir"))
    back = cb.io.nir.circuit(graph, path="event")
    assert (back.spec.dt, back.spec.surrogate) == (ours.spec.dt, ours.spec.surrogate)
    for projection in ours.spec.projections:
        found = next(
            p.name
            for p in back.spec.projections
            if (p.source, p.target, p.receptor)
            == (projection.source, projection.target, projection.receptor)
        )
        for here, there in zip(_table(ours, projection.name), _table(back, found), strict=True):
            np.testing.assert_array_equal(here, there)
    x = {"x": cb.drive.poisson(120.0)}
    runs = [
        cb.simulate(
            each,
            cb.init(each, 3),
            x,
            duration_ms=100,
            progress=False,
            record=["raster:cells1", "raster:cells0"],
        )[1]
        for each in (ours, back)
    ]
    assert runs[0].spikes["cells1"].sum() > 10
    for name in ("cells0", "cells1"):
        a, b = (r.rasters[name] for r in runs)
        np.testing.assert_array_equal(a.time_ms, b.time_ms)
        np.testing.assert_array_equal(a.cell, b.cell)


def _table(built, name):
    held = built.edges(name)
    order = np.lexsort((held.delay, held.post, held.pre))
    return [held.pre[order], held.post[order], held.weight[order], held.delay[order]]


def test_what_nir_has_no_place_for_is_named():
    alone = spec((4.0, 4.0)).with_population("cells0", params={"t_ref": 2.0})
    one = {("x", "cells0", "exc"): cb.Edges([0], [1], 1.0, 0.5)}
    named = cb.build(alone, 0, one)
    with pytest.raises(cb.UsageError, match="no projection of net comes from relays"):
        cb.io.nir.graph(cb.build(alone, 0), leave_out="refractory")
    with pytest.raises(
        cb.UsageError, match=r"nir has no place for refractory of cells0; leave_out"
    ):
        cb.io.nir.graph(named)
    unheard = cb.io.nir.circuit(cb.io.nir.graph(named, leave_out="refractory"))
    assert [p.name for p in unheard.spec.populations] == ["x", "cells0", "cells1"]
    assert [p.name for p in unheard.spec.projections] == ["x_cells0"]
    with pytest.raises(
        cb.UsageError, match=r"leave_out: 'rule'; what must be left out here is refractory"
    ):
        cb.io.nir.graph(named, leave_out=["rule"])
    held = cb.Projection("x", "cells1", "exc", weight=1.0, delay=0.5, in_degree=2, plastic=True)
    holding = cb.build(replace(spec((4.0, 4.0)), projections=(held,)), 0)
    with pytest.raises(cb.UsageError, match="no place for plastic of x_cells1"):
        cb.io.nir.graph(holding)
    other = cb.Spec("c", (cb.Population("golgi", 2, "conductance"),))
    with pytest.raises(cb.UsageError, match="nir: golgi has conductance cells"):
        cb.io.nir.graph(cb.build(other, 0))
    with pytest.raises(cb.UsageError, match=r"model: str; a layers\.Network or a circuit"):
        cb.io.nir.graph("x")
    with pytest.raises(cb.UsageError, match="dt: None; a time step in ms"):
        cb.io.nir.graph(network(0))


def chain(*nodes, **named):
    return nir.NIRGraph.from_list(*nodes, type_check=False)


CUBA = {"tau_syn": np.full(2, 0.005), "tau_mem": np.full(2, 0.01), "r": np.ones(2)}
CUBA |= {"v_leak": np.zeros(2), "v_threshold": np.ones(2)}
IN = nir.Input(input_type={"input": np.array([2])})


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((IN, nir.IF(r=np.ones(2), v_threshold=np.ones(2))), "node 'if' is a IF; CubaLIF, CubaLI"),
        (
            (IN, nir.Delay(np.full(2, 0.001)), nir.CubaLIF(**CUBA)),
            "delay 'delay'; layers have none",
        ),
        ((IN, nir.CubaLIF(**CUBA), nir.Linear(np.ones((1, 2)))), "output 'output' is not of cells"),
        ((nir.Input({"input": np.array([2, 2])}), nir.CubaLIF(**CUBA)), r"shape \[2, 2\]; one dim"),
    ],
)
def test_what_layers_have_not_is_refused_by_the_name_of_its_node(nodes, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.io.nir.network(chain(*nodes), dt=1.0)


def test_what_a_circuit_has_not_is_refused_by_the_name_of_its_node():
    box = nir.LIF(tau=np.full(2, 0.01), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2))
    for nodes, message in (
        ((IN, nir.Linear(np.ones((2, 2))), box), "'input' reaches 'lif' without a synapse"),
        (
            (IN, nir.Delay(np.full(2, 0.0003)), nir.CubaLIF(**CUBA)),
            "delay 'delay' of 0.0003 s; whole",
        ),
        ((IN, nir.Delay(np.array([0.1, 0.2])), nir.CubaLIF(**CUBA)), "delay 'delay' of 0.1, 0.2 s"),
        ((IN, nir.Affine(np.eye(2), np.ones(2)), nir.CubaLIF(**CUBA)), "a bias into 'cubalif'"),
    ):
        with pytest.raises(cb.UsageError, match=message):
            cb.io.nir.circuit(chain(*nodes), dt=0.5)
    with pytest.raises(cb.UsageError, match=r"graph: str; a nir\.NIRGraph"):
        cb.io.nir.network("graph", dt=1.0)


def test_a_graph_within_a_graph_is_read():
    inner = nir.NIRGraph(
        nodes={
            "input": IN,
            "cells": nir.CubaLIF(**CUBA),
            "back": nir.Linear(-np.eye(2)),
            "output": nir.Output({"output": np.array([2])}),
        },
        edges=[("input", "cells"), ("cells", "back"), ("back", "cells"), ("cells", "output")],
        type_check=False,
    )
    outer = nir.NIRGraph(
        nodes={
            "input": IN,
            "scale": nir.Scale(np.array([2.0, 3.0])),
            "layer": inner,
            "output": nir.Output({"output": np.array([2])}),
        },
        edges=[("input", "scale"), ("scale", "layer"), ("layer", "output")],
        type_check=False,
    )
    found = nir_graph.layout(outer, ("CubaLIF",))
    assert (found.inputs, list(found.cells), found.outputs) == (
        {"input": 2},
        ["layer.cells"],
        ("layer.cells",),
    )
    weights = {p.source: p.weight.tolist() for p in found.heard["layer.cells"].paths}
    assert weights == {"input": [[2.0, 0.0], [0.0, 3.0]], "layer.cells": [[-1.0, 0.0], [0.0, -1.0]]}
    ours = cb.io.nir.network(outer, dt=1.0)
    close(ours.layers["layer.cells"].weights["input"], np.diag([0.4, 0.6]))
    assert cb.io.nir.circuit(outer, dt=0.5).spec.population("layer_cells").size == 2


def test_without_nir_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nir", None)
    with pytest.raises(cb.UsageError, match=r'pip install "cerebellar-norse\[nir\]"'):
        cb.io.nir.graph(network(0), dt=1.0)
