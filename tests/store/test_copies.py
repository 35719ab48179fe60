"""Backups and restores: nothing is lost on the way, whoever makes them and wherever they end."""

import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest

from cerebellum import store
from cerebellum.store import choice, copies, manifest

STEPS = (50, 100)
OTHER = 65_534
"""The user "nobody"."""


@pytest.fixture
def source(tmp_path) -> Path:
    """A run with checkpoints of two steps; its arrays are their steps."""
    return made(tmp_path / "run")


def made(run: Path, *steps: int) -> Path:
    for step in steps or STEPS:
        store.write(run / "checkpoints", step, {"x": [float(step)]})
    return run


def values(run: Path) -> dict[int, float]:
    """What each checkpoint of a run holds; all of them are intact."""
    found = {path: store.load(path) for _, path in store.steps(run / "checkpoints")}
    return {each.step: float(each.arrays["x/0"]) for each in found.values()}


def aside(run: Path) -> list[Path]:
    return sorted(run.glob("checkpoints.replaced-*"))


def test_a_run_restored_onto_itself_has_the_step_alone_and_the_others_aside(run, source):
    code, out, err = run("restore", source, source, "--step", 50, "--force")
    assert (code, err) == (0, "")
    assert values(source) == {50: 50.0}
    assert out.strip() == str(source / "checkpoints/000000000050")
    (old,) = aside(source)
    assert [step for step, _ in store.steps(old)] == [100, 50]


def test_one_checkpoint_is_named_by_its_step_wherever_it_lay(run, source, tmp_path, monkeypatch):
    alone = Path(shutil.copytree(source / "checkpoints/000000000100", tmp_path / "the good one"))
    assert run("restore", alone, tmp_path / "a")[0] == 0
    monkeypatch.chdir(alone)
    assert run("restore", ".", tmp_path / "b")[0] == 0
    # Its own place in a run, too.
    assert run("restore", source / "checkpoints/000000000050", source, "--force")[0] == 0
    assert values(tmp_path / "a") == values(tmp_path / "b") == {100: 100.0}
    assert values(source) == {50: 50.0}
    code, _, err = run("restore", alone, tmp_path / "c", "--step", 7)
    assert (code, f"--step: 7; {alone} is of step 100" in err) == (2, True)


def test_a_step_that_is_none_names_no_copy(run, source, tmp_path):
    path = source / "checkpoints/000000000100"
    about = {**manifest.read(path), "step": 10**400}
    (path / manifest.NAME).unlink()
    manifest.seal(path, about)
    code, _, err = run("restore", source, tmp_path / "a")
    assert code == 1
    assert err == (
        "cerebellar-norse: 000000000100/manifest.json: does not say which step it is of\n"
    )
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("moment", ["copied", "swapped", "in place"])
def test_a_restore_that_fails_at_any_moment_leaves_the_target_as_it_was(
    run, source, tmp_path, monkeypatch, moment
):
    target = made(tmp_path / "target", 7)

    def full(*arguments, **more):
        raise OSError(28, "No space left on device", str(source), None, str(target))

    real = Path.rename

    def rename(self, other):
        if moment == "swapped" and ".replaced-" in Path(other).name:
            full()
        if moment == "in place" and self.name.startswith(copies.RESTORING):
            full()
        return real(self, other)

    if moment == "copied":
        monkeypatch.setattr(copies.shutil, "copyfile", full)
    monkeypatch.setattr(Path, "rename", rename)
    code, out, err = run("restore", source, target, "--force")
    assert (code, out) == (1, "")
    assert err == f"cerebellar-norse: {target}: No space left on device\n"
    assert [entry.name for entry in target.iterdir()] == ["checkpoints"]
    assert values(target) == {7: 7.0}


def test_what_a_killed_restore_left_is_removed_by_the_next(run, source, tmp_path):
    target = made(tmp_path / "target", 7)
    shutil.copytree(source / "checkpoints", target / f"{copies.RESTORING}1")
    assert run("restore", source, target, "--force")[0] == 0
    assert values(target) == {100: 100.0}
    assert not list(target.glob(f"{copies.RESTORING}*"))


def test_a_folder_that_a_program_saves_into_is_not_replaced(run, source, tmp_path):
    target = made(tmp_path / "target", 7)
    with store.locked(target / "checkpoints"):
        code, _, err = run("restore", source, target, "--force")
    assert code == 2
    assert "another process saves there" in err
    assert values(target) == {7: 7.0}


def test_of_many_that_were_set_aside_in_one_second_the_newest_is_known(source, monkeypatch):
    monkeypatch.setattr(copies, "_timestamp", lambda: "20260101T000000")
    for _ in range(11):
        copies.restore(source, source, force=True)
    names = [path.name.rpartition("T000000")[2] for path in copies.replaced(source)]
    assert names == ["", *(f"-{number}" for number in range(2, 12))]


def test_another_run_of_the_same_step_is_backed_up_beside_the_first(run, source, tmp_path):
    backups, other = tmp_path / "backups", tmp_path / "other"
    assert run("backup", source, backups)[0] == 0
    assert run("backup", source, backups)[0] == 0
    assert len(list((backups / "checkpoints").iterdir())) == 1
    store.write(other / "checkpoints", 100, {"x": [-1.0]})
    assert run("backup", other, backups)[0] == 0
    assert values(backups) == {100: -1.0}
    (old,) = (backups / "checkpoints").glob("replaced-*")
    assert float(store.load(old).arrays["x/0"]) == 100.0


def test_a_damaged_newest_one_is_named_and_an_older_one_used(run, source, tmp_path, caplog):
    victim = source / "checkpoints/000000000100" / manifest.NAME
    victim.write_bytes(victim.read_bytes()[:-3])
    assert choice.choose(source).name == "000000000050"
    assert f"checkpoint {victim.parent} is damaged (manifest.json: " in caplog.text
    assert caplog.records[0].levelname == "WARNING"
    assert list(choice.select(source).damaged) == [victim.parent]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_what_root_restores_belongs_to_the_one_whose_folder_it_is(run, source, tmp_path):
    """Another user, as whom a service runs, may read all of it, and set it aside."""
    for path in (source, *source.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o400)
    models = tmp_path / "models"
    made(models, 7)
    for path in (models, *models.rglob("*")):
        os.chown(path, OTHER, OTHER)
    assert run("restore", source, models, "--force")[0] == 0
    assert run("restore", source, models / "new/run")[0] == 0
    assert run("backup", source, models / "backups")[0] == 0
    for path in models.rglob("*"):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (OTHER, OTHER), path
        assert status.st_mode & stat.S_IWUSR, path
    top = Path(tempfile.gettempdir())
    folders = [tmp_path, *(each for each in tmp_path.parents if top in each.parents)]
    modes = [folder.stat().st_mode for folder in folders]
    try:
        for folder in folders:
            folder.chmod(0o755)
        program = 'cat $(find "$0" -type f) >/dev/null && mv "$0/checkpoints" "$0/aside"'
        done = subprocess.run(
            ["sh", "-c", program, str(models)], user=OTHER, group=OTHER, capture_output=True
        )
    finally:
        for folder, mode in zip(folders, modes, strict=True):
            folder.chmod(mode)
    assert (done.returncode, done.stderr) == (0, b"")
