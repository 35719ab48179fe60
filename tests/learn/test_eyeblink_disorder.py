"""Disorders of the conditioning circuit: what they change in the spec, and their bursts."""

import jax
import numpy as np
import pytest

from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink
from cerebellum.learn.tasks.eyeblink_circuit import PARALLEL
from cerebellum.learn.tasks.eyeblink_disorder import CLIMBING, DISORDERS, TEACHING, Disorder
from cerebellum.learn.tasks.eyeblink_tone import halves
from cerebellum.learn.tasks.eyeblink_trial import PUBLISHED, Timing
from cerebellum.model.presets.eglif import SIZES

KEY = jax.random.key(0)
HEALTHY = eyeblink.spec()


def weights(spec) -> dict[str, float]:
    return {each.name: each.weight for each in spec.projections}


def train(name: str, trials: int, timing: Timing = PUBLISHED) -> np.ndarray:
    """The weights of a disorder's bursts over some trials, from the first on, [steps]."""
    (bursts,) = DISORDERS[name].bursts
    return np.concatenate([bursts.trial(KEY, k, timing)[:, 0] for k in range(trials)])


def test_no_disorder_is_the_healthy_circuit():
    assert Disorder().changed(HEALTHY) == HEALTHY
    stimuli = eyeblink.Stimuli(tone=halves(KEY), key=KEY)
    assert set(stimuli.trial(0, "paired")) == {
        *("mossy_fiber", "olivary_afferent", "inferior_olive")
    }


def test_fewer_climbing_fibres_have_half_the_weight_and_teach_half_of_the_cells():
    spec = DISORDERS["fewer climbing fibres"].changed(HEALTHY)
    assert spec == DISORDERS["fewer climbing fibres"].changed(HEALTHY)
    before, after = weights(HEALTHY), weights(spec)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {CLIMBING, TEACHING}
    assert (after[CLIMBING], after[TEACHING]) == (before[CLIMBING] / 2, 0)
    (learning,) = (p for p in spec.projections if p.name == PARALLEL)
    assert learning.rule is not None
    assert learning.rule.teachers == (TEACHING,)
    assert spec.place is not None
    assert HEALTHY.place is not None
    edges = spec.place(KEY)
    assert len(edges[CLIMBING]) == SIZES["purkinje"]
    taught = edges[TEACHING]
    assert len(taught) == round(SIZES["purkinje"] / 2)
    assert len(set(taught[:, 1])) == len(taught)
    assert {tuple(edge) for edge in taught} < {tuple(edge) for edge in edges[CLIMBING]}
    for name, placed in HEALTHY.place(KEY).items():
        np.testing.assert_array_equal(placed, edges[name])


def test_bursting_purkinje_cells_have_little_current_of_their_own():
    spec = DISORDERS["Purkinje bursts"].changed(HEALTHY)
    assert weights(spec) == weights(HEALTHY)
    before, after = (x.population("purkinje").params for x in (HEALTHY, spec))
    assert before.i_e == 762
    assert after.i_e == pytest.approx(51.3, abs=0.05)
    assert (after.lambda_0, after.tau_v) == (5.0, 4.375)
    for each, healthy in zip(spec.populations, HEALTHY.populations, strict=True):
        assert (each == healthy) == (each.name != "purkinje")


def test_purkinje_bursts_are_ten_spikes_in_20_ms_of_every_40():
    weight = train("Purkinje bursts", 4)
    np.testing.assert_array_equal(weight, train("Purkinje bursts", 4))
    assert set(np.unique(weight)) == {0, np.float32(10 * 762 / 742.543)}
    cycles = (weight.reshape(-1, 40) > 0).astype(int)
    assert (cycles.sum(axis=1) == 10).all()
    first = cycles.argmax(axis=1)
    last = 39 - cycles[:, ::-1].argmax(axis=1)
    assert (last - first).max() <= 20
    assert first.std() > 3
    assert len({tuple(cycle) for cycle in cycles}) == len(cycles)


@pytest.mark.parametrize("isi", [250, 305])
def test_bursts_go_on_from_trial_to_trial_and_the_olive_rests_in_one_of_ten(isi):
    timing = Timing(isi_ms=isi)
    weight = train("olive bursts", 21, timing).reshape(21, timing.trial)
    resting = [k for k, trial in enumerate(weight) if not trial.any()]
    assert resting == [0, 10, 20]
    step = np.arange(timing.trial, 10 * timing.trial)
    expected = (step % 2 == 0) & ((step % 80 <= 40) & (step % 80 > 0))
    np.testing.assert_array_equal(weight[1:10].ravel() > 0, expected)
    assert weight.max() == 200


def test_the_bursting_olive_is_not_inhibited():
    spec = DISORDERS["olive bursts"].changed(HEALTHY)
    before, after = weights(HEALTHY), weights(spec)
    changed = {name: x for name, x in after.items() if x != before[name]}
    assert changed == {"nuclei_inhibitory_inferior_olive": 0}
    assert spec.populations == HEALTHY.populations


def test_bursts_drive_their_receptor():
    stimuli = eyeblink.Stimuli(tone=halves(KEY), key=KEY, bursts=DISORDERS["olive bursts"].bursts)
    drive = stimuli.trial(1, "cs")["inferior_olive.r1"]
    assert drive.shape == (PUBLISHED.trial, 1)
    assert drive.any()


def test_an_unknown_disorder_is_refused():
    known = "fewer climbing fibres, Purkinje bursts, olive bursts, or None"
    with pytest.raises(UsageError, match=f"disorder: 'tremor'; one of {known}"):
        eyeblink.subject(0, disorder="tremor")


@pytest.mark.soak
@pytest.mark.slow
def test_bursts_fire_the_cells_that_they_reach_and_fewer_climbing_fibres_teach_fewer_cells():
    subjects = {name: eyeblink.subject(0, disorder=name) for name in DISORDERS}
    rates = {name: each.before.rate("purkinje").mean(axis=0) for name, each in subjects.items()}
    cycle = rates["Purkinje bursts"].reshape(-1, 40).mean(axis=0)
    assert cycle.max() > 3 * max(cycle.min(), 1)
    olive = subjects["olive bursts"].before.rate("inferior_olive").mean(axis=1)
    assert olive[1:10].min() > 5 * max(olive[0], 1)
    mouse = subjects["fewer climbing fibres"]
    course = eyeblink.experiment(
        mouse, phases=(("acquisition", "paired", 1),), block=2, keep=("inferior_olive",)
    )
    assert set(course.trials["acquisition"].spikes) == {"inferior_olive"}
    assert course.trials["acquisition"].spikes["inferior_olive"].shape == (2, PUBLISHED.trial)
