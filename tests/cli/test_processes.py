"""Many processes on one machine, over real sockets, give the results of one process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from serving import configuration, free_port, until

import cerebellum as cb
from cerebellum import store
from cerebellum.store import snapshot

ROOT = Path(__file__).resolve().parents[2]
KEY = jax.random.key(3)
CONFIG = "[neural]\ngranule_size = 8000\nbeams = 6\nseed = 3\nlearning_rate = 0.001\n"


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "beams.toml"
    path.write_text(CONFIG)
    return path


def start(processes: int, *arguments) -> list[subprocess.Popen]:
    """Start the same command in several connected processes, or in a single one."""
    many = "--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(processes), "--process"
    program = [sys.executable, "-m", "cerebellum.cli", *map(str, arguments)]
    return [
        subprocess.Popen(
            [*program, *((*many, str(index)) if processes > 1 else ())],
            cwd=ROOT,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(processes)
    ]


def simulate(processes: int, config: Path, out: Path, *more) -> list[subprocess.Popen]:
    arguments = "--config", config, "--out", out, "--no-plots", "--json", *more
    return start(processes, "simulate", *arguments)


def ended(running: list[subprocess.Popen], within: float = 240) -> list[tuple[int, str, str]]:
    outputs = [process.communicate(timeout=within) for process in running]
    return [(p.returncode, *output) for p, output in zip(running, outputs, strict=True)]


def same_run(one: Path, other: Path) -> None:
    """The same recording, and the same last checkpoint, bit for bit."""
    with np.load(one / "recording.npz") as a, np.load(other / "recording.npz") as b:
        assert a.files == b.files
        for name in set(a.files) - {"about"}:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    ours, theirs = (store.newest(out / store.FOLDER) for out in (one, other))
    assert ours is not None
    assert theirs is not None
    assert ours.step == theirs.step
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in ours.arrays.items():
        np.testing.assert_array_equal(array, theirs.arrays[name], err_msg=name)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_two_and_four_processes_are_one(config, tmp_path, count):
    length = "--duration-ms", 500, "--checkpoint-ms", 200
    [(code, out, err)] = ended(simulate(1, config, tmp_path / "one", *length))
    assert code == 0, err
    assert json.loads(out)["devices"] == 1
    folder = tmp_path / str(count)
    outputs = ended(simulate(count, config, folder, *length))
    assert [code for code, _, _ in outputs] == [0] * count, outputs
    result = json.loads(outputs[0][1])
    assert (result["devices"], result["processes"]) == (count, count)
    # Six beams of a word of Purkinje, nuclear and olivary cells; padded to eight over four.
    assert result["exchanged_bytes_per_step"] == {2: 2, 4: 4}[count] * 3 * 4
    assert [out for _, out, _ in outputs[1:]] == [""] * (count - 1)
    same_run(tmp_path / "one", folder)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_one_is_killed_and_fewer_go_on(config, tmp_path, victim):
    length = "--duration-ms", 3_000, "--checkpoint-ms", 100
    running = simulate(2, config, tmp_path / "two", *length)
    folder = tmp_path / "two" / store.FOLDER

    def far() -> bool:
        assert running[0].poll() is None, ended(running)
        return any(step >= 300 for step, _ in store.steps(folder))

    until(far)
    running[victim].send_signal(signal.SIGKILL)
    code, out, err = ended([running[1 - victim]], within=30)[0]
    assert (code, out) == (1, "")
    lines = [line for line in err.splitlines() if line.startswith("cerebellar-norse: ")]
    assert len(lines) == 1
    assert f"process {1 - victim} of 2: another process is gone" in lines[0]
    assert "is there for --resume" in lines[0]
    assert "Traceback" not in err
    running[victim].wait()
    last = store.newest(folder)
    assert last is not None
    assert f"step {last.step} " in lines[0]

    end = last.step + 150
    length = "--duration-ms", end, "--checkpoint-ms", 100
    [(code, out, err)] = ended(simulate(1, config, tmp_path / "two", *length, "--resume"))
    assert code == 0, err
    assert json.loads(out)["resumed_from_ms"] == last.step
    length = "--duration-ms", end, "--checkpoint-ms", 10_000, "--checkpoint"
    [(code, _, err)] = ended(simulate(1, config, tmp_path / "one", *length))
    assert code == 0, err
    with np.load(tmp_path / "one/recording.npz") as a, np.load(tmp_path / "two/recording.npz") as b:
        for name in set(a.files) - {"about"}:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("method", ["surrogate_gradient", "climbing_fiber"])
def test_batches_are_divided_among_processes(tmp_path, method):
    rng, price = np.random.default_rng(0), 100.0
    rows = ["timestamp,price,volume"]
    for tick in range(1_000):
        price += float(rng.choice([-0.01, 0.01]))
        rows.append(f"{1_700_000_000_000 + 200 * tick},{price:.2f},1")
    data = tmp_path / "ticks.csv"
    data.write_text("\n".join(rows) + "\n")
    config = configuration(tmp_path, 1, training={"batch_size": 8, "method": method})
    finals = []
    for count in (1, 2):
        out = tmp_path / str(count)
        arguments = "--data", data, "--out", out, "--epochs", 1, "--no-plots", "--json"
        arguments = *arguments, "--config", config
        outputs = ended(start(count, "train", *arguments))
        assert [code for code, _, _ in outputs] == [0] * count, outputs
        finals.append(json.loads(outputs[0][1])["final"])
        states = [json.loads(path.read_text()) for path in sorted(out.glob("status*.json"))]
        assert [state["state"] for state in states] == ["completed"] * count
        if count > 1:
            assert [(each["process"], each["processes"]) for each in states] == [(1, 2), (0, 2)]
    assert finals[1]["loss"] == pytest.approx(finals[0]["loss"], rel=1e-5)
    assert finals[1]["validation_loss"] == pytest.approx(finals[0]["validation_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--processes", "2"], "--coordinator: missing"),
        (["--coordinator", "here", "--processes", "2", "--process", "0"], "'here'; HOST:PORT"),
        (
            ["--coordinator", "a:1", "--processes", "2", "--process", "2"],
            "--process: 2; from 0 to 1",
        ),
        (
            ["--coordinator", "a:1", "--processes", "0", "--process", "0"],
            "--processes: 0; at least 1",
        ),
        (["--devices", "0"], "--devices: 0; a multiple of"),
        (["--devices", "99"], "--devices: 99; there are"),
        (["--devices", "7"], "devices: 7; a beam is not divided"),
    ],
)
def test_flags_that_cannot_be(run, config, tmp_path, flags, message):
    code, out, err = run(
        "simulate", "--config", config, "--out", tmp_path / "out", "--duration-ms", 10, *flags
    )
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_a_run_is_gone_on_with_or_refused(run, config, tmp_path):
    arguments = "simulate", "--config", config, "--no-plots", "--json", "--stimulus", "background"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(*arguments, "--out", whole, "--duration-ms", 250, "--checkpoint")[0] == 0
    for duration in (100, 250):
        flags = "--checkpoint-ms", 100, "--checkpoint", "--resume", "--devices", 3
        code, _, err = run(*arguments, "--out", parts, "--duration-ms", duration, *flags)
        assert code == 0, err
    same_run(whole, parts)
    for flags, message in (
        (["--checkpoint-ms", 100], "has checkpoints; --resume goes on"),
        (["--resume", "--seed", 9], "--resume: "),
        (["--resume", "--stimulus", "burst"], "has another stimulus"),
    ):
        code, _, err = run(*arguments, "--out", parts, "--duration-ms", 300, *flags)
        assert code == 2
        assert message in err
    code, _, err = run(*arguments, "--out", parts, "--duration-ms", 50, "--resume")
    assert code == 2
    assert "has come to 250" in err


@pytest.mark.slow
@pytest.mark.parametrize("saved_on", [8, 1])
def test_a_checkpoint_is_restored_on_another_number_of_devices(tmp_path, saved_on):
    """Nine beams: two to a shard of eight, three of them empty, and the last cells missing."""
    spec = cb.presets.beams(2_000, beams=9, learning_rate=1e-3)
    whole, drive = cb.build(spec, KEY, path="event"), {"mossy_fiber": cb.drive.poisson(30)}

    def run(circuit, state, shards: int):
        if shards == 1:
            state, recording = cb.simulate(circuit, state, drive, duration_ms=60)
            return jax.tree.map(np.asarray, state), recording
        cut = cb.shard.split(circuit, cb.shard.mesh(shards))
        state = cb.shard.split_state(cut, state)
        state, recording = cb.simulate(cut, state, drive, duration_ms=60)
        return cb.shard.join_state(cut, state), recording

    state, _ = run(whole, cb.init(whole, KEY, spread=True), saved_on)
    path = store.write(tmp_path, 60, snapshot.tree(whole, state), snapshot.about(whole))
    expected, unbroken = run(whole, jax.tree.map(jnp.asarray, state), 1)
    for shards in (1, 3, 8):
        circuit, again = snapshot.restore(store.load(path))
        last, recording = run(circuit, again, shards)
        jax.tree.map(np.testing.assert_array_equal, last, expected)
        jax.tree.map(np.testing.assert_array_equal, recording.spikes, unbroken.spikes)


@pytest.mark.slow
def test_the_example_for_clusters_runs():
    here = f"127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [sys.executable, "scripts/cluster/run.py", here, "2", str(index), "4000"],
            cwd=ROOT,
            env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = ended(running)
    assert [code for code, _, _ in outputs] == [0, 0], outputs
    assert outputs[0][1].count("'granule'") == 3
    assert "second" not in outputs[1][1]
    assert len((ROOT / "scripts/cluster/run.py").read_text().splitlines()) <= 30


@pytest.mark.soak
@pytest.mark.slow
def test_the_example_over_ssh_starts_every_host(tmp_path):
    """A stand-in for ssh runs its command on this machine."""
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nshift\nexec sh -c "$(echo "$*" | sed s/100000/200/)"\n')
    ssh.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = (ROOT / "scripts/cluster/ssh.sh").read_text().replace(":9876", f":{free_port()}")
    copy = tmp_path / "ssh.sh"
    copy.write_text(script)
    env = {**os.environ, "SSH": str(ssh), "PATH": path, "OUT": str(tmp_path / "out")}
    done = subprocess.run(
        ["bash", copy, "400000", "localhost", "127.0.0.1"],
        cwd=ROOT,
        env={**env, "JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out/run.json").read_text())["result"]
    assert (result["processes"], result["steps"]) == (2, 200)
