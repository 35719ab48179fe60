"""Cohorts of mice: what of the circuit of conditioning changes with one, and what does not."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks import eyeblink_response as detector
from cerebellum.learn.tasks.eyeblink_circuit import NUCLEAR, PARALLEL, spec
from cerebellum.learn.tasks.eyeblink_cohort import FITTED, HOLDING_PA, Cohort
from cerebellum.learn.tasks.eyeblink_tone import halves
from cerebellum.learn.tasks.eyeblink_trial import Timing
from cerebellum.reproduce import olive_extinction

KEY = jax.random.key(3)


def test_the_mice_that_the_circuit_was_fitted_to_change_nothing():
    assert FITTED.changed(spec()) == spec()
    assert FITTED.holding_pa == HOLDING_PA
    assert eyeblink.Stimuli(tone=halves(KEY), key=KEY).cohort is FITTED


def test_a_cohort_changes_the_rates_of_learning_and_nothing_else():
    fitted, changed = spec(), Cohort(teaching=4.0, nuclear=0.25).changed(spec())
    rules: dict[str, Any] = {p.name: p.rule for p in changed.projections if p.rule}
    was: dict[str, Any] = {p.name: p.rule for p in fitted.projections if p.rule}
    assert rules[PARALLEL] == replace(was[PARALLEL], per_pair=4 * was[PARALLEL].per_pair)
    assert rules[NUCLEAR] == replace(
        was[NUCLEAR],
        per_spike=0.25 * was[NUCLEAR].per_spike,
        per_pair=0.25 * was[NUCLEAR].per_pair,
    )
    for name in (PARALLEL, NUCLEAR):
        changed = changed.with_projection(name, rule=was[name])
    assert changed == fitted


def test_the_nuclei_need_not_learn():
    fitted = spec(nuclear_learning=False)
    assert Cohort(nuclear=0.25).changed(fitted) == fitted


def test_the_puff_of_the_cohort_is_one_spike_and_its_light_is_weaker():
    timing = Timing(us_ms=olive_extinction.US_MS)
    cohort = olive_extinction.COHORT
    stimuli = eyeblink.Stimuli(
        tone=halves(KEY, timing), key=KEY, timing=timing, olive_hz=0.0, cohort=cohort
    )
    held, paired = (stimuli.trial(0, kind) for kind in ("held", "paired"))
    np.testing.assert_array_equal(held["olivary_afferent"].sum(axis=0), np.ones(14))
    assert held["inferior_olive"].min() == cohort.holding_pa
    assert not paired["inferior_olive"].any()


def test_each_trial_has_a_threshold_of_its_own():
    timing = eyeblink.PUBLISHED
    spikes = np.zeros((3, timing.trial), np.int32)
    spikes[:, timing.onset + 150 : timing.onset + timing.cs] = 1
    session = detector.Session({"nuclei": spikes}, timing)
    height = float(detector.response(session).max())
    above = height * np.array([0.5, 2.0, 0.5])
    limit = np.array([height, height, 0.0])
    assert detector.responses(session, above, limit).tolist() == [True, False, False]


def test_the_threshold_of_a_circuit_is_the_highest_that_a_share_of_trials_pass():
    timing = eyeblink.PUBLISHED
    sizes = 0.2 * np.arange(1, 11)
    spikes = np.zeros((sizes.size, timing.trial))
    spikes[:, timing.onset + 150 : timing.onset + timing.cs] = sizes[:, None]
    session = detector.Session({"nuclei": spikes}, timing)
    same = np.ones(sizes.size)
    found = detector.threshold_passed(session, 0.3, same)
    assert detector.responses(session, found, found).tolist() == [False] * 7 + [True] * 3
    assert detector.responses(session, found + 0.05, found + 0.05).sum() == 2
    assert detector.threshold_passed(session, 0.3, same / 2) == pytest.approx(2 * found, abs=0.1)


def test_where_no_threshold_is_passed_so_often_it_is_the_one_that_is_passed_most_often():
    timing = eyeblink.PUBLISHED
    spikes = np.zeros((4, timing.trial), np.int32)
    spikes[3, timing.onset + 150 : timing.onset + timing.cs] = 1
    session = detector.Session({"nuclei": spikes}, timing)
    found = detector.threshold_passed(session, 0.5, np.ones(4))
    assert detector.responses(session, found, found).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teaching": -1.0}, "teaching: -1.0; a factor, zero or more"),
        ({"nuclear": "high"}, "nuclear: 'high'; a factor"),
        ({"holding_pa": None}, "holding_pa: None; a current, pA"),
    ],
)
def test_impossible_cohorts_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Cohort(**options)
