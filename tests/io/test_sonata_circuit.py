"""Circuits as SONATA networks: read back the same, by libsonata too; what it lacks is named."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from circuits import spikes
from hypothesis import given
from hypothesis import strategies as st
from laws import examples

import cerebellum as cb

h5py = pytest.importorskip("h5py")
STEPS = 120


def spec(seed: int) -> cb.Spec:
    """Relays, conductance cells that differ, and current cells; projections of every kind."""
    rng = np.random.default_rng(seed)
    cells = {
        "integrator": ("averaged", "rk4")[seed % 2],
        "synapse": ("exponential", "alpha")[seed // 2 % 2],
        "v_th": cb.Normal(-48.0, 1.0),
        "tau_exc": rng.uniform(2, 4, 30).tolist(),
        "t_ref": 2.0,
    }
    lif = {"tau_m": 10.0, "tau_exc": 3.0, "drive": 12.0}
    weight, delay = cb.LogNormal(3.0, 1.0, high=30.0), cb.Uniform(1.0, 5.0)
    return cb.Spec(
        "net",
        (
            cb.Population("zebra", 40, "relay"),
            cb.Population("cells", 30, "conductance", cells),
            cb.Population("after", 20, "current", lif),
        ),
        (
            cb.Projection("zebra", "cells", "exc", weight=weight, delay=1.0, in_degree=8),
            cb.Projection("cells", "after", "exc", weight=4.0, delay=2.0, in_degree=6),
            cb.Projection("after", "cells", "inh", weight=1.5, delay=delay, in_degree=5),
            cb.Projection("cells", "cells", "inh", weight=1.0, delay=1.0, in_degree=3, spread=0.5),
            cb.Projection("zebra", "after", "exc", label="far", weight=2.0, delay=7.0, in_degree=4),
        ),
        dt=1.0,
        surrogate=cb.Surrogate(alpha=5.0),
    )


def run(circuit: cb.Circuit, seed: int) -> cb.record.Recording:
    drive = {"zebra": jnp.asarray(spikes(STEPS, 40, 0.08, seed))}
    watched = ["raster:cells", "raster:after", "v:cells"]
    state = cb.init(circuit, seed)
    return cb.simulate(
        circuit, state, drive, duration_ms=float(STEPS), record=watched, progress=False
    )[1]


@examples(9)
@given(seed=st.integers(0, 10_000), path=st.sampled_from(["event", "dense"]))
def test_a_circuit_read_back_is_the_same_and_fires_the_same(tmp_path_factory, seed, path):
    ours = cb.build(spec(seed), seed, path=path)
    folder = tmp_path_factory.mktemp("sonata")
    assert cb.io.sonata.save_circuit(ours, folder) == folder / "circuit_config.json"
    back = cb.io.sonata.load_circuit(folder, path=path)
    assert [p.name for p in back.spec.populations] == [p.name for p in ours.spec.populations]
    assert [p.name for p in back.spec.projections] == [p.name for p in ours.spec.projections]
    assert (back.spec.name, back.spec.dt) == ("net", 1.0)
    assert back.spec.surrogate == ours.spec.surrogate
    jax.tree.map(np.testing.assert_array_equal, back.params.cells, ours.params.cells)
    for projection in ours.spec.projections:
        here, there = (c.edges(projection.name) for c in (ours, back))
        for field in ("pre", "post", "weight", "delay"):
            np.testing.assert_array_equal(getattr(here, field), getattr(there, field), field)
    one, other = run(ours, seed), run(back, seed)
    assert one.spikes["cells"].sum() > 10
    assert one.spikes["after"].sum() > 10
    for name in ("cells", "after"):
        np.testing.assert_array_equal(one.rasters[name].time_ms, other.rasters[name].time_ms)
        np.testing.assert_array_equal(one.rasters[name].cell, other.rasters[name].cell)


def test_receptors_of_eglif_cells_and_unconnected_projections_come_back(tmp_path):
    params = {"e_rev": (0.0, -80.0, -70.0), "tau_syn": (1.0, 2.0, 3.0)}
    two = (cb.Population("a", 5, "eglif", params), cb.Population("b", 4, "eglif"))
    none = cb.Projection("a", "b", "r2", weight=1.25, delay=0.3)
    ours = cb.build(cb.Spec("e", two, (none,), dt=0.1), 0)
    cb.io.sonata.save_circuit(ours, tmp_path)
    back = cb.io.sonata.load_circuit(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, back.params.cells, ours.params.cells)
    (projection,) = back.spec.projections
    assert (projection.receptor, projection.weight, projection.delay) == ("r2", 1.25, 0.3)
    assert len(back.edges("a_b")) == 0


def test_libsonata_reads_nodes_edges_and_positions(tmp_path):
    libsonata = pytest.importorskip("libsonata")
    ours, um = cb.build(spec(3), 3), np.random.default_rng(0).uniform(0, 300, (30, 3))
    config = cb.io.sonata.save_circuit(ours, tmp_path, positions={"cells": um})
    circuit = libsonata.CircuitConfig.from_file(str(config))
    assert circuit.node_populations == {"zebra", "cells", "after"}
    nodes = circuit.node_population("cells")
    assert nodes.size == 30
    every = libsonata.Selection([(0, 30)])
    np.testing.assert_array_equal(
        np.column_stack([nodes.get_attribute(axis, every) for axis in "xyz"]), um
    )
    np.testing.assert_array_equal(
        nodes.get_dynamics_attribute("tau_exc", every), ours.params.cells["cells"].tau_exc
    )
    np.testing.assert_array_equal(cb.io.sonata.positions(tmp_path / "nodes.h5", "cells"), um)
    edges, held = circuit.edge_population("after_cells"), ours.edges("after_cells")
    assert (edges.source, edges.target, edges.size) == ("after", "cells", len(held))
    for cell in (0, 7, 29):
        into = edges.afferent_edges([cell]).flatten()
        np.testing.assert_array_equal(into, np.flatnonzero(held.post == cell))
        out = edges.efferent_edges([cell % 20]).flatten()
        np.testing.assert_array_equal(out, np.flatnonzero(held.pre == cell % 20))
    some = libsonata.Selection([(0, len(held))])
    np.testing.assert_array_equal(edges.source_nodes(some), held.pre)
    np.testing.assert_array_equal(edges.get_attribute("delay", some), held.delay)
    drawn = circuit.edge_population("zebra_cells")
    some = libsonata.Selection([(0, drawn.size)])
    np.testing.assert_array_equal(
        drawn.get_attribute("syn_weight", some), ours.edges("zebra_cells").weight
    )


def test_the_synapses_are_read_as_those_of_any_network(tmp_path):
    ours = cb.build(spec(1), 1)
    cb.io.sonata.save_circuit(ours, tmp_path)
    files = {"path": tmp_path / "edges.h5", "types": tmp_path / "edge_types.csv"}
    read = cb.io.sonata.edges(**files, population="after_cells")
    np.testing.assert_array_equal(read.weight, ours.edges("after_cells").weight)
    with h5py.File(tmp_path / "edges.h5") as file:
        assert "syn_weight" not in file["edges/after_cells/0"]
        assert (file["edges/cells_cells/0/syn_weight"][()] < 0).all()


def test_weights_are_those_of_a_state(tmp_path):
    learner = spec(2).with_projection("zebra_cells", plastic=True, w_max=200.0)
    ours = cb.build(learner, 2)
    state = cb.init(ours, 0)
    weights = {"zebra_cells": 2 * state.weights["zebra_cells"]}
    cb.io.sonata.save_circuit(ours, tmp_path, state=replace(state, weights=weights))
    back = cb.io.sonata.load_circuit(tmp_path)
    weight = 2 * ours.edges("zebra_cells").weight
    np.testing.assert_array_equal(back.edges("zebra_cells").weight, weight)
    np.testing.assert_array_equal(back.edges("zebra_cells", cb.init(back, 0)).weight, weight)
    first = back.spec.projections[0]
    assert (first.plastic, first.w_max) == (True, 200.0)


def test_what_sonata_has_no_place_for_is_named_and_left_out_only_if_it_is_asked(tmp_path):
    rule = cb.Rule(
        teacher="cells_cells", per_spike=0.01, per_pair=-0.1, kernel="exponential", tau=20.0
    )
    learner = spec(2).with_projection("zebra_cells", rule=rule, w_max=99.0)
    junctions = cb.GapJunctions(0.1, cb.connect.Probability(0.2))
    ours = cb.build(learner.with_population("cells", gap_junctions=junctions), 2)
    ours = cb.silence(ours, "after", [3])
    with pytest.raises(
        cb.UsageError,
        match="sonata has no place for rule of zebra_cells; gap_junctions of cells; silenced of a",
    ):
        cb.io.sonata.save_circuit(ours, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    with pytest.raises(cb.UsageError, match="no place for silenced of after; leave_out=") as error:
        cb.io.sonata.save_circuit(ours, tmp_path / "x", leave_out=["rule", "gap_junctions"])
    assert "\n" not in str(error.value)
    with pytest.raises(
        cb.UsageError, match="leave_out: 'noise'; what must be left out here is rule"
    ):
        cb.io.sonata.save_circuit(ours, tmp_path / "x", leave_out="noise")
    path = cb.io.sonata.save_circuit(
        ours, tmp_path / "x", leave_out=["rule", "gap_junctions", "silenced"]
    )
    assert json.loads(path.read_text())["metadata"]["left_out"] == {
        "rule": ["zebra_cells"],
        "gap_junctions": ["cells"],
        "silenced": ["after"],
    }


def test_what_is_no_such_network_is_refused(tmp_path):
    with pytest.raises(cb.UsageError, match="no such file in JSON"):
        cb.io.sonata.load_circuit(tmp_path)
    ours = cb.build(spec(1), 1)
    with pytest.raises(cb.UsageError, match=r"positions of cells: \[2, 3\]; um, \[30, 3\]"):
        cb.io.sonata.save_circuit(ours, tmp_path, positions={"cells": np.zeros((2, 3))})
    with pytest.raises(cb.UsageError, match="positions 'cell': perhaps cells"):
        cb.io.sonata.save_circuit(ours, tmp_path, positions={"cell": np.zeros((2, 3))})
    path = cb.io.sonata.save_circuit(ours, tmp_path)
    with pytest.raises(cb.UsageError, match=r"'x'; .*"):
        cb.io.sonata.positions(tmp_path / "nodes.h5", "cells")
    types = tmp_path / "node_types.csv"
    types.write_text(types.read_text().replace("cerebellum:current", "nest:iaf_psc_exp"))
    with pytest.raises(cb.UsageError, match="after has model_template 'nest:iaf_psc_exp'; one of"):
        cb.io.sonata.load_circuit(tmp_path)
    path.write_text("{}")
    with pytest.raises(cb.UsageError, match=r"of another program; sonata\.edges reads"):
        cb.io.sonata.load_circuit(tmp_path)
