"""The reflex's consolidation: the rows, the plan of tests, and a training that goes on."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import vor
from cerebellum.learn.tasks import vor_consolidation as task
from cerebellum.learn.tasks.vor_consolidation import HOUR, Probe, Progress, Subject
from cerebellum.model.plasticity import Rule
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import microzone
from cerebellum.reproduce import vor_consolidation as reproduction


@pytest.fixture
def subject(monkeypatch):
    """A small circuit, whose reflex is a stub: the gain falls by 0.01 in each cycle of learning."""

    def turn(circuit, loop, cycles, demand, per_hz, *, learning=True, teaching=True):
        changes = np.arange(1, cycles + 1) * (0.01 * bool(learning))
        gain = float(loop.eye) - changes
        loop = replace(loop, eye=jnp.float32(gain[-1]))
        return loop, vor.Course(gain, 0 * gain, {})

    monkeypatch.setattr(vor, "turn", turn)
    circuit = cb.build(cb.presets.beams(500), jax.random.key(0))
    loop = replace(vor.start(circuit, jax.random.key(1)), eye=jnp.float32(1))
    return Subject(circuit=circuit, loop=loop, per_hz=1.0, before=Probe(1.0, 0.9))


def test_both_sites_learn_and_purkinje_cells_keep_their_rate():
    spec = task.spec()
    plastic = {each.name: each.rule for each in spec.projections if each.rule is not None}
    assert set(plastic) == {task.CORTICAL, task.NUCLEAR}
    nuclear = plastic[task.NUCLEAR]
    assert isinstance(nuclear, Rule)
    assert nuclear.teacher == "purkinje_nuclei"
    assert nuclear.per_pair < 0 < nuclear.per_spike
    held = {each.name: each.homeostasis for each in spec.populations if each.homeostasis}
    assert {name: rule.target for name, rule in held.items()} == {"purkinje": task.PURKINJE_HZ}


def test_nuclear_cells_hear_equally_many_purkinje_cells_of_their_microzone():
    source, target, contacts = task.inhibition(jax.random.key(0)).T
    assert (np.bincount(target, minlength=SIZES["nuclei"]) == task.PURKINJE_INPUTS).all()
    assert len(set(zip(source.tolist(), target.tolist(), strict=True))) == source.size
    zones = {name: microzone(SIZES[name], 2) for name in ("purkinje", "nuclei")}
    np.testing.assert_array_equal(zones["purkinje"][source], zones["nuclei"][target])
    assert (contacts == 1).all()
    assert set(source.tolist()) == set(range(SIZES["purkinje"]))


def test_a_reflex_without_the_option_has_one_plastic_site():
    plastic = [each.name for each in vor.spec().projections if each.rule is not None]
    assert plastic == ["granule_parallel_purkinje"]
    assert not any(each.homeostasis for each in vor.spec().populations)


@pytest.mark.parametrize(
    ("cycles", "tests", "message"),
    [
        (0, (), "cycles: 0; a whole number, at least 1"),
        (1.5, (), "cycles: 1.5; a whole number, at least 1"),
        (8, (2, 9), "tests: 9; numbers of cycles, 1 to 8"),
        (8, (0,), "tests: 0; numbers of cycles, 1 to 8"),
    ],
)
def test_impossible_trainings_are_refused(subject, cycles, tests, message):
    with pytest.raises(UsageError) as refused:
        task.train(subject, cycles, tests)
    assert str(refused.value) == message


def test_tests_come_at_their_time_and_do_not_train(subject):
    progress = task.train(subject, 10, (4, 10))
    np.testing.assert_allclose(progress.gain, 1 - 0.01 * np.arange(1, 11), rtol=1e-5)
    assert list(progress.tests) == [4, 10]
    assert progress.tests[4].intact == pytest.approx(0.96)
    assert float(subject.loop.eye) == 1.0


def test_a_killed_training_goes_on_and_another_is_refused(subject, tmp_path):
    whole = reproduction.resumed(
        subject, (2, 5, 9), tmp_path / "whole", lambda _: None, nuclear_learning=True
    )

    def die(progress):
        if progress.gain.size == 5:
            raise KeyboardInterrupt

    part = tmp_path / "part"
    with pytest.raises(KeyboardInterrupt):
        reproduction.resumed(subject, (2, 5, 9), part, die, nuclear_learning=True)
    told = []
    rest = reproduction.resumed(
        subject, (2, 5, 9), part, lambda x: told.append(x.gain.size), nuclear_learning=True
    )
    assert told == [9]
    assert rest.tests == whole.tests
    np.testing.assert_array_equal(rest.gain, whole.gain)
    for one, other in zip(jax.tree.leaves(rest.loop), jax.tree.leaves(whole.loop), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(UsageError, match="has part of a training with another circuit or plan"):
        reproduction.resumed(subject, (2, 5, 9), part, lambda _: None, nuclear_learning=False)


def trained(intact: tuple[float, ...], lesioned: tuple[float, ...]):
    """A training of a circuit whose gain without Purkinje cells is 0.9 before it."""
    times = [hours * HOUR for hours in reproduction.TESTED_H]
    tests = {time: Probe(*gains) for time, *gains in zip(times, intact, lesioned, strict=True)}
    loop: Any = None
    return Probe(1.0, 0.9), Progress(loop=loop, gain=np.ones(times[-1]), tests=tests)


@pytest.mark.parametrize(("last", "passes"), [(0.65, True), (0.85, False)])
def test_what_is_kept_without_purkinje_cells_decides(last, passes):
    both = trained((0.84, 0.76, 0.73), (0.89, 0.75, last))
    cortex = trained((0.84, 0.8, 0.8), (0.9, 0.9, 0.9))
    report = reproduction.report({"both sites": [both], "cortex alone": [cortex]}, (3,))
    rows = {row.quantity: row for row in report.rows}
    assert rows["change of the gain, 2 h"].measured == pytest.approx(-0.16)
    assert rows["kept without flocculus, 2 h"].measured == pytest.approx(1 / 16)
    kept = rows["kept without flocculus, 3 days"]
    assert kept.measured == pytest.approx((0.9 - last) / 0.27)
    assert (kept.passed, report.passed) == (passes, passes)
    assert len(report.figures["consolidation.png"].axes) == 2


@pytest.mark.soak
@pytest.mark.slow
def test_the_first_session_is_held_by_purkinje_cells():
    subject = task.subject(0)
    before = np.asarray(subject.loop.state.weights[task.NUCLEAR]).copy()
    session = 2 * HOUR
    progress = task.train(subject, session, (session,), nuclear_learning=False)
    np.testing.assert_array_equal(progress.loop.state.weights[task.NUCLEAR], before)
    progress = task.train(subject, session, (session,))
    after = progress.tests[session]
    assert subject.before.intact == pytest.approx(1.0, abs=0.1)
    assert after.intact - subject.before.intact < -0.08
    assert abs(task.retained(subject.before, after)) < 0.4
    assert (np.asarray(progress.loop.state.weights[task.NUCLEAR]) != before).any()
