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

import circuits
import jax
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum import store
from cerebellum.store import describe, snapshot

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
    for restored, prefix in ((circuit.params, "params/"), (state, "state/")):
        saved = [array for key, array in checkpoint.arrays.items() if key.startswith(prefix)]
        assert digests(jax.tree.leaves(restored)) == digests(saved)
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
