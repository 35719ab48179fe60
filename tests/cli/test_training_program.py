"""`train` and `evaluate`, as a batch script calls them."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from serving import until

from cerebellum import store
from cerebellum.errors import FailedError
from cerebellum.learn import online, train
from cerebellum.store import choice, learned

sys.path.insert(0, str(Path(__file__).parent.parent / "learn"))
import series

pytestmark = pytest.mark.usefixtures("broadcasting", "compiled_quickly")

TICKS = 1_500
SMALL = """
[neural]
granule_size = 100
dcn_size = 48
purkinje_size = 12

[training]
epochs = 3
batch_size = 16
checkpoint_interval = 0.001
"""


@pytest.fixture
def market(tmp_path):
    """A file of ticks, and a configuration of a small circuit."""
    series.write(tmp_path / "ticks.csv", series.steps(TICKS, 0.8, 0))
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path


def arguments(market: Path, out: str, *more: str) -> list[str]:
    flags = ["--data", market / "ticks.csv", "--config", market / "small.toml"]
    return [str(each) for each in ("train", *flags, "--out", market / out, "--json", *more)]


def program(*flags: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "cerebellum.cli", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("method", ["climbing_fiber", "hybrid"])
def test_train_and_evaluate_and_be_killed_and_go_on(run, market, method):
    """Hybrid training does what both other methods do.

    `scripts/soak/kill_training.py` kills often, and asks politely, too.
    """
    process = program(*arguments(market, "run", "--method", method))
    out, err = process.communicate()
    assert process.returncode == 0, err
    killed_and_gone_on_with(market, method)
    result = json.loads(out)
    assert (result["epochs"], result["resumed_from"]) == (3, None)
    assert np.isfinite(result["final"]["loss"])
    folder = market / "run"
    assert "samples to learn from" in err
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["progress"]) == ("completed", 1.0)
    assert len(json.loads((folder / "history.json").read_text())) == 3
    assert (folder / "history.png").stat().st_size > 10_000
    assert Path(result["checkpoint"]).is_dir()

    flags = ("--model", folder, "--data", market / "ticks.csv", "--json")
    code, out, err = run("evaluate", *flags)
    assert code == 0, err
    scores = json.loads(out)
    assert (scores["samples"], scores["seen"], scores["gains"]) == (TICKS // 10 - 1, 0, None)
    assert scores["mcc_interval"][0] <= scores["mcc"] <= scores["mcc_interval"][1]
    assert set(scores["baselines"]) == {"majority", "last_sign", "logistic"}
    assert scores["baselines"]["majority"]["mcc"] == 0
    assert scores["baselines"]["logistic"]["mcc"] > 0.4
    assert sum(map(sum, scores["confusion"])) == TICKS // 10 - 1
    assert (folder / "evaluation/evaluation.png").stat().st_size > 10_000
    code, out, err = run("evaluate", *flags, "--online", "--split", "all")
    learning_on = json.loads(out)
    assert (folder / "evaluation-all-online/evaluation.json").exists()
    assert f"{learning_on['seen']:,} of {TICKS - 2:,} samples taught this model" in err
    assert learning_on["seen"] == pytest.approx(0.9 * TICKS, abs=5)
    assert (code, learning_on["online"], learning_on["samples"]) == (0, True, TICKS - 2)
    plan, gains = learned.load(folder).plan, learning_on["gains"]
    if plan.descends:
        assert (gains["climbing"], gains["readout"]) == (None, online.FOLLOWS)
        assert gains["local"] in online.LOCALS
    else:
        climbing = pytest.approx(online.GAIN * plan.plasticity)
        assert gains == {"climbing": climbing, "readout": online.RATE, "local": None}

    assert run("--validate-model", folder)[0] == 0
    code, out, _ = run("--dump-weights", "--model", folder)
    assert code == 0
    names = [json.loads(line)["projection"] for line in out.splitlines()]
    assert "mossy_fiber_nuclei" in names
    code, _, err = run(*arguments(market, "run"))
    assert (code, "--resume goes on" in err) == (2, True)
    code, out, _ = run(*arguments(market, "run", "--method", method, "--resume"))
    assert (code, json.loads(out)["resumed_from"]) == (0, result["steps"])


def test_what_is_wrong_is_said_in_a_line(run, market):
    (market / "empty.csv").touch()
    data = market / "ticks.csv"
    for command, message in (
        (("train", "--data", market / "empty.csv", "--out", market / "x"), "empty"),
        (("train", "--data", market / "none.csv", "--out", market / "x"), "no CSV file"),
        (("train", "--out", market / "x"), "--data: missing"),
        (("evaluate", "--model", market, "--data", data), "no checkpoints"),
    ):
        code, out, err = run(*command)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
    (market / "stdp.toml").write_text("[training.stdp]\nw_min = 2\n")
    code, _, err = run(
        "train", "--data", data, "--config", market / "stdp.toml", "--out", market / "x"
    )
    assert (code, "training.stdp.w_min: too large (2; at most 1)" in err) == (2, True)
    (market / "many.toml").write_text("[neural]\ndcn_size = 8\n[training]\nmicrozones = 5\n")
    code, _, err = run(
        "train", "--data", data, "--config", market / "many.toml", "--out", market / "x"
    )
    assert (code, "training.microzones: 5; at most 4 with 8 nuclear" in err) == (2, True)
    for wrong, said in (
        ("window = 400", "training.window: 400; at most"),
        ("fields = 1\nfield_width = 1.2", "training.field_width: 1.2; 0.6 with training.fields 1"),
        ("burst = 11", "training.burst: 11; at most 10, the steps of a tick"),
        ("readout_tau = 21", "training.readout_tau: 21 ms; at most 20 ms, two ticks"),
        ("refractory = 5", "training.refractory: 5 ms; at most 4 ms, 4 steps (neural.dt)"),
        ("largest_weight = 1.9", "training.largest_weight: too small (1.9; at least 2)"),
        ("largest_weight = 3\nrate_epochs = 1", "training.largest_weight: 3; at least 4 with tra"),
        (
            'method = "hybrid"\nepochs = 2',
            "training.epochs: 2; at least 3 with training.method",
        ),
        ("refractory = 1.4", "training.refractory: 1.4 ms; a multiple of the step of 1 ms (neural"),
    ):
        (market / "wrong.toml").write_text(f"[training]\n{wrong}\n")
        code, _, err = run(
            "train", "--data", data, "--config", market / "wrong.toml", "--out", market / "x"
        )
        assert (code, said in err) == (2, True)


def test_each_kind_of_evaluation_has_a_folder_and_says_what_taught_the_model(
    run, trained, tmp_path
):
    models, ticks = trained
    folder = tmp_path / "run"
    shutil.copytree(models, folder)
    other = series.write(tmp_path / "other.csv", series.steps(2_000, 0.85, 1))
    flags = ("evaluate", "--model", folder, "--no-plots", "--json")
    seen = {}
    for data, more in ((ticks, ()), (ticks, ("--split", "all")), (other, ("--split", "all"))):
        code, out, err = run(*flags, "--data", data, *more)
        assert code == 0, err
        seen[data, more] = json.loads(out)["seen"]
        assert ("samples taught this model" in err) == bool(seen[data, more])
    assert seen[ticks, ()] == 0
    assert seen[ticks, ("--split", "all")] == pytest.approx(0.9 * 2_000, abs=5)
    assert seen[other, ("--split", "all")] is None
    assert (folder / "evaluation/evaluation.json").exists()
    assert (folder / "evaluation-all/evaluation.json").exists()


def test_a_resume_without_a_checkpoint_says_that_it_begins(run, market):
    code, _, err = run(*arguments(market, "new", "--epochs", "1", "--resume", "--no-plots"))
    assert code == 0
    assert err.startswith(f"{market / 'new/checkpoints'}: no checkpoint; the run begins\n")


def test_other_ticks_do_not_go_on(run, trained, tmp_path):
    models, _ = trained
    shutil.copytree(models, tmp_path / "run")
    other = series.write(tmp_path / "ticks.csv", series.steps(2_000, 0.85, 1))
    code, _, err = run("train", "--data", other, "--out", tmp_path / "run", "--resume")
    assert (code, "not the ticks that" in err) == (2, True)


def test_a_resumed_run_says_what_it_does_not_follow(run, trained, tmp_path):
    """A flag that asks for another run is refused; a setting that differs is named."""
    models, data = trained
    shutil.copytree(models, tmp_path / "run")
    resume = ("train", "--data", data, "--out", tmp_path / "run", "--resume", "--no-plots")
    for flag, asked, begun in (
        ("--method", "hybrid", "climbing_fiber"),
        ("--epochs", 3, 1),
        ("--seed", 9, learned.load(models).plan.seed),
        ("--task", "h10", "event"),
    ):
        code, out, err = run(*resume, flag, asked)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"{flag}: {asked}; {begun}, as " in err
    changed = "[training]\nlearning_rate = 0.5\nwindow = 2\nbatch_size = 16\nmicrozones = 1\n"
    (tmp_path / "changed.toml").write_text(changed + "[training.stdp]\ntau_pre = 10\n")
    code, _, err = run(*resume, "--config", tmp_path / "changed.toml", "--task", "event")
    assert code == 0
    said = {line.split(":")[0] for line in err.splitlines() if "is not followed" in line}
    assert said == {
        f"training.{name}" for name in ("learning_rate", "window", "batch_size", "stdp.tau_pre")
    }
    assert "training.learning_rate: 0.5 is not followed; --resume goes on with 0.01" in err


def arrays(run: Path) -> dict[str, np.ndarray]:
    return store.load(choice.choose(run)).arrays


def same(one: Path, other: Path) -> None:
    """Two runs' last checkpoints, array for array, and their histories."""
    ours, theirs = arrays(one), arrays(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    assert learned.load(one).history == learned.load(other).history


def killed_and_gone_on_with(market, method):
    """SIGKILL at a random moment: the same parameters and history as `run`'s, bit for bit."""
    rng = random.Random(0)
    more = ("--method", method, "--no-plots")
    process = program(*arguments(market, "cut", *more, "--resume"))
    folder = market / "cut" / store.FOLDER
    until(lambda: process.poll() is not None or store.steps(folder), 120)
    # At a random moment of what comes next.
    time.sleep(rng.uniform(0, 0.5))
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.steps(folder)
    last = program(*arguments(market, "cut", *more, "--resume"))
    out, err = last.communicate()
    assert last.returncode == 0, err
    assert json.loads(out)["resumed_from"] is not None
    same(market / "run", market / "cut")


@pytest.mark.slow
def test_a_backup_taken_while_it_trains_is_whole(run, market):
    """Procedures 6 and 7 on a run that trains: back up, damage, restore, the same answers."""
    run_folder, copy = market / "run", market / "backup"
    process = program(*arguments(market, "run", "--method", "climbing_fiber", "--epochs", "40"))

    def saved() -> bool:
        assert process.poll() is None
        return bool(store.steps(run_folder / store.FOLDER))

    until(saved, 120)

    def call(*command) -> tuple[int | str | None, str]:
        code, out, err = run(*command)
        return code, out + err

    code, output = call("backup", run_folder, copy)
    assert code == 0, output
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 0
    assert call("--verify-data", market)[0] == 0
    assert call("--validate-model", copy)[0] == 0
    before = call("evaluate", "--model", copy, "--data", market / "ticks.csv", "--json")[1]

    for _, path in store.steps(run_folder / store.FOLDER):
        victim = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        data = bytearray(victim.read_bytes())
        data[len(data) // 3] ^= 1
        victim.write_bytes(data)
        code, output = call("--verify-data", path.parent)
        assert code == 1
        assert victim.name in output
    assert call("--validate-model", run_folder)[0] == 1
    code, output = call("restore", copy, run_folder, "--force")
    assert code == 0, output
    after = call("evaluate", "--model", run_folder, "--data", market / "ticks.csv", "--json")[1]
    one, other = (json.loads(text.splitlines()[0]) for text in (before, after))
    assert {**one, "model": ""} == {**other, "model": ""}


@pytest.mark.parametrize("saved", [False, True])
def test_a_run_that_fails_says_what_is_saved(run, market, monkeypatch, saved):
    """A loss that is not finite after some steps, with a checkpoint before it or without."""
    real = train.run

    def diverge(*arguments):
        for number, result in enumerate(real(*arguments), start=1):
            yield result
            if number == 3:
                raise FailedError("step 4: the loss is nan; a lower training.learning_rate")

    monkeypatch.setattr(train, "run", diverge)
    if not saved:
        text = SMALL.replace("checkpoint_interval = 0.001", "checkpoint_interval = 600.0")
        (market / "small.toml").write_text(text)
    code, _, err = run(*arguments(market, "run"))
    checkpoints = store.steps(market / "run" / store.FOLDER)
    assert code == 1
    assert bool(checkpoints) == saved
    wanted = f"the checkpoint of step {checkpoints[0][0]} is from before" if saved else "nothing is"
    assert wanted in err
    status = json.loads((market / "run/status.json").read_text())
    assert status["state"] == "failed"
    assert wanted in status["message"]
