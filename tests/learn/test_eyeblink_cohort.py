"""Cohorts of mice: what of the circuit of conditioning changes with one, and what does not."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink_circuit import NUCLEAR, PARALLEL, spec
from cerebellum.learn.tasks.eyeblink_cohort import FITTED, HOLDING_PA, Cohort
from cerebellum.learn.tasks.eyeblink_tone import halves
from cerebellum.learn.tasks.eyeblink_trial import Timing
from cerebellum.reproduce import olive_extinction

KEY = jax.random.key(3)


def test_the_mice_that_the_circuit_was_fitted_to_change_nothing():
    assert FITTED.changed(spec()) == spec()
    np.testing.assert_array_equal(FITTED.holding(), [HOLDING_PA])
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
    trial = stimuli.trial(0, "held")
    np.testing.assert_array_equal(trial["olivary_afferent"].sum(axis=0), np.ones(14))
    held = (trial["inferior_olive"] == cohort.holding_pa).any(axis=0)
    assert held.sum() == 14 - cohort.escaping
    assert not trial["inferior_olive"][:, ~held].any()
    assert not stimuli.trial(0, "paired")["inferior_olive"].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teaching": -1.0}, "teaching: -1.0; a factor, zero or more"),
        ({"threshold": "high"}, "threshold: 'high'; a factor"),
        ({"escaping": 15}, "escaping: 15; a number of cells, 0 to 14"),
        ({"holding_pa": None}, "holding_pa: None; a current, pA"),
    ],
)
def test_impossible_cohorts_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Cohort(**options)
