"""Synapses in files of SONATA and of the Brain Scaffold Builder: what those programs wrote, laws of
files with the same layout, and what is refused."""

import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model.neurons import current, relay

h5py = pytest.importorskip("h5py", reason="h5py is not installed; pip install h5py")
import networks  # noqa: E402

Select = cb.io.sonata.Select

SOURCES, TARGETS = 13, 9


def rows(pre, post, weight, delay) -> list[tuple]:
    """Synapses as sorted rows; delays in steps of 0.1 ms."""
    columns = pre, post, np.float32(weight), np.round(np.asarray(delay) / 0.1)
    return sorted(zip(*(np.broadcast_to(c, np.shape(pre)).tolist() for c in columns), strict=True))


def built(edges: cb.Edges, path: str = "event") -> list[tuple]:
    """The synapses of a circuit that was built of edges."""
    spec = cb.Spec(
        name="two",
        populations=(
            cb.Population(name="a", size=SOURCES, model="relay", params=relay.Params()),
            cb.Population(name="b", size=TARGETS, model="current", params=current.Params()),
        ),
        projections=(
            cb.Projection(
                source="a", target="b", receptor="inh", weight=2.0, delay=1.5, in_degree=3
            ),
        ),
        dt=0.1,
    )
    back = cb.build(spec, jax.random.key(0), {"a_b": edges}, path=path).edges("a_b")
    return rows(back.pre, back.post, back.weight, back.delay)


def pairs(edges: cb.Edges) -> list[tuple]:
    return sorted(zip(edges.pre.tolist(), edges.post.tolist(), strict=True))


def test_a_network_of_bmtk_is_read(tmp_path):
    path, expected = networks.unpacked("sonata_edges.h5", tmp_path)
    types, table = networks.FIXTURES / "sonata_edge_types.csv", expected["rows"]
    for sign, factor, negative in (("positive", 1e3, False), ("negative", 2.0, True)):
        edges = cb.io.sonata.edges(
            path, types=types, select=Select(sign=sign), weight_factor=factor
        )
        mine = (table[:, 3] < 0) == negative
        each = np.repeat(table[mine], expected["synapses"][mine], axis=0)
        assert len(edges) == len(each) > 20
        want = rows(each[:, 0], each[:, 1], abs(each[:, 3]) * factor, each[:, 4])
        assert rows(edges.pre, edges.post, edges.weight, edges.delay) == want
    golgi = Select(edge_types=[101], source=range(12, 17), between=("granular", "molecular"))
    renumbered = cb.io.sonata.edges(path, types=types, select=golgi)
    np.testing.assert_array_equal(renumbered.pre + 12, edges.pre)
    np.testing.assert_array_equal(renumbered.weight * 2, edges.weight)
    same_delay = cb.io.sonata.edges(path, types=types, select=golgi, delay=None, dt=0.1)
    assert same_delay.delay is None


def test_a_network_of_bsb_7_is_read(tmp_path):
    path, expected = networks.unpacked("bsb-7.hdf5", tmp_path)
    edges = cb.io.bsb.edges(path, "granule_to_golgi", pre="granule_cell")
    assert pairs(edges) == sorted(map(tuple, expected["pairs"].tolist()))
    assert edges.weight is None
    assert edges.delay is None
    for cell_type in ("granule_cell", "golgi_cell"):
        np.testing.assert_array_equal(
            cb.io.bsb.positions(path, cell_type), expected[cell_type], strict=True
        )


def test_a_network_of_bsb_3_is_read(tmp_path):
    path, expected = networks.unpacked("bsb-3.hdf5", tmp_path)
    for name, ends in (
        ("glomerulus_to_granule", ("glomerulus", "granule_cell")),
        ("mossy_to_glomerulus", ("mossy_fibers", "glomerulus")),
    ):
        edges = cb.io.bsb.edges(path, name)
        cells = [expected[end] for end in ends]
        back = np.column_stack([cells[0][edges.pre], cells[1][edges.post]])
        np.testing.assert_array_equal(back, expected[name])
    positions = cb.io.bsb.positions(path, "granule_cell")
    np.testing.assert_array_equal(positions, expected["positions"])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    number=st.integers(0, 60),
    places=st.lists(st.sampled_from(["file", "types"]), min_size=6, max_size=6),
    sign=st.sampled_from([1, -1]),
    factor=st.sampled_from([1.0, 0.5, 1024.0]),
)
def test_edges_of_sonata_are_those_of_the_circuit(
    tmp_path_factory, seed, number, places, sign, factor
):
    """Every attribute of each of two groups is in the file or in the edge types file."""
    folder, rng = tmp_path_factory.mktemp("sonata"), np.random.default_rng(seed)
    group, kind = rng.integers(0, 2, number), rng.integers(0, 3, number)
    index, attributes = np.zeros(number, int), {0: {}, 1: {}}
    values = {
        "syn_weight": sign * rng.integers(0, 100, (2, 3, number)) / 8,
        "delay": rng.integers(1, 30, (2, 3, number)) * 0.1,
        "nsyns": rng.integers(0, 3, (2, 3, number)),
    }
    table = [{"edge_type_id": 7 * k, "target_query": "x==' '"} for k in range(3)]
    of_edge = {name: np.zeros(number) for name in values}
    for g in range(2):
        mine = np.flatnonzero(group == g)
        index[mine] = rng.permutation(mine.size)
        for k, (name, all_values) in enumerate(values.items()):
            if places[3 * g + k] == "file":
                own = all_values[g, 0, : mine.size]
                attributes[g][name] = own
                of_edge[name][mine] = own[index[mine]]
            else:
                of_edge[name][mine] = all_values[1, kind[mine], 0] if number else 0
    if number:
        for k, row in enumerate(table):
            row |= {name: all_values[1, k, 0] for name, all_values in values.items()}
    source, target = rng.integers(0, SOURCES, number), rng.integers(0, TARGETS, number)
    names = rng.permutation(40)[:SOURCES] + 5
    columns = {
        "source_node_id": names[source].astype(np.uint64),
        "target_node_id": target.astype(np.uint64),
        "edge_type_id": (7 * kind).astype(np.uint32),
        "edge_group_id": group.astype(np.uint16),
        "edge_group_index": index.astype(np.uint32),
    }
    networks.sonata(folder / "e.h5", columns, attributes)
    edges = cb.io.sonata.edges(
        folder / "e.h5",
        types=networks.types(folder / "t.csv", table),
        select=Select(source=names),
        weight_factor=factor,
    )
    each = np.repeat(np.arange(number), of_edge["nsyns"].astype(int))
    want = rows(
        source[each],
        target[each],
        abs(of_edge["syn_weight"][each]) * factor,
        of_edge["delay"][each],
    )
    assert built(edges) == want


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), number=st.integers(0, 60), older=st.booleans())
def test_edges_of_bsb_are_those_of_the_circuit(tmp_path_factory, seed, number, older):
    path, rng = tmp_path_factory.mktemp("bsb") / "n.hdf5", np.random.default_rng(seed)
    source, target = rng.integers(0, SOURCES, number), rng.integers(0, TARGETS, number)
    if older:
        # Cells of type a have the identifiers 20 to 26 and 3 to 8.
        ids = [*range(20, 27), *range(3, 9)]
        connections = {"a_to_b": [(ids[s], 100 + t) for s, t in zip(source, target, strict=True)]}
        networks.bsb3(path, {"a": [20, 7, 3, 6], "b": [100, TARGETS], "c": []}, connections)
    else:
        chunks = [(0, 0, 0), (12, 0, 0), (3, 0, 0), (-1, 2, 0), (1, 0, 1)]
        placed = {"a": dict(zip(chunks, (4, 1, 5, 0, 3), strict=True)), "b": {(5, 5, 5): 2}}
        placed["b"][2, 0, 0] = TARGETS - 2
        networks.bsb(path, placed, {"a_to_b": ("a", "b", source, target)})
    assert built(cb.io.bsb.edges(path, "a_to_b")) == rows(source, target, 2.0, np.full(number, 1.5))


def test_a_set_of_bsb_3_with_several_types_is_told_which(tmp_path):
    path = tmp_path / "n.hdf5"
    networks.bsb3(path, {"a": [0, 2], "b": [2, 2]}, {"mixed": [(0, 2), (1, 0), (3, 2)]})
    with pytest.raises(UsageError, match="mixed has several types; pre= one of a, b"):
        cb.io.bsb.edges(path, "mixed")
    assert pairs(cb.io.bsb.edges(path, "mixed", pre="a", post="b")) == [(0, 0)]


def test_a_file_without_groups_of_edges_has_one_row_an_edge(tmp_path):
    columns = {"source_node_id": [0, 1], "target_node_id": [1, 0], "edge_type_id": [-1, -1]}
    attributes = {
        "syn_weight": [1.0, 2.0],
        "delay": [0.14, 0.01],
        "nsyns": [2, 1],
        "sec_id": [0, 4],
    }
    networks.sonata(tmp_path / "e.h5", columns, {0: attributes})
    edges = cb.io.sonata.edges(tmp_path / "e.h5", dt=0.1)
    np.testing.assert_array_equal(edges.weight, [1.0, 2.0])
    np.testing.assert_allclose(edges.delay, [0.1, 0.1])


def test_multapses_are_merged_on_request(tmp_path):
    networks.sonata(tmp_path / "e.h5", COLUMNS, {0: {**ATTRIBUTES, "nsyns": [3, 1]}})
    edges = cb.io.sonata.edges(tmp_path / "e.h5", multapses="merge")
    assert sorted(row[2] for row in built(edges)) == [2.0, 3.0]


COLUMNS = {
    "source_node_id": [0, 1],
    "target_node_id": [1, 0],
    "edge_type_id": [5, 6],
    "edge_group_id": [0, 0],
    "edge_group_index": [0, 1],
}
ATTRIBUTES = {"syn_weight": [1.0, 2.0], "delay": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("columns", "attributes", "arguments", "message"),
    [
        ({}, {}, {"population": "a_to_c"}, "'a_to_c'; perhaps a_to_b"),
        ({}, {}, {"select": Select(between=("b", "a"))}, r"0 edge populations fit; one of a_to_b"),
        (
            {},
            {},
            {"population": "a_to_b", "select": Select(between=("a", "c"))},
            "'a_to_b' goes from nodes 'a' to 'b'; 'a' to 'c'",
        ),
        ({"edge_type_id": None}, {}, {}, "'edge_type_id'; perhaps edge_group_id"),
        ({"target_node_id": [1]}, {}, {}, r"a_to_b/target_node_id \[1\]; \[2\]"),
        ({"source_node_id": [0.5, 1]}, {}, {}, "source_node_id has 0.5; whole numbers"),
        ({"edge_group_id": [0, 3]}, {}, {}, "edge_group_id 3 of a_to_b; 0"),
        ({"edge_group_index": [0, 2]}, {}, {}, "index 0 to 2 of group 0 of a_to_b; its syn_weight"),
        (
            {},
            {"syn_weight": None},
            {},
            "no syn_weight of edges of group 0 and type 5; .* weight=",
        ),
        ({}, {"delay": None}, {}, "no delay of edges of group 0 and type 5; .*delay=None"),
        ({}, {"syn_weight": [1.0, np.nan]}, {}, "syn_weight nan in a_to_b; finite"),
        ({}, {"syn_weight": [1.0, -2.0]}, {}, "syn_weight of a_to_b: -2 to 1; one sign"),
        ({}, {"nsyns": [1, -1]}, {}, "nsyns -1.0 in a_to_b"),
        ({}, {"weight_function": [1, 1]}, {}, "edges of group 0 have a weight_function"),
        ({}, {}, {"select": Select(edge_types=[4])}, "no edge of a_to_b has type 4; 5, 6"),
        (
            {},
            {},
            {"select": Select(sign="negative"), "weight": None},
            "'negative', without weights",
        ),
        ({}, {}, {"weight_factor": -1.0}, "weight_factor: -1.0; a number above zero"),
        ({}, {}, {"dt": 0}, "dt: 0; a number above zero"),
        ({}, {}, {"select": "all"}, "select: 'all'; a sonata.Select"),
        ({}, {}, {"types": "nowhere.csv"}, "nowhere.csv: no such file; an edge types file"),
        ({}, {}, {"multapses": "sum"}, "multapses 'sum'; one of keep, merge"),
    ],
)
def test_what_is_wrong_with_a_file_of_sonata_is_said(
    tmp_path, columns, attributes, arguments, message
):
    def without_none(values):
        return {name: x for name, x in values.items() if x is not None}

    networks.sonata(
        tmp_path / "e.h5",
        without_none(COLUMNS | columns),
        {0: without_none(ATTRIBUTES | attributes)},
    )
    with pytest.raises(UsageError, match=message) as error:
        cb.io.sonata.edges(tmp_path / "e.h5", **arguments)
    assert "\n" not in str(error.value)


def test_a_node_that_no_cell_is_is_refused_by_build(tmp_path):
    networks.sonata(tmp_path / "e.h5", COLUMNS | {"source_node_id": [0, 500]}, {0: ATTRIBUTES})
    with pytest.raises(UsageError, match="'a_b': pre 500; numbered 0 to 12"):
        built(cb.io.sonata.edges(tmp_path / "e.h5"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no columns; a column edge_type_id"),
        ("a b\n1 2\n", "a, b; a column edge_type_id"),
        ("edge_type_id delay\n5 1 2\n", "3 fields in '5 1 2'; 2"),
        ("edge_type_id delay\n5 1\n5 2\n", "edge_type_id 5 twice"),
        ("edge_type_id delay\nx 1\n", "edge_type_id 'x'; a whole number"),
        ("edge_type_id syn_weight\n5 fast\n6 1\n", "syn_weight 'fast' of edge type 5; a number"),
        ("edge_type_id weight_function\n5 f\n6 NULL\n", "edges of type 5 have a weight_function"),
    ],
)
def test_what_is_wrong_with_an_edge_types_file_is_said(tmp_path, text, message):
    networks.sonata(tmp_path / "e.h5", COLUMNS, {0: ATTRIBUTES})
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        cb.io.sonata.edges(tmp_path / "e.h5", types=tmp_path / "t.csv")


def test_rows_of_other_populations_are_left_out(tmp_path):
    networks.sonata(tmp_path / "e.h5", COLUMNS, {0: {"syn_weight": [1.0, 1.0]}})
    networks.sonata(
        tmp_path / "e.h5", COLUMNS, {0: {"syn_weight": [2.0, 2.0]}}, "b_to_a", ("b", "a")
    )
    columns = "population", "edge_type_id", "delay"
    table = [("b_to_a", 5, 9.0), ("a_to_b", 5, 1.0), ("a_to_b", 6, 2.0)]
    types = networks.types(
        tmp_path / "t.csv", [dict(zip(columns, row, strict=True)) for row in table]
    )
    with pytest.raises(UsageError, match="2 edge populations fit; one of a_to_b"):
        cb.io.sonata.edges(tmp_path / "e.h5", types=types)
    edges = cb.io.sonata.edges(tmp_path / "e.h5", types=types, select=Select(between=("a", "b")))
    np.testing.assert_array_equal(edges.delay, [1.0, 2.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sign": "-"}, "sign '-'; positive or negative"),
        ({"between": "a_to_b"}, "between 'a_to_b'; the names of source and target nodes"),
        ({"source": [1, 1]}, "source has 1 twice"),
        ({"edge_types": [0.5]}, r"edge_types \[0.5\]; a list of ids"),
        ({"target": 3}, "target 3; a list of ids"),
    ],
)
def test_a_wrong_selection_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Select(**arguments)


def _edit(path, change):
    with h5py.File(path, "r+") as file:
        change(file["connectivity/a_to_b"], file["placement/a"])


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, {"connections": "a_to_c"}, "'a_to_c'; perhaps a_to_b"),
        (None, {"pre": "c"}, "pre 'c'; 'a', as a_to_b has"),
        (lambda s, p: s.pop("inc"), {}, "'inc'; /connectivity/a_to_b has none"),
        (lambda s, p: s.attrs.modify("len", 5), {}, "2 synapses in a_to_b; 5, as its len says"),
        (
            lambda s, p: s["inc/0"].pop("global_locs"),
            {},
            "'global_locs'; perhaps local_locs",
        ),
        (
            lambda s, p: (
                s["inc/0"].pop("global_locs"),
                s["inc/0"].update(global_locs=[[1, 0, 0]]),
            ),
            {},
            r"global_locs \[1, 3\]; \[2, 3\]",
        ),
        (
            lambda s, p: s["inc/0/global_locs"].write_direct(np.full((2, 3), 7)),
            {},
            "cell 7 of a in chunk 3; it has 2, numbered from 0",
        ),
        (lambda s, p: s["inc/0"].attrs.pop("3"), {}, "inc/0 without the row of chunk 3"),
        (lambda s, p: s["inc/0"].attrs.modify("3", 1), {}, r"begin in rows \[1\]; 0 to 2"),
        (lambda s, p: p.attrs.modify("chunks", "x"), {}, "chunks 'x'; cells by chunk"),
        (lambda s, p: s.attrs.modify("pre", "z"), {}, "'z'; /placement has a, b"),
        (lambda s, p: s.file.pop("placement"), {}, "'placement'; / has connectivity"),
    ],
)
def test_what_is_wrong_with_a_file_of_bsb_is_said(tmp_path, change, arguments, message):
    path = tmp_path / "n.hdf5"
    placed = {"a": {(3, 0, 0): 2}, "b": {(0, 0, 0): 2}}
    networks.bsb(path, placed, {"a_to_b": ("a", "b", [0, 1], [1, 0])})
    if change is not None:
        _edit(path, change)
    with pytest.raises(UsageError, match=message) as error:
        cb.io.bsb.edges(path, **{"connections": "a_to_b", **arguments})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("runs", "found", "message"),
    [
        ({"a": [0, 2], "b": [2, 2]}, [(0, 9)], "post 9 in a_to_b; an identifier that a cell has"),
        ({"a": [0, 2], "b": [2, 2]}, [(0, 2), (9, 2)], "pre 9 in a_to_b"),
        ({"a": [0, 2, 3], "b": [2, 2]}, [(0, 2)], "identifiers, 3 numbers; pairs"),
        ({"a": [0, 2], "b": [2, 2]}, [(0.5, 2)], "a_to_b has 0.5; whole numbers"),
    ],
)
def test_what_is_wrong_with_a_file_of_bsb_3_is_said(tmp_path, runs, found, message):
    networks.bsb3(tmp_path / "n.hdf5", runs, {"a_to_b": found})
    with pytest.raises(UsageError, match=message):
        cb.io.bsb.edges(tmp_path / "n.hdf5", "a_to_b")


@pytest.mark.parametrize(
    "read",
    [cb.io.sonata.edges, lambda path: cb.io.bsb.edges(path, "x"), lambda path: positions(path)],
)
def test_what_is_no_such_file_is_refused(tmp_path, read):
    (tmp_path / "text").write_text("not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    for name, message in (
        ("none", "no such file; an HDF5 file"),
        ("text", "not read by h5py; an HDF5 file"),
        ("other.h5", "'edges'; / has x|x; connectivity and placement"),
    ):
        with pytest.raises(UsageError, match=message):
            read(tmp_path / name)
    with pytest.raises(UsageError, match="int; the path of an HDF5 file"):
        read(3)


def positions(path):
    return cb.io.bsb.positions(path, "a")


def test_without_h5py_it_is_said_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for read, extra in ((cb.io.sonata.edges, "sonata"), (positions, "bsb")):
        with pytest.raises(UsageError, match=rf"needs the {extra} part: pip install .*\[{extra}\]"):
            read(tmp_path / "x")
