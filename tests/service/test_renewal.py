"""A model of a service that runs is damaged or gone: what the service answers, and what it says."""

import shutil
import signal

import pytest
import serving

from cerebellum import store
from cerebellum.service import models


def metric(server: serving.Serving, name: str) -> float:
    """The value of a metric, summed over its labels."""
    lines = [line for line in server.get("/metrics")[1].splitlines() if line.startswith(name)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def health(server: serving.Serving) -> tuple[str, str]:
    """The status of the service, and the message about its model."""
    report = server.get("/health")[1]
    message = next(each["message"] for each in report["checks"] if each["name"] == "model")
    return report["status"], message


def look_again(server: serving.Serving, wanted: str) -> None:
    """Let the service look for a newer model, until the health says something of it."""
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: wanted in health(server)[1])


def spoil(checkpoint) -> None:
    victim = max((p for p in checkpoint.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)


def errors(server: serving.Serving) -> list[str]:
    return [line["message"] for line in server.log() if line["level"] == "ERROR"]


@pytest.mark.slow
def test_a_model_that_is_damaged_or_gone_is_said_and_costs_no_market_its_memory(trained, tmp_path):
    folder = tmp_path / "models"
    shutil.copytree(trained[0] / "checkpoints", folder / "checkpoints")
    (step, good), *_ = store.steps(folder / "checkpoints")
    newer = folder / f"checkpoints/{step + 1:012d}"
    shutil.copytree(good, newer)
    spoil(newer)
    server = serving.serve(tmp_path, training={"method": "surrogate_gradient"})
    name = f"models/{step}"
    # The start: an older model in the place of a damaged one.
    status, message = health(server)
    assert status == "degraded"
    assert message.startswith(f"{name}; {newer} is damaged (")
    assert metric(server, "checkpoints_damaged_total") == 1
    assert any(f"{newer} is damaged" in line and f"{name} is served" in line
               for line in errors(server))  # fmt: skip
    answers = [server.tick("a", 0)[1]]
    assert answers[0]["model"] == name
    look_again(server, "is damaged")
    assert metric(server, "checkpoints_damaged_total") == 1

    shutil.rmtree(newer)
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: health(server)[0] == "healthy")
    # Gone: what is in memory serves on.
    (folder / "checkpoints").rename(tmp_path / "away")
    look_again(server, f"no trained model; restore {name}")
    assert health(server)[0] == "degraded"
    assert metric(server, "model_missing") == 1
    answers.append(server.tick("a", 1)[1])
    # Back, and then damaged on the disk, twice.
    (tmp_path / "away").rename(folder / "checkpoints")
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: health(server)[0] == "healthy")
    assert metric(server, "model_missing") == 0
    spoil(good)
    for _ in range(2):
        count = len(errors(server))
        look_again(server, good.name)
        serving.until(lambda count=count: len(errors(server)) > count)
    answers.append(server.tick("a", 2)[1])
    assert metric(server, "markets_reset_total") == 0
    assert not server.log_says("model replaced")
    # As a market whose ticks all come now.
    again = [server.tick("b", i)[1] for i in range(3)]
    assert {each["model"] for each in answers} == {name}
    signals = [[x["trading_signals"] for x in each] for each in (answers, again)]
    assert signals[0] == signals[1]

    # A restart misses the model that had served, if it is gone.
    assert server.stop() == 0
    shutil.rmtree(folder / "checkpoints")
    server.start()
    status, message = health(server)
    assert status == "degraded"
    assert f"{name} was served" in message
    assert metric(server, "model_missing") == 1
    assert metric(server, "markets_reset_total") == 2
    assert server.tick("a", 3)[1]["model"] == "untrained"
    # It comes back, and with it what markets remember.
    shutil.copytree(trained[0] / "checkpoints", folder / "checkpoints")
    server.process.send_signal(signal.SIGHUP)
    serving.until(lambda: health(server) == ("healthy", name))
    assert server.tick("a", 2)[0] == 422
    assert server.tick("a", 4)[1]["model"] == name
    assert server.log_says("is of this model: it is back")
    assert (folder / models.RECORD).is_file()
    assert server.stop() == 0
