"""A checkpoint is read exactly as it was written, or the bad file is named."""

import errno
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

import cerebellum as cb
from cerebellum import store
from cerebellum.errors import UsageError
from cerebellum.store import arrays, background, manifest, snapshot
from cerebellum.store.convert import convert
from cerebellum.store.manifest import DamagedError

LOADED = importlib.util.spec_from_file_location("damage", ROOT / "scripts/soak/damage.py")
assert LOADED is not None
assert LOADED.loader is not None
damage = importlib.util.module_from_spec(LOADED)
LOADED.loader.exec_module(damage)

KEY = jax.random.key(0)
DRIVE = {"mossy_fiber": cb.drive.poisson(30.0)}


def some(seed: int = 0) -> dict:
    """A tree with one of everything."""
    rng = np.random.default_rng(seed)
    return {
        "a": {"rows": rng.integers(0, 65_536, (700, 40)).astype(np.uint16), "step": np.int32(7)},
        "b": (jnp.asarray(rng.normal(size=33), jnp.float32), np.zeros((0, 3), np.uint8)),
        "c": np.array([True, False]),
    }


def same(one, other) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def reseal(folder: Path, change) -> None:
    """Change a manifest and write it with a valid checksum, as an attacker would."""
    body = json.loads((folder / manifest.NAME).read_bytes().partition(b"\n")[0])
    change(body)
    (folder / manifest.NAME).write_bytes(manifest._canonical(body))


def test_round_trip(tmp_path):
    path = store.write(tmp_path, 12, some(), {"history": [1, 2]}, {"loss": 0.5})
    checkpoint = store.load(path)
    assert checkpoint.step == 12
    assert checkpoint.about["history"] == [1, 2]
    assert checkpoint.about["metrics"] == {"loss": 0.5}
    same(store.unflatten(jax.tree.map(np.asarray, some()), checkpoint.arrays), some())
    assert [entry.name for entry in tmp_path.iterdir()] == ["000000000012"]


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = store.write(Path("run"), 1, some())
    same(store.load(path).arrays["c"], some()["c"])


def full(*_) -> None:
    raise OSError("full")


def test_paths_as_text(tmp_path):
    path = store.write(str(tmp_path), 1, some())
    same(store.load(str(path)).arrays["c"], some()["c"])
    newest = store.newest(str(tmp_path))
    assert newest is not None
    assert newest.step == 1
    text: Any = str(tmp_path / "other")
    store.Store(text).close()
    assert store.set_aside(str(path)).name == f"{store.DAMAGED}{path.name}"


def test_a_step_that_is_there_is_replaced(tmp_path, monkeypatch):
    path = store.write(tmp_path, 1, some(0))
    assert store.write(tmp_path, 1, some(1)) == path
    same(store.load(path).arrays["a/rows"], some(1)["a"]["rows"])
    with monkeypatch.context() as broken:
        broken.setattr(manifest, "seal", full)
        with pytest.raises(OSError, match="full"):
            store.write(tmp_path, 1, some(2))
    same(store.load(path).arrays["a/rows"], some(1)["a"]["rows"])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    # Killed between the two renames: the old one comes back.
    path.rename(tmp_path / f".replaced-{path.name}")
    store.Store(tmp_path).close()
    same(store.load(path).arrays["a/rows"], some(1)["a"]["rows"])


def test_the_last_one_is_saved_or_an_error(tmp_path, monkeypatch):
    checkpoints = store.Store(tmp_path, retention=store.Retention(newest=1))
    checkpoints.save(1, some())
    checkpoints.save_last(2, some())
    assert [step for step, _ in store.steps(tmp_path)] == [2]
    checkpoints = store.Store(tmp_path)
    monkeypatch.setattr(manifest, "seal", full)
    with pytest.raises(OSError, match="full"):
        checkpoints.save_last(3, some())
    store.Store(tmp_path).close()


@pytest.mark.parametrize(
    ("step", "tree", "about", "message"),
    [
        (-1, {"x": np.zeros(1)}, {}, "step: -1; a whole number from 0"),
        (1, {"x": np.zeros(2, np.complex64)}, {}, "x: complex64; one of bfloat16"),
        (1, {"x": np.array(["text"])}, {}, "x: <U4; one of"),
        (1, {"key": jax.random.key(0)}, {}, "key: a typed random key; jax.random.key_data"),
        (1, {"a/b": np.zeros(1), "a": {"b": np.ones(1)}}, {}, "two arrays have the same path"),
        (1, {"x": np.zeros(1)}, {"what": object()}, "about: <object"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, step, tree, about, message):
    with pytest.raises(UsageError, match=message):
        store.write(tmp_path / "run", step, tree, about)
    assert store.steps(tmp_path / "run") == []


def test_numbers_of_jax_and_numpy_are_metrics(tmp_path):
    metrics = {"loss": jnp.float32(0.5), "rates": np.arange(2)}
    path = store.write(tmp_path, 1, some(), {"out": tmp_path}, metrics)
    about = store.load(path).about
    assert about["metrics"] == {"loss": 0.5, "rates": [0, 1]}
    assert about["out"] == str(tmp_path)


def test_a_part_of_it(tmp_path):
    path = store.write(tmp_path, 1, some())
    checkpoint = store.load(path, wanted=lambda name: name.startswith("b/"))
    assert set(checkpoint.arrays) == {"b/0", "b/1"}
    same(checkpoint.arrays["b/0"], some()["b"][0])


def test_straight_onto_a_device(tmp_path):
    path = store.write(tmp_path, 1, some())
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    checkpoint = store.load(path, place=lambda name, shape: where)
    assert all(isinstance(array, jax.Array) for array in checkpoint.arrays.values())
    same(store.unflatten(jax.tree.map(np.asarray, some()), checkpoint.arrays), some())


def test_in_pieces(tmp_path, monkeypatch):
    """A large array is written and read a few rows at a time, to NumPy and to a device."""
    monkeypatch.setattr(arrays, "PIECE", 2**12)
    path = store.write(tmp_path, 1, some())
    body = json.loads((path / manifest.NAME).read_bytes().partition(b"\n")[0])
    assert body["about"]["arrays"]["a/rows"]["rows"] == 51
    assert body["about"]["arrays"]["c"]["rows"] is None
    where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for place in (None, lambda name, shape: where):
        loaded = store.load(path, place=place).arrays
        same(store.unflatten(jax.tree.map(np.asarray, some()), loaded), some())
    assert isinstance(loaded["a/rows"], jax.Array)
    reseal(path, lambda body: body["about"]["arrays"]["a/rows"].update(rows=50))
    with pytest.raises(DamagedError, match="a/rows"):
        store.load(path)
    reseal(path, lambda body: body["about"]["arrays"]["a/rows"].update(rows=1, shape=[10**9, 40]))
    with pytest.raises(DamagedError, match="are declared"):
        store.load(path)


def test_an_older_format(tmp_path):
    """Format 1 did not declare pieces."""
    path = store.write(tmp_path, 1, some())

    def age(body):
        body["format"] = 1
        for declaration in body["about"]["arrays"].values():
            del declaration["rows"]

    reseal(path, age)
    same(store.load(path).arrays["a/rows"], some()["a"]["rows"])


def test_another_circuits_arrays_are_named(tmp_path):
    checkpoint = store.load(store.write(tmp_path, 1, {"x": np.zeros(3), "y": np.zeros(2)}))
    template = {"x": np.zeros(4, np.float32), "z": np.zeros(1)}
    with pytest.raises(UsageError) as error:
        store.unflatten(template, checkpoint.arrays)
    assert "x: float64 [3]; float32 [4] is wanted" in str(error.value)
    assert "y: not in this circuit" in str(error.value)
    assert "z: missing" in str(error.value)


def test_any_damage_is_found_and_named(tmp_path):
    rng, tried = random.Random(0), 0
    folder = store.write(tmp_path, 1, some())
    there = files(folder)
    for number, path in enumerate(there):
        for how in damage.damages(path, there[number - 1], 3, rng):
            with pytest.raises(DamagedError) as error:
                store.load(folder)
            named = {Path(problem.file).name for problem in manifest.check(folder)}
            # Where the manifest was swapped with a file, the manifest is the bad file.
            expected = manifest.NAME if how == "swapped" and manifest.NAME in named else path.name
            assert expected in named, how
            assert expected in str(error.value), how
            tried += 1
    assert tried > 50
    store.load(folder)


def test_the_newest_that_is_intact(tmp_path, caplog):
    paths = [store.write(tmp_path, step, some(step)) for step in (1, 2, 3)]
    files(paths[2])[0].write_bytes(b"what")
    (paths[1] / manifest.NAME).unlink()
    checkpoint = store.newest(tmp_path)
    assert checkpoint is not None
    assert checkpoint.step == 1
    same(checkpoint.arrays["a/rows"], some(1)["a"]["rows"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"000000000001", "damaged-000000000002", "damaged-000000000003"}
    assert "000000000003 is damaged" in caplog.text
    assert "manifest.json: missing" in caplog.text


def test_nothing_saved(tmp_path):
    assert store.newest(tmp_path) is None
    assert store.newest(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["files"].update({"../x": body["files"].popitem()[1]}), "outside"),
        (lambda body: body["files"].update({"/etc/x": {"bytes": 1, "sha256": ""}}), "outside"),
        (lambda body: body["about"]["arrays"]["c"].update(dtype="object"), "object"),
        (lambda body: body["about"]["arrays"]["c"].update(shape=[10**12]), "declared|at most"),
        (lambda body: body["about"]["arrays"]["c"].update(shape=[-1]), "numbers in a shape"),
        (lambda body: body["about"].pop("arrays"), "what the arrays are"),
        (lambda body: body["about"]["arrays"]["c"].update(rows=0), "one or more"),
        (lambda body: body.update(format=0), "not a manifest"),
        (lambda body: body.update(format=99), "format 99, of a later version"),
        (lambda body: body.update(files=[1]), "not a manifest"),
    ],
)
def test_what_means_harm_is_refused(tmp_path, change, message):
    path = store.write(tmp_path, 1, some())
    reseal(path, change)
    with pytest.raises(DamagedError, match=message):
        store.load(path, limit=10**9)


def test_links_are_refused(tmp_path):
    path = store.write(tmp_path, 1, some())
    victim = next(p for p in files(path) if p.name == "_METADATA")
    moved = tmp_path / "elsewhere"
    victim.rename(moved)
    victim.symlink_to(moved)
    with pytest.raises(DamagedError, match="a link"):
        store.load(path)


def test_only_as_many_as_wanted(tmp_path):
    retention = store.Retention(newest=2, best="loss", every=4)
    checkpoints = store.Store(tmp_path, retention=retention, beside=False)
    for step, loss in enumerate([3.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0], start=1):
        checkpoints.save(step, {"x": np.float32(loss)}, metrics={"loss": loss})
    checkpoints.close()
    assert [step for step, _ in store.steps(tmp_path)] == [8, 7, 4, 2]


def test_a_copy_is_saved(tmp_path):
    """Changes that the run makes during the write are not saved; they once were, by a bug."""
    checkpoints, x, history = store.Store(tmp_path), np.zeros(1_000), [1]
    assert checkpoints.save(1, {"x": x}, {"history": history})
    x[:] = 1
    history.append(2)
    checkpoints.close()
    checkpoint = store.load(tmp_path / "000000000001")
    assert not checkpoint.arrays["x"].any()
    assert checkpoint.about["history"] == [1]


@pytest.mark.parametrize("copied", [False, True])
def test_what_is_a_copy_already_is_not_copied_again(tmp_path, monkeypatch, copied):
    written = []
    monkeypatch.setattr(background, "write", lambda folder, step, tree, *more: written.append(tree))
    checkpoints, array = store.Store(tmp_path), np.ones(3)
    checkpoints.save(1, {"x": array}, copied=copied)
    checkpoints.close()
    assert (written[0]["x"] is array) == copied
    np.testing.assert_array_equal(written[0]["x"], array)


def test_one_writer_at_a_time(tmp_path):
    checkpoints = store.Store(tmp_path)
    with pytest.raises(UsageError, match="another process saves there"):
        store.Store(tmp_path)
    checkpoints.close()
    (tmp_path / ".saving-left").mkdir()
    store.Store(tmp_path).close()
    assert not (tmp_path / ".saving-left").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EROFS])
@pytest.mark.parametrize("where", ["save", "seal"])
def test_the_disk_fails_for_a_while(tmp_path, monkeypatch, caplog, number, where):
    checkpoints = store.Store(tmp_path, beside=False)
    checkpoints.save(1, some(1))
    owner = arrays if where == "save" else manifest
    with monkeypatch.context() as broken:

        def fail(*_):
            raise OSError(number, os.strerror(number))

        broken.setattr(owner, where, fail)
        assert checkpoints.save(2, some(2))
    assert checkpoints.failures == 1
    assert "checkpoint 2: not saved" in caplog.text
    assert [step for step, _ in store.steps(tmp_path)] == [1]
    assert not list(tmp_path.glob(".saving-*"))
    checkpoints.save(3, some(3))
    checkpoints.close()
    assert [step for step, _ in store.steps(tmp_path)] == [3, 1]


def mounted(folder: Path, options: str) -> None:
    """Mount a small file system at a folder; skip the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(
            f"needs a root that may mount ({done.stderr.strip()}); faults are injected above"
        )


def test_a_disk_that_is_full_and_then_read_only(tmp_path, caplog):
    disk = tmp_path / "disk"
    mounted(disk, "size=3m")
    try:
        large = {"x": np.random.default_rng(0).random(2**18)}  # 2 MiB
        checkpoints = store.Store(disk / "run", retention=store.Retention(newest=1), beside=False)
        checkpoints.save(1, large)
        checkpoints.save(2, large)
        assert checkpoints.failures == 1
        assert "checkpoint 2: not saved" in caplog.text
        assert "No space left" in caplog.text
        assert "Traceback" not in caplog.text
        assert [step for step, _ in store.steps(disk / "run")] == [1]
        assert not list((disk / "run").glob(".saving-*"))
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        checkpoints.save(3, large)
        assert [step for step, _ in store.steps(disk / "run")] == [3]
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        checkpoints.save(4, large)
        assert checkpoints.failures == 2
        same(store.load(disk / "run" / "000000000003").arrays["x"], large["x"])
        with pytest.raises(OSError, match="Read-only"):
            checkpoints.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_slow_disk_does_not_hold_the_run_up(tmp_path, monkeypatch, caplog):
    slow, save = threading.Event(), arrays.save

    def wait(*arguments):
        slow.wait()
        return save(*arguments)

    monkeypatch.setattr(arrays, "save", wait)
    checkpoints = store.Store(tmp_path)
    assert checkpoints.save(1, some())
    assert not checkpoints.save(2, some())
    assert "checkpoint 2: left out" in caplog.text
    slow.set()
    checkpoints.wait()
    assert checkpoints.save(3, some())
    checkpoints.close()
    assert [step for step, _ in store.steps(tmp_path)] == [3, 1]


def test_the_folder_vanishes(tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    checkpoints = store.Store(folder, beside=False)
    (folder / ".lock").unlink()
    folder.rmdir()
    checkpoints.save(1, some())
    checkpoints.close()
    assert [step for step, _ in store.steps(folder)] == [1]


def test_a_run_does_not_end_with_nothing_saved(tmp_path, monkeypatch):
    checkpoints = store.Store(tmp_path)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(arrays, "save", fail)
    checkpoints.save(1, some())
    with pytest.raises(OSError, match="No space left"):
        checkpoints.close()


@pytest.mark.parametrize("kind", ["beams", "dense", "given"])
def test_a_circuit_goes_on_bit_for_bit(tmp_path, kind):
    edges, path = None, "dense" if kind == "dense" else "event"
    if kind == "given":
        spec = cb.presets.mouse(scale=0.02)
        edges = {"golgi_granule": np.array([[0, 5, 2], [1, 3, 1], [1, 2, 4]])}
    else:
        spec = cb.presets.beams(1_000, learning_rate=1e-2)
    drive = DRIVE if kind != "given" else {"glomerulus": cb.drive.poisson(20.0)}
    circuit = cb.build(spec, KEY, edges, path=path)
    state = cb.init(circuit, jax.random.key(3), spread=True)
    length = {"duration_ms": 250 * spec.dt, "progress": False}
    state, _ = cb.simulate(circuit, state, drive, **length)
    tree, about = snapshot.tree(circuit, state), snapshot.about(circuit)
    path = store.write(tmp_path, int(state.step), tree, about)
    state, whole = cb.simulate(circuit, state, drive, **length)

    again, restored = snapshot.restore(store.load(path))
    assert (again.wiring.drawn, "wiring/seed" in store.load(path).arrays) == (
        (False, True) if kind == "given" else (True, False)
    )
    same(again.params, circuit.params)
    same(again.wiring.fans, circuit.wiring.fans)
    restored, rest = cb.simulate(again, restored, drive, **length)
    same(restored, state)
    same(rest.spikes, whole.spikes)


def test_another_weight_type_and_back(tmp_path):
    spec = cb.presets.beams(1_000, learning_rate=1e-2)
    circuit = cb.build(spec, KEY, path="event")
    state, _ = cb.simulate(
        circuit, cb.init(circuit, KEY, spread=True), DRIVE, duration_ms=100, progress=False
    )
    levels = np.asarray(state.weights["granule_purkinje"])
    floats, state, report = convert(circuit, state, "float32")
    assert report == [f"granule_purkinje: {levels.size:,} weights, uint16 to float32, none changed"]
    unit = circuit.wiring.fans["granule_purkinje"].unit
    weights = state.weights["granule_purkinje"]
    np.testing.assert_allclose(weights, levels * np.float32(unit), rtol=1e-6)
    initial = cb.init(floats, KEY).weights["granule_purkinje"]
    np.testing.assert_allclose(
        initial, cb.init(circuit, KEY).weights["granule_purkinje"] * unit, atol=unit
    )
    path = store.write(tmp_path, 1, snapshot.tree(floats, state), snapshot.about(floats))
    again, restored = snapshot.restore(store.load(path))
    restored, recording = cb.simulate(again, restored, DRIVE, duration_ms=50, progress=False)
    assert recording.spikes["purkinje"].sum() > 0

    back, fixed_again, report = convert(floats, state, "uint16")
    np.testing.assert_array_equal(fixed_again.weights["granule_purkinje"], levels)
    assert "to the nearest of 65,536 levels" in report[0]
    assert "0 above that cut" in report[0]
    path = store.write(tmp_path, 2, snapshot.tree(back, fixed_again), snapshot.about(back))
    same(snapshot.restore(store.load(path))[1], fixed_again)
    assert convert(back, fixed_again, "uint16")[2] == []


def test_a_consolidated_circuit(tmp_path):
    circuit = cb.build(cb.presets.beams(1_000, learning_rate=1e-2), KEY, path="event")
    state, _ = cb.simulate(circuit, cb.init(circuit, KEY), DRIVE, duration_ms=100, progress=False)
    learned = cb.consolidate(circuit, state)
    path = store.write(tmp_path, 1, snapshot.tree(learned, state), snapshot.about(learned))
    again, _ = snapshot.restore(store.load(path))
    same(again.params, learned.params)


def test_another_wiring_is_noticed(tmp_path):
    circuit = cb.build(cb.presets.beams(1_000), KEY)
    tree, about = snapshot.tree(circuit, cb.init(circuit, KEY)), snapshot.about(circuit)
    checkpoint = store.load(store.write(tmp_path, 1, tree, {**about, "wiring": "another"}))
    with pytest.raises(UsageError, match="another wiring here"):
        snapshot.restore(checkpoint)


LOOP = Path(__file__).parent.parent / "training_loop.py"


def walk(folder: Path, steps: int) -> subprocess.Popen:
    command = [sys.executable, str(LOOP), str(folder), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.soak
@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    """A short form of scripts/soak/kill.py."""
    steps, rng = 120, random.Random(1)
    whole = walk(tmp_path / "whole", steps)
    out, err = whole.communicate()
    assert whole.returncode == 0, err
    before = -1
    for _ in range(4):
        process = walk(tmp_path / "cut", steps)
        assert process.stdout is not None
        # Until it has come further than the one before, so that there is something to lose.
        while not process.stdout.readline().startswith(f"step {max(0, before) + 4}"):
            assert process.poll() is None
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        checkpoint = store.newest(tmp_path / "cut")
        assert not list((tmp_path / "cut").glob("damaged-*"))
        assert (checkpoint.step if checkpoint else 0) >= before
        before = checkpoint.step if checkpoint else 0
    assert 0 < before < steps
    last = walk(tmp_path / "cut", steps)
    resumed, err = last.communicate()
    assert last.returncode == 0, err
    assert resumed.splitlines()[-1] == out.splitlines()[-1]


EIGHT = """
import sys
from pathlib import Path
import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from cerebellum import store

mesh = Mesh(jax.devices(), ("cells",))

def place(name, shape):
    split = bool(shape) and shape[0] % 8 == 0
    return NamedSharding(mesh, PartitionSpec("cells") if split else PartitionSpec())

folder = Path(sys.argv[1])
checkpoint = store.load(folder / "000000000001", place=place)
arrays = checkpoint.arrays
assert all(len(array.sharding.device_set) == 8 for array in arrays.values() if array.size)
assert arrays["a/rows"].addressable_shards[0].data.shape == (88, 40)
store.write(folder, 2, arrays)
"""


@pytest.mark.slow
def test_one_device_eight_and_back(tmp_path):
    tree = some()
    tree["a"]["rows"] = np.resize(tree["a"]["rows"], (704, 40))
    store.write(tmp_path, 1, tree)
    flags = "--xla_force_host_platform_device_count=8"
    # First: XLA reads no flag behind one without dashes, which xla.one_thread() has.
    environment = {**os.environ, "XLA_FLAGS": f"{flags} {os.environ.get('XLA_FLAGS', '')}"}
    command = [sys.executable, "-c", EIGHT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    one_device, eight = (store.load(tmp_path / f"{step:012}").arrays for step in (1, 2))
    assert one_device.keys() == eight.keys()
    for name, array in one_device.items():
        same(array, eight[name])
