"""Small networks in the formats of other programs, written by those programs: fixtures of tests/io.

    python golden_networks.py bsb      with bsb-core and bsb-hdf5 7.6.1 (cerebellar-models 0.11)
    python golden_networks.py bsb3     with bsb 3.10.5, its configurations, and mpi4py
    python golden_networks.py sonata   with bmtk 1.2.0

Each writes a compressed network to tests/fixtures/networks, and beside it what the program itself
reads from it: the tests compare the readers of cerebellum.io with that.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).resolve().parents[2] / "tests/fixtures/networks"


def keep(name: str, network: Path, **expected) -> None:
    """Write the compressed network, without the time of writing, and what is expected of it."""
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / f"{name}.gz").write_bytes(gzip.compress(network.read_bytes(), 9, mtime=0))
    np.savez_compressed(FIXTURES / f"{name}.npz", **expected)


def bsb(folder: Path) -> None:
    """Two types of cells in chunks that are not in order, and with negative coordinates."""
    from bsb import Chunk, Configuration, Scaffold

    cells = {"spatial": {"radius": 1, "count": 1}}
    path, sides = folder / "bsb-7.hdf5", (100, 100, 100)
    network = Scaffold(
        Configuration.default(
            storage={"engine": "hdf5", "root": str(path)},
            network={"x": 200, "y": 200, "z": 100, "chunk_size": sides},
            cell_types={"granule_cell": cells, "golgi_cell": cells},
        ),
        clear=True,
    )
    types = network.cell_types
    rng = np.random.default_rng(0)
    placed = {name: network.get_placement_set(name) for name in ("granule_cell", "golgi_cell")}
    for name, y, columns, count in (
        ("granule_cell", 0, (11, 2, -1, 0), 3),
        ("golgi_cell", 1, (2, -1), 2),
    ):
        for x in columns:
            positions = rng.uniform(0, 100, (count, 3)) + np.multiply((x, y, 0), sides)
            placed[name].append_data(Chunk((x, y, 0), sides), positions=positions)
    connections = network.require_connectivity_set(
        types.granule_cell, types.golgi_cell, "granule_to_golgi"
    )
    pre, post = rng.integers(0, 12, 30), rng.integers(0, 4, 30)
    for synapses in (slice(30), slice(5)):  # five pairs have two synapses
        ends = [np.column_stack([x, x % 3, x % 2])[synapses] for x in (pre, post)]
        connections.connect(placed["granule_cell"], placed["golgi_cell"], *ends)
    pairs = [(int(a[0]), int(b[0])) for a, b in connections.load_connections().as_globals()]
    positions = {name: cells.load_positions() for name, cells in placed.items()}
    keep("bsb-7.hdf5", path, pairs=pairs, **positions)


def bsb3(folder: Path) -> None:
    """A corner of the granular layer of the scaffold of Casali et al. 2019."""
    import bsb.configurations
    from bsb.config import JSONConfig
    from bsb.core import Scaffold

    source = Path(next(iter(bsb.configurations.__path__))) / "mouse_cerebellum_cortex_noTouch.json"
    config = json.loads(source.read_text())
    config["network_architecture"].update(simulation_volume_x=20.0, simulation_volume_z=30.0)
    config["simulations"], config["after_placement"] = {}, {}
    path = folder / "bsb-3.hdf5"
    config["output"] = {"format": "bsb.output.HDF5Formatter", "file": str(path)}
    cells = "granule_cell", "glomerulus", "golgi_cell", "mossy_fibers"
    sets = "mossy_to_glomerulus", "glomerulus_to_granule"
    config["cell_types"] = {name: config["cell_types"][name] for name in cells}
    config["connection_types"] = {name: config["connection_types"][name] for name in sets}
    for connection in config["connection_types"].values():
        connection.pop("detailed", None)  # it needs a repository of morphologies
    (folder / "config.json").write_text(json.dumps(config))
    np.random.seed(0)  # noqa: NPY002 (what bsb 3 draws from)
    scaffold = Scaffold(JSONConfig(str(folder / "config.json")))
    scaffold.compile_network()
    expected = {}
    for connections in scaffold.output_formatter.get_connectivity_sets():
        ends = connections.from_identifiers, connections.to_identifiers
        expected[connections.tag] = np.column_stack(ends)
    for name in cells:
        expected[name] = np.asarray(scaffold.get_placement_set(name).identifiers)
    expected["positions"] = scaffold.get_placement_set("granule_cell").positions
    keep("bsb-3.hdf5", path, **expected)


def sonata(folder: Path) -> None:
    """Two types of edges: one with numbers of synapses, and one with weights and delays."""
    from bmtk.builder import NetworkBuilder
    from bmtk.utils import sonata

    rng = np.random.default_rng(1)
    granular, molecular = NetworkBuilder("granular"), NetworkBuilder("molecular")
    granular.add_nodes(N=12, model_type="virtual", kind="mossy")
    granular.add_nodes(N=5, model_type="point_neuron", kind="golgi")
    molecular.add_nodes(N=6, model_type="point_neuron", kind="purkinje")
    common = {"dynamics_params": "x.json", "model_template": "static_synapse"}
    molecular.add_edges(
        source=granular.nodes(kind="mossy"),
        target=molecular.nodes(),
        connection_rule=lambda source, target: int(rng.integers(0, 4)),
        syn_weight=0.004,
        delay=2.0,
        **common,
    )
    inhibitory = molecular.add_edges(
        source=granular.nodes(kind="golgi"),
        target=molecular.nodes(),
        connection_rule=1,
        note="two words",
        **common,
    )
    inhibitory.add_properties("syn_weight", lambda s, t: -rng.uniform(0.1, 1), dtypes=float)
    inhibitory.add_properties("delay", lambda s, t: rng.integers(1, 20) * 0.1, dtypes=float)
    molecular.build()
    molecular.save_edges(output_dir=str(folder))
    path, types = (folder / f"granular_molecular_{name}" for name in ("edges.h5", "edge_types.csv"))
    (FIXTURES / "sonata_edge_types.csv").write_text(types.read_text())
    (population,) = sonata.File([str(path)], [str(types)]).edges.populations
    names = "syn_weight", "delay"
    rows = [
        (e.source_node_id, e.target_node_id, e.edge_type_id, *(e[name] for name in names))
        for e in population
    ]
    synapses = [e["nsyns"] if e.group_id == 0 else 1 for e in population]
    keep("sonata_edges.h5", path, rows=rows, synapses=synapses)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        {"bsb": bsb, "bsb3": bsb3, "sonata": sonata}[sys.argv[1]](Path(name))
