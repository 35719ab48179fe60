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
    stimuli = eyeblink.Stimuli(tone=halves(KEY), key=KEY)
    assert stimuli.cohort is FITTED
    np.testing.assert_array_equal(stimuli.reluctance(3, 4), np.ones(4))


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


def test_how_much_the_lid_answers_varies_from_trial_to_trial():
    cohort = Cohort(variation=0.3)
    stimuli = eyeblink.Stimuli(tone=halves(KEY), key=KEY, cohort=cohort)
    drawn = stimuli.reluctance(0, 400)
    assert abs(drawn.mean() - 1) < 0.05
    assert abs(drawn.std() - 0.3) < 0.05
    np.testing.assert_array_equal(stimuli.reluctance(100, 50), drawn[100:150])


def test_each_trial_has_a_threshold_of_its_own():
    timing = eyeblink.PUBLISHED
    spikes = np.zeros((3, timing.trial), np.int32)
    spikes[:, timing.onset + 150 : timing.onset + timing.cs] = 1
    session = detector.Session({"nuclei": spikes}, timing)
    height = float(detector.response(session).max())
    above = height * np.array([0.5, 2.0, 0.5])
    limit = np.array([height, height, 0.0])
    assert detector.responses(session, above, limit).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teaching": -1.0}, "teaching: -1.0; a factor, zero or more"),
        ({"threshold": "high"}, "threshold: 'high'; a factor"),
        ({"variation": -0.1}, "variation: -0.1; a factor, zero or more"),
        ({"holding_pa": None}, "holding_pa: None; a current, pA"),
    ],
)
def test_impossible_cohorts_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Cohort(**options)
