"""Checkpoints that an older version wrote are read, and go on.

Each folder of `tests/fixtures/checkpoint-1` holds, in an archive, what the version of November 2026
left, whose specs said what ran a circuit. None is ever written again: a later version migrates what
it reads. (Orbax had written the folder's path into `commit_success.txt`; it was taken out, and the
manifest sealed again.)
"""

import hashlib
import shutil
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum import store
from cerebellum.store import snapshot

FIRST = ROOT / "tests/fixtures/checkpoint-1"
ARCHIVE = "files.tar.xz"
NAMES = ("beams", "consolidated")
DRIVE = {
    "mossy_fiber": cb.drive.poisson(30.0),
    "inferior_olive": np.full((250, 1), 60.0, np.float32),
}


def unpack(name: str, work: Path) -> Path:
    """The files of an archive, below a folder for this test alone."""
    shutil.unpack_archive(FIRST / name / ARCHIVE, work)
    return work


def digests(arrays) -> Counter:
    """Type, shape and content of arrays, whatever they are called and in whatever tree."""
    held = [np.ascontiguousarray(array) for array in arrays]
    return Counter((a.dtype.name, a.shape, hashlib.sha256(a.tobytes()).hexdigest()) for a in held)


@pytest.mark.parametrize("name", NAMES)
def test_a_circuit_is_restored_bit_for_bit_and_goes_on(name, tmp_path):
    ((_, path),) = store.steps(unpack(name, tmp_path))
    found = store.load(path)
    assert "kernels" in found.about["spec"]
    circuit, state = snapshot.restore(found)
    for restored, part in ((circuit.params, "params/"), (state, "state/")):
        kept = [array for key, array in found.arrays.items() if key.startswith(part)]
        assert digests(jax.tree.leaves(restored)) == digests(kept)
    state, recording = cb.simulate(circuit, state, DRIVE, duration_ms=50, progress=False)
    assert sum(int(spikes.sum()) for spikes in recording.spikes.values()) > 20
    assert int(state.step) == found.step + recording.steps


@pytest.mark.parametrize("name", NAMES)
def test_nothing_names_the_machine_that_wrote_it(name, tmp_path):
    files = [each for each in unpack(name, tmp_path).rglob("*") if each.is_file()]
    assert files
    for each in files:
        content = each.read_bytes()
        assert not any(root in content for root in (b"/tmp/", b"/home/", b"/root/")), each
