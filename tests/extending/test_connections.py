"""Rules of connection from a user's own script: what a checkpoint keeps of them."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
import rings

import cerebellum as cb
from cerebellum import store
from cerebellum.model import connect
from cerebellum.model.neurons import current
from cerebellum.store import describe

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def _table_as_it_was():
    before = dict(connect.RULES)
    yield
    connect.RULES.clear()
    connect.RULES.update(before)


def circuit(rule, **build) -> cb.Circuit:
    cells = cb.Population(name="e", size=12, model="current", params=current.Params(drive=14.0))
    projection = cb.Projection(
        source="e", target="e", receptor="exc", weight=1.0, delay=1.0, connect=rule
    )
    spec = cb.Spec(name="ring", populations=(cells,), projections=(projection,), dt=0.1)
    return cb.build(spec, KEY, path="event", **build)


def saved(folder: Path, rule, **build) -> cb.Circuit:
    built = circuit(rule, **build)
    store.save_circuit(folder, built, cb.init(built, KEY))
    return built


FRESH = """
import sys
import cerebellum as cb
import rings
if sys.argv[2]:
    cb.register("connection", sys.argv[2], rings.Ring)
try:
    circuit, state = cb.store.load_circuit(sys.argv[1])
except cb.UsageError as error:
    print(error)
else:
    edges = circuit.edges("e_e")
    print(circuit.spec.projections[0].connect, edges.pre.tolist(), edges.post.tolist())
"""


def in_a_fresh_process(folder: Path, name: str) -> str:
    """What is printed by a process that registers the rule under a name, or not, and loads."""
    command = [sys.executable, "-c", FRESH, str(folder), name]
    here = Path(__file__).parent
    return subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=here
    ).stdout.strip()


def test_a_rule_is_restored_in_a_fresh_process(tmp_path):
    cb.register("connection", "ring", rings.Ring)
    edges = saved(tmp_path, rings.Ring(np.int64(2))).edges("e_e")
    want = f"{rings.Ring(2)} {edges.pre.tolist()} {edges.post.tolist()}"
    assert in_a_fresh_process(tmp_path, "ring") == want
    unknown = "spec: 'ring.Connect': not known here; "
    hint = 'cb.register("connection", "ring", ...) first'
    assert in_a_fresh_process(tmp_path, "") == unknown + hint
    assert in_a_fresh_process(tmp_path, "rings") == f"{unknown}perhaps rings.Connect, or {hint}"


def test_wiring_that_was_stored_is_not_drawn_again(tmp_path):
    """Neither a user's rule nor one of the package needs the positions again."""
    cb.register("connection", "near", rings.Near)
    um = {"e": np.random.default_rng(0).uniform(0, 9, (12, 3))}
    for name, rule in (("near", rings.Near(3)), ("distance", connect.Distance("gaussian", 5.0))):
        built = saved(tmp_path / name, rule, positions=um)
        back, state = store.load_circuit(tmp_path / name)
        assert back.spec == built.spec
        assert len(back.edges("e_e")) == len(built.edges("e_e")) > 20
        for x, y in zip(*(vars(c.edges("e_e")).values() for c in (back, built)), strict=True):
            np.testing.assert_array_equal(x, y)
        after = [
            cb.simulate(c, s, {}, duration_ms=30, record="v:e", progress=False)[1]
            for c, s in ((back, state), (built, cb.init(built, KEY)))
        ]
        np.testing.assert_array_equal(*(r.traces["v:e"].values for r in after))


def test_a_rule_that_is_not_registered_runs_and_is_not_saved(tmp_path):
    built = circuit(rings.Ring(2))
    assert len(built.edges("e_e")) == 60
    with pytest.raises(cb.UsageError, match=r"Ring: not registered; cb\.register"):
        store.save_circuit(tmp_path, built, cb.init(built, KEY))


def test_a_rule_that_was_edited_is_noticed(tmp_path):
    cb.register("connection", "ring", rings.Ring)
    saved(tmp_path, rings.Ring(2))

    @dataclass(frozen=True)
    class Edited(rings.Ring):
        def pairs(self, ends, rng):
            source, target = super().pairs(ends, rng)
            return (source + 1) % ends.sources, target

    cb.register("connection", "ring", Edited, replace=True)
    with pytest.raises(
        cb.UsageError, match="another wiring here; written with the rule of connection of e_e as"
    ):
        store.load_circuit(tmp_path)


@pytest.mark.parametrize(
    ("name", "thing", "message"),
    [
        ("ring", rings.Ring(2), "connection 'ring': Ring; a class"),
        ("ring", rings.Mutable, "connection 'ring': Mutable; a frozen dataclass"),
        ("ring", current.Params, "without mean_in_degree, problem, pairs; what connect.Connect"),
        ("OneToOne", rings.Ring, "connection 'OneToOne': taken; another name"),
    ],
)
def test_what_is_no_rule_is_not_registered(name, thing, message):
    with pytest.raises(cb.UsageError, match=message):
        cb.register("connection", name, thing)


def test_the_rules_of_the_package_keep_their_names():
    """Checkpoints that exist have them."""
    names = "FixedInDegree FixedOutDegree FixedTotal Probability OneToOne AllToAll Distance"
    assert list(connect.RULES) == names.split()
    spec = circuit(connect.FixedInDegree(3)).spec
    written = describe.to_json(spec)["projections"][0]["connect"]
    assert written == {"is": "FixedInDegree", "number": 3, "multapses": False, "autapses": False}
