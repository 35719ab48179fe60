"""Checkpoints that an older version wrote can be read and resumed.

Each folder of `tests/fixtures/checkpoint-1` holds an archive of a checkpoint that the version of
November 2026 wrote; its specs also described how a circuit ran. The archives are never written
again: a later version migrates what it reads. (Orbax had written the folder's path into
`commit_success.txt`; the path was removed, and the manifest sealed again.)
"""

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import circuits
import jax
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum import store
from cerebellum.store import choice, describe, names, old_draws, snapshot

FIXTURES = ROOT / "tests/fixtures/checkpoint-1"
ARCHIVE = "files.tar.xz"
NAMES = ("beams", "consolidated")
DRIVE = {
    "mossy_fiber": cb.drive.poisson(30.0),
    "inferior_olive": np.full((250, 1), 60.0, np.float32),
}


def unpack(name: str, work: Path) -> Path:
    """The files of an archive, below a folder for this test alone."""
    shutil.unpack_archive(FIXTURES / name / ARCHIVE, work)
    return work


def digests(arrays) -> Counter:
    """Type, shape and content of arrays, whatever they are called and in whatever tree."""
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    return Counter(
        (a.dtype.name, a.shape, hashlib.sha256(a.tobytes()).hexdigest()) for a in contiguous
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_circuit_is_restored_bit_for_bit_and_goes_on(name, tmp_path):
    ((_, path),) = store.steps(unpack(name, tmp_path))
    checkpoint = store.load(path)
    assert "kernels" in checkpoint.about["spec"]
    circuit, state = snapshot.restore(checkpoint)
    arrays = checkpoint.arrays
    saved = [array for key, array in arrays.items() if key.startswith("state/")]
    assert digests(jax.tree.leaves(state)) == digests(saved)
    for key, restored in store.flatten(circuit.params).items():
        # Of rows that were drawn, the mean was saved.
        if arrays[names.original(f"params/{key}")].shape == np.shape(restored):
            np.testing.assert_array_equal(arrays[names.original(f"params/{key}")], restored)
    state, recording = cb.simulate(circuit, state, DRIVE, duration_ms=50, progress=False)
    assert sum(int(spikes.sum()) for spikes in recording.spikes.values()) > 20
    assert int(state.step) == checkpoint.step + recording.steps


@pytest.mark.parametrize("name", NAMES)
def test_nothing_names_the_machine_that_wrote_it(name, tmp_path):
    files = [path for path in unpack(name, tmp_path).rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        assert not any(root in content for root in (b"/tmp/", b"/home/", b"/root/")), path


def test_a_delay_that_an_older_version_rounded_is_what_ran():
    spec = circuits.feed_forward(8, 4, 4, delays=(2.0,), dt=1.0)
    tree = describe.to_json(spec)
    tree["projections"][0]["delay"] = 2.5
    assert describe.from_json(tree) == spec


FIRST = "34f66222af459ff7356208e20643ffa40ffd11c346ab66ae3a36d428276c2406"
"""The SHA-256 of the rows that the version of November drew for the circuit of "beams"."""


def test_a_circuit_keeps_the_rows_that_it_was_built_with(tmp_path):
    ((_, path),) = store.steps(unpack("beams", tmp_path))
    circuit, _ = snapshot.restore(store.load(path))
    rows = np.asarray(cb.init(circuit, jax.random.key(0)).weights["granule_purkinje"])
    assert hashlib.sha256(rows.tobytes()).hexdigest() == FIRST
    state = cb.init(circuit, jax.random.key(0))
    again = store.write(
        tmp_path / "again", 1, snapshot.tree(circuit, state), snapshot.about(circuit)
    )
    restored, _ = snapshot.restore(store.load(again))
    np.testing.assert_array_equal(restored.params.weights["granule_purkinje"], rows)


def test_contacts_that_the_old_noise_decided_are_refused_where_they_learn():
    spec = cb.presets.beams(1_000, learning_rate=1e-3, sparsity=0.2)
    circuit = cb.build(spec, jax.random.key(0), path="event")
    with pytest.raises(
        cb.UsageError, match="granule_purkinje: 80% of its contacts, drawn by an ol"
    ):
        old_draws.redrawn(circuit)
    assert not old_draws.is_old(snapshot.about(circuit))
    still = cb.build(cb.presets.beams(1_000, sparsity=0.2), jax.random.key(0), path="event")
    rows = old_draws.redrawn(still).params.weights["granule_purkinje"]
    assert (np.asarray(rows) > 0).mean() == pytest.approx(0.8, abs=0.02)


def test_rows_beside_edges_that_were_given_are_kept_too():
    spec, key, name = cb.presets.beams(1_000), jax.random.key(0), "granule_purkinje"
    edges = {"mossy_fiber_golgi": np.array([[0, 0, 1]])}
    whole, given = (cb.build(spec, key, each, path="event") for each in (None, edges))
    assert not given.wiring.drawn
    rows = [old_draws.redrawn(circuit).params.weights[name] for circuit in (whole, given)]
    assert rows[0].ndim == 2
    np.testing.assert_array_equal(*rows)


def test_names_of_the_first_version_are_translated():
    renamed = {
        "params/rates/granule_purkinje": "params/learning_gain/granule_purkinje",
        "state/lines/granule": "state/delay_lines/granule",
        "training/carry/state/debts/granule_purkinje": (
            "training/carry/state/rule_states/granule_purkinje"
        ),
        "state/watches/purkinje/value": "state/homeostasis/purkinje/value",
        # A projection or population may have such a name.
        "state/cells/lines/v": "state/cells/lines/v",
        "learner/weights/debts": "learner/weights/debts",
    }
    for before, now in renamed.items():
        assert names.present(before) == now
        assert names.original(now) == before
    arrays = dict.fromkeys(renamed)
    assert list(names.translated(arrays, {})) == list(renamed.values())
    assert names.translated(arrays, {"names": names.VERSION}) is arrays


def test_an_array_of_the_first_version_is_selected_by_its_present_name():
    keep = choice.selected("rule_states")
    assert keep("state/debts/granule_purkinje")
    assert keep("state/rule_states/granule_purkinje")
    assert not keep("state/lines/granule")
    assert choice.selected("state/delay_lines")("state/lines/granule")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"is": "Spec", "populations": 3}, r"^spec: Spec: .*missing 1 required .*'name'$"),
        ({"is": "Spek"}, "^spec: 'Spek': not known here; perhaps Spec, or cb.register"),
        ({"is": ["Spec"]}, "not known here"),
        ({"name": "no class"}, "^spec: None: not known here"),
        ({"is": "Spec", "dt": {1: 2}}, r"^spec: dt\.1.*: Input should be a valid string$"),
        ([1.0, "text"], "^spec: not a circuit's"),
    ],
)
def test_what_is_no_spec_is_said_in_a_line(tree, message):
    with pytest.raises(cb.UsageError, match=message) as problem:
        describe.from_json(tree)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"tau": 1.0}, "^spec: dict: cannot be stored; numbers, text, tuples"),
        ((1.0, [2.0]), "^spec: a value of another type; numbers, text, tuples"),
        (b"text", "^spec: bytes: cannot be stored"),
    ],
)
def test_what_cannot_be_stored_is_said_in_a_line(value, message):
    with pytest.raises(cb.UsageError, match=message):
        describe.values_of(SimpleNamespace(field=value))
