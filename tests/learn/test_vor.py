"""The reflex: the fit of gain and phase, the calibration, and the climbing fibres."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cerebellum as cb
from cerebellum.errors import UsageError
from cerebellum.learn.tasks import vor


@pytest.mark.parametrize(("gain", "phase"), [(1.0, 0.0), (0.4, 30.0), (2.0, -90.0)])
def test_gain_and_phase_are_those_of_a_sine(gain, phase):
    angle = 2 * np.pi * np.arange(1_000) / 1_000
    noise = np.random.default_rng(0).normal(0, 0.01, 1_000)
    velocity = 3.0 + gain * np.sin(angle + np.radians(phase)) + 0.5 * np.sin(3 * angle) + noise
    fitted_gain, fitted_phase = vor.fit(velocity)
    assert fitted_gain == pytest.approx(gain, rel=0.02)
    assert fitted_phase == pytest.approx(phase, abs=1.0)


@pytest.mark.parametrize("hertz", [0.5, 1.0, 2.0, 1 / 0.7])
def test_the_head_turns_once_a_cycle_of_any_frequency(hertz):
    movement = vor.Movement(frequency_hz=hertz)
    assert movement.cycle_ms == round(1e3 / hertz)
    velocity = vor.Head(movement).velocity(jnp.arange(3 * movement.cycle_ms))
    expected = np.sin(2 * np.pi * hertz * 1e-3 * np.arange(3 * movement.cycle_ms))
    np.testing.assert_allclose(velocity, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"frequency_hz": 0.3},
            "frequency_hz: 0.3; a cycle of a whole number of ms, such as 0.30003 (3333 ms)",
        ),
        ({"frequency_hz": 0}, "frequency_hz: 0; 0.05 to 10"),
        ({"frequency_hz": 50.0}, "frequency_hz: 50; 0.05 to 10"),
        ({"frequency_hz": "fast"}, "frequency_hz: 'fast'; a number, 0.05 to 10"),
        ({"gain": -1}, "gain: -1; 0 to 3"),
        ({"gain": float("nan")}, "gain: nan; 0 to 3"),
        ({"gain": None}, "gain: None; a number, 0 to 3"),
        ({"cycles": 0}, "cycles: 0; a whole number, at least 1"),
        ({"fixed_cycles": 2.5}, "fixed_cycles: 2.5; a whole number, at least 1"),
    ],
)
def test_impossible_experiments_are_refused(options, message):
    with pytest.raises(UsageError) as refused:
        vor.adapt(**options)
    assert str(refused.value) == message


def test_what_cannot_learn_is_refused():
    circuit = cb.build(cb.presets.beams(500, learning_rate=1e-3), jax.random.key(0))
    loop = vor.start(circuit, jax.random.key(1))
    with pytest.raises(UsageError) as refused:
        vor.turn(circuit, loop, 1, 1.0, 0.0, learning=("mossy_fiber_nuclei",))
    plastic = ", ".join(circuit.params.learning_gain)
    assert str(refused.value) == f"learning: mossy_fiber_nuclei; some of {plastic}"
    assert plastic


@pytest.mark.slow
def test_the_untrained_gain_is_one_and_slip_reaches_the_olive_that_can_mend_it(monkeypatch):
    monkeypatch.setattr(vor, "CALIBRATION", 2)
    circuit = cb.build(vor.spec(), jax.random.key(0))
    loop, per_hz = vor.calibrate(circuit, vor.start(circuit, jax.random.key(1)))
    loop, course = vor.turn(circuit, loop, 3, 1.0, per_hz, learning=False)
    assert course.gain.mean() == pytest.approx(1.0, abs=0.15)
    assert np.abs(course.phase).max() < 15
    # A negative demand reverses the sign of the slip, so the other microzone's olive fires.
    # All in the form in which `turn` gives it, or the cycle is compiled a second time.
    demand, teaching, current = -3.0, 1.0, 0.0
    options = (jnp.float32(x) for x in (demand, per_hz, teaching, current))
    rates = {name: jnp.float32(True) for name in circuit.params.learning_gain}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=rates))
    weights = np.asarray(loop.state.weights["granule_parallel_purkinje"]).copy()
    loop, (counts, eye) = vor.cycle(circuit, loop, *options, movement=vor.ONCE_A_SECOND)
    olive = np.asarray(counts["inferior_olive"]).reshape(4, 250, 2).sum(axis=1)
    # Slip is delayed by 100 ms and is largest after a quarter of a cycle.
    mending, other = (olive[:2, k].sum() + olive[2:, 1 - k].sum() for k in (1, 0))
    assert mending > 2 * other
    assert np.isfinite(np.asarray(eye)).all()
    assert (np.asarray(loop.state.weights["granule_parallel_purkinje"]) != weights).any()
