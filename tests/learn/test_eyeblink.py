"""The conditioning task: stimuli, detector, and sessions run in several parts."""

import hashlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import eyeblink, eyeblink_tone
from cerebellum.learn.tasks import eyeblink_response as detector
from cerebellum.learn.tasks.eyeblink import PUBLISHED, Session, Stimuli, Timing
from cerebellum.learn.tasks.eyeblink_tone import halves, puff, structured
from cerebellum.model.presets.eglif import SIZES

KEY = jax.random.key(0)
TRIAL, CS_ONSET, US_ONSET = PUBLISHED.trial, PUBLISHED.onset, PUBLISHED.us_onset


def nuclear(rate: np.ndarray) -> Session:
    """A session whose nuclei fire at these rates, Hz, [K, T]."""
    return Session({"nuclei": rate * SIZES["nuclei"] * 1e-3})


def bump(start: int, length: int, height: float, trials: int = 3) -> Session:
    """A session whose nuclei fire at 40 Hz, and `height` Hz more for `length` ms."""
    rate = np.full((trials, TRIAL), 40.0)
    rate[:, start : start + length] += height
    return nuclear(rate)


def test_the_published_tone_is_the_same_in_every_trial_and_comes_in_halves():
    spikes = halves(KEY)
    np.testing.assert_array_equal(spikes, halves(KEY))
    counts = spikes.sum(axis=0)
    assert set(np.unique(counts)) == {0.0, 11.0}
    assert 0.5 < np.mean(counts > 0) < 0.8
    steps = np.flatnonzero(spikes.any(axis=1))
    assert steps.min() >= CS_ONSET
    assert steps.max() <= CS_ONSET + PUBLISHED.cs
    start, stop = spikes.argmax(axis=0), TRIAL - 1 - spikes[::-1].argmax(axis=0)
    early = (start < CS_ONSET + 140)[counts > 0]
    assert abs(early.mean() - 0.5) < 0.02
    assert ((stop - start)[counts > 0] == 128).all()
    assert stop[counts > 0][early].max() <= CS_ONSET + 140


def test_the_puff_is_five_spikes_250_ms_after_the_tone_began():
    steps = np.flatnonzero(puff()[:, 0])
    np.testing.assert_array_equal(steps, CS_ONSET + 250 + 2 * np.arange(5))


def test_the_published_times_and_what_they_draw_are_unchanged():
    assert (CS_ONSET, PUBLISHED.cs, US_ONSET, TRIAL) == (250, 280, 500, 600)
    drawn = hashlib.sha256(halves(KEY).tobytes() + puff().tobytes())
    assert drawn.hexdigest()[:16] == "f98ac830b02264c1"


@given(isi=st.integers(120, 700), more=st.integers(0, 200), pulses=st.integers(1, 20))
@settings(max_examples=10, deadline=None)
def test_the_published_tone_stretches_without_a_gap_and_at_the_same_rate(isi, more, pulses):
    timing = Timing(isi_ms=isi, cs_ms=isi + more, us_ms=2 * pulses)
    spikes = halves(KEY, timing)
    assert len(spikes) == len(puff(timing)) == timing.trial
    fires = np.flatnonzero(spikes.any(axis=1)) - timing.onset
    assert fires[0] == 0
    assert timing.cs - 2 <= fires[-1] + 1 <= timing.cs + 1
    assert np.diff(fires).max() <= 12
    fibre = spikes[:, spikes.any(axis=0)]
    lasts = (fibre.sum(axis=0) - 1) * 12.8
    assert np.abs(lasts - (timing.cs / 2 - 12)).max() < 8
    fires = np.flatnonzero(puff(timing)[:, 0])
    np.testing.assert_array_equal(fires, timing.onset + isi + 2 * np.arange(pulses))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"isi_ms": 250.5}, "isi_ms: 250.5 ms; a multiple of the step of 1 ms, such as 250"),
        ({"isi_ms": 400, "cs_ms": 280}, "cs_ms: 280 ms; at least the 400 ms until the puff"),
        ({"isi_ms": 20}, "isi_ms: 20 ms; at least 120"),
        ({"us_ms": 5}, "us_ms: 5 ms; a multiple of 2"),
        ({"us_ms": 0}, "us_ms: 0 ms; a multiple of 2"),
        ({"onset_ms": 100}, "onset_ms: 100 ms; at least 200"),
        ({"isi_ms": 400, "trial_ms": 600}, "trial_ms: 600 ms; at least 680"),
        ({"isi_ms": "long"}, "isi_ms: 'long'; a number of ms"),
        ({"us_ms": True}, "us_ms: True; a number of ms"),
        ({"cs_ms": float("nan")}, "cs_ms: nan; a number of ms"),
    ],
)
def test_impossible_times_are_refused(times, message):
    with pytest.raises(UsageError) as refused:
        Timing(**times)
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@given(isi=st.integers(120, 700))
@settings(max_examples=10, deadline=None)
def test_a_fibre_of_the_structured_tone_rises_once_at_a_time_of_its_own(isi):
    timing = Timing(isi_ms=isi)
    chance = structured(KEY, timing)
    np.testing.assert_array_equal(chance, structured(KEY, timing))
    assert not chance[: timing.onset].any()
    assert not chance[timing.onset + timing.cs :].any()
    carries = chance.any(axis=0)
    assert 0.5 < carries.mean() < 0.8
    assert (carries <= eyeblink_tone.carriers(KEY)).all()
    during = chance[timing.onset : timing.onset + timing.cs, carries]
    peak = during.argmax(axis=0)
    # It rises to its peak and falls after it, if the tone lasts that long.
    slope = np.diff(during, axis=0)
    rising = np.arange(len(slope))[:, None] < peak
    assert (slope[rising] >= -1e-6).all()
    assert (slope[~rising] <= 1e-6).all()
    # A fibre's time does not depend on how long the tone is.
    longer = structured(KEY, Timing(isi_ms=isi + 100))
    np.testing.assert_array_equal(
        longer[: timing.onset + timing.cs], chance[: timing.onset + timing.cs]
    )


def test_times_of_the_structured_tone_are_even_over_their_logarithm():
    timing = Timing(isi_ms=1_000)
    chance = structured(KEY, timing)[timing.onset :]
    peak = np.sort(chance.argmax(axis=0)[chance.any(axis=0)])
    assert 28 <= peak[0] < 40
    assert 600 < peak[-1] <= 800
    log = np.log(peak)
    even = np.linspace(log[0], log[-1], len(log))
    assert np.abs(log - even).max() < 0.25
    assert chance.max() == pytest.approx(0.16, rel=1e-3)


def stimuli(timing: Timing = PUBLISHED, **options) -> Stimuli:
    """The published tone."""
    return Stimuli(tone=halves(KEY, timing), key=KEY, timing=timing, **options)


def test_a_trial_has_tone_puff_and_background_and_they_are_its_own():
    paired = stimuli().trial(3, "paired")
    again = stimuli().trial(3, "paired")
    for name, drive in paired.items():
        np.testing.assert_array_equal(drive, again[name])
    other = stimuli().trial(4, "paired")
    assert (paired["mossy_fiber"] != other["mossy_fiber"]).any()
    assert (paired["mossy_fiber"] >= halves(KEY)).all()
    alone = stimuli().trial(3, "cs")
    np.testing.assert_array_equal(alone["mossy_fiber"], paired["mossy_fiber"])
    assert (paired["olivary_afferent"] >= puff()).all()
    rest = np.concatenate([stimuli().trial(k, "cs")["olivary_afferent"] for k in range(100)])
    assert 1e3 * rest.mean() == pytest.approx(eyeblink.OLIVE_HZ, rel=0.1)
    assert not stimuli(olive_hz=0.0).trial(3, "cs")["olivary_afferent"].any()
    assert not paired["inferior_olive"].any()
    held = stimuli().trial(3, "held")["inferior_olive"][:, 0]
    np.testing.assert_array_equal(np.flatnonzero(held), US_ONSET + np.arange(*eyeblink.HOLDING_MS))
    silent = stimuli().trial(3, "held", silent=True)["inferior_olive"]
    assert (silent == eyeblink.SILENCING_PA).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tone": halves(KEY)[:-1]}, r"tone: \[599, 117\]; \[600, 117\], the steps of a trial"),
        ({"tone": 2 * halves(KEY)}, "tone: a chance that is not from 0 to 1"),
        ({"tone": halves(KEY) * np.nan}, "tone: a chance that is not from 0 to 1"),
        ({"olive_hz": -1.0}, "olive_hz: -1.0; a rate, 0 to 1000"),
        ({"olive_hz": "often"}, "olive_hz: 'often'; a rate"),
    ],
)
def test_impossible_stimuli_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        Stimuli(**{"tone": halves(KEY), "key": KEY, **options})


def test_unknown_kinds_and_tones_are_refused():
    circuit: Any = None
    wrong: Any = ("pair",)
    with pytest.raises(UsageError, match="kinds: 'pair'; a trial is one of paired, cs, held"):
        eyeblink.run(circuit, circuit, wrong, stimuli())
    with pytest.raises(UsageError, match="tone: 'beep'; one of structured, halves, or a function"):
        eyeblink.subject(0, tone="beep")


@pytest.mark.parametrize(
    ("start", "length", "detected"),
    [
        (CS_ONSET + 150, 200, True),  # lasts until the puff
        (CS_ONSET + 150, 20, False),  # a mean of 4 Hz over any window
        (CS_ONSET, 280, False),  # a step at the onset of the tone
        (CS_ONSET + 40, 240, False),  # still too early
        (CS_ONSET - 100, 100, False),
        (US_ONSET, 80, False),
    ],
)
def test_a_response_is_late_and_lasts_until_the_puff(start, length, detected):
    assert (detector.responses(bump(start, length, 20.0), 5.0) == detected).all()


def test_an_answer_to_the_onset_is_early_and_a_late_response_is_not():
    assert detector.early(bump(CS_ONSET, 280, 20.0)).all()
    assert not detector.early(bump(CS_ONSET + 160, 120, 20.0)).any()


@given(start=st.integers(CS_ONSET + 100, US_ONSET - 10), height=st.floats(5.0, 60.0))
@settings(max_examples=30, deadline=None)
def test_the_rule_is_that_of_the_published_program(start, height):
    """`cr` of simulation_analysis.py, line by line: index arithmetic, loop and all."""
    session = bump(start, 330 - (start - CS_ONSET), height, trials=1)
    rate = detector.response(session)[0, CS_ONSET : CS_ONSET + 280]
    moving = np.convolve(rate, np.ones(100), "valid") / 100
    ratio = (280 - 100) / 280
    before, during = moving[: int(100 * ratio)], moving[int(100 * ratio) : int(250 * ratio)]
    expected = False
    if not (before >= 3.9).any() and (during >= 3.9).any():
        onset = next(i for i, x in enumerate(during) if x >= 3.9)
        expected = (during >= 3.9).sum() >= 0.75 * len(during[onset:])
    assert detector.responses(session, 3.9)[0] == expected


def test_the_window_of_a_response_ends_at_the_puff_whenever_it_comes():
    rate = np.full((3, Timing(isi_ms=500).trial), 40.0)
    rate[:, CS_ONSET + 250 : CS_ONSET + 530] += 20
    late = Session(nuclear(rate).spikes, Timing(isi_ms=500))
    assert detector.responses(late, 5.0).all()
    earlier = Session(late.spikes, Timing(isi_ms=250, trial_ms=late.timing.trial))
    assert not detector.responses(earlier, 5.0).any()


def test_a_response_is_measured_from_its_own_baseline():
    rate = np.full((2, TRIAL), 40.0)
    rate[1] += 30.0
    np.testing.assert_allclose(detector.response(nuclear(rate)), 0, atol=1e-9)


def test_the_threshold_is_that_of_the_untrained_and_never_lower_than_the_least():
    assert detector.threshold(bump(0, 1, 0.0)) == detector.LEAST_HZ
    noisy = np.random.default_rng(0).poisson(40.0, (20, TRIAL)).astype(float)
    rate = detector.response(nuclear(20 * noisy))[:, CS_ONSET : CS_ONSET + 280]
    windows = np.stack([rate[:, k : k + 100].mean(axis=1) for k in range(64, 160)])
    expected = windows.mean() + 2.5 * windows.std()
    assert detector.threshold(nuclear(20 * noisy)) == pytest.approx(expected)


def test_times_are_those_of_a_ramp():
    rate = np.full((1, TRIAL), 40.0)
    rate[0, CS_ONSET + 50 : CS_ONSET + 251] += np.linspace(0, 40, 201)
    session = nuclear(rate)
    times = detector.times(detector.response(session)[0], session)
    # The filter lowers the peak to 36 Hz, some 20 ms before the end of the ramp.
    np.testing.assert_allclose(times.rise_ms, [86, 140, 212], atol=4)
    assert times.peak_ms == pytest.approx(230, abs=5)
    assert 30 < times.peak_hz < 40
    nothing = detector.times(-detector.response(session)[0] - 1, session)
    assert np.isnan([*nothing.rise_ms, nothing.peak_ms, nothing.peak_hz]).all()


def test_a_pause_is_a_share_of_the_baseline():
    rate = np.full((4, TRIAL), 80.0)
    rate[:, US_ONSET - 80 : US_ONSET] = 60.0
    session = Session({"purkinje": rate * SIZES["purkinje"] * 1e-3})
    assert detector.pause(session) == pytest.approx(25, abs=0.5)
    assert detector.answer_to_tone(bump(CS_ONSET + 100, 100, 12.0)) == pytest.approx(12, abs=0.1)


def test_percentages_are_of_whole_blocks():
    answers = np.repeat([True, False, True], [5, 5, 10])
    course = eyeblink.Course(answers={"acquisition": answers}, block=10)
    assert course.percent == {"acquisition": [50.0, 100.0]}
    with pytest.raises(UsageError, match="after: the first phase has not ended"):
        _ = course.probes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": 0}, "block: 0; a number of trials, at least 1"),
        ({"learning": -1}, "learning: -1; a factor, zero or more"),
        ({"learning": "on"}, "learning: 'on'; a factor, zero or more"),
    ],
)
def test_impossible_experiments_are_refused(options, message):
    mouse: Any = None
    with pytest.raises(UsageError, match=message):
        eyeblink.experiment(mouse, **options)


@pytest.mark.slow
def test_trials_do_not_depend_on_how_they_are_cut_and_controls_learn_nothing():
    circuit = cb.build(eyeblink.spec(), KEY)
    initial = cb.init(circuit, jax.random.key(1))
    sites = ("granule_parallel_purkinje", "mossy_fiber_nuclei")
    given = stimuli(olive_hz=0.0)
    kinds = ("paired", "cs", "held")

    def copy():
        return jax.tree.map(jnp.copy, initial)

    whole, session = eyeblink.run(circuit, copy(), kinds, given)
    state, trials = copy(), []
    for kind in kinds:
        state, trial = eyeblink.run(circuit, state, (kind,), given)
        trials.append(trial.spikes)
    chex.assert_trees_all_equal(state, whole)
    for name, spikes in session.spikes.items():
        np.testing.assert_array_equal(spikes, np.concatenate([trial[name] for trial in trials]))
    fired = session.spikes["inferior_olive"].sum(axis=1)
    assert fired[1] == 0
    assert fired[0] > 3 * 14
    assert fired[2] < fired[0] / 2
    for weights in sites:
        assert (whole.weights[weights] != initial.weights[weights]).any()

    still, _ = eyeblink.run(circuit, copy(), ("paired",), given, learning=0)
    for weights in sites:
        np.testing.assert_array_equal(still.weights[weights], initial.weights[weights])
    _, silent = eyeblink.run(circuit, copy(), ("paired",), given, olive=False)
    assert silent.spikes["inferior_olive"].sum() == 0


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("isi", [250, 400])
def test_a_response_is_learned_and_comes_just_before_the_puff(isi):
    """Ten times as fast as `reproduce eyeblink`."""
    phases = (("acquisition", "paired", 6),)
    mouse, course = eyeblink.condition(isi_ms=isi, seed=10, phases=phases, block=10, learning=10.0)
    assert not detector.responses(mouse.before, mouse.threshold).any()
    assert detector.answer_to_tone(mouse.before) < 3
    times = detector.times(detector.response(course.probes).mean(axis=0), course.probes)
    assert 0 <= isi - times.peak_ms < 100
    assert detector.pause(course.probes) > 15
    assert course.percent["acquisition"][-1] >= 50
