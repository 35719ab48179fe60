"""A trained model in service gives tick by tick what `evaluate` gives for a file."""

from dataclasses import replace

import numpy as np
import pytest

from cerebellum import config
from cerebellum.learn import online
from cerebellum.learn.tasks import csv, ticks
from cerebellum.learn.tasks.ticks import Split
from cerebellum.service import metrics, served, state
from cerebellum.service import models as found
from cerebellum.service.requests import Tick
from cerebellum.store import learned

COUNT = 300
pytestmark = pytest.mark.usefixtures("broadcasting_everywhere", "compiled_quickly")


def as_taught_by(method, models, monkeypatch) -> learned.Run:
    """The trained run as if another method had taught it; a service loads that."""
    run = learned.load(models)
    checkpoint = replace(run, plan=replace(run.plan, method=method))
    monkeypatch.setattr(served.learned, "read", lambda path: checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("name", "other"), [("width", 1.2), ("refractory", 0.0), ("largest_weight", 40.0)]
)
def test_memories_of_models_from_before_a_design_had_a_field_are_still_theirs(trained, name, other):
    """A model is told from others by its design, in which such a field is named if it was set."""
    run = learned.load(trained[0])
    assert name not in served._identity(run, learning=False)["design"]
    net = replace(run.model.net, design=replace(run.model.net.design, **{name: other}))
    changed = replace(run, model=replace(run.model, net=net))
    assert served._identity(changed, learning=False)["design"][name] == other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "taught_by"),
    [
        ("surrogate_gradient", "climbing_fiber"),
        ("climbing_fiber", "climbing_fiber"),
        ("climbing_fiber", "surrogate_gradient"),
    ],
)
def test_the_service_says_what_an_evaluation_says(
    trained, tmp_path, monkeypatch, method, taught_by
):
    """Frozen, and learning from outcomes as they come, after climbing fibres and gradients."""
    models, path = trained
    checkpoint = as_taught_by(taught_by, models, monkeypatch)
    data = ticks.prepare(
        ticks.load(path), "event", checkpoint.model.receptive, checkpoint.model.band
    )
    settings = config.load(None, {"training.method": method, "storage.models": str(tmp_path)})
    learns = method == "climbing_fiber"
    plan = replace(checkpoint.plan, plasticity=settings.neural.learning_rate)
    frozen = online.Gains(readout=0.0)
    _, wanted = online.prequential(
        checkpoint.model.net,
        checkpoint.model.learner,
        data,
        Split(start=0, stop=COUNT),
        online.gains_of(plan) if learns else frozen,
        mixing=learns and online.mixes(plan),
    )
    model = served.load(found.find(models), settings)
    assert model.learns == learns
    engine = state.build(settings, model, metrics.build(model.sizes, {"version": "0"}))
    engine.start()
    block = next(iter(csv.read(path)))
    chances = [
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
    # Another program groups sums in another way, so a spike at the threshold may come or not.
    away = np.abs(np.stack(chances) - wanted).max(axis=1)
    assert np.median(away) < 1e-6
    assert np.mean(away < 1e-3) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("taught_by", ["climbing_fiber", "surrogate_gradient"])
def test_what_was_learned_online_survives_a_restart(trained, tmp_path, monkeypatch, taught_by):
    models, path = trained
    as_taught_by(taught_by, models, monkeypatch)
    settings = config.load(
        None, {"training.method": "climbing_fiber", "storage.models": str(tmp_path)}
    )
    block = next(iter(csv.read(path)))

    def answers(engine, start, stop):
        names = ("price", "volume", "timestamp")
        requests = [Tick(**{n: float(block[n][i]) for n in names}) for i in range(start, stop)]
        return [engine.submit("m", [tick], 30).result(30).chances.tolist() for tick in requests]

    def begin(folder):
        settings_here = settings.model_copy(
            update={"storage": settings.storage.model_copy(update={"models": folder})}
        )
        model = served.load(found.find(models), settings_here)
        engine = state.build(settings_here, model, metrics.build(model.sizes, {"version": "0"}))
        engine.start()
        return engine

    never = begin(tmp_path / "never")
    wanted = answers(never, 0, 60)
    never.stop()
    first = begin(tmp_path / "stopped")
    got = answers(first, 0, 30)
    first.stop()
    second = begin(tmp_path / "stopped")
    got += answers(second, 30, 60)
    second.stop()
    assert got == wanted
