"""The operator's tools on checkpoints, as an operator calls them."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum import store
from cerebellum.store import choice, manifest, snapshot

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def circuit():
    return cb.build(cb.presets.beams(1_000, learning_rate=1e-2), KEY, path="event")


@pytest.fixture(scope="module")
def two(tmp_path_factory, circuit) -> Path:
    """A run with checkpoints of two steps, to be copied."""
    folder = tmp_path_factory.mktemp("two")
    state = cb.init(circuit, KEY, spread=True)
    for _ in range(2):
        drive = {"mossy_fiber": cb.drive.poisson(20.0)}
        state, _ = cb.simulate(circuit, state, drive, duration_ms=50, progress=False)
        tree, about = snapshot.tree(circuit, state), snapshot.about(circuit)
        store.write(folder / "checkpoints", int(state.step), tree, about, {"loss": 0.25})
    return folder


@pytest.fixture
def trained(tmp_path, two) -> Path:
    """A copy of that run for a test to damage."""
    return Path(shutil.copytree(two, tmp_path / "run"))


def largest(path: Path) -> Path:
    return max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def spoil(path: Path) -> Path:
    """Flip a bit in the middle of the largest file of a checkpoint."""
    victim = largest(path)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 4
    victim.write_bytes(data)
    return victim


def test_list(run, trained):
    code, out, _ = run("checkpoints", trained, "--json")
    checkpoints = json.loads(out)
    assert code == 0
    assert [each["step"] for each in checkpoints] == [100, 50]
    assert all(each["intact"] and each["bytes"] > 10_000 for each in checkpoints)
    assert checkpoints[0]["metrics"] == {"loss": 0.25}
    victim = spoil(choice.choose(trained))
    code, out, _ = run("checkpoints", trained, "--json")
    assert code == 1
    assert victim.name in json.loads(out)[0]["reason"]
    code, out, _ = run("checkpoints", trained)
    assert (code, "no: " in out) == (1, True)


def test_verify_names_every_bad_file(run, trained, tmp_path):
    row = "1700000000000,2\n"
    (tmp_path / "good.csv").write_text("time,price\n" + row * 200 + "1700000000000\n")
    with gzip.open(tmp_path / "cut.csv.gz", "wt") as file:
        file.write("time,price\n" + row * 5_000)
    assert run("--verify-data", tmp_path)[0] == 0
    (tmp_path / "cut.csv.gz").write_bytes((tmp_path / "cut.csv.gz").read_bytes()[:-20])
    (tmp_path / "empty.csv").touch()
    with gzip.open(tmp_path / "flipped.CSV.GZ", "wt") as file:
        file.write("time,price\n" + row * 5_000)
    data = bytearray((tmp_path / "flipped.CSV.GZ").read_bytes())
    data[len(data) // 2] ^= 255
    (tmp_path / "flipped.CSV.GZ").write_bytes(data)
    (tmp_path / "years.csv").write_text("time,price\n1,2\n")
    os.mkfifo(tmp_path / "pipe.csv")
    victim = spoil(choice.choose(trained))
    code, out, err = run("--verify-data", tmp_path)
    report = json.loads(out)
    assert (code, report["ok"], report["checked"]) == (1, False, 8)
    files = {Path(each["file"]).name for each in report["problems"]}
    bad = {"cut.csv.gz", "empty.csv", "flipped.CSV.GZ", "years.csv", "pipe.csv", victim.name}
    assert files == bad
    assert all(name in err for name in bad)
    assert "good.csv:202: 1 field, header 2" in report["notes"][0]["note"]


def test_backup_damage_restore(run, trained, tmp_path, circuit):
    """Procedures 6 and 7: the same output after the damage as before."""
    before = {name: array.copy() for name, array in loaded(trained).items()}
    code, out, _ = run("backup", trained, tmp_path / "backup")
    assert (code, Path(out.strip()).name) == (0, "000000000100")
    for path in (trained / "checkpoints").iterdir():
        spoil(path)
    assert run("--verify-data", trained)[0] == 1
    code, _, err = run("--validate-model", trained)
    assert (code, "SHA-256" in err) == (1, True)

    code, _, err = run("restore", tmp_path / "backup", trained)
    assert (code, "--force" in err) == (2, True)
    code, out, _ = run("restore", tmp_path / "backup", trained, "--force")
    assert code == 0
    assert [path.name.partition("-")[0] for path in trained.iterdir()] != ["checkpoints"]
    code, out, _ = run("--validate-model", trained)
    assert (code, json.loads(out)["ok"]) == (0, True)
    after = loaded(trained)
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name])


def loaded(path: Path) -> dict:
    return store.load(choice.choose(path)).arrays


def test_a_damaged_backup_is_not_brought_back(run, trained, tmp_path):
    run("backup", trained, tmp_path / "backup")
    victim = spoil(choice.choose(tmp_path / "backup"))
    code, out, err = run("restore", tmp_path / "backup", tmp_path / "new")
    assert (code, out) == (1, "")
    assert victim.name in err
    assert not (tmp_path / "new" / "checkpoints").exists()


def test_a_step_and_npz(run, trained, tmp_path):
    code, _, err = run("restore", trained, tmp_path / "x", "--step", 7)
    assert code == 2
    assert "--step: 7" in err
    assert "100, 50" in err
    file = tmp_path / "weights.npz"
    code, out, _ = run("restore", trained, file, "--step", 50, "--only", "granule_purkinje")
    assert (code, "arrays of" in out) == (0, True)
    with np.load(file) as arrays:
        names = set(arrays.files)
        assert arrays["state/weights/granule_purkinje"].dtype == np.uint16
    assert "params/weights/granule_purkinje" in names
    assert all("granule_purkinje" in name for name in names)
    code, _, err = run("restore", trained, file, "--only", "nothing")
    assert (code, "--only: 'nothing'" in err) == (2, True)


def test_another_weight_type(run, trained, tmp_path):
    code, out, _ = run("restore", trained, tmp_path / "floats", "--weight-dtype", "float32")
    assert code == 0
    assert "granule_purkinje" in out
    assert "uint16 to float32, none changed" in out
    assert loaded(tmp_path / "floats")["state/weights/granule_purkinje"].dtype == np.float32
    assert run("--validate-model", tmp_path / "floats")[0] == 0
    code, out, _ = run("restore", tmp_path / "floats", trained, "--weight-dtype", "uint16")
    assert code == 2
    before = loaded(trained)["state/weights/granule_purkinje"].copy()
    code, out, _ = run(
        "restore", tmp_path / "floats", trained, "--weight-dtype", "uint16", "--force"
    )
    assert (code, "nearest of 65,536 levels" in out) == (0, True)
    np.testing.assert_array_equal(loaded(trained)["state/weights/granule_purkinje"], before)
    assert json.loads(run("checkpoints", trained, "--json")[1])[0]["metrics"] == {"loss": 0.25}


def test_a_part_of_a_model(run, trained, tmp_path):
    """One projection of another run; everything else stays as it was."""
    run("restore", trained, tmp_path / "other", "--step", 50)
    older, newer = loaded(tmp_path / "other"), loaded(trained)
    with store.locked(trained / "checkpoints"):
        code, _, err = run("restore", tmp_path / "other", trained, "--only", "granule_purkinje")
    assert (code, "saves there" in err) == (2, True)
    code, out, _ = run("restore", tmp_path / "other", trained, "--only", "granule_purkinje")
    assert code == 0
    assert "state/weights/granule_purkinje" in out
    after = loaded(trained)
    for name in after:
        source = older if "granule_purkinje" in name.split("/") else newer
        np.testing.assert_array_equal(after[name], source[name])
    assert len(list((trained / "checkpoints").glob("replaced-*"))) == 1
    assert run("--validate-model", trained)[0] == 0
    code, _, err = run("restore", trained, tmp_path / "none", "--only", "params")
    assert (code, str(tmp_path / "none") in err) == (2, True)
    code, _, err = run("restore", trained, trained, "--only", "params", "--force")
    assert (code, "--force" in err) == (2, True)


def test_a_model_that_is_not_finite(run, trained, circuit):
    checkpoint = store.load(choice.choose(trained))
    arrays = {**checkpoint.arrays}
    arrays["state/cells/granule/v"] = np.full_like(arrays["state/cells/granule/v"], np.nan)
    store.write(trained / "checkpoints", 200, arrays, checkpoint.about)
    code, out, _ = run("--validate-model", trained)
    assert code == 1
    assert json.loads(out)["problems"][0] == {
        "file": "state/cells/granule/v",
        "problem": "not finite",
    }


def test_a_number_that_is_too_large_is_named(run, trained, tmp_path):
    checkpoint = store.load(choice.choose(trained))
    about = {**checkpoint.about, "seed": [10**400, 0]}
    path = store.write(tmp_path / "large/checkpoints", 7, checkpoint.arrays, about)
    code, _, err = run("--validate-model", tmp_path / "large")
    assert code == 1
    assert err.startswith(f"{path}: a number in its description is too large (")
    assert err.count("\n") == 1


def test_weights_on_sight(run, trained, tmp_path):
    code, out, _ = run("--dump-weights", "--model", trained)
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    by_name = {line["projection"]: line for line in lines}
    pf = by_name["granule_purkinje"]
    assert pf["plastic"]
    assert 0 < pf["min"] <= pf["quantiles"]["0.5"] <= pf["max"] <= pf["w_max"]
    assert sum(pf["histogram"]["counts"]) == pf["synapses"]
    command = [sys.executable, str(ROOT / "scripts/analyze_weights.py")]
    picture = tmp_path / "weights.png"
    done = subprocess.run(
        [*command, "--out", str(picture)], input=out, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "granule_purkinje" in done.stdout
    assert picture.stat().st_size > 10_000
    done = subprocess.run(command, input="what\n", capture_output=True, text=True)
    assert (done.returncode, "line 1: 'what'" in done.stderr) == (1, True)


def test_nothing_there(run, tmp_path):
    for arguments in (
        ("checkpoints", tmp_path),
        ("backup", tmp_path, tmp_path / "b"),
        ("--validate-model", tmp_path),
        ("--dump-weights", "--model", tmp_path),
        ("--verify-data", tmp_path / "none"),
    ):
        code, out, err = run(*arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert str(tmp_path) in err


def test_the_standalone_example(trained, tmp_path):
    command = [sys.executable, str(ROOT / "scripts/restore_checkpoint.py"), str(trained)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "at step 100" in done.stdout
    assert "purkinje" in done.stdout


def test_simulate_keeps_one(run, tmp_path):
    options = ("--preset", "beams", "--granule-size", "1000", "--duration-ms", "60", "--no-plots")
    code, _, _ = run("simulate", *options, "--checkpoint", "--out", tmp_path / "out")
    assert code == 0
    assert run("--validate-model", tmp_path / "out")[0] == 0
    assert manifest.check(choice.choose(tmp_path / "out")) == []
