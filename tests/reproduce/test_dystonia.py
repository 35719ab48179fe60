"""`reproduce dystonia`: what it makes of trials, and how the trials survive a restart."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink_trial import PUBLISHED, Session
from cerebellum.model.presets.eglif import SIZES
from cerebellum.reproduce import conditioning, dystonia
from cerebellum.reproduce.conditioning import Phases, Run, Trained

ONSET, PUFF = PUBLISHED.onset, PUBLISHED.us_onset


def trained(block: int) -> Trained:
    """A circuit whose nuclei rise and whose Purkinje cells fall before the puff, from a block on;
    100 trials."""
    rates = {"nuclei": 40.0, "purkinje": 80.0, "inferior_olive": 2.0}
    shape = 100, PUBLISHED.trial
    spikes = {name: np.full(shape, hz * SIZES[name] * 1e-3) for name, hz in rates.items()}
    late = slice(10 * (block - 1), None), slice(ONSET + 150, PUFF + 30)
    spikes["nuclei"][late] *= 1.5
    spikes["purkinje"][late] *= 0.75
    course = eyeblink.Course(block=10, trials={"acquisition": Session(spikes)})
    return Trained(course, Session(spikes), 3.9)


def report(first: dict[str, int]):
    """The report on two circuits of each case, which respond from a block on."""
    return dystonia.report({case: [trained(first[case])] * 2 for case in dystonia.CASES}, (10, 11))


def test_a_case_is_impaired_if_its_curve_is_lower():
    first = {
        dystonia.CONTROL: 3,
        "fewer climbing fibres": 7,
        "Purkinje bursts": 3,
        "olive bursts": 11,
    }
    result = report(first)
    values = {row.quantity: row for row in result.rows}
    block = values["control, CR in block 6"]
    assert (block.measured, block.published, block.passed) == (100, 70, False)
    fewer = values["fewer climbing fibres: CR less control, mean of the blocks"]
    assert (fewer.measured, fewer.passed) == (pytest.approx(-40), True)
    bursts = values["Purkinje bursts: CR less control, mean of the blocks"]
    assert (bursts.measured, bursts.passed) == (0, False)
    assert values["control, nuclei at 150 to 200 ms, last block"].measured == pytest.approx(
        20, 0.15
    )
    fall = values["control, Purkinje cells at 150 to 200 ms, last block"]
    assert fall.measured == pytest.approx(-20, rel=0.15)
    assert set(result.figures) == {"curves.png", "rates.png"}
    assert "olive bursts: 0, 0, 0" in result.note


def test_every_case_runs_with_every_seed_and_keeps_its_trials():
    runs = dystonia.runs((10, 11))
    assert {(run.name, run.seed) for run in runs} == {
        (case, seed) for case in dystonia.CASES for seed in (10, 11)
    }
    for run in runs:
        assert run.subject.get("disorder", dystonia.CONTROL) == run.name
        assert run.options["keep"] == dystonia.KEPT


def test_a_run_that_was_stopped_has_the_trials_from_before(monkeypatch, tmp_path):
    subject: Any = SimpleNamespace(state={"v": np.zeros(2, np.float32)}, timing=PUBLISHED)
    monkeypatch.setattr(conditioning, "_identity", lambda subject, run: {"block": 10, **about})
    phases: Phases = (("acquisition", "paired", 2),)
    about = {"phases": [list(phase) for phase in phases]}
    run = Run(name="control", seed=0, phases=phases, block=10)
    starts = []

    def experiment(subject, *, start, save, **options):
        starts.append(start)
        course = eyeblink.Course(
            block=10,
            answers={"acquisition": np.ones(10, bool)},
            olive={"acquisition": np.ones(1)},
            trials={"acquisition": Session({"nuclei": np.arange(6).reshape(2, 3)})},
        )
        save(eyeblink.Progress(state=subject.state, course=course, blocks=start.blocks + 1))

    monkeypatch.setattr(eyeblink, "experiment", experiment)
    for _ in range(2):
        conditioning.resumed(subject, run, tmp_path, lambda line: None)
    assert [start.blocks for start in starts] == [0, 1]
    assert not starts[0].course.trials
    (kept,) = starts[1].course.trials.values()
    np.testing.assert_array_equal(kept.spikes["nuclei"], [[0, 1, 2], [3, 4, 5]])
    assert kept.timing == PUBLISHED
    assert starts[1].course.after is None


@pytest.mark.soak
@pytest.mark.slow
def test_a_short_run_of_all_cases_has_a_report(tmp_path):
    phases: Phases = (("acquisition", "paired", 1),)
    runs = dystonia.runs((10,), phases)
    results = conditioning.train(runs, tmp_path, print)
    again = conditioning.train(runs, tmp_path, print)
    for run in runs:
        first, second = results[run.name, run.seed], again[run.name, run.seed]
        for name, spikes in first.course.trials["acquisition"].spikes.items():
            np.testing.assert_array_equal(spikes, second.course.trials["acquisition"].spikes[name])
