"""Saving with Orbax from one process of many, as if the others were there."""

from types import SimpleNamespace

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp
from orbax.checkpoint.experimental.v1._src.saving import execution

from cerebellum.errors import FailedError
from cerebellum.store import alone, arrays

TREE = {"a": np.arange(3.0)}


class AskedOthersError(Exception):
    """Orbax has asked the other processes, which do not answer."""


@pytest.fixture
def one_of_two(monkeypatch):
    """Orbax takes itself for one process of two when it compares the path with the others."""

    def ask(*arguments):
        raise AskedOthersError

    changed = {"process_count": lambda: 2, "broadcast_one_to_all": ask}
    alike = SimpleNamespace(**{**vars(execution.multihost), **changed})
    monkeypatch.setattr(execution, "multihost", alike)


@pytest.mark.usefixtures("one_of_two")
def test_orbax_still_asks_processes_that_do_not_save(tmp_path):
    """If this fails, Orbax no longer does: then `store.alone` can go."""
    with pytest.raises(AskedOthersError), arrays._local_context():
        ocp.save(str(tmp_path / "arrays"), TREE)


@pytest.mark.usefixtures("one_of_two")
def test_nobody_else_is_asked(tmp_path):
    compare = execution._check_directory_consistency
    with alone.saving(2), arrays._local_context():
        ocp.save(str(tmp_path / "arrays"), TREE)
    assert execution._check_directory_consistency is compare
    np.testing.assert_array_equal(ocp.load(str(tmp_path / "arrays"))["a"], TREE["a"])


def test_another_version_of_orbax_is_refused_rather_than_waited_for(monkeypatch):
    monkeypatch.setattr(alone, "version", lambda name: "0.13.0")
    with alone.saving(1):
        pass
    with (
        pytest.raises(FailedError, match=r"orbax-checkpoint 0\.13\.0; one process of 2 saves with"),
        alone.saving(2),
    ):
        pass
