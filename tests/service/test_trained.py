"""A trained model in service: what `evaluate` says of a file, the service says tick by tick."""

import numpy as np
import pytest
from learn import series

from cerebellum import config
from cerebellum.learn import online
from cerebellum.learn.tasks import csv, ticks
from cerebellum.learn.tasks.ticks import Split
from cerebellum.service import metrics, served, state
from cerebellum.service.requests import Tick
from cerebellum.store import learned

COUNT = 300
pytestmark = pytest.mark.usefixtures("broadcasting_everywhere")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run and the file that it learned from."""
    from cerebellum.cli import main

    folder = tmp_path_factory.mktemp("trained")
    path = series.write(folder / "ticks.csv", series.steps(3_000, 0.85, 0))
    arguments = ["train", "--data", str(path), "--out", str(folder / "models"), "--epochs", "1"]
    assert main.main([*arguments, "--no-plots"]) == 0
    return folder / "models", path


@pytest.mark.slow
@pytest.mark.parametrize("method", ["surrogate_gradient", "climbing_fiber"])
def test_the_service_says_what_an_evaluation_says(trained, tmp_path, method):
    """Frozen, and learning from outcomes as they come."""
    models, path = trained
    held = learned.load(models)
    data = ticks.prepare(ticks.load(path), "event", held.model.receptive, held.model.band)
    given = config.load(None, {"training.method": method, "storage.models": str(tmp_path)})
    learns = method == "climbing_fiber"
    gain = given.neural.learning_rate * online.GAIN if learns else 0.0
    _, wanted = online.prequential(
        held.model.net,
        held.model.learner,
        data,
        Split(start=0, stop=COUNT),
        gain=gain,
        rate=online.RATE if learns else 0.0,
    )
    model = served.trained(models, given)
    assert model.learns == learns
    engine = state.build(given, model, metrics.build(model.sizes, {"version": "0"}))
    engine.start()
    block = next(iter(csv.read(path)))
    said = [
        engine.submit(
            "m",
            [Tick(**{name: float(block[name][i]) for name in ("price", "volume", "timestamp")})],
            30,
        )
        .result(30)
        .chances
        for i in range(COUNT)
    ]
    engine.stop()
    # Sums are grouped otherwise in another program: a spike on the edge may fall to either side.
    away = np.abs(np.stack(said) - wanted).max(axis=1)
    assert np.median(away) < 1e-6
    assert np.mean(away < 1e-3) > 0.95


@pytest.mark.slow
def test_what_was_learned_online_survives_a_restart(trained, tmp_path):
    models, path = trained
    given = config.load(
        None, {"training.method": "climbing_fiber", "storage.models": str(tmp_path)}
    )
    block = next(iter(csv.read(path)))

    def go(engine, start, stop):
        names = ("price", "volume", "timestamp")
        asked = [Tick(**{n: float(block[n][i]) for n in names}) for i in range(start, stop)]
        return [engine.submit("m", [tick], 30).result(30).chances.tolist() for tick in asked]

    def begin(folder):
        here = given.model_copy(
            update={"storage": given.storage.model_copy(update={"models": folder})}
        )
        model = served.trained(models, here)
        engine = state.build(here, model, metrics.build(model.sizes, {"version": "0"}))
        engine.start()
        return engine

    never = begin(tmp_path / "never")
    wanted = go(never, 0, 60)
    never.stop()
    first = begin(tmp_path / "stopped")
    got = go(first, 0, 30)
    first.stop()
    second = begin(tmp_path / "stopped")
    got += go(second, 30, 60)
    second.stop()
    assert got == wanted
