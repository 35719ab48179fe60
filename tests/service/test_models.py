"""Which model is served, and what of a state is set aside and found again."""

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import serving

from cerebellum import config, store
from cerebellum.errors import FailedError
from cerebellum.service import aside, counter, listening, metrics, models, renewal
from cerebellum.service.app import Service
from cerebellum.store import choice, manifest
from cerebellum.store.manifest import DamagedError


def save(folder, *steps: int, **about) -> None:
    for step in steps:
        store.write(folder / "checkpoints", step, {"x": [float(step)]}, about)


def spoil(path) -> None:
    file = path / manifest.NAME
    file.write_bytes(file.read_bytes()[:-2])


def test_the_newest_intact_model_is_served_and_the_damaged_ones_are_named(tmp_path):
    assert models.find(tmp_path) == models.Model()
    save(tmp_path, 1, 2)
    model = models.find(tmp_path)
    assert (model.name, model.problem, model.missing) == (f"{tmp_path.name}/2", None, False)
    spoil(tmp_path / "checkpoints/000000000002")
    older = models.find(tmp_path)
    assert (older.name, older.missing) == (f"{tmp_path.name}/1", False)
    assert "000000000002 is damaged (manifest.json: " in str(older.problem)
    assert [path.name for path in older.damaged] == ["000000000002"]
    spoil(tmp_path / "checkpoints/000000000001")
    with pytest.raises(DamagedError):
        models.find(tmp_path)


def test_two_models_of_one_name_have_different_versions(tmp_path):
    save(tmp_path / "a/m", 5, seed=1)
    save(tmp_path / "b/m", 5, seed=2)
    one, other = models.find(tmp_path / "a/m"), models.find(tmp_path / "b/m")
    assert one.name == other.name
    assert one.version != other.version


@pytest.mark.parametrize("left", ["empty", "none"])
def test_a_model_that_has_gone_is_missed(tmp_path, left):
    """The one that a restore has set aside is served, or else the untrained circuit."""
    save(tmp_path, 3)
    model = models.find(tmp_path)
    models.record(tmp_path, model.name, model.version)
    (tmp_path / "checkpoints").rename(tmp_path / "checkpoints.replaced-20260101T000000")
    if left == "empty":
        (tmp_path / "checkpoints").mkdir()
    kept = models.find(tmp_path)
    assert (kept.name, kept.version, kept.missing) == (model.name, model.version, True)
    assert "which was set aside, is served" in str(kept.problem)
    shutil.rmtree(tmp_path / "checkpoints.replaced-20260101T000000")
    gone = models.find(tmp_path)
    assert (gone.name, gone.path, gone.missing) == ("untrained", None, True)
    assert f"{model.name} was served" in str(gone.problem)
    # Meant: the record is removed.
    (tmp_path / models.RECORD).unlink()
    assert models.find(tmp_path) == models.Model()


def test_a_record_is_whole_or_as_it_was(tmp_path, monkeypatch):
    models.record(tmp_path, "m/1", "a")

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(models.files, "flush", full)
    models.record(tmp_path, "m/1", "a")
    with pytest.raises(OSError, match="No space"):
        models.record(tmp_path, "m/2", "b")
    assert json.loads((tmp_path / models.RECORD).read_text())["model"] == "m/1"
    assert [path.name for path in tmp_path.iterdir()] == [models.RECORD]


def test_a_state_is_found_again_by_its_circuit(tmp_path):
    state = tmp_path / "service"
    for step, digest in enumerate("abc", start=1):
        save(state, step, digest=digest)
        aside.exchange(state, "xyz")
        assert not state.exists()
    save(state, 9, digest="x")
    assert aside.has(state, "b")
    assert not aside.has(state, "z")
    aside.exchange(state, "ba")
    # Of two, the one that was set aside last.
    assert choice.step_of(choice.choose(state)) == 2
    others = [choice.step_of(choice.choose(path)) for path in tmp_path.glob("service-of-another-*")]
    assert sorted(others) == [1, 3, 9]


def test_a_state_stays_where_it_is_when_the_other_cannot_be_brought_back(tmp_path, monkeypatch):
    state = tmp_path / "service"
    save(state, 1, digest="a")
    aside.exchange(state, ())
    save(state, 2, digest="b")
    real = Path.rename

    def rename(self, other):
        if aside.ASIDE in self.name and choice.step_of(choice.choose(self)) == 1:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(self, other)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(PermissionError):
        aside.exchange(state, "a")
    assert choice.step_of(choice.choose(state)) == 2


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), 0),
        (DamagedError([manifest.Problem("1/manifest.json", "missing")]), 2),
    ],
)
def test_a_model_that_cannot_be_read_leaves_the_one_in_memory(
    tmp_path, monkeypatch, caplog, error, damaged
):
    """As root's files would be, for a service that runs as another user."""
    save(tmp_path, 1, 2)
    settings = config.load(None, {"storage.models": str(tmp_path)})
    engine = SimpleNamespace(served=SimpleNamespace(name="m/1", version="a"), model_problem=None)
    measured = metrics.build((), {"version": "0"})
    service = Service(settings, measured, trainer=None, engine=engine)  # type: ignore[arg-type]

    def find(folder):
        raise error

    monkeypatch.setattr(models, "find", find)
    for _ in range(2):
        renewal.renew(service)
    assert str(engine.model_problem) in caplog.text
    assert "m/1 serves on" in caplog.text
    assert measured.registry.get_sample_value("model_missing") == 1
    assert measured.registry.get_sample_value("checkpoints_damaged_total") == damaged


def test_states_that_are_set_aside_do_not_fill_the_disk(tmp_path, caplog):
    state = tmp_path / "service"
    for step in range(aside.MOST + 2):
        save(state, step, digest=str(step))
        aside.exchange(state, ())
    kept = [choice.step_of(choice.choose(path)) for path in tmp_path.glob("service-of-another-*")]
    assert sorted(kept) == list(range(2, aside.MOST + 2))
    assert sum("removed" in record.message for record in caplog.records) == 2


def test_the_count_of_ticks_survives_and_says_what_was_lost(tmp_path, caplog):
    first = counter.open_counter(tmp_path / "ticks", 0)
    first.set(2**40 + 7)
    first.close()
    second = counter.open_counter(tmp_path / "ticks", 2**40)
    assert "7 ticks were answered after the last checkpoint" in caplog.text
    # Another program cuts it.
    os.truncate(tmp_path / "ticks", 0)
    second.set(2**40 + 1)
    assert second.get() == 2**40 + 1
    second.close()


def test_a_full_disk_says_so_once_and_costs_no_tick(tmp_path, monkeypatch, caplog):
    opened = counter.open_counter(tmp_path / "ticks", 0)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(counter.os, "pwrite", full)
        for ticks in (1, 2, 3):
            opened.set(ticks)
        assert caplog.text.count("not written (No space left on device)") == 1
        with pytest.raises(FailedError, match=r"other: No space left on device; a disk with room"):
            counter.open_counter(tmp_path / "other", 0)
    opened.set(4)
    assert opened.get() == 4
    opened.close()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_count_that_is_no_file_is_refused(tmp_path, kind):
    path, elsewhere = tmp_path / "ticks", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"something")
    {"link": lambda: path.symlink_to(elsewhere), "pipe": lambda: os.mkfifo(path)}.get(
        kind, path.mkdir
    )()
    with pytest.raises(FailedError, match=r"ticks: .*; a file of this user"):
        counter.open_counter(path, 5)
    assert elsewhere.read_bytes() == b"something"


def test_of_two_that_start_at_one_instant_one_serves_and_the_other_says_why(run, tmp_path):
    """Both may be bound to the port before one listens; the folder of models is locked at once."""
    port = serving.free_port()
    path = serving.configuration(tmp_path, port)
    with listening.bound("127.0.0.1", port) as late, listening.open_socket("127.0.0.1", port):
        with pytest.raises(OSError, match="in use"):
            late.listen()
        code, _, err = run("--config", path)
        assert code == 2
        assert err == (
            f"cerebellar-norse: server.port: Address already in use (127.0.0.1:{port}; an address "
            "that is free)\n"
        )
    with store.locked(tmp_path / "models"):
        code, _, err = run("--config", path)
    assert code == 2
    assert err == (
        f"cerebellar-norse: {tmp_path}/models: another process saves there; one at a time\n"
    )
    assert [entry.name for entry in (tmp_path / "models").iterdir()] == [".lock"]
