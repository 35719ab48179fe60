"""Building: who contacts whom."""

from dataclasses import replace

import chex
import jax
import numpy as np
import pytest
from circuits import feed_forward, matrix
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.model import anatomy, contacts, events, sampling, streams, target_lists
from cerebellum.model.neurons.conductance import Params
from cerebellum.model.population import Population
from cerebellum.model.presets import PRESETS
from cerebellum.model.presets.casali import SIZES
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec, bundles

KEY = jax.random.key(3)


@settings(max_examples=40)
@given(
    sources=st.integers(1, 400),
    targets=st.integers(1, 60),
    share=st.floats(0, 1),
    seed=st.integers(0, 9),
)
def test_in_degrees_are_kept_and_sources_differ(sources, targets, share, seed):
    in_degree = share * sources
    spec = feed_forward(sources, targets, in_degree)
    projection = spec.projections[0]
    source, target = contacts.draw(projection, spec, jax.random.key(seed))
    degrees = np.bincount(target, minlength=targets)
    assert degrees.sum() == round(in_degree * targets)
    assert degrees.max() - degrees.min() <= 1
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == source.size
    assert source.size == 0 or (source.min() >= 0 and source.max() < sources)


@settings(max_examples=20)
@given(targets=st.integers(20, 300), seed=st.integers(0, 9))
def test_lists_hold_every_contact_once(targets, seed):
    spec = feed_forward(90, targets, 17.3)
    source, target = contacts.draw(spec.projections[0], spec, jax.random.key(seed))
    number = 1000 * source + target + 1
    ends = spec.ends(spec.projections[0])
    table, numbers = target_lists.fan_out_with(source, target, ends, number)
    np.testing.assert_array_equal(target_lists.fan_out(source, target, ends), table)
    assert table.shape[1] % 8 == 0
    assert (np.diff(table.astype(int), axis=1)[table[:, 1:] < targets] > 0).all()
    cells = np.arange(90)[:, None]
    np.testing.assert_array_equal(numbers, np.where(table < targets, 1000 * cells + table + 1, 0))
    row, place = np.nonzero(table < targets)
    listed = np.stack([row, table[row, place]], axis=1)
    want = np.stack([source, target], axis=1)
    np.testing.assert_array_equal(
        listed[np.lexsort(listed.T[::-1])], want[np.lexsort(want.T[::-1])]
    )


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_room_in_lists_changes_no_bit(spread):
    spec = feed_forward(200, 90, 12.0, weight=3.0, plastic=True)
    spec = replace(spec, projections=(replace(spec.projections[0], spread=spread),))
    wide = cb.build(spec, KEY, path="event")
    narrow = target_lists.with_narrow_lists(wide)
    name = spec.projections[0].name
    widths = [c.wiring.fans[name].targets.shape[1] for c in (wide, narrow)]
    assert widths[0] > widths[1]
    recordings = [
        cb.simulate(
            circuit,
            cb.init(circuit, KEY),
            {"input": cb.drive.poisson(80.0)},
            duration_ms=50,
            record="raster:cells",
        )[1]
        for circuit in (wide, narrow)
    ]
    wanted, spikes = (vars(recording.rasters["cells"]) for recording in recordings)
    assert recordings[0].spikes["cells"].sum() > 0
    chex.assert_trees_all_equal(spikes, wanted)
    for a, b in zip(*(vars(c.edges(name)).values() for c in (wide, narrow)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_as_many_targets_of_every_source_need_no_room():
    spec = feed_forward(200, 90, 12.0)
    exact = replace(spec.projections[0], in_degree=0.0, connect=cb.connect.FixedOutDegree(16))
    circuit = cb.build(replace(spec, projections=(exact,)), KEY, path="event")
    assert circuit.wiring.fans[exact.name].targets.shape == (200, 16)


def test_binomial_in_degrees():
    spec = feed_forward(500, 20_000, 2.34)
    projection = replace(spec.projections[0], sites=4)
    degrees = contacts.in_degrees(projection, 20_000, streams.stream(KEY, "x"))
    assert degrees.max() == 4
    assert degrees.mean() == pytest.approx(2.34, rel=0.02)
    assert (degrees == 0).mean() == pytest.approx((1 - 2.34 / 4) ** 4, rel=0.2)


def test_no_cell_contacts_itself():
    spec = cb.presets.mouse(scale=0.05)
    loop = next(p for p in spec.projections if p.source == p.target)
    source, target = contacts.draw(loop, spec, KEY)
    assert source.size
    assert (source != target).all()


def test_each_part_can_be_built_alone():
    """A projection's contacts depend on the key and its name, not on what else is built."""
    spec = cb.presets.mouse(scale=0.01)
    whole = cb.build(spec, KEY)
    for projection in spec.projections[::3]:
        fan, weight = anatomy.connect(projection, whole.spec, KEY, whole.wiring.path)
        jax.tree.map(np.testing.assert_array_equal, fan, whole.wiring.fans[projection.name])
        np.testing.assert_array_equal(weight, whole.params.weights[projection.name])
    other = cb.build(spec, jax.random.key(4))
    name = "glomerulus_granule"
    assert (matrix(whole, name) != matrix(other, name)).any()


@pytest.mark.parametrize("path", ["event", "dense"])
def test_both_paths_are_the_same_circuit(path):
    spec = feed_forward(60, 40, 12, weight=2.5)
    np.testing.assert_array_equal(
        matrix(cb.build(spec, KEY, path=path), "input_p0_cells"),
        matrix(cb.build(spec, KEY, path="event"), "input_p0_cells"),
    )


def test_auto_takes_the_dense_path_for_small_circuits_only():
    assert cb.build(feed_forward(10, 10, 3), KEY).wiring.path == "dense"
    assert anatomy.resolve_path(cb.presets.mouse()) == "event"


def test_a_path_that_there_is_not_is_refused():
    with pytest.raises(UsageError, match="path: 'Dense'; one of auto, event, dense"):
        cb.build(feed_forward(9, 9, 2), KEY, path="Dense")  # pyright: ignore[reportArgumentType]


def test_dense_path_keeps_lists_where_few_contacts_exist():
    circuit = cb.build(feed_forward(400, 30, 3), KEY, path="dense")
    assert isinstance(circuit.wiring.fans["input_p0_cells"], events.FanOut)
    circuit = cb.build(feed_forward(400, 30, 40), KEY, path="dense")
    assert isinstance(circuit.wiring.fans["input_p0_cells"], events.AllToAll)


def test_model_a_is_the_published_size():
    """96,737 neurons and 4.22 million synapses (Casali et al. 2019), beside our olive."""
    spec = PRESETS["mouse"].spec()
    olive = SIZES["inferior_olive"]
    assert sum(p.size for p in spec.populations) - olive == 96_737
    assert spec.synapses == pytest.approx(4_216_473, rel=0.01)
    assert [p.name for p in spec.populations] == list(SIZES)


def test_a_bundle_ends_on_each_receptor_once():
    spec = feed_forward(9, 9, 2, delays=(2.0, 2.0, 2.0, 3.0))
    groups = bundles(spec)
    assert sum(len(group.projections) for group in groups) == 4
    for group in groups:
        ends = [(p.target, p.receptor) for p in group.projections]
        assert len(set(ends)) == len(ends)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dt": 0.0}, "dt: 0.0 ms; a step is longer than zero"),
        ({"dt": 1e-5}, "cells.t_ref: 1.5 ms is over 65535 steps of 1e-05 ms"),
        ({"populations": ()}, "populations: none; a circuit has at least one"),
    ],
)
def test_impossible_specs_are_refused_by_name(change, message):
    with pytest.raises(UsageError, match=message):
        replace(feed_forward(9, 9, 2), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"in_degree": 10},
            r"in_degree: 10; between 0 and the 9 other cells of input",
        ),
        ({"source": "outside"}, r"population 'outside': feed_forward has input, cells"),
        ({"weight": -1.0}, "input_p0_cells.weight: -1.0; finite, not negative"),
        ({"weight": float("nan")}, "input_p0_cells.weight: nan; finite"),
        ({"delay": 0.4}, "input_p0_cells.delay: 0.4 ms; at least one step of 1.0 ms"),
        ({"delay": float("nan")}, "input_p0_cells.delay: nan"),
        ({"receptor": "ampa"}, "input_p0_cells.receptor: 'ampa'; one of exc, inh"),
        ({"sites": 1}, "input_p0_cells.sites: 1; at least the in-degree 2, at most 9"),
        ({"sites": 10}, "input_p0_cells.sites: 10; at least the in-degree 2, at most 9"),
    ],
)
def test_impossible_projections_are_refused_by_name(change, message):
    spec = feed_forward(9, 9, 2)
    with pytest.raises(UsageError, match=message):
        replace(spec, projections=(replace(spec.projections[0], **change),))


def test_populations_are_checked():
    cells = feed_forward(9, 9, 2).populations[1]
    for change, message in (
        ({"size": 0}, "cells.size: 0; at least 1 cell"),
        ({"size": 4.0}, "cells.size: 4.0; at least 1 cell"),
        ({"name": "a:b"}, "population 'a:b': a name is letters, digits and underscores"),
        ({"model": "hodgkin"}, "cells.model: 'hodgkin'; one of relay, conductance, current"),
        ({"model": "current"}, "cells.params: not the Params of current"),
        ({"params": Params(v_th=float("nan"))}, "cells.params.v_th: nan; a finite number"),
        ({"params": Params(t_ref=np.ones(7))}, "cells.params.t_ref: 7 values; 9, one a cell"),
    ):
        with pytest.raises(UsageError, match=message):
            Spec(name="x", populations=(replace(cells, **change),), projections=())
    with pytest.raises(UsageError, match="scale: 0; above 0"):
        cb.presets.mouse(scale=0)
    with pytest.raises(UsageError, match="names are unique"):
        Spec(name="x", populations=(cells, cells), projections=())


def test_a_population_needs_no_more_than_says_which_model_it_is():
    assert Population("cells", 9, "conductance").params == Params()
    assert Population("cells", 9, params=Params()).model == "conductance"
    assert Population("cells", 9, "conductance", {"v_th": -40.0}).params == Params(v_th=-40.0)
    with pytest.raises(UsageError, match="'vth': unknown; perhaps v_th"):
        Population("cells", 9, "conductance", {"vth": -40.0})
    for params, message in (
        (None, "cells.params: not given; the Params of a model, or the name of one as model"),
        (3, "cells.params: int; the Params of a model"),
    ):
        with pytest.raises(UsageError, match=message):
            Population("cells", 9, params=params)


def test_models_that_share_their_params_are_told_apart_by_name(monkeypatch):
    monkeypatch.setitem(cb.neurons.CIRCUIT_MODELS, "mine", cb.neurons.conductance)
    with pytest.raises(UsageError, match="model: not given; one of conductance, mine"):
        Population("cells", 9, params=Params())
    assert Population("cells", 9, "mine").model == "mine"


def test_what_learns_is_plastic():
    rule = cb.Rule(teacher="b", per_spike=0.1)
    ends = {"weight": 1.0, "delay": 1.0, "in_degree": 2}
    assert Projection("a", "b", "exc", **ends, rule=rule).plastic is True
    assert Projection("a", "b", "exc", **ends).plastic is False
    spec = feed_forward(9, 9, 2)
    name, target = spec.projections[0].name, spec.populations[1].name
    rule = cb.Rule(teacher=target, per_spike=0.1)
    assert spec.with_projection(name, rule=rule).projections[0].plastic is True
    with pytest.raises(UsageError, match="rule: given; its weights must be plastic"):
        spec.with_projection(name, rule=rule, plastic=False)


def test_specs_are_hashable():
    assert hash(cb.presets.mouse()) == hash(cb.presets.mouse())
    assert isinstance(cb.presets.mouse().populations[0], Population)
    assert isinstance(cb.presets.mouse().projections[0], Projection)


@pytest.mark.parametrize(("below", "width"), [(3, 2), (300, 40), (70_000, 3_000), (9, 0)])
def test_repeats_are_all_but_the_first(below, width):
    table = np.random.default_rng(0).integers(0, below, (120, width))
    rows = np.arange(0, 120, 2)
    row, column = sampling._repeats(table, rows)
    for number, values in enumerate(table[rows]):
        first_columns = np.unique(values, return_index=True)[1]
        repeats = np.setdiff1d(np.arange(width), first_columns)
        np.testing.assert_array_equal(np.sort(column[row == number]), repeats)
